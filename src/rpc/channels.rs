//! The calls of channels: protobuf <-> app.

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::page::{self, List};
use super::{encode_channels, pb};
use crate::app::channels::EnsureWish;
use crate::app::watch_channels::FeedOfChannels;
use crate::app::{Call, Error};
use crate::domain::ids::{ChannelKey, UserId};
use crate::domain::limits;

pub(super) async fn ensure(
    server: &Server,
    inbound: Inbound,
    message: pb::EnsureChannelRequest,
) -> Result<pb::EnsureChannelResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let key = fields.channel_key(message.channel_key);
    let wish = fields.wish(message.wish);
    let members = message.members.map(|list| fields.members("members.members", list.members, 0));
    let ensure = key.zip(wish).map(|(key, wish)| EnsureWish { key, wish, members });
    let (call, ensure) = inbound.complete(fields, tenant, actor, ensure)?;
    let shown = if message.dry_run {
        server.app.try_channel(&call, ensure).await?
    } else {
        // Large, as few futures of calls are.
        Box::pin(server.app.ensure_channel(&call, ensure)).await?
    };
    Ok(pb::EnsureChannelResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn get(
    server: &Server,
    inbound: Inbound,
    message: pb::GetChannelRequest,
) -> Result<pb::GetChannelResponse, Error> {
    let (call, key) = keyed(inbound, message.tenant_id, message.channel_key, message.actor)?;
    let shown = server.app.get_channel(&call, &key).await?;
    Ok(pb::GetChannelResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn list(
    server: &Server,
    inbound: Inbound,
    message: pb::ListChannelsRequest,
) -> Result<pb::ListChannelsResponse, Error> {
    let mut fields = Fields::default();
    let filter = message.state.to_string();
    let list = List::of(&["ListChannels", &message.tenant_id, &filter]);
    let size = page::size(&mut fields, message.page_size, limits::CHANNELS_PAGE);
    let after =
        list.position(&mut fields, &message.page_token, |text| ChannelKey::parse(text).ok());
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let state = fields.channel_state(message.state);
    let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
    let page = server.app.list_channels(&call, state, after.as_ref(), size).await?;
    let last = page.channels.last().filter(|_| page.more);
    let next_page_token =
        last.map(|last| list.token(last.channel.key.as_str())).unwrap_or_default();
    let channels = page.channels.into_iter().map(encode_channels::channel).collect();
    Ok(pb::ListChannelsResponse { channels, next_page_token })
}

pub(super) async fn list_members(
    server: &Server,
    inbound: Inbound,
    message: pb::ListChannelMembersRequest,
) -> Result<pb::ListChannelMembersResponse, Error> {
    let mut fields = Fields::default();
    let filter = message.state.to_string();
    let list = List::of(&["ListChannelMembers", &message.tenant_id, &message.channel_key, &filter]);
    let size = match message.page_size {
        0 => limits::DEFAULT_CHANNEL_MEMBERS_PAGE,
        given => page::size(&mut fields, given, limits::CHANNEL_MEMBERS_PAGE),
    };
    let after = list.position(&mut fields, &message.page_token, |text| UserId::parse(text).ok());
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let key = fields.channel_key(message.channel_key);
    let state = fields.member_state(message.state);
    let (call, key) = inbound.complete(fields, tenant, actor, key)?;
    let page = server.app.list_channel_members(&call, &key, state, after.as_ref(), size).await?;
    let last = page.members.last().filter(|_| page.more);
    let next_page_token = last.map(|last| list.token(last.user.as_str())).unwrap_or_default();
    let members = page.members.into_iter().map(encode_channels::member).collect();
    Ok(pb::ListChannelMembersResponse { members, next_page_token })
}

pub(super) async fn set_members(
    server: &Server,
    inbound: Inbound,
    message: pb::SetChannelMembersRequest,
) -> Result<pb::SetChannelMembersResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let key = fields.channel_key(message.channel_key);
    let members = fields.members("members", message.members, 0);
    let (call, key) = inbound.complete(fields, tenant, actor, key)?;
    let shown = server.app.set_channel_members(&call, &key, members).await?;
    Ok(pb::SetChannelMembersResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn add_members(
    server: &Server,
    inbound: Inbound,
    message: pb::AddChannelMembersRequest,
) -> Result<pb::AddChannelMembersResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let key = fields.channel_key(message.channel_key);
    let members = fields.members("members", message.members, 1);
    let (call, key) = inbound.complete(fields, tenant, actor, key)?;
    let shown = server.app.add_channel_members(&call, &key, members).await?;
    Ok(pb::AddChannelMembersResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn remove_members(
    server: &Server,
    inbound: Inbound,
    message: pb::RemoveChannelMembersRequest,
) -> Result<pb::RemoveChannelMembersResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let key = fields.channel_key(message.channel_key);
    let users = fields.users("user_ids", message.user_ids);
    let (call, key) = inbound.complete(fields, tenant, actor, key)?;
    let shown = server.app.remove_channel_members(&call, &key, users).await?;
    Ok(pb::RemoveChannelMembersResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn rename(
    server: &Server,
    inbound: Inbound,
    message: pb::RenameChannelRequest,
) -> Result<pb::RenameChannelResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let key = fields.channel_key(message.channel_key);
    let name = fields.channel_name(message.name);
    let (call, key) = inbound.complete(fields, tenant, actor, key)?;
    let shown = server.app.rename_channel(&call, &key, name).await?;
    Ok(pb::RenameChannelResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn archive(
    server: &Server,
    inbound: Inbound,
    message: pb::ArchiveChannelRequest,
) -> Result<pb::ArchiveChannelResponse, Error> {
    let (call, key) = keyed(inbound, message.tenant_id, message.channel_key, message.actor)?;
    let shown = server.app.archive_channel(&call, &key).await?;
    Ok(pb::ArchiveChannelResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn unarchive(
    server: &Server,
    inbound: Inbound,
    message: pb::UnarchiveChannelRequest,
) -> Result<pb::UnarchiveChannelResponse, Error> {
    let (call, key) = keyed(inbound, message.tenant_id, message.channel_key, message.actor)?;
    let shown = server.app.unarchive_channel(&call, &key).await?;
    Ok(pb::UnarchiveChannelResponse { channel: Some(encode_channels::channel(shown)) })
}

pub(super) async fn release(
    server: &Server,
    inbound: Inbound,
    message: pb::ReleaseChannelRequest,
) -> Result<pb::ReleaseChannelResponse, Error> {
    let (call, key) = keyed(inbound, message.tenant_id, message.channel_key, message.actor)?;
    let (channel, ended) = server.app.release_channel(&call, &key).await?;
    Ok(pb::ReleaseChannelResponse {
        channel_id: channel.map(Into::into).unwrap_or_default(),
        messages_ended: i32::try_from(ended).unwrap_or(i32::MAX),
    })
}

pub(super) async fn watch(
    server: &Server,
    inbound: Inbound,
    message: pb::WatchChannelsRequest,
) -> Result<FeedOfChannels, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let after = fields.after_sequence(message.after_sequence);
    let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
    server.app.watch_channels(&call, after).await
}

/// A call that names a channel, and nothing more.
fn keyed(
    inbound: Inbound,
    tenant: String,
    key: String,
    actor: Option<pb::Actor>,
) -> Result<(Call, ChannelKey), Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(tenant);
    let actor = fields.actor(actor);
    let key = fields.channel_key(key);
    inbound.complete(fields, tenant, actor, key)
}
