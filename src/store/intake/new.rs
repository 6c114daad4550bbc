//! A notification to be stored.

use std::time::Duration;

use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::admission::LaneAddress;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::{DeliveryKind, End};
use crate::domain::identity::person::Person;
use crate::domain::ids::{
    ChannelKey, DeliveryId, EventType, InstallationId, ManagedChannelId, NotificationId, Principal,
    RequestId, SubjectKey, TenantId, UserId,
};
use crate::domain::reason::NoMatch;
use crate::domain::settings::Identity;
use crate::domain::time::Timestamp;

/// A decided Notify, ready to be stored.
#[derive(Debug, Clone)]
pub struct Accept {
    pub id: NotificationId,
    pub tenant: TenantId,
    pub principal: Principal,
    pub request_id: RequestId,
    /// Hash of the canonical payload: the same request id with another payload is a mistake of the
    /// caller.
    pub fingerprint: [u8; 32],
    pub event_type: EventType,
    /// Encrypted as given; deliveries that resolve later are rendered from it.
    pub data: Vec<u8>,
    pub link: Option<String>,
    /// Its subject, and when it may be sent.
    pub about: NotificationTerms,
    /// The answer to the call, opaque here; stored encrypted and replayed verbatim.
    pub answer: Vec<u8>,
    pub deliveries: Vec<NewDelivery>,
    /// Records that came inline; each replaces the stored one.
    pub people: Vec<Person>,
    /// New unique matches to store.
    pub identities: Vec<(UserId, Identity)>,
    /// Counted from the database's current time.
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
    /// The channel, if the call names it by its key.
    pub channel: Option<ForChannel>,
    pub target: Target,
    /// The rendered message, opaque here; stored encrypted.
    pub content: Option<Vec<u8>>,
    pub kind: DeliveryKind,
    pub priority: Priority,
    /// Other recipients of the same call that are the same Slack member: they share it.
    pub also: Vec<UserId>,
    /// The reasons for the decision, opaque here; stored encrypted.
    pub trace: Option<Vec<u8>>,
}

/// A channel that a call names by the platform's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForChannel {
    pub id: ManagedChannelId,
    pub key: ChannelKey,
}

impl NewDelivery {
    /// Whether it waits for its turn, rather than ending at once.
    #[must_use]
    pub fn waits(&self) -> bool {
        !matches!(self.target, Target::Ended(_))
    }

    /// Whether its message is written once its member is found.
    #[must_use]
    pub fn is_written_later(&self) -> bool {
        match self.target {
            Target::Resolving | Target::ResolvingOrHeld | Target::Held { .. } => true,
            Target::Lane { .. } | Target::Channel { .. } | Target::Ended(_) => false,
        }
    }

    /// The lane that it joins, if it is known; for a channel with a key, the one that is expected.
    #[must_use]
    pub fn place(&self) -> Option<(InstallationId, &str)> {
        match &self.target {
            Target::Lane { installation, lane } => Some((*installation, lane)),
            Target::Channel { expected } => {
                expected.as_ref().map(|lane| (lane.installation, lane.lane.as_str()))
            }
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
    /// For a channel with a key ([`NewDelivery::channel`]): at the tail of its lane if it is ready
    /// in the connected workspace and no earlier delivery waits for it. Otherwise it waits for the
    /// channel. The transaction decides; `expected` is the lane as the caller saw it.
    Channel { expected: Option<LaneAddress> },
    /// The member must be found first.
    Resolving,
    /// Like `Resolving`, but if no member is found, it waits until the person appears.
    ResolvingOrHeld,
    /// Waits until the person appears in Slack. Checked again after `look_after`, since the member
    /// list that held it back may be older than the store's.
    Held { reason: NoMatch, look_after: Duration },
    /// It ends here: recorded, so that every recipient is accounted for (invariant I1).
    Ended(End),
}

/// The subject of a notification, and when it may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationTerms {
    pub subject: Option<SubjectKey>,
    pub action: Action,
    /// Not sent before this time; sent at once if it is past.
    pub deliver_after: Option<Timestamp>,
}

impl Default for NotificationTerms {
    fn default() -> Self {
        Self { subject: None, action: Action::Post, deliver_after: None }
    }
}
