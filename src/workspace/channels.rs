//! The requests about channels, each within the budget of its method. `patience` is the longest
//! wait for that budget. The futures are boxed: a turn of a channel has many of them, one after the
//! other.

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::channels::progress::SeenChannel;
use crate::domain::ids::{ChannelId, InstallationId, SlackUserId};
use crate::slack::{ChannelMembersPage, ChannelsPage};

impl Workspaces {
    /// Creates a channel that the app is a member of (`conversations.create`). Never repeat it
    /// after [`Unknown`](crate::slack::Error::Unknown) without looking for the channel.
    pub async fn create_channel(
        &self,
        id: InstallationId,
        name: &str,
        is_private: bool,
        patience: Duration,
    ) -> Result<SeenChannel, Error> {
        let team = self.team(id).await?;
        Box::pin(self.call(id, Method::ConversationsCreate, patience, async |slack, token| {
            slack.conversations_create(token, name, is_private, team.as_deref()).await
        }))
        .await
    }

    /// One page of the public channels and of the private ones that the app is in, archived ones
    /// included (`conversations.list`).
    pub async fn channels_page(
        &self,
        id: InstallationId,
        cursor: Option<&str>,
        patience: Duration,
    ) -> Result<ChannelsPage, Error> {
        let team = self.team(id).await?;
        Box::pin(self.call(id, Method::ConversationsList, patience, async |slack, token| {
            slack.conversations_list(token, cursor, team.as_deref()).await
        }))
        .await
    }

    /// The channel as it is now (`conversations.info`).
    pub async fn channel_info(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        patience: Duration,
    ) -> Result<SeenChannel, Error> {
        Box::pin(self.call(id, Method::ConversationsInfo, patience, async |slack, token| {
            slack.conversations_info(token, channel).await
        }))
        .await
    }

    /// One page of the people in a channel, bots included (`conversations.members`).
    pub async fn channel_members(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        cursor: Option<&str>,
        patience: Duration,
    ) -> Result<ChannelMembersPage, Error> {
        Box::pin(self.call(id, Method::ConversationsMembers, patience, async |slack, token| {
            slack.conversations_members(token, channel, cursor).await
        }))
        .await
    }

    /// Invites at most 100 people (`conversations.invite`), and returns those that Slack refuses,
    /// each with its code. With `force` the others are in; without it they may not be. A refusal
    /// that concerns no single person is an error.
    pub async fn invite(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        users: &[SlackUserId],
        force: bool,
        patience: Duration,
    ) -> Result<Vec<(SlackUserId, String)>, Error> {
        Box::pin(self.call(id, Method::ConversationsInvite, patience, async |slack, token| {
            slack.conversations_invite(token, channel, users, force).await
        }))
        .await
    }

    /// Removes a person from a channel (`conversations.kick`).
    pub async fn kick(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        user: &SlackUserId,
        patience: Duration,
    ) -> Result<(), Error> {
        Box::pin(self.call(id, Method::ConversationsKick, patience, async |slack, token| {
            slack.conversations_kick(token, channel, user).await
        }))
        .await
    }

    /// Makes the app a member of a public channel (`conversations.join`).
    pub async fn join_channel(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        patience: Duration,
    ) -> Result<(), Error> {
        Box::pin(self.call(id, Method::ConversationsJoin, patience, async |slack, token| {
            slack.conversations_join(token, channel).await
        }))
        .await
    }

    /// Archives a channel (`conversations.archive`).
    pub async fn archive_channel(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        patience: Duration,
    ) -> Result<(), Error> {
        Box::pin(self.call(id, Method::ConversationsArchive, patience, async |slack, token| {
            slack.conversations_archive(token, channel).await
        }))
        .await
    }

    /// Opens an archived channel again (`conversations.unarchive`), if Slack lets a bot do that.
    pub async fn unarchive_channel(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        patience: Duration,
    ) -> Result<(), Error> {
        Box::pin(self.call(id, Method::ConversationsUnarchive, patience, async |slack, token| {
            slack.conversations_unarchive(token, channel).await
        }))
        .await
    }

    /// Renames a channel (`conversations.rename`); the name as Slack stored it.
    pub async fn rename_channel(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        name: &str,
        patience: Duration,
    ) -> Result<String, Error> {
        Box::pin(self.call(id, Method::ConversationsRename, patience, async |slack, token| {
            slack.conversations_rename(token, channel, name).await
        }))
        .await
    }

    /// Sets the topic of a channel (`conversations.setTopic`).
    pub async fn set_topic(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        topic: &str,
        patience: Duration,
    ) -> Result<(), Error> {
        Box::pin(self.call(id, Method::ConversationsSetTopic, patience, async |slack, token| {
            slack.conversations_set_topic(token, channel, topic).await
        }))
        .await
    }

    /// Sets the purpose of a channel (`conversations.setPurpose`).
    pub async fn set_purpose(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        purpose: &str,
        patience: Duration,
    ) -> Result<(), Error> {
        Box::pin(self.call(id, Method::ConversationsSetPurpose, patience, async |slack, token| {
            slack.conversations_set_purpose(token, channel, purpose).await
        }))
        .await
    }
}
