//! Channels: one for each wish, with the people that it names, whatever happens in between (I1, I5,
//! I7).
//!
//! Names are unique to a wish, and no person changes channels, so no obstacle explains a wish that
//! is not carried out. A failover explains it if the copy does not know the first wish.

mod budgets;
mod callers;
mod created;
mod ends;
mod feed;
mod members;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Case, Judgement, Kind};
use crate::evidence::{ChannelCall, Evidence, Place, Request, Statement};
use crate::tenant::Tenant;
use crate::track::{Wished, wished_by};

/// Figures about channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChannelFigures {
    /// Calls that were accepted.
    pub(crate) calls: usize,
    /// Wishes, the channels that were created for them, and those that were archived because a
    /// request was carried out twice.
    pub(crate) wishes: usize,
    pub(crate) created: usize,
    pub(crate) spare: usize,
    /// People who entered and who were removed.
    pub(crate) joined: usize,
    pub(crate) removed: usize,
    /// Requests to create a channel whose answer may have been unclear.
    pub(crate) unclear: usize,
    /// Entries of the feed.
    pub(crate) changes: usize,
}

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let lives = lives(case.evidence);
    judgement.figures.channels.wishes = lives.len();
    callers::judge(case, judgement);
    created::judge(case, &lives, judgement);
    members::judge(case, &lives, judgement);
    ends::judge(case, judgement);
    budgets::judge(case, judgement);
    feed::judge(case, judgement);
}

/// Everything about one key, from its first wish until its release.
#[derive(Default)]
struct Life<'a> {
    calls: Vec<&'a ChannelCall>,
    /// Requests to create its channel, by their start.
    creates: Vec<&'a Request>,
    /// Requests about its channels.
    requests: Vec<&'a Request>,
    places: Vec<&'a Place>,
}

fn lives(evidence: &Evidence) -> BTreeMap<Wished, Life<'_>> {
    let mut lives: BTreeMap<Wished, Life<'_>> = BTreeMap::new();
    for call in &evidence.channel_calls {
        let wished = Wished { key: call.key.clone(), generation: call.generation };
        lives.entry(wished).or_default().calls.push(call);
    }
    let mut channels: HashMap<&str, Wished> = HashMap::new();
    for place in &evidence.places {
        let Some(wished) = wished_by(&place.name) else { continue };
        channels.insert(&place.id, wished.clone());
        lives.entry(wished).or_default().places.push(place);
    }
    let main = Tenant::MAIN.name();
    for request in evidence.requests.iter().filter(|request| request.tenant == main) {
        if request.method == CREATE {
            let Some(wished) = request.name.as_deref().and_then(wished_by) else { continue };
            lives.entry(wished).or_default().creates.push(request);
            continue;
        }
        let wished = request.lane.as_deref().and_then(|lane| channels.get(lane));
        if let Some(wished) = wished {
            lives.entry(wished.clone()).or_default().requests.push(request);
        }
    }
    for life in lives.values_mut() {
        life.creates.sort_by_key(|request| request.began);
    }
    lives
}

const CREATE: &str = "conversations.create";

/// The keys whose first wish was accepted in the time that a failover lost, or whose channel was
/// archived or released then: the database's row is of another channel, or of none.
pub(super) fn forgotten(evidence: &Evidence, lags: &[super::Lag]) -> BTreeSet<String> {
    let is_lost = |call: &ChannelCall| lags.iter().any(|lag| lag.covers(call.began, call.ended));
    let mut first: BTreeMap<(&str, u32), &ChannelCall> = BTreeMap::new();
    for call in evidence.channel_calls.iter().filter(|call| call.is_accepted()) {
        let earliest = first.entry((&call.key, call.generation)).or_insert(call);
        if call.ended < earliest.ended {
            *earliest = call;
        }
    }
    let ends =
        |call: &ChannelCall| matches!(call.statement, Statement::Archive | Statement::Release);
    let ended = evidence.channel_calls.iter().filter(|call| ends(call));
    let lost = first.into_values().chain(ended).filter(|call| is_lost(call));
    lost.map(|call| call.key.clone()).collect()
}

/// The people who were added to this channel in the time that a failover lost: the database may not
/// know that they are in it.
fn unknown_members<'a>(case: &Case<'a>, channel: &str) -> BTreeSet<&'a str> {
    let requests = case.evidence.requests.iter();
    let lost = requests.filter(|request| case.is_lost(request.began, request.ended));
    let acts = lost.filter_map(|request| request.act.as_ref());
    let here = acts.filter(|act| act.channel == channel);
    here.flat_map(|act| &act.joined).map(String::as_str).collect()
}
