//! Every accepted recipient's message is in Slack once, and nothing else is (I1, I2, I7).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Case, Judgement, Kind};
use crate::evidence::{Blow, Call, Fate, Message};

/// Deaths of workers after which a message is parked.
const CRASHES: usize = 3;
/// Faults in which workers die or lose their lease.
const DEADLY: [&str; 10] =
    ["kill", "intent", "answer", "freeze", "frozen", "roll", "upgrade", "clock", "step", "dark"];

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let evidence = case.evidence;
    let mut stored: BTreeMap<(&str, &str), Vec<&Message>> = BTreeMap::new();
    let mut deliveries: HashMap<&str, usize> = HashMap::new();
    for message in &evidence.messages {
        judgement.figures.stored += 1;
        *deliveries.entry(&message.delivery).or_default() += 1;
        let call = message.call.as_deref().unwrap_or_default();
        stored.entry((call, &message.lane)).or_default().push(message);
    }
    let fates: HashMap<&str, &Fate> =
        evidence.fates.iter().map(|fate| (fate.delivery.as_str(), fate)).collect();
    let mut expected = HashSet::new();
    for (_, call, verdict) in case.queued() {
        judgement.figures.accepted += 1;
        judgement.figures.early += usize::from(call.ended < evidence.rules.listed);
        let key = (call.id.as_str(), verdict.lane.as_str());
        expected.insert(key);
        let Some(messages) = stored.get(&key) else {
            missing(call, &verdict.lane, fates.get(verdict.delivery.as_str()), case, judgement);
            continue;
        };
        let others = messages.iter().any(|message| message.delivery != verdict.delivery);
        if others && !case.is_forgotten(&call.id) {
            let sentence =
                format!("{key:?}: stored under another delivery id than the answer named");
            judgement.found(Kind::TwoAnswers, sentence);
        }
    }
    for (key, messages) in &stored {
        let first = messages[0];
        let forgotten = case.is_forgotten(key.0);
        let ids: HashSet<_> = messages.iter().map(|message| &message.delivery).collect();
        // A forgotten call that was made again has another delivery.
        if messages.len() > if forgotten { ids.len() } else { 1 } {
            let times: Vec<_> = messages.iter().map(|message| message.ts.as_str()).collect();
            judgement.found(Kind::Duplicated, format!("{key:?}: at {}", times.join(" and ")));
        }
        if !expected.contains(key) && !forgotten {
            let sentence =
                format!("{key:?} ({}): no client got an acceptance for it", first.delivery);
            judgement.found(Kind::Phantom, sentence);
        }
        let asked = case.requests.get(key.0);
        if let Some(asked) = asked.filter(|asked| first.stored_at < asked.began) {
            let early = asked.began - first.stored_at;
            judgement.found(Kind::Early, format!("{key:?}: {early} us before its call began"));
        }
    }
    // The same delivery in two lanes.
    for (delivery, count) in deliveries.into_iter().filter(|(_, count)| *count > 1) {
        let lanes: HashSet<_> = (evidence.messages.iter())
            .filter(|message| message.delivery == delivery)
            .map(|message| &message.lane)
            .collect();
        if lanes.len() > 1 {
            let sentence = format!("{delivery}: {count} messages in {} lanes", lanes.len());
            judgement.found(Kind::Duplicated, sentence);
        }
    }
}

/// An accepted message that is not in Slack: explained, or lost.
fn missing(
    call: &Call,
    lane: &str,
    fate: Option<&&Fate>,
    case: &Case<'_>,
    judgement: &mut Judgement,
) {
    // Another channel of the key may wait for a name that the first one still has.
    if case.is_forgotten(&call.id) || case.is_forgotten_key(lane) {
        judgement.figures.lost_by_failover += 1;
        return;
    }
    let state = fate.map_or("no state reported", |fate| fate.state.as_str());
    let told = fate.map(|fate| format!("{state} {} {}", fate.reason, fate.code));
    let told = told.unwrap_or_else(|| state.to_owned());
    let sentence = format!("{} to {lane}, accepted by replica {}: {told}", call.id, call.replica);
    match state {
        "expired" if expired(call, case.evidence.rules.ended) => judgement.figures.expired += 1,
        "parked" if fate.is_some_and(|fate| fate.code == "crashed") => {
            // A message whose workers die three times is parked; here the checker killed them.
            if deadly(&case.evidence.blows, call.began) >= CRASHES {
                judgement.figures.set_aside += 1;
            } else {
                judgement.found(Kind::GivenUp, sentence);
            }
        }
        "canceled"
            if fate.is_some_and(|fate| fate.reason == "superseded") && case.is_over(&call.id) =>
        {
            judgement.figures.overtaken += 1;
        }
        "failed" | "parked" => judgement.found(Kind::GivenUp, sentence),
        _ => judgement.found(Kind::Lost, sentence),
    }
}

fn expired(call: &Call, now: i64) -> bool {
    call.expires_in.is_some_and(|wait| call.began + wait <= now)
}

fn deadly(blows: &[Blow], since: i64) -> usize {
    let deadly = blows.iter().filter(|blow| DEADLY.contains(&blow.kind.as_str()));
    deadly.filter(|blow| blow.until >= since).count()
}
