//! A notification that is to be stored.

use std::time::Duration;

use super::deliveries::Kind;
use crate::domain::end::End;
use crate::domain::ids::{
    DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId, SubjectKey,
    TenantId, UserId,
};
use crate::domain::person::Person;
use crate::domain::priority::Priority;
use crate::domain::reason::NoMatch;
use crate::domain::settings::Identity;
use crate::domain::subject::Action;
use crate::domain::time::Timestamp;

/// A Notify that was decided on, ready to be stored.
#[derive(Debug, Clone)]
pub struct Accept {
    pub id: NotificationId,
    pub tenant: TenantId,
    pub principal: Principal,
    pub request_id: RequestId,
    /// Of the canonical payload: the same request id with another one is a mistake of the caller.
    pub fingerprint: [u8; 32],
    pub event_type: EventType,
    /// Sealed as it is; deliveries that resolve later are rendered from it.
    pub data: Vec<u8>,
    pub link: Option<String>,
    /// What it is about, and when it may go out.
    pub about: About,
    /// The answer to the call, opaque here; sealed, and replayed verbatim.
    pub answer: Vec<u8>,
    pub deliveries: Vec<NewDelivery>,
    /// Records that came inline; each replaces the stored one.
    pub people: Vec<Person>,
    /// New unique matches to store.
    pub identities: Vec<(UserId, Identity)>,
    /// From the database's now.
    pub expires_in: Duration,
    /// W3C `traceparent` of the call.
    pub trace_context: Option<String>,
}

/// One recipient, or one channel.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub id: DeliveryId,
    /// Absent for posts to a channel.
    pub user: Option<UserId>,
    pub target: Target,
    /// Rendered, opaque here; sealed.
    pub content: Option<Vec<u8>>,
    pub kind: Kind,
    pub priority: Priority,
    /// Other recipients of the same call who are the same member: they share it.
    pub also: Vec<UserId>,
    /// Why it was decided so, opaque here; sealed.
    pub trace: Option<Vec<u8>>,
}

impl NewDelivery {
    /// Whether it waits for its turn, rather than ending at once.
    #[must_use]
    pub fn waits(&self) -> bool {
        !matches!(self.target, Target::Ended(_))
    }

    /// The lane where it is known.
    pub(in crate::store) fn lane(&self) -> Option<&str> {
        match &self.target {
            Target::Lane { lane, .. } => Some(lane),
            Target::Resolving
            | Target::ResolvingOrHeld
            | Target::Held { .. }
            | Target::Ended(_) => None,
        }
    }
}

/// Where a delivery starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At the tail of this lane: `U...` for direct messages, `C...` for channels.
    Lane { installation: InstallationId, lane: String },
    /// Which member it is for must be found out first.
    Resolving,
    /// The same; where nobody is found it waits until the person appears.
    ResolvingOrHeld,
    /// Waits until the person appears in Slack. Looked at again after this time, since the member
    /// list that held it back may be older than the store's.
    Held { reason: NoMatch, look_after: Duration },
    /// It ends here: recorded, so that every recipient is accounted for (invariant I1).
    Ended(End),
}

/// What a notification is about, and when it may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub subject: Option<SubjectKey>,
    pub action: Action,
    /// Not before this time; where it is past, at once.
    pub deliver_after: Option<Timestamp>,
}

impl Default for About {
    fn default() -> Self {
        Self { subject: None, action: Action::Post, deliver_after: None }
    }
}
