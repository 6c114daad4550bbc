//! Where a channel is in Slack.

use crate::domain::ids::{ChannelId, InstallationId};

/// A channel of Slack and the workspace that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPlace {
    pub installation: InstallationId,
    pub channel: ChannelId,
}

impl ChannelPlace {
    /// `None` unless both parts are known.
    #[must_use]
    pub fn of(installation: Option<InstallationId>, channel: Option<ChannelId>) -> Option<Self> {
        let (installation, channel) = installation.zip(channel)?;
        Some(Self { installation, channel })
    }
}
