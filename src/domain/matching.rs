//! Which Slack member a person is, and why none.
//!
//! [`resolve`] applies the rules to one directory. [`decide`] weighs what it found against what is
//! stored: a pin, or an earlier match.

use std::collections::HashSet;

use super::ids::SlackUserId;
use super::key::MatchKey;
use super::limits;
use super::mapping::{Mapping, Values};
use super::member::MemberKind;
use super::reason::NoMatch;
use super::settings::{Identity, Rule};
use super::snapshot::{MemberView, Snapshot};

/// What the rules found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Exactly one member.
    Unique(Matched),
    /// None, or none that could be told from the others.
    None(Unmatched),
}

/// The one member that the rules found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    pub slack_user_id: SlackUserId,
    /// As the member shows in Slack; may be empty.
    pub display_name: String,
    /// IANA name.
    pub time_zone: Option<String>,
    /// Such as `de-DE`.
    pub locale: Option<String>,
}

/// Why the rules found no one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmatched {
    pub reason: NoMatch,
    /// How many matchable members have one of the person's values: at least 2 where that is
    /// ambiguous, else 0. Beyond [`limits::CANDIDATES`] they are not counted.
    pub candidates: usize,
    /// Living members who cannot match because they have no e-mail address. The person may be one
    /// of them; 0 where the directory was not looked at.
    pub without_email: usize,
}

impl Match {
    /// For what the caller knows before looking: not connected, directory not ready.
    #[must_use]
    pub fn none(reason: NoMatch) -> Self {
        Self::None(Unmatched { reason, candidates: 0, without_email: 0 })
    }

    #[must_use]
    pub fn unique(&self) -> Option<&Matched> {
        match self {
            Self::Unique(matched) => Some(matched),
            Self::None(_) => None,
        }
    }

    /// What to tell where no member is reached: zeros where the rules did find one, as for a pin
    /// whose member is deactivated.
    #[must_use]
    pub fn unmatched(&self) -> Unmatched {
        match self {
            Self::Unique(_) => {
                Unmatched { reason: NoMatch::NoMember, candidates: 0, without_email: 0 }
            }
            Self::None(unmatched) => *unmatched,
        }
    }

    #[must_use]
    pub fn reason(&self) -> Option<NoMatch> {
        match self {
            Self::Unique(_) => None,
            Self::None(unmatched) => Some(unmatched.reason),
        }
    }
}

/// Applies the rules. `snapshot` is the directory under the same mapping, `None` while it is not
/// ready; `values` is what the mapping's user attribute yields of the person. Whether a workspace
/// is connected at all is the caller's to know.
///
/// A person with several values (a list) is the one member who has any of them; values that lead to
/// different members are ambiguous.
#[must_use]
pub fn resolve(snapshot: Option<&Snapshot>, mapping: &Mapping, values: &Values) -> Match {
    let Some(snapshot) = snapshot else {
        return Match::none(NoMatch::DirectoryNotReady);
    };
    let without_email = snapshot.counts().no_email;
    let none = |reason, candidates| Match::None(Unmatched { reason, candidates, without_email });
    // An expression that fails on this record yields no value.
    let keys = match values {
        Values::Keys(keys) => keys,
        Values::TooCostly => return none(NoMatch::TooCostly, 0),
    };
    if keys.is_empty() {
        return none(NoMatch::NoUserValue, 0);
    }
    let (candidates, excluded) = holders(snapshot, keys);
    match (candidates.as_slice(), excluded) {
        ([member], _) => Match::Unique(Matched::from(*member)),
        ([], Some(kind)) => none(excluded_reason(kind), 0),
        ([], None) => none(nobody(snapshot, mapping), 0),
        (several, _) => none(NoMatch::Ambiguous, several.len()),
    }
}

/// The matchable members that have any of the values, each once, up to [`limits::CANDIDATES`]; and
/// where there are none, the kind of excluded member that has one.
fn holders<'a>(
    snapshot: &'a Snapshot,
    keys: &[MatchKey],
) -> (Vec<MemberView<'a>>, Option<MemberKind>) {
    let mut candidates: Vec<MemberView<'a>> = Vec::new();
    let mut known: HashSet<&'a str> = HashSet::new();
    let mut excluded: Option<MemberKind> = None;
    for key in keys {
        let found = snapshot.find(key);
        // A value that everybody has must not cost a look at everybody.
        let members = found.members().filter(|member| known.insert(member.id()));
        candidates.extend(members.take(limits::CANDIDATES - candidates.len()));
        excluded = [excluded, found.excluded].into_iter().flatten().min();
        if candidates.len() == limits::CANDIDATES {
            break;
        }
    }
    (candidates, excluded)
}

