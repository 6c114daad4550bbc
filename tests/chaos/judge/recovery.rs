//! How soon work resumes: after all faults (I14), and after the database came back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Case, Judgement, Kind, seconds};
use crate::evidence::{Answer, Message};

/// From the return of the database to the first accepted call (faults.md, 8).
const BACK: i64 = 10_000_000;
/// Reads of history for one unclear answer, and the reads a minute that Slack allows.
const LOOKS: f64 = 3.0;
const READS_PER_MINUTE: f64 = 50.0;
/// The time of the last read, and the longest Retry-After that the checker injects, in Slack's
/// seconds.
const LAST_LOOK: f64 = 30.0;
const LONGEST_WAIT: f64 = 30.0;
/// The extra time that the machine may take.
const MACHINE: f64 = 5.0;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    drained(case, judgement);
    back(case, judgement);
    for blow in case.evidence.blows.iter().filter(|blow| blow.kind == "exit") {
        let sentence = format!("replica {:?} at {}: {}", blow.replica, blow.from, blow.what);
        judgement.found(Kind::BadExit, sentence);
    }
}

/// The bound: the backlog at its rate, two leases, and the messages in doubt at the rate of
/// history.
fn drained(case: &Case<'_>, judgement: &mut Judgement) {
    let rules = &case.evidence.rules;
    let stored: HashMap<(&str, &str), i64> = (case.evidence.messages.iter().rev())
        .map(|message| {
            (
                (message.call.as_deref().unwrap_or_default(), message.lane.as_str()),
                message.stored_at,
            )
        })
        .collect();
    let mut waiting: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut backlog, mut last) = (0_u32, rules.calm);
    for (_, call, verdict) in case.queued() {
        let Some(at) = stored.get(&(call.id.as_str(), verdict.lane.as_str())) else { continue };
        if *at > rules.calm {
            backlog += 1;
            *waiting.entry(&verdict.lane).or_default() += 1;
            last = last.max(*at);
        }
    }
    let lanes: BTreeSet<_> = case.evidence.messages.iter().map(|message| &message.lane).collect();
    let longest = waiting.values().max().copied().unwrap_or_default();
    let one_by_one = f64::from(longest) * as_seconds(rules.interval);
    let together =
        f64::from(backlog) / rules.posts_per_second.min(fastest(&case.evidence.messages) / 2.0);
    // At most one message of a lane is in doubt.
    let doubt = f64::from(u32::try_from(lanes.len()).unwrap_or(u32::MAX));
    let reads = doubt * LOOKS * 60.0 / READS_PER_MINUTE * rules.scale;
    let waits = (LAST_LOOK + LONGEST_WAIT) * rules.scale;
    let leases = 2.0 * as_seconds(rules.lease);
    let bound = one_by_one.max(together) + leases + reads + waits + MACHINE;
    let figures = &mut judgement.figures;
    (figures.drained_in, figures.drain_bound) = (last - rules.calm, as_micros(bound));
    if figures.drained_in > figures.drain_bound {
        let sentence = format!(
            "{backlog} messages took {}, more than {}",
            seconds(figures.drained_in),
            seconds(figures.drain_bound)
        );
        judgement.found(Kind::SlowRecovery, sentence);
    }
}

/// Messages a second in the fastest ten seconds of the run: the speed of this machine, if that is
/// below Slack's limit.
fn fastest(messages: &[Message]) -> f64 {
    let mut tens: BTreeMap<i64, u32> = BTreeMap::new();
    for message in messages {
        *tens.entry(message.stored_at / 10_000_000).or_default() += 1;
    }
    f64::from(tens.values().max().copied().unwrap_or_default().max(1)) / 10.0
}

/// The first accepted call after each outage of the database.
fn back(case: &Case<'_>, judgement: &mut Judgement) {
    let mut accepted: Vec<i64> = (case.evidence.calls.iter())
        .filter(|call| matches!(call.answer, Answer::Accepted { .. }))
        .map(|call| call.ended)
        .collect();
    accepted.sort_unstable();
    for blow in case.evidence.blows.iter().filter(|blow| blow.kind == "postgres") {
        let next = accepted.partition_point(|at| *at < blow.until);
        // At the end there are no more calls.
        let Some(at) = accepted.get(next) else { continue };
        let took = at - blow.until;
        judgement.figures.back_in = judgement.figures.back_in.max(took);
        if took > BACK {
            let sentence = format!("{}: {} until a call was accepted", blow.what, seconds(took));
            judgement.found(Kind::SlowRecovery, sentence);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "some minutes")]
fn as_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, reason = "some minutes")]
fn as_micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}
