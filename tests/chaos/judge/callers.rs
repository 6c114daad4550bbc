//! The answers to callers: one answer for one request id, and refusals as documented (I3).

use super::{Case, Judgement, Kind};
use crate::evidence::{Answer, Call, Purpose};

/// Codes that a caller with a valid request may get at any time.
const PASSING: [&str; 4] = ["Unavailable", "ResourceExhausted", "DeadlineExceeded", "Cancelled"];

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    for call in &case.evidence.calls {
        judgement.figures.calls += 1;
        refusal(call, case, judgement);
    }
    for (id, asked) in case.requests.iter().chain(&case.changes) {
        let Some((first, _)) = asked.accepted else { continue };
        judgement.figures.notifications += 1;
        let took = first.ended - asked.began;
        judgement.figures.longest_call = judgement.figures.longest_call.max(took);
        for call in &asked.calls {
            let another =
                matches!(call.answer, Answer::Accepted { .. }) && call.answer != first.answer;
            if another && !case.is_forgotten(id) {
                let sentence =
                    format!("{id}: replica {} and {} differ", first.replica, call.replica);
                judgement.found(Kind::TwoAnswers, sentence);
            }
        }
    }
}

fn refusal(call: &Call, case: &Case<'_>, judgement: &mut Judgement) {
    let (code, reason, retry_info) = match &call.answer {
        Answer::Accepted { .. } => {
            // The database has forgotten this id, so it may be used again.
            let used = call.purpose == Purpose::Reuse && !case.is_forgotten(&call.id);
            if used || call.purpose == Purpose::Unusable {
                let sentence = format!("{}: accepted, though it is {:?}", call.id, call.purpose);
                judgement.found(Kind::WronglyAccepted, sentence);
            }
            return;
        }
        Answer::Lost { .. } => {
            *judgement.figures.refusals.entry("no answer".to_owned()).or_default() += 1;
            return;
        }
        Answer::Refused { code, reason, retry_info } => (code.as_str(), reason, *retry_info),
    };
    *judgement.figures.refusals.entry(format!("{code} {reason}")).or_default() += 1;
    let right = match call.purpose {
        // Another call with the same id may have come first after the failover.
        Purpose::Deliver | Purpose::Retract | Purpose::Cross => {
            let forgotten = call.lanes.iter().any(|lane| case.is_forgotten_key(lane));
            (code == "AlreadyExists" && case.is_forgotten(&call.id))
                || (code == "InvalidArgument" && forgotten)
        }
        Purpose::Reuse => code == "AlreadyExists",
        Purpose::Unusable => code == "InvalidArgument",
    };
    if !right && !passes(code, retry_info) {
        let retry = if retry_info { "" } else { ", without RetryInfo" };
        let sentence = format!("{} ({:?}): {code} {reason}{retry}", call.id, call.purpose);
        judgement.found(Kind::WronglyRefused, sentence);
    }
}

/// Whether a caller may get this refusal at any time. It says when to retry, unless the caller's
/// own deadline ended the call.
pub(super) fn passes(code: &str, retry_info: bool) -> bool {
    let told = retry_info || ["DeadlineExceeded", "Cancelled"].contains(&code);
    PASSING.contains(&code) && told
}
