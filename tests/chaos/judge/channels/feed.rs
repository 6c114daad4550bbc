//! The feed of channels has each change once and in order, and its last change is the last state.

use std::collections::BTreeMap;

use super::super::feed::TOLD;
use super::{Case, Judgement, Kind};
use crate::evidence::{ChannelEnd, FeedEntry, FeedNews};

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let entries = &case.evidence.channel_feed;
    judgement.figures.channels.changes = entries.len();
    let mut before = 0;
    for entry in entries {
        let is_next = entry.news == FeedNews::Epoch || entry.sequence == before + 1;
        if !is_next {
            let sentence = format!("the channels' number {} after {before}", entry.sequence);
            judgement.found(Kind::FeedGap, sentence);
        }
        before = entry.sequence;
    }
    let read = !case.evidence.channel_calls.is_empty();
    for failover in case.evidence.blows.iter().filter(|blow| read && blow.kind == "failover") {
        let told = |entry: &FeedEntry| {
            entry.news == FeedNews::Epoch
                && (failover.from..=failover.until + TOLD).contains(&entry.at)
        };
        if !entries.iter().any(told) {
            let sentence = "no reader of the feed of channels was notified of the failover";
            judgement.found(Kind::FeedGap, sentence.to_owned());
        }
    }
    let seen = Seen::of(entries);
    for end in case.evidence.channel_ends.iter().filter(|end| !end.released) {
        if let Some(wrong) = seen.wrong(end) {
            judgement.found(Kind::FeedGap, format!("{}: {wrong}", end.key));
        }
    }
}

/// The knowledge of a reader at the end.
#[derive(Default)]
struct Seen<'a> {
    /// The feed began anew: states without a later change are not known.
    anew: bool,
    /// The state and the obstacle of each channel.
    channels: BTreeMap<&'a str, [&'a str; 2]>,
    members: BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>,
}

impl<'a> Seen<'a> {
    fn of(entries: &'a [FeedEntry]) -> Self {
        let mut seen = Self::default();
        for entry in entries {
            match &entry.news {
                FeedNews::Epoch => seen = Self { anew: true, ..Self::default() },
                FeedNews::Channel { key, state, obstacle } => {
                    seen.channels.insert(key, [state, obstacle]);
                }
                FeedNews::Member { key, user, state } => {
                    let members = seen.members.entry(key).or_default();
                    members.insert(user, state);
                }
                FeedNews::Released { key } => {
                    seen.channels.remove(key.as_str());
                    seen.members.remove(key.as_str());
                }
            }
        }
        seen
    }

    /// How this differs from the answers to callers.
    fn wrong(&self, end: &ChannelEnd) -> Option<String> {
        let last = self.channels.get(end.key.as_str());
        let is = [end.state.as_str(), end.obstacle.as_str()];
        if last.map_or(!self.anew, |last| *last != is) {
            return Some(format!("the feed ends with {last:?}, and the channel is {is:?}"));
        }
        let none = BTreeMap::new();
        let members = self.members.get(end.key.as_str()).unwrap_or(&none);
        for (user, state) in members.iter().filter(|(_, state)| !state.is_empty()) {
            if end.people.get(*user).map(String::as_str) != Some(*state) {
                return Some(format!("the feed ends with {user} as {state}"));
            }
        }
        for (user, state) in &end.people {
            let last = members.get(user.as_str());
            if last.map_or(!self.anew, |last| last != state) {
                return Some(format!("{user} is {state}, and the feed ends with {last:?}"));
            }
        }
        None
    }
}
