//! What callers were told: one answer for one request id, refusals as documented (I3).

use super::{Case, Judgement, Kind};
use crate::evidence::{Answer, Call, Purpose};

/// What a caller may be told of a good request, at any time.
const PASSING: [&str; 4] = ["Unavailable", "ResourceExhausted", "DeadlineExceeded", "Cancelled"];

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    for call in &case.evidence.calls {
        judgement.figures.calls += 1;
        refusal(call, judgement);
    }
    for (id, asked) in case.requests.iter().chain(&case.changes) {
        let Some((first, _)) = asked.accepted else { continue };
        judgement.figures.notifications += 1;
        let took = first.ended - asked.began;
        judgement.figures.longest_call = judgement.figures.longest_call.max(took);
        for call in &asked.calls {
            if matches!(call.answer, Answer::Accepted { .. }) && call.answer != first.answer {
                let sentence =
                    format!("{id}: replica {} and {} differ", first.replica, call.replica);
                judgement.found(Kind::TwoAnswers, sentence);
            }
        }
    }
}

fn refusal(call: &Call, judgement: &mut Judgement) {
    let (code, reason, retry_info) = match &call.answer {
        Answer::Accepted { .. } => {
            if matches!(call.purpose, Purpose::Reuse | Purpose::Unusable) {
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
        Purpose::Deliver | Purpose::Retract | Purpose::Cross => false,
        Purpose::Reuse => code == "AlreadyExists",
        Purpose::Unusable => code == "InvalidArgument",
    };
    // Whoever is to come back is told when; a deadline is the caller's own.
    let told = retry_info || ["DeadlineExceeded", "Cancelled"].contains(&code);
    let passes = PASSING.contains(&code) && told;
    if !right && !passes {
        let retry = if retry_info { "" } else { ", without RetryInfo" };
        let sentence = format!("{} ({:?}): {code} {reason}{retry}", call.id, call.purpose);
        judgement.found(Kind::WronglyRefused, sentence);
    }
}
