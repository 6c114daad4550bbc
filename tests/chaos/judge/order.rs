//! In a lane, a message whose call was answered before another's call began comes first (I4).

use std::collections::BTreeMap;

use super::{Case, Judgement, Kind};
use crate::evidence::Message;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let mut lanes: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in &case.evidence.messages {
        lanes.entry(&message.lane).or_default().push(message);
    }
    for (lane, mut messages) in lanes {
        messages.sort_by_key(|message| micros(&message.ts));
        // Goes backward, with the earliest answered call of all messages further behind.
        let mut answered: Option<(i64, &str)> = None;
        for message in messages.iter().rev() {
            let asked = message
                .call
                .as_deref()
                .and_then(|call| case.requests.get_key_value(call).map(|(id, asked)| (*id, asked)));
            let Some((id, asked)) = asked else { continue };
            if let Some((known, earlier)) = answered
                && known < asked.began
            {
                let by = asked.began - known;
                let sentence = format!(
                    "{lane}: {id} before {earlier}, which was answered {by} us before {id} began"
                );
                judgement.found(Kind::Reordered, sentence);
            }
            // A forgotten call may have been accepted again, later.
            if let Some(known) = asked.known().filter(|_| !case.is_forgotten(id))
                && answered.is_none_or(|(earliest, _)| known < earliest)
            {
                answered = Some((known, id));
            }
        }
    }
}

/// Slack's `ts` in microseconds.
fn micros(ts: &str) -> i64 {
    ts.replace('.', "").parse().unwrap_or_default()
}
