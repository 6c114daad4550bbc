//! In the end every wish is carried out in Slack, and callers see that.

use std::collections::BTreeSet;

use super::{Case, Judgement, Kind};
use crate::evidence::{ChannelEnd, Place};
use crate::tenant::Tenant;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let ends = case.evidence.channel_ends.iter();
    for end in ends.filter(|end| !end.released && !case.is_forgotten_key(&end.key)) {
        let place = case.evidence.places.iter().find(|place| place.id == end.channel);
        if let Some(missing) = missing(case, end, place) {
            let (key, generation) = (&end.key, end.generation);
            let sentence = format!("{key} (generation {generation}): {missing}");
            judgement.found(Kind::NotCarriedOut, sentence);
        }
    }
}

/// The part of the wish that is missing; `None`: it is carried out.
fn missing(case: &Case<'_>, end: &ChannelEnd, place: Option<&Place>) -> Option<String> {
    let wished = if end.archived { "archived" } else { "ready" };
    if end.state != wished || !end.obstacle.is_empty() || !end.settled {
        let state = if end.state.is_empty() { "unknown" } else { end.state.as_str() };
        let settled = if end.settled { "settled" } else { "not settled" };
        return Some(format!("{state} and {settled}, not {wished} ({})", end.obstacle));
    }
    let Some(place) = place else {
        return Some(format!("its channel {} is not one that Herald created", end.channel));
    };
    if place.archived != end.archived {
        return Some(format!("archived in Slack: {}", place.archived));
    }
    // Nothing changes in an archived channel until it is open again.
    if end.archived {
        return None;
    }
    if place.name != end.name {
        return Some(format!("its name is {} and not {}", place.name, end.name));
    }
    let wished: BTreeSet<String> =
        end.members.iter().map(|number| Tenant::MAIN.member_id(*number)).collect();
    let unknown = super::unknown_members(case, &place.id);
    let lacks: Vec<&String> = wished.difference(&place.members).collect();
    let others = place.members.difference(&wished);
    let others: Vec<&String> = others.filter(|one| !unknown.contains(one.as_str())).collect();
    if !lacks.is_empty() || !others.is_empty() {
        return Some(format!("{} lacks {lacks:?} and has {others:?}", place.id));
    }
    let out = end.people.iter().find(|(_, state)| *state != "member");
    out.map(|(person, state)| format!("{person} is {state}"))
}
