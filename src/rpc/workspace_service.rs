//! `herald.v1.WorkspaceService`: each method decodes, makes one call to `app`, and encodes the
//! answer (`slack_apps`, `manifests`, `connections`, `leaving`, `doctor`, `operators`).

use tonic::{Request, Response, Status};

use super::call::Server;
use super::pb::workspace_service_server::WorkspaceService;
use super::watch::Stream;
use super::{connections, doctor, leaving, manifests, operators, pb, slack_apps};

#[tonic::async_trait]
impl WorkspaceService for Server {
    async fn set_slack_app(
        &self,
        request: Request<pb::SetSlackAppRequest>,
    ) -> Result<Response<pb::SetSlackAppResponse>, Status> {
        self.serve(request, async |inbound, message| slack_apps::set(self, inbound, message).await)
            .await
    }

    async fn get_slack_app(
        &self,
        request: Request<pb::GetSlackAppRequest>,
    ) -> Result<Response<pb::GetSlackAppResponse>, Status> {
        self.serve(request, async |inbound, message| slack_apps::get(self, inbound, message).await)
            .await
    }

    async fn delete_slack_app(
        &self,
        request: Request<pb::DeleteSlackAppRequest>,
    ) -> Result<Response<pb::DeleteSlackAppResponse>, Status> {
        self.serve(request, async |inbound, message| {
            slack_apps::delete(self, inbound, message).await
        })
        .await
    }

    async fn create_slack_app_manifest(
        &self,
        request: Request<pb::CreateSlackAppManifestRequest>,
    ) -> Result<Response<pb::CreateSlackAppManifestResponse>, Status> {
        self.serve(request, async |inbound, message| {
            manifests::create(self, inbound, message).await
        })
        .await
    }

    type WatchWorkspaceStream = Stream<pb::WatchWorkspaceResponse>;

    async fn watch_workspace(
        &self,
        request: Request<pb::WatchWorkspaceRequest>,
    ) -> Result<Response<Self::WatchWorkspaceStream>, Status> {
        self.watch(request, async |inbound, message| {
            connections::watch(self, inbound, message).await
        })
        .await
    }

    type WatchWorkspacesStream = Stream<pb::WatchWorkspacesResponse>;

    async fn watch_workspaces(
        &self,
        request: Request<pb::WatchWorkspacesRequest>,
    ) -> Result<Response<Self::WatchWorkspacesStream>, Status> {
        self.watch(request, async |inbound, message| {
            connections::watch_all(self, inbound, message).await
        })
        .await
    }

    async fn disconnect(
        &self,
        request: Request<pb::DisconnectRequest>,
    ) -> Result<Response<pb::DisconnectResponse>, Status> {
        self.serve(request, async |inbound, message| {
            leaving::disconnect(self, inbound, message).await
        })
        .await
    }

    async fn delete_tenant(
        &self,
        request: Request<pb::DeleteTenantRequest>,
    ) -> Result<Response<pb::DeleteTenantResponse>, Status> {
        self.serve(request, async |inbound, message| {
            leaving::delete_tenant(self, inbound, message).await
        })
        .await
    }

    async fn check_connection(
        &self,
        request: Request<pb::CheckConnectionRequest>,
    ) -> Result<Response<pb::CheckConnectionResponse>, Status> {
        self.serve(request, async |inbound, message| doctor::check(self, inbound, message).await)
            .await
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        self.serve(request, async |inbound, message| {
            operators::list_tenants(self, inbound, message).await
        })
        .await
    }

    async fn list_workspaces(
        &self,
        request: Request<pb::ListWorkspacesRequest>,
    ) -> Result<Response<pb::ListWorkspacesResponse>, Status> {
        self.serve(request, async |inbound, message| {
            operators::list_workspaces(self, inbound, message).await
        })
        .await
    }
}
