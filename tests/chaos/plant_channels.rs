//! Planted faults about channels. Each is `None` if the logs have no place for it.

use crate::evidence::{Act, Evidence, Place, Request};
use crate::tenant::Tenant;
use crate::track::wished_by;

/// The id of a planted channel.
const PLANTED: &str = "C0PLANTED";
/// More requests than the budget of the method in one window.
const MANY: usize = 60;

pub(crate) fn twin(evidence: &mut Evidence) -> Option<()> {
    let place = evidence.places.iter().find(|place| !place.archived)?.clone();
    let other = Place { id: PLANTED.into(), ..place.clone() };
    // Also a wish that a failover explains has more than it may have.
    let third = Place { id: format!("{PLANTED}2"), ..place };
    evidence.places.extend([other, third]);
    Some(())
}

pub(crate) fn stray(evidence: &mut Evidence) -> Option<()> {
    let posted = |place: &&Place| {
        let mut posts = evidence.requests.iter().filter(|request| request.stored.is_some());
        posts.any(|request| request.lane.as_deref() == Some(place.id.as_str()))
    };
    let place = evidence.places.iter().find(posted)?.clone();
    let post = evidence.requests.iter().find(|request| {
        request.stored.is_some() && request.lane.as_deref() == Some(place.id.as_str())
    });
    let post = post?.clone();
    for id in [PLANTED.to_owned(), format!("{PLANTED}2")] {
        let lane = Some(id.clone());
        evidence.requests.push(Request { lane, ..post.clone() });
        evidence.places.push(Place { id, archived: true, ..place.clone() });
    }
    Some(())
}

pub(crate) fn blindness(evidence: &mut Evidence) -> Option<()> {
    let create = with_act(evidence, "create")?;
    // No list is read between two requests that begin one after the other.
    let (began, ended) = (create.began - 2, create.began - 1);
    let (act, fault) = (None, Some("reset".to_owned()));
    evidence.requests.push(Request { began, ended, act, fault, status: 0, ..create });
    Some(())
}

pub(crate) fn reinvitation(evidence: &mut Evidence) -> Option<()> {
    let (invite, _) = invitation(evidence)?;
    let mut act = invite.act.clone()?;
    let again = std::mem::take(&mut act.joined);
    act.refused = again.into_iter().map(|one| (one, "already_in_channel".to_owned())).collect();
    evidence.requests.push(Request { act: Some(act), ..invite });
    Some(())
}

pub(crate) fn intrusion(evidence: &mut Evidence) -> Option<()> {
    let (invite, _) = invitation(evidence)?;
    let joined = vec![Tenant::MAIN.member_id(9_999)];
    let act = Act { joined, ..invite.act.clone()? };
    evidence.requests.push(Request { act: Some(act), ..invite });
    Some(())
}

/// No call takes back that this person is wished for.
pub(crate) fn expulsion(evidence: &mut Evidence) -> Option<()> {
    let (invite, person) = invitation(evidence)?;
    let channel = invite.lane.clone()?;
    let place = evidence.places.iter().find(|place| place.id == channel)?;
    let wished = wished_by(&place.name)?;
    for call in evidence.channel_calls.iter_mut().filter(|call| call.key == wished.key) {
        if call.statement.wants(person) == Some(false) {
            call.key.push_str("-other");
        }
    }
    let (joined, left) = (Vec::new(), vec![Tenant::MAIN.member_id(person)]);
    let act = Act { kind: "kick".into(), joined, left, ..invite.act.clone()? };
    let method = "conversations.kick".to_owned();
    evidence.requests.push(Request { method, act: Some(act), ..invite });
    Some(())
}

pub(crate) fn vacancy(evidence: &mut Evidence) -> Option<()> {
    for place in of_ready(evidence)? {
        place.members.clear();
    }
    Some(())
}

pub(crate) fn closure(evidence: &mut Evidence) -> Option<()> {
    for place in of_ready(evidence)? {
        place.archived = true;
    }
    Some(())
}

pub(crate) fn haste(evidence: &mut Evidence) -> Option<()> {
    let create = with_act(evidence, "create")?;
    let method = "conversations.setTopic".to_owned();
    let like = Request { method, act: None, name: None, ..create };
    evidence.requests.extend(std::iter::repeat_n(like, MANY));
    // No fault may explain them.
    evidence.blows.clear();
    Some(())
}

pub(crate) fn echo(evidence: &mut Evidence) -> Option<()> {
    let last = evidence.channel_feed.last()?.clone();
    evidence.channel_feed.push(last);
    Some(())
}

/// The channels of all wishes that are carried out and have people. Not all of these wishes are
/// explained by a failover.
fn of_ready(evidence: &mut Evidence) -> Option<impl Iterator<Item = &mut Place>> {
    let ends = evidence.channel_ends.iter();
    let ready = ends.filter(|end| end.state == "ready" && !end.members.is_empty());
    let ready: Vec<&str> = ready.map(|end| end.channel.as_str()).collect();
    (!ready.is_empty()).then_some(())?;
    Some(evidence.places.iter_mut().filter(move |place| ready.contains(&&*place.id)))
}

fn with_act(evidence: &Evidence, act: &str) -> Option<Request> {
    let of_it = |request: &&Request| request.act.as_ref().is_some_and(|it| it.kind == act);
    let mut found = evidence.requests.iter().filter(of_it);
    found
        .find(|request| request.name.as_deref().is_none_or(|name| wished_by(name).is_some()))
        .cloned()
}

/// An invitation that added a person to a channel that is still there.
fn invitation(evidence: &Evidence) -> Option<(Request, usize)> {
    evidence.requests.iter().find_map(|request| {
        let act = request.act.as_ref().filter(|act| act.kind == "invite")?;
        evidence.places.iter().find(|place| Some(&place.id) == request.lane.as_ref())?;
        let person = act.joined.first()?.strip_prefix('U')?.parse().ok()?;
        Some((request.clone(), person))
    })
}
