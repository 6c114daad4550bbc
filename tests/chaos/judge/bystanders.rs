//! The effect of faults on a tenant at which none is aimed: healthy replicas accept its calls soon,
//! and its messages are sent soon (I8).

use std::collections::{BTreeMap, HashMap};

use super::{Asked, Case, Judgement, Kind, reach, seconds};
use crate::evidence::{Call, Request};
use crate::tenant::Tenant;

/// 99 of 100 calls are accepted within this time, from the first try. Calls before the faults show
/// how long the machine needs for them, which is granted in addition; but no more than this time
/// once again, because a machine that needs more shows nothing about the faults.
pub(super) const ACCEPTED: i64 = 1_000_000;
/// 99 of 100 messages are being sent within this time, from acceptance.
pub(super) const ON_ITS_WAY: i64 = 2_000_000;
/// A run of this length must judge so many calls, or it shows nothing.
const LONG: i64 = 60_000_000;
const ENOUGH: usize = 40;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    if case.evidence.rules.mixed {
        return;
    }
    let witness = Tenant::WITNESS.name();
    let theirs: Vec<&Asked<'_>> = (case.requests.values())
        .filter(|asked| asked.calls.iter().all(|call| call.tenant == witness))
        .collect();
    let (calm, accepted) = (calm(case, &theirs), accepted(case, &theirs));
    let figures = &mut judgement.figures;
    (figures.calm_calls, figures.witness_calls) = (Times::of(calm), Times::of(accepted));
    figures.witness_messages = Times::of(on_their_way(case, &theirs, &witness));
    let (calls, messages) = (figures.witness_calls, figures.witness_messages);
    let calm = figures.calm_calls.p99;
    if calls.p99 > ACCEPTED + calm.min(ACCEPTED) {
        let sentence = format!(
            "of {} calls, p99 until accepted {calls}; before the faults {}",
            calls.count,
            seconds(calm)
        );
        judgement.found(Kind::HeldUp, sentence);
    }
    let rules = &case.evidence.rules;
    if rules.calm - rules.began >= LONG && calls.count < ENOUGH {
        let sentence = format!("only {} calls of the witness were judged", calls.count);
        judgement.found(Kind::Unproven, sentence);
    }
    if messages.p99 > ON_ITS_WAY {
        let sentence = format!("of {} messages, p99 to Slack {}", messages.count, messages);
        judgement.found(Kind::Late, sentence);
    }
}

/// How long calls or messages took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) count: usize,
    pub(crate) p50: i64,
    pub(crate) p99: i64,
    pub(crate) longest: i64,
}

impl Times {
    fn of(mut times: Vec<i64>) -> Self {
        times.sort_unstable();
        let count = times.len();
        let at = |percent: usize| {
            let place = (count * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or_default()
        };
        Self { count, p50: at(50), p99: at(99), longest: at(100) }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99, longest) = (seconds(self.p50), seconds(self.p99), seconds(self.longest));
        write!(f, "{p99} (p50 {p50}, longest {longest})")
    }
}

/// From the first try until acceptance, before the faults and while the same load is on.
fn calm(case: &Case<'_>, theirs: &[&Asked<'_>]) -> Vec<i64> {
    let rules = &case.evidence.rules;
    let took = |asked: &&Asked<'_>| {
        let known = asked.known().filter(|known| *known <= rules.began)?;
        (asked.began >= rules.listed).then_some(known - asked.began)
    };
    theirs.iter().filter_map(took).collect()
}

/// During the faults: from the first try, if that was at a healthy replica, until acceptance at any
/// replica.
fn accepted(case: &Case<'_>, theirs: &[&Asked<'_>]) -> Vec<i64> {
    let blows = &case.evidence.blows;
    let is_well = |call: &Call| {
        let (from, to) = (call.began, call.began + ACCEPTED);
        !blows
            .iter()
            .any(|blow| reach::touches(blow, call.replica) && reach::is_felt(blow, from, to))
    };
    let mut times = Vec::new();
    for asked in theirs.iter().filter(|asked| asked.began >= case.evidence.rules.began) {
        let first = asked.calls.iter().min_by_key(|call| call.began);
        if first.is_some_and(|first| is_well(first)) {
            times.push(asked.known().unwrap_or(case.evidence.rules.ended) - asked.began);
        }
    }
    times
}

/// From acceptance, or from the end of the previous message of the lane, until the request to Slack
/// began.
fn on_their_way(case: &Case<'_>, theirs: &[&Asked<'_>], witness: &str) -> Vec<i64> {
    let evidence = case.evidence;
    let mut posts: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in evidence.requests.iter().filter(|one| one.tenant == witness) {
        if let Some(lane) = request.lane.as_deref().filter(|_| request.method == super::POST) {
            posts.entry(lane).or_default().push(request);
        }
    }
    let stored: HashMap<(&str, &str), i64> = (evidence.messages.iter())
        .filter_map(|one| Some(((one.call.as_deref()?, &*one.lane), one.stored_at)))
        .collect();
    let mut lanes: BTreeMap<&str, Vec<(&Asked<'_>, &Call, i64)>> = BTreeMap::new();
    for asked in theirs {
        let Some((call, verdicts)) = asked.accepted else { continue };
        for verdict in verdicts.iter().filter(|verdict| verdict.queued) {
            let key = (call.id.as_str(), verdict.lane.as_str());
            let Some(at) = stored.get(&key) else { continue };
            lanes.entry(&verdict.lane).or_default().push((asked, call, *at));
        }
    }
    let mut times = Vec::new();
    for (lane, mut messages) in lanes {
        messages.sort_by_key(|(.., stored)| *stored);
        let mut before = 0;
        for (asked, call, stored) in messages {
            let free = std::mem::replace(&mut before, stored);
            let mut own = posts.get(lane).into_iter().flatten();
            let first = own.find(|post| post.began >= free.max(asked.began));
            let Some(began) = first.map(|post| post.began) else { continue };
            let until = call.ended.max(free) + ON_ITS_WAY;
            let held = |blow| reach::holds_up(blow, asked.began, until);
            if !evidence.blows.iter().any(held) {
                times.push((began - call.ended.max(free)).max(0));
            }
        }
    }
    times
}
