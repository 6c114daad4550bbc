//! The answers to calls about channels: refused only for a time, or for a good reason.

use super::{Case, Judgement, Kind};
use crate::evidence::{Answer, ChannelCall, Statement};

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let fails_over = case.evidence.blows.iter().any(|blow| blow.kind == "failover");
    for call in &case.evidence.channel_calls {
        judgement.figures.channels.calls += usize::from(call.is_accepted());
        let Answer::Refused { code, reason, retry_info } = &call.answer else { continue };
        // The same call, made at the same time or repeated, has released it; or it is forgotten.
        let released = call.statement == Statement::Release || fails_over;
        let right = code == "NotFound" && released;
        if !right && !super::super::callers::passes(code, *retry_info) {
            let sentence = format!("{}: {code} {reason}", named(call));
            judgement.found(Kind::WronglyRefused, sentence);
        }
    }
}

fn named(call: &ChannelCall) -> String {
    format!("{} ({:?} at replica {})", call.key, call.statement, call.replica)
}
