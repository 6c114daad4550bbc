//! The verdict on each recipient of a Notify, in the form that is returned and stored.
//!
//! The stored answer is replayed verbatim for a repeated request (invariant I3), so these types
//! only ever gain optional fields.

use std::collections::HashMap;

use super::State;
use super::fallback::Fallback;
use super::subject::Action;
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, InstallationId, NotificationId, SlackUserId, UserId,
};
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::time::Timestamp;

/// A recipient of a notification, as named by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressee {
    Person(UserId),
    Channel(ChannelId),
    /// A channel by the platform's key.
    ChannelKey(ChannelKey),
}

/// The member that matches a person.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FoundMember {
    pub installation: InstallationId,
    pub slack_user_id: SlackUserId,
    pub display_name: String,
}

/// The guarantee about duplicate messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// The history can be read: an ambiguous answer is settled, at most one message (invariant I7).
    EffectivelyOnce,
    /// The history cannot be read: at most one more message for each ambiguous attempt.
    AtLeastOnce,
}

impl Guarantee {
    /// The guarantee that the granted scopes allow for direct messages and channel posts (Slack's
    /// documentation: Scopes). Reading the history of a direct message needs its `D...` id, which
    /// only `conversations.open` returns after the answer to the first post was lost.
    #[must_use]
    pub fn for_scopes(scopes: &[String], direct_message: bool) -> Self {
        let needed: &[&str] = if direct_message {
            &["im:history", "im:write"]
        } else {
            &["channels:history", "groups:history"]
        };
        if needed.iter().all(|scope| scopes.iter().any(|granted| granted == scope)) {
            Self::EffectivelyOnce
        } else {
            Self::AtLeastOnce
        }
    }
}

/// The decision for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// Will be sent; a delivery without a member is still being resolved.
    Queued {
        delivery: DeliveryId,
        found: Option<FoundMember>,
        estimated_send_time: Option<Timestamp>,
        guarantee: Guarantee,
        /// Its channel is not ready in Slack.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        awaits_channel: bool,
    },
    /// Waits until the person appears in Slack.
    Held {
        delivery: DeliveryId,
        reason: NoMatch,
        /// Active members without an e-mail address; the person may be one of them.
        members_without_email: u64,
        guarantee: Guarantee,
    },
    /// Suppressed by a switch.
    Suppressed { by: Suppression },
    /// No member in Slack.
    Unreachable { reason: NoMatch, members_without_email: u64 },
}

/// One recipient and the decision for it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    pub addressee: Addressee,
    pub decided: Decided,
    /// The delivery of this recipient; absent in answers of releases that stored it only for
    /// deliveries that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
}

impl Verdict {
    /// The delivery of this recipient, in an answer of any release.
    #[must_use]
    pub fn delivery(&self) -> Option<DeliveryId> {
        self.delivery.or(match &self.decided {
            Decided::Queued { delivery, .. } | Decided::Held { delivery, .. } => Some(*delivery),
            Decided::Suppressed { .. } | Decided::Unreachable { .. } => None,
        })
    }

    /// The meaning for a caller with another channel, by the same rule as the delivery's state.
    #[must_use]
    pub fn fallback(&self, action: Action) -> Fallback {
        match &self.decided {
            Decided::Queued { .. } => Fallback::of(State::Pending, None, action),
            Decided::Held { .. } => Fallback::of(State::Held, None, action),
            Decided::Suppressed { by } => Fallback::of(State::Suppressed, Some(by.code()), action),
            Decided::Unreachable { reason, .. } => {
                Fallback::of(State::Unreachable, Some(reason.code()), action)
            }
        }
    }
}

impl Answer {
    /// Sets the time at which each delivery should reach Slack, if it is known.
    pub fn estimate(&mut self, times: &HashMap<DeliveryId, Timestamp>) {
        for verdict in &mut self.verdicts {
            if let Decided::Queued { delivery, estimated_send_time, .. } = &mut verdict.decided {
                *estimated_send_time = times.get(delivery).copied();
            }
        }
    }
}

/// The whole answer to a Notify.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    pub notification: NotificationId,
    /// The notification's effect on earlier messages about its subject.
    #[serde(default)]
    pub action: Action,
    /// In the order of the request's recipients.
    pub verdicts: Vec<Verdict>,
}
