//! How many people a mapping matches, and how another mapping would change that.
//!
//! Only the rules are evaluated, as an administrator compares them: a pin outranks every mapping
//! and is counted separately, and a stored identity from an earlier match is ignored.

use std::collections::HashMap;

use super::matching::{self, Match, Matched, Unmatched};
use crate::domain::directory::snapshot::Snapshot;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::reason::NoMatch;

/// The result of the rules for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Pinned by an administrator, whatever the mapping says.
    Pinned,
    Matched(Matched),
    Unmatched(Unmatched),
}

impl Standing {
    /// The result under `mapping`. `values` are the person's values for its user attribute,
    /// `snapshot` is the member list under it, and `connected` says whether there is a workspace at
    /// all.
    #[must_use]
    pub fn of(
        values: &Values,
        pinned: bool,
        mapping: &Mapping,
        snapshot: Option<&Snapshot>,
        connected: bool,
    ) -> Self {
        if pinned {
            return Self::Pinned;
        }
        let matched = if connected {
            matching::resolve(snapshot, mapping, values)
        } else {
            Match::none(NoMatch::NotConnected)
        };
        match matched {
            Match::Unique(member) => Self::Matched(member),
            Match::None(nobody) => Self::Unmatched(nobody),
        }
    }

    #[must_use]
    pub fn member(&self) -> Option<&Matched> {
        match self {
            Self::Matched(member) => Some(member),
            Self::Pinned | Self::Unmatched(_) => None,
        }
    }
}

/// The difference between two mappings for one person; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Matched now, not matched before.
    NewlyMatched,
    /// No longer matched.
    Lost,
    /// Matched to another member.
    ChangedMember,
    /// Several members have the value, before and after.
    Ambiguous,
    /// Not matched, before and after.
    Unmatched,
}

impl Finding {
    /// `None`: pinned, or matched to the same member.
    #[must_use]
    pub fn between(before: &Standing, after: &Standing) -> Option<Self> {
        match (before, after) {
            (Standing::Pinned, _) | (_, Standing::Pinned) => None,
            (Standing::Matched(before), Standing::Matched(after)) => {
                (before.slack_user_id != after.slack_user_id).then_some(Self::ChangedMember)
            }
            (Standing::Unmatched(_), Standing::Matched(_)) => Some(Self::NewlyMatched),
            (Standing::Matched(_), Standing::Unmatched(_)) => Some(Self::Lost),
            (Standing::Unmatched(_), Standing::Unmatched(nobody)) => {
                let ambiguous = nobody.reason == NoMatch::Ambiguous;
                Some(if ambiguous { Self::Ambiguous } else { Self::Unmatched })
            }
        }
    }
}

/// Counts of people under one mapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// The sum of all other counts.
    pub people: u64,
    pub pinned: u64,
    pub matched: u64,
    unmatched: HashMap<NoMatch, u64>,
}

impl Coverage {
    pub fn add(&mut self, standing: &Standing) {
        self.people += 1;
        match standing {
            Standing::Pinned => self.pinned += 1,
            Standing::Matched(_) => self.matched += 1,
            Standing::Unmatched(nobody) => *self.unmatched.entry(nobody.reason).or_default() += 1,
        }
    }

    /// Adds other people.
    pub fn merge(&mut self, more: &Self) {
        self.people += more.people;
        self.pinned += more.pinned;
        self.matched += more.matched;
        for (reason, people) in more.unmatched() {
            *self.unmatched.entry(reason).or_default() += people;
        }
    }

    /// The number of people without a match, by reason, in the order of the reasons; reasons
    /// without people are omitted.
    pub fn unmatched(&self) -> impl Iterator<Item = (NoMatch, u64)> {
        let count = |reason: &NoMatch| Some((*reason, *self.unmatched.get(reason)?));
        NoMatch::ALL.iter().filter_map(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SlackUserId;

    fn matched(id: &str) -> Standing {
        Standing::Matched(Matched {
            slack_user_id: SlackUserId::parse(id).unwrap(),
            display_name: String::new(),
            time_zone: None,
            locale: None,
        })
    }

    fn nobody(reason: NoMatch) -> Standing {
        Standing::Unmatched(Unmatched { reason, candidates: 0, without_email: 0 })
    }

    #[test]
    fn every_pair_has_its_finding() {
        let cases = [
            (matched("U1"), matched("U1"), None),
            (matched("U1"), matched("U2"), Some(Finding::ChangedMember)),
            (matched("U1"), nobody(NoMatch::Ambiguous), Some(Finding::Lost)),
            (nobody(NoMatch::NoMember), matched("U1"), Some(Finding::NewlyMatched)),
            (nobody(NoMatch::NoMember), nobody(NoMatch::Ambiguous), Some(Finding::Ambiguous)),
            (nobody(NoMatch::Ambiguous), nobody(NoMatch::Bot), Some(Finding::Unmatched)),
            (Standing::Pinned, Standing::Pinned, None),
        ];
        for (before, after, finding) in cases {
            assert_eq!(Finding::between(&before, &after), finding, "{before:?} {after:?}");
        }
    }

    #[test]
    fn the_parts_are_the_whole() {
        let mut coverage = Coverage::default();
        let all = [matched("U1"), nobody(NoMatch::NoMember), nobody(NoMatch::NoUserValue)];
        for standing in all.iter().chain([&Standing::Pinned, &nobody(NoMatch::NoMember)]) {
            coverage.add(standing);
        }
        assert_eq!((coverage.people, coverage.pinned, coverage.matched), (5, 1, 1));
        let unmatched: Vec<_> = coverage.unmatched().collect();
        assert_eq!(unmatched, [(NoMatch::NoUserValue, 1), (NoMatch::NoMember, 2)]);
    }
}
