//! A gRPC client for tests, and requests to start from.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use herald::domain::ids::EventType;
use herald::domain::message::event;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::channel_service_client::ChannelServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::rpc::pb::workspace_service_client::WorkspaceServiceClient;
use herald::rpc::{pb, to_struct};
use serde_json::{Map, Value};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::books::Books;
use super::world::{TENANT, until};

/// The API key of the caller with that name.
pub(crate) fn key_of(name: &str) -> String {
    format!("herald_test_key_of_{name}")
}

/// Adds credentials to calls: the API key of the caller with that name, or given ones.
#[derive(Clone)]
pub(crate) struct Key {
    name: Option<String>,
    bearer: Option<String>,
}

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            let value = format!("Bearer {bearer}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// Calls one replica.
#[derive(Clone)]
pub(crate) struct Client {
    herald: HeraldServiceClient<InterceptedService<Channel, Key>>,
    admin: AdminServiceClient<InterceptedService<Channel, Key>>,
    channels: ChannelServiceClient<InterceptedService<Channel, Key>>,
    workspaces: WorkspaceServiceClient<InterceptedService<Channel, Key>>,
    key: Key,
    books: Arc<Mutex<Books>>,
}

macro_rules! calls {
    ($($service:ident . $method:ident : $request:ident -> $response:ident;)*) => {
        $(pub(crate) async fn $method(
            &self,
            request: pb::$request,
        ) -> Result<pb::$response, Status> {
            Ok(self.$service.clone().$method(request).await?.into_inner())
        })*
    };
}

impl Client {
    pub(crate) async fn connect(
        rpc: SocketAddr,
        key: Option<&str>,
        books: Arc<Mutex<Books>>,
    ) -> Self {
        let channel = Channel::from_shared(format!("http://{rpc}")).unwrap();
        let channel = channel.connect().await.unwrap();
        let (name, bearer) = (key.map(str::to_owned), key.map(key_of));
        Self::over(channel, Key { name, bearer }, books)
    }

    /// With these credentials, or none.
    pub(crate) fn bearing(
        channel: Channel,
        bearer: Option<&str>,
        books: Arc<Mutex<Books>>,
    ) -> Self {
        Self::over(channel, Key { name: None, bearer: bearer.map(str::to_owned) }, books)
    }

    fn over(channel: Channel, key: Key, books: Arc<Mutex<Books>>) -> Self {
        Self {
            herald: HeraldServiceClient::with_interceptor(channel.clone(), key.clone()),
            admin: AdminServiceClient::with_interceptor(channel.clone(), key.clone()),
            channels: ChannelServiceClient::with_interceptor(channel.clone(), key.clone()),
            workspaces: WorkspaceServiceClient::with_interceptor(channel, key.clone()),
            key,
            books,
        }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.name.as_deref()
    }

    calls! {
        herald.resolve_identity: ResolveIdentityRequest -> ResolveIdentityResponse;
        herald.set_preference: SetPreferenceRequest -> SetPreferenceResponse;
        herald.get_preferences: GetPreferencesRequest -> GetPreferencesResponse;
        herald.list_notifications: ListNotificationsRequest -> ListNotificationsResponse;
        admin.list_people: ListPeopleRequest -> ListPeopleResponse;
        admin.delete_person: DeletePersonRequest -> DeletePersonResponse;
        admin.pin_identity: PinIdentityRequest -> PinIdentityResponse;
        admin.create_identity_link: CreateIdentityLinkRequest -> CreateIdentityLinkResponse;
        admin.pin_identities: PinIdentitiesRequest -> PinIdentitiesResponse;
        admin.rename_person: RenamePersonRequest -> RenamePersonResponse;
        admin.merge_people: MergePeopleRequest -> MergePeopleResponse;
        admin.clear_identity: ClearIdentityRequest -> ClearIdentityResponse;
        admin.refresh_directory: RefreshDirectoryRequest -> RefreshDirectoryResponse;
        admin.list_event_types: ListEventTypesRequest -> ListEventTypesResponse;
        admin.get_event_type: GetEventTypeRequest -> GetEventTypeResponse;
        admin.create_event_type: CreateEventTypeRequest -> CreateEventTypeResponse;
        admin.update_event_type: UpdateEventTypeRequest -> UpdateEventTypeResponse;
        admin.delete_event_type: DeleteEventTypeRequest -> DeleteEventTypeResponse;
        admin.set_template: SetTemplateRequest -> SetTemplateResponse;
        admin.get_template: GetTemplateRequest -> GetTemplateResponse;
        admin.list_templates: ListTemplatesRequest -> ListTemplatesResponse;
        admin.reset_template: ResetTemplateRequest -> ResetTemplateResponse;
        admin.rollback_template: RollbackTemplateRequest -> RollbackTemplateResponse;
        admin.cancel_notification: CancelNotificationRequest -> CancelNotificationResponse;
        admin.list_audit: ListAuditRequest -> ListAuditResponse;
        admin.create_api_key: CreateApiKeyRequest -> CreateApiKeyResponse;
        admin.list_api_keys: ListApiKeysRequest -> ListApiKeysResponse;
        admin.revoke_api_key: RevokeApiKeyRequest -> RevokeApiKeyResponse;
        admin.list_failed: ListFailedRequest -> ListFailedResponse;
        admin.replay_deliveries: ReplayDeliveriesRequest -> ReplayDeliveriesResponse;
        admin.update_settings: UpdateSettingsRequest -> UpdateSettingsResponse;
        admin.allow_sending: AllowSendingRequest -> AllowSendingResponse;
        admin.stop_sending: StopSendingRequest -> StopSendingResponse;
        admin.simulate_mapping: SimulateMappingRequest -> SimulateMappingResponse;
        admin.get_match_coverage: GetMatchCoverageRequest -> GetMatchCoverageResponse;
        admin.upsert_people: UpsertPeopleRequest -> UpsertPeopleResponse;
        channels.ensure_channel: EnsureChannelRequest -> EnsureChannelResponse;
        channels.get_channel: GetChannelRequest -> GetChannelResponse;
        channels.list_channels: ListChannelsRequest -> ListChannelsResponse;
        channels.list_channel_members: ListChannelMembersRequest -> ListChannelMembersResponse;
        channels.set_channel_members: SetChannelMembersRequest -> SetChannelMembersResponse;
        channels.add_channel_members: AddChannelMembersRequest -> AddChannelMembersResponse;
        channels.remove_channel_members:
            RemoveChannelMembersRequest -> RemoveChannelMembersResponse;
        channels.rename_channel: RenameChannelRequest -> RenameChannelResponse;
        channels.archive_channel: ArchiveChannelRequest -> ArchiveChannelResponse;
        channels.unarchive_channel: UnarchiveChannelRequest -> UnarchiveChannelResponse;
        channels.release_channel: ReleaseChannelRequest -> ReleaseChannelResponse;
        workspaces.set_slack_app: SetSlackAppRequest -> SetSlackAppResponse;
        workspaces.get_slack_app: GetSlackAppRequest -> GetSlackAppResponse;
        workspaces.delete_slack_app: DeleteSlackAppRequest -> DeleteSlackAppResponse;
        workspaces.create_slack_app_manifest:
            CreateSlackAppManifestRequest -> CreateSlackAppManifestResponse;
        workspaces.disconnect: DisconnectRequest -> DisconnectResponse;
        workspaces.check_connection: CheckConnectionRequest -> CheckConnectionResponse;
        workspaces.list_tenants: ListTenantsRequest -> ListTenantsResponse;
        workspaces.list_workspaces: ListWorkspacesRequest -> ListWorkspacesResponse;
    }

    pub(crate) async fn notify(
        &self,
        request: impl tonic::IntoRequest<pb::NotifyRequest>,
    ) -> Result<pb::NotifyResponse, Status> {
        let request = request.into_request();
        let tenant = request.get_ref().tenant_id.clone();
        let answer = self.herald.clone().notify(request).await?.into_inner();
        self.books.lock().unwrap().notified(&tenant, &answer);
        Ok(answer)
    }

    pub(crate) async fn delete_tenant(
        &self,
        request: pb::DeleteTenantRequest,
    ) -> Result<pb::DeleteTenantResponse, Status> {
        let tenant = request.tenant_id.clone();
        let answer = self.workspaces.clone().delete_tenant(request).await?.into_inner();
        self.books.lock().unwrap().erased(&tenant);
        Ok(answer)
    }

    pub(crate) async fn test_slack(
        &self,
        request: impl tonic::IntoRequest<pb::TestSlackRequest>,
    ) -> Result<pb::TestSlackResponse, Status> {
        let request = request.into_request();
        let tenant = request.get_ref().tenant_id.clone();
        let answer = self.herald.clone().test_slack(request).await?.into_inner();
        self.books.lock().unwrap().tested(&tenant, &answer);
        Ok(answer)
    }

    pub(crate) async fn preview_template(
        &self,
        request: impl tonic::IntoRequest<pb::PreviewTemplateRequest>,
    ) -> Result<pb::PreviewTemplateResponse, Status> {
        Ok(self.admin.clone().preview_template(request).await?.into_inner())
    }

    pub(crate) async fn notification(
        &self,
        tenant: &str,
        id: &str,
    ) -> Result<pb::Notification, Status> {
        let request = pb::GetNotificationRequest {
            tenant_id: tenant.into(),
            notification_id: id.into(),
            actor: None,
        };
        let answer = self.herald.clone().get_notification(request).await?.into_inner();
        Ok(answer.notification.unwrap())
    }

    /// The changes of all channels after a number; `None` means from now on.
    pub(crate) async fn watch_channels(
        &self,
        tenant: &str,
        after_sequence: Option<i64>,
    ) -> Result<tonic::Streaming<pb::WatchChannelsResponse>, Status> {
        let tenant_id = tenant.into();
        let request = pb::WatchChannelsRequest { tenant_id, after_sequence, actor: None };
        Ok(self.channels.clone().watch_channels(request).await?.into_inner())
    }

    /// The states of the connection of one tenant.
    pub(crate) async fn watch_workspace(
        &self,
        tenant: &str,
    ) -> Result<tonic::Streaming<pb::WatchWorkspaceResponse>, Status> {
        let request = pb::WatchWorkspaceRequest { tenant_id: tenant.into(), actor: None };
        Ok(self.workspaces.clone().watch_workspace(request).await?.into_inner())
    }

    /// The states of all connections.
    pub(crate) async fn watch_workspaces(
        &self,
    ) -> Result<tonic::Streaming<pb::WatchWorkspacesResponse>, Status> {
        let request = pb::WatchWorkspacesRequest {};
        Ok(self.workspaces.clone().watch_workspaces(request).await?.into_inner())
    }

    /// The changes of all deliveries after a number; `None` means from now on.
    pub(crate) async fn watch_deliveries(
        &self,
        tenant: &str,
        after_sequence: Option<i64>,
    ) -> Result<tonic::Streaming<pb::WatchDeliveriesResponse>, Status> {
        let tenant_id = tenant.into();
        let request = pb::WatchDeliveriesRequest { tenant_id, after_sequence, actor: None };
        Ok(self.herald.clone().watch_deliveries(request).await?.into_inner())
    }

    pub(crate) async fn watch_notification(
        &self,
        tenant: &str,
        id: &str,
    ) -> Result<tonic::Streaming<pb::WatchNotificationResponse>, Status> {
        let (tenant_id, notification_id) = (tenant.into(), id.into());
        let request = pb::WatchNotificationRequest { tenant_id, notification_id, actor: None };
        Ok(self.herald.clone().watch_notification(request).await?.into_inner())
    }

    /// The same, with an actor if the request names one.
    pub(crate) async fn watch_notification_as(
        &self,
        request: pb::WatchNotificationRequest,
    ) -> Result<tonic::Streaming<pb::WatchNotificationResponse>, Status> {
        Ok(self.herald.clone().watch_notification(request).await?.into_inner())
    }

    /// Records the outcome of a TestSlack call that was made in another way.
    pub(crate) fn book_test(&self, tenant: &str, answer: &pb::TestSlackResponse) {
        self.books.lock().unwrap().tested(tenant, answer);
    }

    /// Waits until every delivery of the notification has ended.
    pub(crate) async fn ended(&self, tenant: &str, id: &str) -> Vec<pb::Delivery> {
        self.deliveries_until(tenant, id, is_terminal).await
    }

    /// Waits until every delivery of the notification is as wanted.
    pub(crate) async fn deliveries_until(
        &self,
        tenant: &str,
        id: &str,
        wanted: impl Fn(&pb::Delivery) -> bool,
    ) -> Vec<pb::Delivery> {
        until("deliveries are as wanted", async || {
            let notification = self.notification(tenant, id).await.unwrap();
            notification.deliveries.iter().all(&wanted).then_some(notification.deliveries)
        })
        .await
    }

    pub(crate) async fn begin_connect(
        &self,
        tenant: &str,
    ) -> Result<pb::BeginConnectResponse, Status> {
        // If allowed: tests of other subjects share one workspace.
        let allow_shared_workspace = self.key.bearer.is_none();
        let tenant_id = tenant.into();
        let request = pb::BeginConnectRequest {
            tenant_id,
            allow_shared_workspace,
            ..pb::BeginConnectRequest::default()
        };
        Ok(self.admin.clone().begin_connect(request).await?.into_inner())
    }

    /// Begins to connect with this request.
    pub(crate) async fn begin_connect_as(
        &self,
        request: pb::BeginConnectRequest,
    ) -> Result<pb::BeginConnectResponse, Status> {
        Ok(self.admin.clone().begin_connect(request).await?.into_inner())
    }

    pub(crate) async fn workspace(&self, tenant: &str) -> Result<pb::GetWorkspaceResponse, Status> {
        let request = pb::GetWorkspaceRequest { tenant_id: tenant.into(), actor: None };
        Ok(self.admin.clone().get_workspace(request).await?.into_inner())
    }

    pub(crate) async fn person(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<pb::GetPersonResponse, Status> {
        let request =
            pb::GetPersonRequest { tenant_id: tenant.into(), user_id: user.into(), actor: None };
        Ok(self.admin.clone().get_person(request).await?.into_inner())
    }

    /// Turns sending on or off.
    pub(crate) async fn switch_sending(&self, tenant: &str, allowed: bool) {
        let (tenant_id, actor) = (tenant.to_owned(), None);
        if allowed {
            self.allow_sending(pb::AllowSendingRequest { tenant_id, actor }).await.unwrap();
        } else {
            self.stop_sending(pb::StopSendingRequest { tenant_id, actor }).await.unwrap();
        }
    }

    /// Changes the named settings.
    pub(crate) async fn set(
        &self,
        tenant: &str,
        settings: pb::Settings,
        paths: &[&str],
    ) -> Result<pb::Settings, Status> {
        let paths = paths.iter().map(ToString::to_string).collect();
        let request = pb::UpdateSettingsRequest {
            tenant_id: tenant.into(),
            settings: Some(settings),
            update_mask: Some(prost_types::FieldMask { paths }),
            actor: None,
        };
        Ok(self.update_settings(request).await?.settings.unwrap())
    }

    pub(crate) async fn upsert(&self, tenant: &str, people: Vec<pb::Person>) {
        let request = pb::UpsertPeopleRequest { tenant_id: tenant.into(), people, actor: None };
        self.admin.clone().upsert_people(request).await.unwrap();
    }

    /// Stores people of the demo workspace: `ben` is the user `ben` with Ben's address.
    pub(crate) async fn load(&self, names: &[&str]) {
        self.upsert(TENANT, names.iter().map(|name| demo_person(name)).collect()).await;
    }
}

pub(crate) fn micros(time: &prost_types::Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1000
}

/// Whether a delivery has ended.
pub(crate) fn is_terminal(delivery: &pb::Delivery) -> bool {
    use pb::DeliveryState as State;
    matches!(
        delivery.state(),
        State::Sent
            | State::Failed
            | State::Expired
            | State::Suppressed
            | State::Canceled
            | State::Parked
            | State::Unreachable
    )
}

/// A platform user with the address of that demo member.
pub(crate) fn demo_person(name: &str) -> pb::Person {
    person(name, &format!("{name}@demo.example"))
}

pub(crate) fn person(user_id: &str, email: &str) -> pb::Person {
    pb::Person { user_id: user_id.into(), email: email.into(), ..pb::Person::default() }
}

/// A JSON object as protobuf carries it.
pub(crate) fn fields(object: Value) -> prost_types::Struct {
    let Value::Object(map) = object else { panic!("not an object: {object}") };
    to_struct(map)
}

/// A notification of this type to these users of [`TENANT`], with demonstration data.
pub(crate) fn notify(request_id: &str, event_type: &str, users: &[&str]) -> pb::NotifyRequest {
    let to = users.iter().map(|user| pb::recipient::Target::UserId((*user).into()));
    notify_targets(request_id, event_type, to)
}

/// The same to any targets.
pub(crate) fn notify_targets(
    request_id: &str,
    event_type: &str,
    targets: impl IntoIterator<Item = pb::recipient::Target>,
) -> pb::NotifyRequest {
    let event = EventType::parse(event_type).unwrap();
    let data = match event::demo_data(&event) {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    let recipients =
        targets.into_iter().map(|target| pb::Recipient { target: Some(target), roles: Vec::new() });
    pb::NotifyRequest {
        tenant_id: TENANT.into(),
        request_id: request_id.into(),
        event_type: event_type.into(),
        recipients: recipients.collect(),
        data: Some(to_struct(data)),
        link: "https://platform.example/things/1".into(),
        ..pb::NotifyRequest::default()
    }
}

/// A task whose name is `text`, to these users: the message shows the text.
pub(crate) fn task(text: &str, users: &[&str]) -> pb::NotifyRequest {
    let data = serde_json::json!({ "task": { "name": text }, "process": { "name": "Onboarding" } });
    pb::NotifyRequest { data: Some(fields(data)), ..notify(text, "task.assigned", users) }
}

/// The stable reason that a refused call carries.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

/// The fields that a refused call names.
pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let bad = details.bad_request().unwrap();
    bad.field_violations.iter().map(|violation| violation.field.clone()).collect()
}