fn excluded_reason(kind: MemberKind) -> NoMatch {
    match kind {
        MemberKind::NoEmail => NoMatch::NoEmail,
        MemberKind::Deactivated => NoMatch::Deactivated,
        MemberKind::Bot => NoMatch::Bot,
        MemberKind::Matchable => NoMatch::NoMember,
    }
}

/// Why nobody at all has the value. While custom fields are still being fetched, that no member
/// yields a value says nothing about the attribute, so the fetching is what is told. Where the
/// attribute yields nothing because it costs too much, that is.
fn nobody(snapshot: &Snapshot, mapping: &Mapping) -> NoMatch {
    if mapping.slack.reads_profile_fields() && !snapshot.fields_complete() {
        NoMatch::FieldsNotFetched
    } else if snapshot.counts().with_value > 0 {
        NoMatch::NoMember
    } else if snapshot.counts().too_costly > 0 {
        NoMatch::TooCostly
    } else {
        NoMatch::SlackAttributeEmpty
    }
}

impl From<MemberView<'_>> for Matched {
    fn from(member: MemberView<'_>) -> Self {
        Self {
            slack_user_id: member.slack_user_id(),
            display_name: member.display_name.to_owned(),
            time_zone: member.time_zone.map(str::to_owned),
            locale: member.locale.map(str::to_owned),
        }
    }
}

/// Whom messages for a person go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Reach { slack_user_id: SlackUserId, display_name: String, basis: Basis },
    Unreachable { reason: NoMatch },
}

/// What a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// An administrator's pin.
    Pinned,
    /// The rules. `is_new` where that is not what is stored: store it, unless the call stores
    /// nothing.
    Matched { is_new: bool },
    /// The rules no longer find the member that is stored, for this reason; it is alive. Marked
    /// stale in answers.
    Stale { reason: NoMatch },
}

impl Decision {
    /// Whether an earlier match stands in for one that the rules no longer find.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Reach { basis: Basis::Stale { .. }, .. })
    }
}

/// A pin; else a unique match; else the stored identity while its member is alive; else nobody.
///
/// `stored` is the identity stored for the installation at hand: one of another workspace must
/// not be given. `stored_member` is the kind of that identity's member in the directory, `None`
/// where the directory does not have it or is not ready ([`Snapshot::member`]).
///
/// - Without a connection there is nobody to reach, pinned or not.
/// - A pin outranks the rules. Its member may be missing from the directory (people of Slack
///   Connect are); one that is deactivated or a bot makes the person unreachable rather than fall
///   back.
/// - Ambiguous never falls back on what is stored.
/// - While the directory is not ready, liveness is not known and the stored identity stands.
#[must_use]
pub fn decide(
    stored: Option<&Identity>,
    matched: &Match,
    stored_member: Option<MemberKind>,
) -> Decision {
    if matched.reason() == Some(NoMatch::NotConnected) {
        return Decision::Unreachable { reason: NoMatch::NotConnected };
    }
    let pin = stored.filter(|identity| identity.rule == Rule::Pinned);
    if let Some(pin) = pin {
        return match stored_member {
            Some(kind) if !kind.is_alive() => {
                Decision::Unreachable { reason: excluded_reason(kind) }
            }
            _ => reach(pin, Basis::Pinned),
        };
    }
    match (matched, stored) {
        (Match::Unique(matched), stored) => {
            let is_new = stored.is_none_or(|identity| {
                identity.slack_user_id != matched.slack_user_id
                    || identity.display_name != matched.display_name
            });
            Decision::Reach {
                slack_user_id: matched.slack_user_id.clone(),
                display_name: matched.display_name.clone(),
                basis: Basis::Matched { is_new },
            }
        }
        (Match::None(Unmatched { reason, .. }), Some(identity))
            if may_fall_back(*reason, stored_member) =>
        {
            reach(identity, Basis::Stale { reason: *reason })
        }
        (Match::None(Unmatched { reason, .. }), _) => Decision::Unreachable { reason: *reason },
    }
}

fn may_fall_back(reason: NoMatch, stored_member: Option<MemberKind>) -> bool {
    match (reason, stored_member) {
        (NoMatch::Ambiguous, _) => false,
        (NoMatch::DirectoryNotReady, None) => true,
        (_, member) => member.is_some_and(MemberKind::is_alive),
    }
}

fn reach(identity: &Identity, basis: Basis) -> Decision {
    Decision::Reach {
        slack_user_id: identity.slack_user_id.clone(),
        display_name: identity.display_name.clone(),
        basis,
    }
}

#[cfg(test)]
mod tests;
