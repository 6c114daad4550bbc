//! Health reports the truth within five seconds: SERVING if calls are accepted, NOT_SERVING if none
//! is. A process that does not answer reports nothing.

use super::{Case, Judgement, Kind, reach, seconds};
use crate::evidence::{Answer, Call, Probe};

/// The time within which health must report it.
pub(super) const TRUE: i64 = 5_000_000;
/// Probes are taken at intervals, and a fault begins and ends between two of them.
const TOLERANCE: i64 = 1_000_000;
/// How long a replica may take to find out that its connections are dark.
const FOUND_OUT: i64 = 5_000_000;
/// Faults that are too short, and too frequent, to excuse more than the time that they last: if
/// each one gave the replica another five seconds, it could report no throughout a run.
const BRIEF: [&str; 2] = ["commit", "held"];

/// One of the two ways to ask.
type Way = (&'static str, fn(&Probe) -> Option<bool>);
const WAYS: [Way; 2] = [("gRPC health", |probe| probe.serving), ("/readyz", |probe| probe.ready)];

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let evidence = case.evidence;
    judgement.figures.probes = evidence.probes.len();
    if evidence.rules.mixed {
        return;
    }
    let replicas = evidence.probes.iter().map(|probe| probe.replica + 1).max().unwrap_or(0);
    for replica in 0..replicas {
        let probes = evidence.probes.iter().filter(|probe| probe.replica == replica);
        let probes: Vec<&Probe> = probes.collect();
        let outages = outages(case, replica).into_iter();
        let clear: Vec<_> = outages.flat_map(|outage| clear_of(case, replica, outage)).collect();
        let late = TRUE + TOLERANCE;
        for (name, said) in WAYS {
            let mut longest = 0;
            for (from, to) in &clear {
                let lies = probes.iter().filter(|probe| {
                    (*from..*to).contains(&probe.began) && said(probe) == Some(true)
                });
                let lasted = lies.map(|lie| lie.began - from).max().unwrap_or(0);
                longest = longest.max(lasted);
                if lasted >= late {
                    let after = seconds(lasted);
                    let sentence =
                        format!("replica {replica}: {name} is well after {after} without a call");
                    judgement.found(Kind::UntrueHealth, sentence);
                }
            }
            for (since, lasted) in wrongly_ill(case, &probes, said) {
                longest = longest.max(lasted);
                if lasted > late {
                    let sentence = format!(
                        "replica {replica}: {name} reports no since {since}, \
                         though nothing is wrong"
                    );
                    judgement.found(Kind::UntrueHealth, sentence);
                }
            }
            let figure = &mut judgement.figures.untrue_for;
            *figure = Some(figure.unwrap_or(0).max(longest));
        }
    }
}

/// The parts of an outage that only the database can explain: faults that stop the process, hide
/// its answers or let connections work at times say nothing about health while they last.
fn clear_of(case: &Case<'_>, replica: usize, (from, to): (i64, i64)) -> Vec<(i64, i64)> {
    const OTHERS: [&str; 6] = ["kill", "freeze", "frozen", "roll", "intent", "answer"];
    let blows = case.evidence.blows.iter().filter(|blow| {
        let other =
            OTHERS.contains(&blow.kind.as_str()) || blow.what.starts_with("connections ended");
        other && reach::touches(blow, replica) && blow.from <= to && blow.until > from
    });
    let mut blows: Vec<_> = blows.map(|blow| (blow.from, blow.until)).collect();
    blows.sort_unstable();
    let (mut clear, mut since) = (Vec::new(), from);
    for (from, until) in blows {
        clear.push((since, from));
        since = since.max(until);
    }
    clear.push((since, to));
    clear.retain(|(from, to)| from < to);
    clear
}

/// Whether the call shows that the replica works; `None` if the outcome depends on the caller.
fn works(call: &Call) -> Option<bool> {
    match &call.answer {
        Answer::Accepted { .. } => Some(true),
        Answer::Refused { code, .. } => {
            Some(!["Unavailable", "DeadlineExceeded"].contains(&&**code))
        }
        // With another manner, the caller gave up, or its deadline was too short.
        Answer::Lost { .. } => (call.manner == "plain").then_some(false),
    }
}

/// Periods in which every call at this replica failed, among the calls that show something. A call
/// about channels shows something if it was accepted: it may be refused for other reasons.
fn outages(case: &Case<'_>, replica: usize) -> Vec<(i64, i64)> {
    let calls = case.evidence.calls.iter().filter(|call| call.replica == replica);
    let calls = calls
        .filter(|call| call.manner == "plain")
        .filter_map(|call| Some((call.began, call.ended, works(call)?)));
    let about_channels = case.evidence.channel_calls.iter();
    let about_channels =
        about_channels.filter(|call| call.replica == replica && call.is_accepted());
    let accepted = about_channels.map(|call| (call.began, call.ended, true));
    let mut calls: Vec<_> = calls.chain(accepted).collect();
    calls.sort_unstable_by_key(|(_, ended, _)| *ended);
    let (mut outages, mut open): (Vec<_>, Option<(i64, i64)>) = (Vec::new(), None);
    // While a call hangs, others may succeed.
    let mut worked = i64::MIN;
    for (began, ended, works) in calls {
        if works {
            outages.extend(open.take());
            worked = ended;
        } else {
            open = Some(open.map_or((began.max(worked), ended), |(from, _)| (from, ended)));
        }
    }
    outages.extend(open);
    outages
}

/// Periods of false alarm: since when, and for how long, health reported no, though no fault
/// touched the replica.
fn wrongly_ill(
    case: &Case<'_>,
    probes: &[&Probe],
    said: fn(&Probe) -> Option<bool>,
) -> Vec<(i64, i64)> {
    let (mut periods, mut since): (Vec<(i64, i64)>, Option<i64>) = (Vec::new(), None);
    for probe in probes {
        if said(probe) != Some(false) {
            since = None;
            continue;
        }
        let mut from = since.unwrap_or(probe.began);
        let blows = case.evidence.blows.iter().filter(|blow| reach::touches(blow, probe.replica));
        for blow in blows.filter(|blow| !BRIEF.contains(&&*blow.kind)) {
            let until = blow.until + if blow.kind == "dark" { FOUND_OUT } else { 0 };
            if blow.from <= probe.began && until > from {
                from = until;
            }
        }
        since = Some(from);
        let lasted = probe.began - from - disturbed(case, probe.replica, (from, probe.began));
        match periods.last_mut() {
            Some((same, longest)) if *same == from => *longest = lasted.max(*longest),
            _ => periods.push((from, lasted)),
        }
    }
    periods
}

/// The part of this time in which brief disturbances lasted.
fn disturbed(case: &Case<'_>, replica: usize, (from, to): (i64, i64)) -> i64 {
    let blows = case.evidence.blows.iter();
    let brief = blows.filter(|blow| BRIEF.contains(&&*blow.kind));
    let brief = brief.filter(|blow| reach::touches(blow, replica));
    brief.map(|blow| (blow.until.min(to) - blow.from.max(from)).max(0)).sum()
}
