//! The channels that clients wish for, as for scheduled tracks: their keys, and names that say
//! whose they are. No two wishes share a name, so no name is ever taken by another channel.

use std::collections::BTreeSet;

use herald::rpc::pb;

use crate::tenant::person;

/// The last wish for a channel.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    /// The client that wishes for it.
    pub(crate) driver: usize,
    /// The number among the channels of that client.
    pub(crate) number: usize,
    /// How often the key was released.
    pub(crate) generation: u32,
    /// How often the channel was renamed.
    pub(crate) renames: u32,
    pub(crate) members: BTreeSet<usize>,
    pub(crate) archived: bool,
    pub(crate) released: bool,
}

/// The key and the generation of a channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wished {
    pub(crate) key: String,
    pub(crate) generation: u32,
}

impl std::fmt::Display for Wished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (generation {})", self.key, self.generation)
    }
}

impl Track {
    pub(crate) fn new(driver: usize, number: usize, members: BTreeSet<usize>) -> Self {
        let (generation, renames) = (0, 0);
        let (archived, released) = (false, false);
        Self { driver, number, generation, renames, members, archived, released }
    }

    pub(crate) fn key(&self) -> String {
        key(self.driver, self.number)
    }

    /// The name that is wished for; it is legal as it is.
    pub(crate) fn name(&self) -> String {
        let Self { driver, number, generation, renames, .. } = self;
        format!("t-{driver}-{number}-{generation}-{renames}")
    }

    /// The whole wish. Clients differ in their policies for names that are taken, and in the kind
    /// of their channels.
    pub(crate) fn wish(&self) -> pb::ChannelWish {
        let name_taken = match self.driver % 3 {
            0 => pb::NameTaken::Suffix,
            1 => pb::NameTaken::Fail,
            _ => pb::NameTaken::Adopt,
        };
        pb::ChannelWish {
            name: self.name(),
            is_private: self.driver % 2 == 1,
            topic: format!("Topic of {}", self.name()),
            purpose: format!("Everyone of {}", self.key()),
            name_taken: name_taken.into(),
            follow_name: true,
            remove_unlisted: true,
            ..pb::ChannelWish::default()
        }
    }
}

pub(crate) fn key(driver: usize, number: usize) -> String {
    format!("track-{driver}-{number}")
}

/// The wish that the name of a channel in Slack comes from, also if it has a suffix.
pub(crate) fn wished_by(name: &str) -> Option<Wished> {
    let mut numbers = name.strip_prefix("t-")?.split('-').map(str::parse::<usize>);
    let mut next = || numbers.next()?.ok();
    let (driver, number, generation) = (next()?, next()?, next()?);
    next()?;
    Some(Wished { key: key(driver, number), generation: u32::try_from(generation).ok()? })
}

/// These people as members in a call.
pub(crate) fn listed(members: &BTreeSet<usize>) -> Vec<pb::ChannelMember> {
    let member = |number: &usize| pb::ChannelMember {
        target: Some(pb::channel_member::Target::UserId(person(*number))),
        roles: vec!["enrolled".to_owned()],
    };
    members.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        let mut track = Track::new(2, 31, BTreeSet::new());
        (track.generation, track.renames) = (4, 5);
        let wished = Some(Wished { key: track.key(), generation: 4 });
        assert_eq!(wished_by(&track.name()), wished);
        assert_eq!(wished_by(&format!("{}-2", track.name())), wished);
        for other in ["general", "t-1", "t-1-2-3", "t-1-2-x-4", "room-1"] {
            assert_eq!(wished_by(other), None, "{other}");
        }
    }
}
