//! Which Slack member a person is, or the reason why none was found.
//!
//! [`resolve`] applies the rules to one directory. [`decide`] compares its result with the stored
//! identity: a pin, or an earlier match.

use std::collections::HashSet;

use crate::domain::directory::member::MemberKind;
use crate::domain::directory::snapshot::{MemberView, Snapshot};
use crate::domain::ids::SlackUserId;
use crate::domain::limits;
use crate::domain::mapping::key::MatchKey;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::reason::NoMatch;
use crate::domain::settings::{Identity, Rule};

/// The result of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Exactly one member.
    Unique(Matched),
    /// No member, or several that the rules cannot distinguish.
    None(Unmatched),
}

/// The only member that the rules found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    pub slack_user_id: SlackUserId,
    /// The name that Slack shows for the member; may be empty.
    pub display_name: String,
    /// IANA name.
    pub time_zone: Option<String>,
    /// Such as `de-DE`.
    pub locale: Option<String>,
}

/// Why the rules did not find exactly one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmatched {
    pub reason: NoMatch,
    /// How many matchable members have one of the person's values: at least 2 if that is ambiguous,
    /// otherwise 0. Counting stops at [`limits::CANDIDATES`].
    pub candidates: usize,
    /// Active members who cannot match because they have no e-mail address. The person may be one
    /// of them; 0 if the directory was not searched.
    pub without_email: usize,
}

impl Match {
    /// For reasons that the caller knows before the search: not connected, directory not ready.
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

    /// The details to report if no member is reached: zeros if the rules did find one, as for a pin
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
/// ready; `values` are the person's values for the mapping's user attribute. The caller checks
/// whether a workspace is connected at all.
///
/// A person with several values (a list) matches the only member who has any of them; values of
/// different members are ambiguous.
#[must_use]
pub fn resolve(snapshot: Option<&Snapshot>, mapping: &Mapping, values: &Values) -> Match {
    let Some(snapshot) = snapshot else {
        return Match::none(NoMatch::DirectoryNotReady);
    };
    let without_email = snapshot.counts().no_email;
    let none = |reason, candidates| Match::None(Unmatched { reason, candidates, without_email });
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
/// if there are none, the kind of excluded member that has one.
fn holders<'a>(
    snapshot: &'a Snapshot,
    keys: &[MatchKey],
) -> (Vec<MemberView<'a>>, Option<MemberKind>) {
    let mut candidates: Vec<MemberView<'a>> = Vec::new();
    let mut known: HashSet<&'a str> = HashSet::new();
    let mut excluded: Option<MemberKind> = None;
    for key in keys {
        let found = snapshot.find(key);
        // A value that all members share must not cost a pass over all of them.
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

/// Why no member at all has the value. While custom fields are still being fetched, an attribute
/// without values means nothing, so the fetching is reported. If the attribute yields nothing
/// because it costs too much, that is reported.
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

/// The member that messages for a person go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberDecision {
    Reach { slack_user_id: SlackUserId, display_name: String, basis: MatchBasis },
    Unreachable { reason: NoMatch },
}

/// The basis of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchBasis {
    /// An administrator's pin.
    Pinned,
    /// The rules. `is_new` if the result differs from the stored identity: store it, unless the
    /// call stores nothing.
    Matched { is_new: bool },
    /// The stored member: it is active, but the rules no longer find it, for this reason. Marked
    /// stale in answers.
    Stale { reason: NoMatch },
}

/// A pin; otherwise a unique match; otherwise the stored identity while its member is active;
/// otherwise no member.
///
/// `stored` is the identity stored for the current installation; never pass one of another
/// workspace. `stored_member` is the kind of that identity's member in the directory, `None` if the
/// directory does not have it or is not ready ([`Snapshot::member`]).
///
/// - Without a connection no one can be reached, pinned or not.
/// - A pin outranks the rules. Its member may be missing from the directory (as people of Slack
///   Connect are). If that member is deactivated or a bot, the person is unreachable; there is no
///   fallback.
/// - An ambiguous result never falls back on the stored identity.
/// - While the directory is not ready, it is unknown whether the member is active, and the stored
///   identity is used.
#[must_use]
pub fn decide(
    stored: Option<&Identity>,
    matched: &Match,
    stored_member: Option<MemberKind>,
) -> MemberDecision {
    if matched.reason() == Some(NoMatch::NotConnected) {
        return MemberDecision::Unreachable { reason: NoMatch::NotConnected };
    }
    let pin = stored.filter(|identity| identity.rule == Rule::Pinned);
    if let Some(pin) = pin {
        return match stored_member {
            Some(kind) if !kind.is_alive() => {
                MemberDecision::Unreachable { reason: excluded_reason(kind) }
            }
            _ => reach(pin, MatchBasis::Pinned),
        };
    }
    match (matched, stored) {
        (Match::Unique(matched), stored) => {
            let is_new = stored.is_none_or(|identity| {
                identity.slack_user_id != matched.slack_user_id
                    || identity.display_name != matched.display_name
            });
            MemberDecision::Reach {
                slack_user_id: matched.slack_user_id.clone(),
                display_name: matched.display_name.clone(),
                basis: MatchBasis::Matched { is_new },
            }
        }
        (Match::None(Unmatched { reason, .. }), Some(identity))
            if may_fall_back(*reason, stored_member) =>
        {
            reach(identity, MatchBasis::Stale { reason: *reason })
        }
        (Match::None(Unmatched { reason, .. }), _) => {
            MemberDecision::Unreachable { reason: *reason }
        }
    }
}

fn may_fall_back(reason: NoMatch, stored_member: Option<MemberKind>) -> bool {
    match (reason, stored_member) {
        (NoMatch::Ambiguous, _) => false,
        (NoMatch::DirectoryNotReady, None) => true,
        (_, member) => member.is_some_and(MemberKind::is_alive),
    }
}

fn reach(identity: &Identity, basis: MatchBasis) -> MemberDecision {
    MemberDecision::Reach {
        slack_user_id: identity.slack_user_id.clone(),
        display_name: identity.display_name.clone(),
        basis,
    }
}

#[cfg(test)]
mod tests;
