//! Slack's limits (I5): the pace of a lane, and no request inside a Retry-After.
//!
//! A wait binds the replicas only if they can know of it. It binds no replica if the answer with
//! the 429 may have been lost in transit, or if the replica that got it died or froze. It binds no
//! other replica if the database was down, because they could not learn of it.

use std::collections::BTreeMap;

use super::{Case, Judgement, Kind, seconds};
use crate::evidence::{Blow, Request};

/// How much too early a request may seem to start: the invariant's own tolerance. It is not scaled,
/// because it depends on the machine and not on Slack.
const TOLERANCE: i64 = 50_000;
/// The time until every replica knows of a wait: the answer is read, and one row is written.
const TOLD: i64 = 250_000;
/// How long after an answer a fault may still keep it from being known.
const SETTLED: i64 = 1_000_000;
/// The window of a method's limit, in seconds.
const WINDOW: i64 = 60;
/// Requests that were scheduled before a step of the clock may begin this much later.
const STEPPED: i64 = 1_000_000;
/// Slack's wait if the answer has no readable Retry-After, in seconds.
const UNNAMED: i64 = 30;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let mut starts: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    let mut keys: BTreeMap<String, Vec<&Request>> = BTreeMap::new();
    for request in &case.evidence.requests {
        if let Some(lane) = request.lane.as_deref().filter(|_| is_post(request)) {
            starts.entry(lane).or_default().push(request);
        }
        if let Some(key) = key(request) {
            keys.entry(key).or_default().push(request);
        }
        if request.status == 429 {
            throttled(request, case, judgement);
        }
    }
    for (lane, mut requests) in starts {
        requests.sort_by_key(|request| request.began);
        pace(lane, &requests, case, judgement);
    }
    for (key, mut requests) in keys {
        requests.sort_by_key(|request| request.began);
        waits(&key, &requests, case, judgement);
    }
}

fn is_post(request: &Request) -> bool {
    request.method == super::POST
}

/// The least scope of a 429: the lane for posts, the workspace's method for all other requests.
fn key(request: &Request) -> Option<String> {
    if is_post(request) {
        return request.lane.clone();
    }
    Some(format!("{} {}", request.tenant, request.method))
}

fn throttled(request: &Request, case: &Case<'_>, judgement: &mut Judgement) {
    if request.fault.is_some() {
        judgement.figures.throttled_by_fault += 1;
        return;
    }
    judgement.figures.throttled_by_limit += 1;
    let window = scaled(WINDOW, case.evidence.rules.scale);
    let forgotten = forgotten(&case.evidence.blows, request.began - window, request.began);
    // Slack does not publish the limit of posts for a whole workspace: it can only be learned.
    if !is_post(request) && !forgotten {
        let sentence = format!("{} at {}, which was not injected", request.method, request.began);
        judgement.found(Kind::Avoidable429, sentence);
    }
}

/// At most 1 + t posts in any t seconds.
fn pace(lane: &str, requests: &[&Request], case: &Case<'_>, judgement: &mut Judgement) {
    let (mut slack, mut place, mut last) = (i64::MIN, 0, i64::MIN);
    let interval = case.evidence.rules.interval;
    for request in requests {
        if forgotten(&case.evidence.blows, last, request.began) {
            (slack, place) = (i64::MIN, 0);
        }
        last = request.began;
        let own = request.began - place * interval;
        let close = slack.saturating_sub(own);
        if close > TOLERANCE {
            let sentence = format!(
                "{lane}: the post at {} comes {close} us sooner than the pace allows",
                request.began
            );
            judgement.found(Kind::TooFast, sentence);
        }
        judgement.figures.closest = judgement.figures.closest.max(close);
        slack = slack.max(own);
        place += 1;
    }
}

fn waits(key: &str, requests: &[&Request], case: &Case<'_>, judgement: &mut Judgement) {
    let evidence = case.evidence;
    let known = |request: &&&Request| {
        request.status == 429 && !evidence.blows.iter().any(|blow| hides(blow, request))
    };
    for limit in requests.iter().filter(known) {
        let asked = limit.retry_after.as_deref().and_then(|text| text.trim().parse().ok());
        let wait = scaled(asked.unwrap_or(UNNAMED), evidence.rules.scale);
        let (from, until) = (limit.ended + TOLD, limit.ended + wait - TOLERANCE);
        let first = requests.partition_point(|request| request.began <= from);
        let inside = requests[first..].iter().find(|request| request.began < until);
        let inside =
            inside.filter(|request| !forgotten(&evidence.blows, limit.ended, request.began));
        if let Some(request) = inside {
            let (after, wait) = (seconds(request.began - limit.ended), seconds(wait));
            let sentence = format!(
                "{key}: a request {after} after the 429 at {}, which asked for {wait}",
                limit.ended
            );
            judgement.found(Kind::InsideRetryAfter, sentence);
        }
    }
}

/// Whether the database's clock stepped in this time, or an older copy replaced the database: then
/// the times scheduled by the clock are unknown.
pub(super) fn forgotten(blows: &[Blow], from: i64, to: i64) -> bool {
    let mut blows = blows.iter().filter(|blow| ["step", "failover"].contains(&&*blow.kind));
    let edge = |at: i64| from <= at.saturating_add(STEPPED) && at <= to;
    blows.any(|blow| edge(blow.from) || edge(blow.until))
}

/// Whether the fault may have kept this answer from reaching all replicas.
fn hides(blow: &Blow, request: &Request) -> bool {
    let when = blow.from <= request.ended + SETTLED && blow.until >= request.began;
    // An open transaction may lock the row in which the wait is recorded.
    let locks = ["dark", "frozen"].contains(&blow.kind.as_str());
    let here = blow.replica.is_none() || blow.replica == request.replica || locks;
    // Slack's own faults are in its log together with the answer.
    let elsewhere =
        ["throttle", "ambiguous", "slow", "cancel", "tenants"].contains(&blow.kind.as_str());
    when && here && !elsewhere
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "some seconds")]
pub(super) fn scaled(wait_seconds: i64, scale: f64) -> i64 {
    (wait_seconds as f64 * scale * 1e6) as i64
}
