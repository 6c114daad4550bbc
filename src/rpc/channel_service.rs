//! `herald.v1.ChannelService`: each method decodes, makes one call to `app`, and encodes the answer
//! (`channels`).

use tonic::{Request, Response, Status};

use super::call::Server;
use super::pb::channel_service_server::ChannelService;
use super::watch::Stream;
use super::{channels, pb};

#[tonic::async_trait]
impl ChannelService for Server {
    async fn ensure_channel(
        &self,
        request: Request<pb::EnsureChannelRequest>,
    ) -> Result<Response<pb::EnsureChannelResponse>, Status> {
        self.serve(request, async |inbound, message| channels::ensure(self, inbound, message).await)
            .await
    }

    async fn get_channel(
        &self,
        request: Request<pb::GetChannelRequest>,
    ) -> Result<Response<pb::GetChannelResponse>, Status> {
        self.serve(request, async |inbound, message| channels::get(self, inbound, message).await)
            .await
    }

    async fn list_channels(
        &self,
        request: Request<pb::ListChannelsRequest>,
    ) -> Result<Response<pb::ListChannelsResponse>, Status> {
        self.serve(request, async |inbound, message| channels::list(self, inbound, message).await)
            .await
    }

    async fn list_channel_members(
        &self,
        request: Request<pb::ListChannelMembersRequest>,
    ) -> Result<Response<pb::ListChannelMembersResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::list_members(self, inbound, message).await
        })
        .await
    }

    async fn set_channel_members(
        &self,
        request: Request<pb::SetChannelMembersRequest>,
    ) -> Result<Response<pb::SetChannelMembersResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::set_members(self, inbound, message).await
        })
        .await
    }

    async fn add_channel_members(
        &self,
        request: Request<pb::AddChannelMembersRequest>,
    ) -> Result<Response<pb::AddChannelMembersResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::add_members(self, inbound, message).await
        })
        .await
    }

    async fn remove_channel_members(
        &self,
        request: Request<pb::RemoveChannelMembersRequest>,
    ) -> Result<Response<pb::RemoveChannelMembersResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::remove_members(self, inbound, message).await
        })
        .await
    }

    async fn rename_channel(
        &self,
        request: Request<pb::RenameChannelRequest>,
    ) -> Result<Response<pb::RenameChannelResponse>, Status> {
        self.serve(request, async |inbound, message| channels::rename(self, inbound, message).await)
            .await
    }

    async fn archive_channel(
        &self,
        request: Request<pb::ArchiveChannelRequest>,
    ) -> Result<Response<pb::ArchiveChannelResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::archive(self, inbound, message).await
        })
        .await
    }

    async fn unarchive_channel(
        &self,
        request: Request<pb::UnarchiveChannelRequest>,
    ) -> Result<Response<pb::UnarchiveChannelResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::unarchive(self, inbound, message).await
        })
        .await
    }

    async fn release_channel(
        &self,
        request: Request<pb::ReleaseChannelRequest>,
    ) -> Result<Response<pb::ReleaseChannelResponse>, Status> {
        self.serve(request, async |inbound, message| {
            channels::release(self, inbound, message).await
        })
        .await
    }

    type WatchChannelsStream = Stream<pb::WatchChannelsResponse>;

    async fn watch_channels(
        &self,
        request: Request<pb::WatchChannelsRequest>,
    ) -> Result<Response<Self::WatchChannelsStream>, Status> {
        self.watch(request, async |inbound, message| channels::watch(self, inbound, message).await)
            .await
    }
}
