//! Changes of the workspace.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::team::{App, Team};

/// The consequence of a change, once the lock is released.
pub(in crate::sandbox) enum Effect {
    /// A message or a channel changed.
    Change(Change),
    /// An event to push to an app.
    Event {
        app: Arc<App>,
        team: Arc<Team>,
        /// The inner payload.
        inner: Value,
    },
}

/// A message was stored, updated or deleted, or a channel changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    #[serde(rename = "type")]
    pub kind: ChangeKind,
    pub conversation: String,
    /// The message; empty if the channel itself changed.
    pub ts: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ChangeKind {
    #[serde(rename = "message")]
    Stored,
    #[serde(rename = "changed")]
    Updated,
    #[serde(rename = "deleted")]
    Deleted,
    /// The channel itself: its name, its members, whether it is archived…
    #[serde(rename = "channel")]
    Channel,
}

impl ChangeKind {
    /// The name on the event stream.
    pub(in crate::sandbox) fn name(self) -> &'static str {
        match self {
            Self::Stored => "message",
            Self::Updated => "changed",
            Self::Deleted => "deleted",
            Self::Channel => "channel",
        }
    }
}

/// A change of a channel; the rest of the event's name follows `channel_` or `group_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Happening {
    Created,
    Renamed,
    Archived,
    Unarchived,
    Deleted,
}
