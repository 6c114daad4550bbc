//! `herald.v1.HeraldService`: each method decodes, makes one call to `app`, and encodes the answer.

use tonic::{Request, Response, Status};

use super::call::Server;
use super::decode::Fields;
use super::pb::herald_service_server::HeraldService;
use super::watch::Stream;
use super::{encode, encode_lists, encode_records, encode_trace, notify, pb};
use crate::app::Subject;

#[tonic::async_trait]
impl HeraldService for Server {
    async fn notify(
        &self,
        request: Request<pb::NotifyRequest>,
    ) -> Result<Response<pb::NotifyResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let dry_run = message.dry_run;
            let (call, request) = notify::decode(inbound, message)?;
            if dry_run {
                return Ok(encode_trace::tried(self.app.try_notify(&call, request).await?));
            }
            Ok(encode::answer(self.app.notify(&call, request).await?))
        })
        .await
    }

    async fn resolve_identity(
        &self,
        request: Request<pb::ResolveIdentityRequest>,
    ) -> Result<Response<pb::ResolveIdentityResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let subject = match message.subject {
                Some(pb::resolve_identity_request::Subject::UserId(id)) => known(&mut fields, id),
                Some(pb::resolve_identity_request::Subject::Person(p)) => described(&mut fields, p),
                None => missing_subject(&mut fields),
            };
            let (call, subject) = inbound.complete(fields, tenant, actor, subject)?;
            Ok(encode::resolved(self.app.resolve_identity(&call, subject).await?))
        })
        .await
    }

    async fn test_slack(
        &self,
        request: Request<pb::TestSlackRequest>,
    ) -> Result<Response<pb::TestSlackResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let subject = match message.subject {
                Some(pb::test_slack_request::Subject::UserId(id)) => known(&mut fields, id),
                Some(pb::test_slack_request::Subject::Person(p)) => described(&mut fields, p),
                None => missing_subject(&mut fields),
            };
            let wait = inbound.patience();
            let _waiting = self.limits.test(&inbound.caller, tenant.as_ref())?;
            let (call, subject) = inbound.complete(fields, tenant, actor, subject)?;
            Ok(encode::tested(self.app.test_slack(&call, subject, wait).await?))
        })
        .await
    }

    async fn set_preference(
        &self,
        request: Request<pb::SetPreferenceRequest>,
    ) -> Result<Response<pb::SetPreferenceResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let user = fields.user("user_id", message.user_id);
            let value = fields.preference(message.value);
            let everything = message.event_type.is_empty();
            let event = if everything { None } else { fields.event_type(message.event_type) };
            let (call, (user, value)) = inbound.complete(fields, tenant, actor, user.zip(value))?;
            Ok(encode::effect(self.app.set_preference(&call, user, event, value).await?))
        })
        .await
    }

    async fn get_notification(
        &self,
        request: Request<pb::GetNotificationRequest>,
    ) -> Result<Response<pb::GetNotificationResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let id = fields.notification(&message.notification_id);
            let (call, id) = inbound.complete(fields, tenant, actor, id)?;
            let found = self.app.get_notification(&call, id).await?;
            Ok(pb::GetNotificationResponse { notification: Some(encode_records::found(found)) })
        })
        .await
    }

    async fn get_preferences(
        &self,
        request: Request<pb::GetPreferencesRequest>,
    ) -> Result<Response<pb::GetPreferencesResponse>, Status> {
        self.serve(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let user = fields.user("user_id", message.user_id);
            let (call, user) = inbound.complete(fields, tenant, actor, user)?;
            Ok(encode_lists::preferences(self.app.get_preferences(&call, user).await?))
        })
        .await
    }

    async fn list_notifications(
        &self,
        request: Request<pb::ListNotificationsRequest>,
    ) -> Result<Response<pb::ListNotificationsResponse>, Status> {
        self.serve(request, async |inbound, message| {
            self.list_notifications_page(inbound, message).await
        })
        .await
    }

    type WatchNotificationStream = Stream<pb::WatchNotificationResponse>;

    async fn watch_notification(
        &self,
        request: Request<pb::WatchNotificationRequest>,
    ) -> Result<Response<Self::WatchNotificationStream>, Status> {
        self.watch(request, async |inbound, message| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let id = fields.notification(&message.notification_id);
            let (call, id) = inbound.complete(fields, tenant, actor, id)?;
            self.app.watch_notification(&call, id).await
        })
        .await
    }

    type WatchDeliveriesStream = Stream<pb::WatchDeliveriesResponse>;

    async fn watch_deliveries(
        &self,
        request: Request<pb::WatchDeliveriesRequest>,
    ) -> Result<Response<Self::WatchDeliveriesStream>, Status> {
        self.watch(request, async |inbound, message| {
            let mut fields = Fields::default();
            if message.tenant_id.is_empty() {
                if message.actor.is_some() {
                    fields.bad("actor", "must be absent if tenant_id is absent");
                }
                let after = fields.after_sequence(message.after_sequence);
                fields.end()?;
                return self.app.watch_all_deliveries(&inbound.into_caller(), after).await;
            }
            let tenant = fields.tenant(message.tenant_id);
            let actor = fields.actor(message.actor);
            let after = fields.after_sequence(message.after_sequence);
            let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
            self.app.watch_deliveries(&call, after).await
        })
        .await
    }
}

fn known(fields: &mut Fields, id: String) -> Option<Subject> {
    fields.user("user_id", id).map(Subject::Known)
}

fn described(fields: &mut Fields, person: pb::Person) -> Option<Subject> {
    fields.person("person", person).map(Subject::Described)
}

fn missing_subject<T>(fields: &mut Fields) -> Option<T> {
    fields.bad("subject", "must be one of user_id, person");
    None
}
