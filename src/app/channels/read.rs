//! GetChannel, ListChannels and ListChannelMembers.

use super::{NAME, ShownChannel};
use crate::app::{App, Call, Error};
use crate::domain::access;
use crate::domain::channels::state::{ChannelMemberState, ChannelState};
use crate::domain::ids::{ChannelKey, UserId};
use crate::store::MemberRecord;

/// One page of channels.
#[derive(Debug)]
pub struct ListedChannels {
    /// By key.
    pub channels: Vec<ShownChannel>,
    /// Whether there are more.
    pub more: bool,
}

/// One page of a channel's members.
#[derive(Debug)]
pub struct ListedMembers {
    /// By user id.
    pub members: Vec<MemberRecord>,
    /// Whether there are more.
    pub more: bool,
}

impl App {
    /// The channel of a key, with the number of its members in each state.
    pub async fn get_channel(&self, call: &Call, key: &ChannelKey) -> Result<ShownChannel, Error> {
        call.may(&access::GET_CHANNEL)?;
        let facts = self.tenant_of(call).await?;
        let channel = self.store.channels().get(&call.tenant, key).await?;
        Ok(ShownChannel::stored(channel.ok_or(Error::NotFound(NAME))?, &facts))
    }

    /// Up to `limit` channels after a key; `state`: only those in this state.
    pub async fn list_channels(
        &self,
        call: &Call,
        state: Option<ChannelState>,
        after: Option<&ChannelKey>,
        limit: u32,
    ) -> Result<ListedChannels, Error> {
        call.may(&access::LIST_CHANNELS)?;
        let facts = self.tenant_of(call).await?;
        let mut found = self.store.channels().list(&call.tenant, state, after, limit + 1).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let channels = found.into_iter().map(|channel| ShownChannel::stored(channel, &facts));
        Ok(ListedChannels { channels: channels.collect(), more })
    }

    /// Up to `limit` members of a channel after a person; `state`: only those in this state.
    pub async fn list_channel_members(
        &self,
        call: &Call,
        key: &ChannelKey,
        state: Option<ChannelMemberState>,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<ListedMembers, Error> {
        call.may(&access::LIST_CHANNEL_MEMBERS)?;
        self.tenant_of(call).await?;
        let channels = self.store.channels();
        let found = channels.members(&call.tenant, key, state, after, limit + 1).await?;
        let mut members = found.ok_or(Error::NotFound(NAME))?;
        let more = members.len() > limit as usize;
        members.truncate(limit as usize);
        Ok(ListedMembers { members, more })
    }
}
