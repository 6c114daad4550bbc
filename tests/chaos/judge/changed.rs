//! Every message that was to be retracted or marked as done is, for all recipients, and no other
//! message is (I1, I2).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Case, Judgement, Kind};
use crate::evidence::{Fate, Message, Purpose};

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let evidence = case.evidence;
    let mut stored: BTreeMap<(&str, &str), Vec<&Message>> = BTreeMap::new();
    for message in &evidence.messages {
        let call = message.call.as_deref().unwrap_or_default();
        stored.entry((call, &message.lane)).or_default().push(message);
    }
    let fates: HashMap<&str, &Fate> =
        evidence.fates.iter().map(|fate| (fate.delivery.as_str(), fate)).collect();
    for (call, verdicts) in case.changes.values().filter_map(|asked| asked.accepted) {
        let subject = call.subject.as_deref().unwrap_or_default();
        for verdict in verdicts.iter().filter(|verdict| verdict.queued) {
            // A missing message cannot be changed; `delivered` judges whether it may be missing.
            let Some(messages) = stored.get(&(subject, &*verdict.lane)) else { continue };
            if case.is_forgotten(&call.id) || case.is_forgotten(subject) {
                continue;
            }
            if messages.iter().all(|message| is_as_asked(message, call.purpose)) {
                judgement.figures.changed += 1;
                continue;
            }
            let fate = fates.get(verdict.delivery.as_str());
            let told = fate.map(|fate| format!("{} {} {}", fate.state, fate.reason, fate.code));
            let told = told.unwrap_or_else(|| "no state reported".to_owned());
            let (id, purpose, lane) = (&call.id, call.purpose, &verdict.lane);
            let sentence = format!("{id} ({purpose:?} {subject}) to {lane}: {told}");
            judgement.found(Kind::Unchanged, sentence);
        }
    }
    let changes = evidence.calls.iter().filter(|call| call.purpose.changes());
    let over: HashSet<&str> = changes.filter_map(|call| call.subject.as_deref()).collect();
    let changed = evidence.messages.iter().filter(|message| message.deleted || message.crossed);
    for message in changed {
        let call = message.call.as_deref().unwrap_or_default();
        if !over.contains(call) {
            let sentence =
                format!("{call} to {}: changed, though no call asked for it", message.lane);
            judgement.found(Kind::Phantom, sentence);
        }
    }
}

fn is_as_asked(message: &Message, purpose: Purpose) -> bool {
    match purpose {
        Purpose::Retract => message.deleted,
        _ => message.crossed && !message.deleted,
    }
}
