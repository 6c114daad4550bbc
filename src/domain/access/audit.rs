//! The audit trail: the content of an entry, and how calls that change nothing are counted.
//!
//! A change is recorded by its own entry, in its transaction. Calls that change nothing (refusals,
//! reads, failures) are counted here first: the first call of a kind is recorded at once, its
//! repetitions once a minute, and the kinds beyond [`KINDS`] a minute as one number. So a caller
//! cannot fill the disk with refused calls.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::{Principal, TenantId, UserId};
use crate::domain::time::Timestamp;

/// The result of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditOutcome {
    Done,
    /// Without permission, or from an unknown caller.
    Refused,
    /// For any other reason.
    Failed,
}

impl AuditOutcome {
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Done, Self::Refused, Self::Failed].into_iter().find(|one| one.code() == code)
    }
}

/// Actions that are not methods of the API.
pub const SIGN_IN: &str = "SignIn";
pub const COMPLETE_CONNECT: &str = "CompleteConnect";
/// A person followed an identity link to its end.
pub const PROVE_IDENTITY: &str = "ProveIdentity";
/// Another tenant was connected to the workspace of this tenant.
pub const SHARE_WORKSPACE: &str = "ShareWorkspace";
/// The action of an entry that sums up calls of several kinds.
pub const SEVERAL: &str = "Several";

/// Methods whose success is recorded together with the change.
const CHANGES: [&str; 36] = [
    "AddChannelMembers",
    "AllowSending",
    "ArchiveChannel",
    "BeginConnect",
    "CancelNotification",
    "ClearIdentity",
    "CreateApiKey",
    "CreateEventType",
    "CreateIdentityLink",
    "DeleteEventType",
    "DeletePerson",
    "DeleteSlackApp",
    "DeleteTenant",
    "Disconnect",
    "EnsureChannel",
    "MergePeople",
    "PinIdentities",
    "PinIdentity",
    "RefreshDirectory",
    "ReleaseChannel",
    "RemoveChannelMembers",
    "RenameChannel",
    "RenamePerson",
    "ReplayDeliveries",
    "ResetTemplate",
    "RevokeApiKey",
    "RollbackTemplate",
    "SetChannelMembers",
    "SetPreference",
    "SetSlackApp",
    "SetTemplate",
    "StopSending",
    "UnarchiveChannel",
    "UpdateEventType",
    "UpdateSettings",
    "UpsertPeople",
];

/// Whether a method writes its own entry when it succeeds.
#[must_use]
pub fn is_change(method: &str) -> bool {
    CHANGES.contains(&method)
}

/// The content of an entry, except for people.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AuditDetail {
    /// The object of the call, such as `notification:…`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// The value before, if settings changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after, or the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// A person in an entry; unreadable once that person was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPerson {
    pub user: UserId,
    /// Other data of the person, such as the member they were pinned to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// An entry, before it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `None`: the entry belongs to no tenant.
    pub tenant: Option<TenantId>,
    /// The caller; `None` if unknown.
    pub principal: Option<Principal>,
    /// The user on whose behalf the call was made.
    pub actor: Option<UserId>,
    /// The method, or one of this module's constants.
    pub action: String,
    pub outcome: AuditOutcome,
    /// The stable reason of a refusal or failure; empty if the call succeeded.
    pub reason: String,
    /// The number of calls.
    pub times: u64,
    pub subject: Option<AuditPerson>,
    pub detail: AuditDetail,
}

impl Entry {
    /// An action of a browser that returned from Slack. No caller is signed in, so the person is
    /// unknown.
    #[must_use]
    pub fn of_browser(tenant: TenantId, action: &str) -> Self {
        Self {
            tenant: Some(tenant),
            principal: None,
            actor: None,
            action: action.to_owned(),
            outcome: AuditOutcome::Done,
            reason: String::new(),
            times: 1,
            subject: None,
            detail: AuditDetail::default(),
        }
    }
}

/// A person as the trail shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownPerson {
    Nobody,
    Person(AuditPerson),
    /// The person was deleted.
    Erased,
}

/// An entry as it is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    pub id: uuid::Uuid,
    pub at: Timestamp,
    pub principal: String,
    pub actor: ShownPerson,
    pub action: String,
    pub outcome: AuditOutcome,
    pub reason: String,
    pub times: u64,
    pub subject: ShownPerson,
    pub detail: AuditDetail,
}

/// Calls that agree in all of this are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuditKind {
    pub tenant: Option<TenantId>,
    pub actor: Option<UserId>,
    pub action: String,
    pub outcome: AuditOutcome,
    pub reason: String,
    pub object: String,
}

/// Kinds of calls of one caller that are counted separately within [`WINDOW`].
pub const KINDS: usize = 10;
/// For how long repetitions are counted before they are recorded.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Callers whose calls are counted separately; the calls of further callers are counted like those
/// of unknown callers.
const CALLERS: usize = 10_000;

/// Counts calls that change nothing. Times are measured from any fixed point.
#[derive(Debug, Default)]
pub struct Tally {
    callers: HashMap<Option<Principal>, Window>,
}

#[derive(Debug)]
struct Window {
    began: Duration,
    kinds: HashMap<AuditKind, Count>,
    /// Calls of kinds beyond [`KINDS`].
    others: u64,
}

#[derive(Debug, Default)]
struct Count {
    told: bool,
    waiting: u64,
}

