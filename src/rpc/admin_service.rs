//! `herald.v1.AdminService`: set-up and inspection of one tenant.

use tonic::{Request, Response, Status};

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::pb::admin_service_server::AdminService;
use super::{connect_link, encode, encode_lists, encode_records, pb, people, preview_template};
use crate::app::update_settings::SettingsChange;
use crate::app::{Call, Error};
use crate::domain::ids::UserId;
use crate::domain::limits;

#[tonic::async_trait]
impl AdminService for Server {
    async fn begin_connect(
        &self,
        request: Request<pb::BeginConnectRequest>,
    ) -> Result<Response<pb::BeginConnectResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let (call, wish) = connect_link::wish(inbound, message)?;
            let link = self.app.begin_connect(&call, &wish).await?;
            Ok(pb::BeginConnectResponse {
                authorize_url: link.url.into(),
                expires_at: Some(encode::time(link.expires_at)),
            })
        })
        .await
    }

    async fn get_workspace(
        &self,
        request: Request<pb::GetWorkspaceRequest>,
    ) -> Result<Response<pb::GetWorkspaceResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let call = inbound.tenant_call(message.tenant_id, message.actor)?;
            Ok(encode_records::workspace(self.app.get_workspace(&call).await?))
        })
        .await
    }

    async fn update_settings(
        &self,
        request: Request<pb::UpdateSettingsRequest>,
    ) -> Result<Response<pb::UpdateSettingsResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let change = change(&mut fields, message.settings, message.update_mask);
            let (call, change) = inbound.complete(fields, tenant, actor, change)?;
            let settings = self.app.update_settings(&call, change).await?;
            Ok(pb::UpdateSettingsResponse { settings: Some(encode::settings(settings)) })
        })
        .await
    }

    async fn allow_sending(
        &self,
        request: Request<pb::AllowSendingRequest>,
    ) -> Result<Response<pb::AllowSendingResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let call = inbound.tenant_call(message.tenant_id, message.actor)?;
            let settings = self.app.switch_sending(&call, true).await?;
            Ok(pb::AllowSendingResponse { settings: Some(encode::settings(settings)) })
        })
        .await
    }

    async fn stop_sending(
        &self,
        request: Request<pb::StopSendingRequest>,
    ) -> Result<Response<pb::StopSendingResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let call = inbound.tenant_call(message.tenant_id, message.actor)?;
            let settings = self.app.switch_sending(&call, false).await?;
            Ok(pb::StopSendingResponse { settings: Some(encode::settings(settings)) })
        })
        .await
    }

    async fn upsert_people(
        &self,
        request: Request<pb::UpsertPeopleRequest>,
    ) -> Result<Response<pb::UpsertPeopleResponse>, Status> {
        self.serve(request, async |inbound, message| people::upsert(self, inbound, message).await)
            .await
    }

    async fn get_person(
        &self,
        request: Request<pb::GetPersonRequest>,
    ) -> Result<Response<pb::GetPersonResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let user = fields.user("user_id", message.user_id);
            let (call, user) = inbound.complete(fields, tenant, actor, user)?;
            Ok(encode_records::profile(self.app.get_person(&call, user).await?))
        })
        .await
    }

    async fn list_people(
        &self,
        request: Request<pb::ListPeopleRequest>,
    ) -> Result<Response<pb::ListPeopleResponse>, Status> {
        self.serve(request, async |inbound, message| self.list_people_page(inbound, message).await)
            .await
    }

    async fn delete_person(
        &self,
        request: Request<pb::DeletePersonRequest>,
    ) -> Result<Response<pb::DeletePersonResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let (tenant, user, actor) = (message.tenant_id, message.user_id, message.actor);
            let (call, user) = person_call(inbound, tenant, user, actor)?;
            Ok(encode_lists::erased(self.app.delete_person(&call, user).await?))
        })
        .await
    }

    async fn pin_identity(
        &self,
        request: Request<pb::PinIdentityRequest>,
    ) -> Result<Response<pb::PinIdentityResponse>, Status> {
        self.serve(request, async |inbound, message| people::pin(self, inbound, message).await)
            .await
    }

    async fn clear_identity(
        &self,
        request: Request<pb::ClearIdentityRequest>,
    ) -> Result<Response<pb::ClearIdentityResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let (tenant, user, actor) = (message.tenant_id, message.user_id, message.actor);
            let (call, user) = person_call(inbound, tenant, user, actor)?;
            let cleared = self.app.clear_identity(&call, user).await?;
            Ok(pb::ClearIdentityResponse { cleared })
        })
        .await
    }

    async fn refresh_directory(
        &self,
        request: Request<pb::RefreshDirectoryRequest>,
    ) -> Result<Response<pb::RefreshDirectoryResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let call = inbound.tenant_call(message.tenant_id, message.actor)?;
            self.app.refresh_directory(&call, message.accept_shrink).await?;
            let overview = self.app.get_workspace(&call).await?;
            let directory = encode_records::workspace(overview).directory;
            Ok(pb::RefreshDirectoryResponse { directory })
        })
        .await
    }

    async fn simulate_mapping(
        &self,
        request: Request<pb::SimulateMappingRequest>,
    ) -> Result<Response<pb::SimulateMappingResponse>, Status> {
        self.serve(request, async |inbound, message| {
            self.simulate_mapping_page(inbound, message).await
        })
        .await
    }

    async fn get_match_coverage(
        &self,
        request: Request<pb::GetMatchCoverageRequest>,
    ) -> Result<Response<pb::GetMatchCoverageResponse>, Status> {
        self.serve(request, async |inbound, message| {
            self.match_coverage_page(inbound, message).await
        })
        .await
    }

    async fn list_event_types(
        &self,
        request: Request<pb::ListEventTypesRequest>,
    ) -> Result<Response<pb::ListEventTypesResponse>, Status> {
        self.serve(request, async |inbound, message| {
            self.list_event_types_page(inbound, message).await
        })
        .await
    }

    async fn get_event_type(
        &self,
        request: Request<pb::GetEventTypeRequest>,
    ) -> Result<Response<pb::GetEventTypeResponse>, Status> {
        self.serve(request, async |inbound, message| self.one_event_type(inbound, message).await)
            .await
    }

    async fn create_event_type(
        &self,
        request: Request<pb::CreateEventTypeRequest>,
    ) -> Result<Response<pb::CreateEventTypeResponse>, Status> {
        self.serve(request, async |inbound, message| self.make_event_type(inbound, message).await)
            .await
    }

    async fn update_event_type(
        &self,
        request: Request<pb::UpdateEventTypeRequest>,
    ) -> Result<Response<pb::UpdateEventTypeResponse>, Status> {
        self.serve(request, async |inbound, message| self.change_event_type(inbound, message).await)
            .await
    }

    async fn delete_event_type(
        &self,
        request: Request<pb::DeleteEventTypeRequest>,
    ) -> Result<Response<pb::DeleteEventTypeResponse>, Status> {
        self.serve(request, async |inbound, message| self.remove_event_type(inbound, message).await)
            .await
    }

    async fn set_template(
        &self,
        request: Request<pb::SetTemplateRequest>,
    ) -> Result<Response<pb::SetTemplateResponse>, Status> {
        self.serve(request, async |inbound, message| self.save_template(inbound, message).await)
            .await
    }

    async fn get_template(
        &self,
        request: Request<pb::GetTemplateRequest>,
    ) -> Result<Response<pb::GetTemplateResponse>, Status> {
        self.serve(request, async |inbound, message| self.one_template(inbound, message).await)
            .await
    }

    async fn list_templates(
        &self,
        request: Request<pb::ListTemplatesRequest>,
    ) -> Result<Response<pb::ListTemplatesResponse>, Status> {
        self.serve(request, async |inbound, message| {
            self.list_templates_page(inbound, message).await
        })
        .await
    }

    async fn reset_template(
        &self,
        request: Request<pb::ResetTemplateRequest>,
    ) -> Result<Response<pb::ResetTemplateResponse>, Status> {
        self.serve(request, async |inbound, message| self.remove_template(inbound, message).await)
            .await
    }

    async fn rollback_template(
        &self,
        request: Request<pb::RollbackTemplateRequest>,
    ) -> Result<Response<pb::RollbackTemplateResponse>, Status> {
        self.serve(request, async |inbound, message| {
            self.bring_back_template(inbound, message).await
        })
        .await
    }

    async fn preview_template(
        &self,
        request: Request<pb::PreviewTemplateRequest>,
    ) -> Result<Response<pb::PreviewTemplateResponse>, Status> {
        self.serve(request, async |inbound, message| {
            preview_template::call(self, inbound, message).await
        })
        .await
    }

    async fn list_failed(
        &self,
        request: Request<pb::ListFailedRequest>,
    ) -> Result<Response<pb::ListFailedResponse>, Status> {
        self.serve(request, async |inbound, message| self.list_failed_page(inbound, message).await)
            .await
    }

    async fn replay_deliveries(
        &self,
        request: Request<pb::ReplayDeliveriesRequest>,
    ) -> Result<Response<pb::ReplayDeliveriesResponse>, Status> {
        self.serve(request, async |inbound, message| self.replay(inbound, message).await).await
    }

    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<pb::ListAuditResponse>, Status> {
        self.serve(request, async |inbound, message| self.list_audit_page(inbound, message).await)
            .await
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        self.serve(request, async |inbound, message| self.create_key(inbound, message).await).await
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        self.serve(request, async |inbound, message| self.list_keys_page(inbound, message).await)
            .await
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        self.serve(request, async |inbound, message| self.revoke_key(inbound, message).await).await
    }

    async fn cancel_notification(
        &self,
        request: Request<pb::CancelNotificationRequest>,
    ) -> Result<Response<pb::CancelNotificationResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let id = fields.notification(&message.notification_id);
            let (call, id) = inbound.complete(fields, tenant, actor, id)?;
            let (met, record) = self.app.cancel_notification(&call, id).await?;
            Ok(encode_lists::canceled(met, record))
        })
        .await
    }

    async fn create_identity_link(
        &self,
        request: Request<pb::CreateIdentityLinkRequest>,
    ) -> Result<Response<pb::CreateIdentityLinkResponse>, Status> {
        self.serve(request, async |inbound, message| {
            people::create_link(self, inbound, message).await
        })
        .await
    }

    async fn pin_identities(
        &self,
        request: Request<pb::PinIdentitiesRequest>,
    ) -> Result<Response<pb::PinIdentitiesResponse>, Status> {
        self.serve(request, async |inbound, message| people::pin_many(self, inbound, message).await)
            .await
    }

    async fn rename_person(
        &self,
        request: Request<pb::RenamePersonRequest>,
    ) -> Result<Response<pb::RenamePersonResponse>, Status> {
        self.serve(request, async |inbound, message| people::rename(self, inbound, message).await)
            .await
    }

    async fn merge_people(
        &self,
        request: Request<pb::MergePeopleRequest>,
    ) -> Result<Response<pb::MergePeopleResponse>, Status> {
        self.serve(request, async |inbound, message| people::merge(self, inbound, message).await)
            .await
    }
}

