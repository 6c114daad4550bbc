//! The report at the end of a run, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::evidence::{Blow, Evidence, Rules};
use crate::judge::{Judgement, Kind, promises, seconds};

/// Findings of one kind that are printed in full.
const TOLD: usize = 5;

/// The whole summary; its first line is the verdict.
pub(crate) fn summary(evidence: &Evidence, judgement: &Judgement) -> String {
    let figures = &judgement.figures;
    let mut text = String::new();
    let verdict = if judgement.findings.is_empty() { "all is well" } else { "RED" };
    let mut line = |name: &str, value: String| writeln!(text, "{name:<14}{value}").unwrap_or(());
    line("seed", format!("{} ({verdict})", evidence.rules.seed));
    line(
        "accepted",
        format!(
            "{} recipients of {} notifications, {} of them before the member list was there",
            figures.accepted, figures.notifications, figures.early
        ),
    );
    line("stored", format!("{} messages, {}", figures.stored, throughput(evidence)));
    let count = |kind| judgement.count(kind);
    line(
        "verdict",
        format!(
            "lost {}, duplicated {}, reordered {}, early {}, phantom {}",
            count(Kind::Lost),
            count(Kind::Duplicated),
            count(Kind::Reordered),
            count(Kind::Early),
            count(Kind::Phantom)
        ),
    );
    line(
        "limits",
        format!(
            "429: {} injected, {} of the workspace's own limit, {} avoidable; \
             inside a Retry-After {}; too fast {} (closest by {} us of 50,000)",
            figures.throttled_by_fault,
            figures.throttled_by_limit - count(Kind::Avoidable429).min(figures.throttled_by_limit),
            count(Kind::Avoidable429),
            count(Kind::InsideRetryAfter),
            count(Kind::TooFast),
            figures.closest.max(0)
        ),
    );
    line("callers", callers(figures.calls, &figures.refusals));
    line(
        "",
        format!(
            "two answers {}, wrongly accepted {}, wrongly refused {}; \
             the longest until accepted {}",
            count(Kind::TwoAnswers),
            count(Kind::WronglyAccepted),
            count(Kind::WronglyRefused),
            seconds(figures.longest_call)
        ),
    );
    line(
        "other ends",
        format!(
            "{} expired as requested, {} superseded before sending, {} parked after three deaths, \
             {} lost by the failover, {} given up",
            figures.expired,
            figures.overtaken,
            figures.set_aside,
            figures.lost_by_failover,
            count(Kind::GivenUp)
        ),
    );
    line(
        "changes",
        format!(
            "{} messages taken back or crossed out, {} left unchanged",
            figures.changed,
            count(Kind::Unchanged)
        ),
    );
    line(
        "recovery",
        format!(
            "drained {} after the last fault (at most {}); {} from the database's return to a call",
            seconds(figures.drained_in),
            seconds(figures.drain_bound),
            seconds(figures.back_in)
        ),
    );
    for (name, value) in channels(judgement) {
        line(name, value);
    }
    for (name, value) in bystanders(judgement) {
        line(name, value);
    }
    let promises: Vec<_> = promises(figures).iter().map(ToString::to_string).collect();
    line("promises", promises.join("; "));
    line(
        "processors",
        format!("shared: the replicas' work took {:.1} times as long", evidence.rules.stretch),
    );
    line("faults", faults(&evidence.blows));
    for fault in &evidence.rules.left_out {
        line("left out", fault.clone());
    }
    let mut told: BTreeMap<Kind, usize> = BTreeMap::new();
    for finding in &judgement.findings {
        let count = told.entry(finding.kind).or_default();
        *count += 1;
        if *count <= TOLD {
            line("FOUND", format!("{:?}: {}", finding.kind, finding.sentence));
        }
    }
    for (kind, count) in told.into_iter().filter(|(_, count)| *count > TOLD) {
        line("FOUND", format!("{kind:?}: {} more", count - TOLD));
    }
    text
}

/// The channels that clients wished for.
fn channels(judgement: &Judgement) -> [(&'static str, String); 2] {
    let figures = &judgement.figures.channels;
    let count = |kind| judgement.count(kind);
    let kept = format!(
        "{} wishes by {} accepted calls; {} created, {} of them spare; {} people in, {} out; \
         {} changes in the feed",
        figures.wishes,
        figures.calls,
        figures.created,
        figures.spare,
        figures.joined,
        figures.removed,
        figures.changes
    );
    let verdict = format!(
        "second channels {}, created unlooked {} (of {} unclear), invited twice {}, unasked {}, \
         not carried out {}",
        count(Kind::SecondChannel),
        count(Kind::Unlooked),
        figures.unclear,
        count(Kind::InvitedTwice),
        count(Kind::Unasked),
        count(Kind::NotCarriedOut)
    );
    [("channels", kept), ("", verdict)]
}

/// The tenant at which no fault is aimed, and the replicas' own health reports.
fn bystanders(judgement: &Judgement) -> [(&'static str, String); 3] {
    let figures = &judgement.figures;
    let (calls, messages) = (figures.witness_calls, figures.witness_messages);
    let calm = figures.calm_calls;
    let accepted = format!(
        "p99 until accepted {calls} of {} calls, before the faults {calm} of {}",
        calls.count, calm.count
    );
    let sent = format!("p99 to Slack {messages} of {} messages", messages.count);
    let health =
        format!("{} probes, untrue {}", figures.probes, judgement.count(Kind::UntrueHealth));
    let untrue = figures.untrue_for.map_or("not judged".to_owned(), seconds);
    let health = format!("{health}; the longest untrue health {untrue}");
    let dark = format!("{} times, {} of them judged", figures.dark, figures.dark_judged);
    let dark = match figures.dark_judged {
        0 => dark,
        _ => format!("{dark}: at most {} until a call was accepted", seconds(figures.light_in)),
    };
    [("bystanders", format!("{accepted}; {sent}")), ("health", health), ("dark", dark)]
}

fn throughput(evidence: &Evidence) -> String {
    let Rules { began, calm, .. } = evidence.rules;
    let during = (evidence.messages.iter())
        .filter(|message| (began..calm).contains(&message.stored_at))
        .count();
    let length = (calm - began).max(1);
    let per_minute = i64::try_from(during).unwrap_or(0) * 60_000_000 / length;
    format!("{per_minute} a minute during {} of faults", seconds(length))
}

fn callers(calls: usize, refusals: &BTreeMap<String, usize>) -> String {
    let others: Vec<_> = refusals.iter().map(|(how, count)| format!("{count} {how}")).collect();
    let answered = calls - refusals.values().sum::<usize>().min(calls);
    format!("{calls} calls: {answered} accepted, {}", others.join(", "))
}

fn faults(blows: &[Blow]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for blow in blows {
        *kinds.entry(&blow.kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{}: {}", blows.len(), kinds.join(", "))
}
