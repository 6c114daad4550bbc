//! The verdict on each recipient of a Notify, as it is answered and stored.
//!
//! The stored answer is replayed verbatim for a repeated request (invariant I3), so these types
//! only ever gain optional fields.

use std::collections::HashMap;

use super::delivery::State;
use super::fallback::Fallback;
use super::ids::{ChannelId, DeliveryId, InstallationId, NotificationId, SlackUserId, UserId};
use super::reason::{NoMatch, Suppression};
use super::subject::Action;
use super::time::Timestamp;

/// Whom a notification is for, as the caller named them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressee {
    Person(UserId),
    Channel(ChannelId),
}

/// The member a person was found to be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Found {
    pub installation: InstallationId,
    pub slack_user_id: SlackUserId,
    pub display_name: String,
}

/// What is promised about repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// History can be read: an ambiguous answer is settled, at most one message (invariant I7).
    EffectivelyOnce,
    /// History cannot be read: at most one more message per ambiguous attempt.
    AtLeastOnce,
}

impl Guarantee {
    /// What the granted scopes allow for direct messages and channel posts
    /// (Slack's documentation: Scopes). Reading a direct message's history takes its
    /// `D...` id, which after a lost first answer only `conversations.open` tells.
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

/// What was decided for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// Will be sent; without a member it is still being resolved.
    Queued {
        delivery: DeliveryId,
        found: Option<Found>,
        estimated_send_time: Option<Timestamp>,
        guarantee: Guarantee,
    },
    /// Waits until the person appears in Slack.
    Held { delivery: DeliveryId, reason: NoMatch, members_without_email: u64, guarantee: Guarantee },
    /// Held back by a switch.
    Suppressed { by: Suppression },
    /// Nobody in Slack.
    Unreachable { reason: NoMatch, members_without_email: u64 },
}

/// One recipient and what was decided.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    pub addressee: Addressee,
    pub decided: Decided,
    /// The delivery that it is about; absent in answers of releases that kept it only where
    /// something waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
}

impl Verdict {
    /// The delivery that it is about, in an answer of any release.
    #[must_use]
    pub fn delivery(&self) -> Option<DeliveryId> {
        self.delivery.or(match &self.decided {
            Decided::Queued { delivery, .. } | Decided::Held { delivery, .. } => Some(*delivery),
            Decided::Suppressed { .. } | Decided::Unreachable { .. } => None,
        })
    }

    /// What it means for whoever has another channel, by the same rule as the delivery's state.
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
    /// Says of each delivery when it should reach Slack, where that is known.
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
    /// What the notification does about its subject.
    #[serde(default)]
    pub action: Action,
    /// In the order of the request's recipients.
    pub verdicts: Vec<Verdict>,
}