fn person_call(
    inbound: Inbound,
    tenant: String,
    user: String,
    actor: Option<pb::Actor>,
) -> Result<(Call, UserId), Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(tenant);
    let actor = fields.actor(actor);
    let user = fields.user("user_id", user);
    inbound.complete(fields, tenant, actor, user)
}

/// The fields that a mask may name.
const SETTINGS: [&str; 9] = [
    "sending_allowed",
    "user_attribute",
    "slack_attribute",
    "opt_in",
    "locale",
    "time_zone",
    "disabled_event_types",
    "held_event_types",
    "share_workspace",
];

/// The settings to change. An empty mask means those that are not at their zero value (AIP-134).
fn change(
    fields: &mut Fields,
    settings: Option<pb::Settings>,
    mask: Option<prost_types::FieldMask>,
) -> Option<SettingsChange> {
    let Some(settings) = settings else {
        fields.bad("settings", "must be set");
        return None;
    };
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    for path in paths.iter().filter(|path| !SETTINGS.contains(&path.as_str())) {
        let known = SETTINGS.join(", ");
        fields.bad("update_mask", format!("{path:?} is not a setting; settings are {known}"));
    }
    let named = |name: &str, set: bool| {
        if paths.is_empty() { set } else { paths.iter().any(|path| path == name) }
    };
    let text = |name: &str, value: String| named(name, !value.is_empty()).then_some(value);
    let disabled_named = named("disabled_event_types", !settings.disabled_event_types.is_empty());
    let disabled =
        event_types(fields, "settings.disabled_event_types", settings.disabled_event_types);
    let held_named = named("held_event_types", !settings.held_event_types.is_empty());
    let held = event_types(fields, "settings.held_event_types", settings.held_event_types);
    let change = SettingsChange {
        sending_allowed: named("sending_allowed", settings.sending_allowed)
            .then_some(settings.sending_allowed),
        opt_in: named("opt_in", settings.opt_in).then_some(settings.opt_in),
        user_attribute: text("user_attribute", settings.user_attribute),
        slack_attribute: text("slack_attribute", settings.slack_attribute),
        locale: text("locale", settings.locale),
        time_zone: text("time_zone", settings.time_zone),
        disabled_event_types: disabled_named.then_some(disabled),
        held_event_types: held_named.then_some(held),
        share_workspace: named("share_workspace", settings.share_workspace)
            .then_some(settings.share_workspace),
        expected_version: (settings.version != 0).then_some(settings.version),
    };
    if paths.is_empty() && change.is_empty() {
        let problem = "nothing would change: name the settings in update_mask (to turn sending \
                       off, call StopSending)";
        fields.bad("update_mask", problem);
    }
    Some(change)
}

fn event_types(
    fields: &mut Fields,
    field: &str,
    given: Vec<String>,
) -> std::collections::BTreeSet<crate::domain::ids::EventType> {
    let max = limits::EVENT_TYPES_IN_SETTINGS;
    if given.len() > max {
        fields.bad(field, format!("must be at most {max}"));
        return std::collections::BTreeSet::new();
    }
    given
        .into_iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let field = format!("{field}[{index}]");
            fields.take(&field, crate::domain::ids::EventType::parse(text))
        })
        .collect()
}