impl Tally {
    /// Counts one call. Returns whether it is the first of its kind.
    pub fn note(&mut self, principal: Option<&Principal>, kind: AuditKind, now: Duration) -> bool {
        let known = principal.filter(|one| {
            self.callers.len() < CALLERS || self.callers.contains_key(&Some((*one).clone()))
        });
        let window = self.callers.entry(known.cloned()).or_insert_with(|| Window {
            began: now,
            kinds: HashMap::new(),
            others: 0,
        });
        if let Some(count) = window.kinds.get_mut(&kind) {
            count.waiting += 1;
            return false;
        }
        if window.kinds.len() >= KINDS {
            window.others += 1;
            return false;
        }
        window.kinds.insert(kind, Count { told: false, waiting: 1 });
        true
    }

    /// Entries that are due: the first call of each kind, and the later calls of windows that have
    /// ended. With `all`, the later calls of the other windows too.
    pub fn due(&mut self, now: Duration, all: bool) -> Vec<Entry> {
        let mut due = Vec::new();
        self.callers.retain(|principal, window| {
            let over = all || now.saturating_sub(window.began) >= WINDOW;
            for (kind, count) in &mut window.kinds {
                if count.waiting > 0 && (over || !count.told) {
                    due.push(entry(principal.as_ref(), kind.clone(), count.waiting));
                    *count = Count { told: true, waiting: 0 };
                }
            }
            if over && window.others > 0 {
                due.push(entry(principal.as_ref(), AuditKind::several(), window.others));
            }
            !over
        });
        due
    }

    /// Takes back entries that could not be written. Calls that they listed separately may then be
    /// counted together.
    pub fn restore(&mut self, entries: Vec<Entry>, now: Duration) {
        for Entry { principal, tenant, actor, action, outcome, reason, times, detail, .. } in
            entries
        {
            let kind = AuditKind { tenant, actor, action, outcome, reason, object: detail.object };
            let before = kind.clone();
            self.note(principal.as_ref(), kind, now);
            let Some(window) = self.callers.get_mut(&principal) else { continue };
            match window.kinds.get_mut(&before) {
                Some(count) => count.waiting += times.saturating_sub(1),
                None => window.others += times.saturating_sub(1),
            }
        }
    }
}

impl AuditKind {
    fn several() -> Self {
        Self {
            tenant: None,
            actor: None,
            action: SEVERAL.to_owned(),
            outcome: AuditOutcome::Failed,
            reason: String::new(),
            object: String::new(),
        }
    }
}

fn entry(principal: Option<&Principal>, kind: AuditKind, times: u64) -> Entry {
    Entry {
        tenant: kind.tenant,
        principal: principal.cloned(),
        actor: kind.actor,
        action: kind.action,
        outcome: kind.outcome,
        reason: kind.reason,
        times,
        subject: None,
        detail: AuditDetail { object: kind.object, ..AuditDetail::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(action: &str) -> AuditKind {
        AuditKind {
            action: action.to_owned(),
            outcome: AuditOutcome::Refused,
            ..AuditKind::several()
        }
    }

    fn told(entries: &[Entry]) -> Vec<(&str, u64)> {
        let mut told: Vec<_> =
            entries.iter().map(|entry| (entry.action.as_str(), entry.times)).collect();
        told.sort_unstable();
        told
    }

    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_is_told_at_once_and_repetitions_once_a_minute() {
        let who = Principal::parse("platform").unwrap();
        let mut tally = Tally::default();
        assert!(tally.note(Some(&who), kind("ListPeople"), Duration::ZERO));
        assert_eq!(told(&tally.due(SOON, false)), [("ListPeople", 1)]);
        for _ in 0..1_000 {
            assert!(!tally.note(Some(&who), kind("ListPeople"), SOON));
        }
        assert!(tally.due(SOON * 2, false).is_empty());
        assert_eq!(told(&tally.due(WINDOW, false)), [("ListPeople", 1_000)]);
        assert!(tally.callers.is_empty());
    }

    #[test]
    fn whatever_a_caller_tries_it_makes_few_entries() {
        let who = Principal::parse("hostile").unwrap();
        let mut tally = Tally::default();
        for number in 0..100_000 {
            tally.note(Some(&who), kind(&format!("m{number}")), SOON);
        }
        let mut entries = tally.due(SOON, false);
        entries.extend(tally.due(SOON + WINDOW, false));
        assert_eq!(entries.len(), KINDS + 1);
        assert_eq!(entries.iter().map(|entry| entry.times).sum::<u64>(), 100_000);
        // The calls of another caller are counted separately.
        let other = Principal::parse("other").unwrap();
        assert!(tally.note(Some(&other), kind("m1"), SOON));
    }

    #[test]
    fn callers_beyond_the_most_are_counted_as_nobody() {
        let mut tally = Tally::default();
        for number in 0..CALLERS + 5 {
            let who = Principal::parse(format!("p{number}")).unwrap();
            tally.note(Some(&who), kind("m"), SOON);
        }
        let entries = tally.due(SOON, true);
        assert_eq!(entries.len(), CALLERS + 1);
        assert_eq!(entries.iter().map(|entry| entry.times).sum::<u64>(), CALLERS as u64 + 5);
    }

    #[test]
    fn what_could_not_be_written_is_told_later() {
        let who = Principal::parse("platform").unwrap();
        let mut tally = Tally::default();
        tally.note(Some(&who), kind("a"), SOON);
        tally.note(Some(&who), kind("a"), SOON);
        let entries = tally.due(SOON, true);
        tally.restore(entries, SOON);
        assert_eq!(told(&tally.due(SOON, true)), [("a", 2)]);
    }
}
