//! Disconnect and DeleteTenant: the data that is erased, the data that stays, and repeated calls.

use herald::domain::delivery::admission::Departure;
use herald::domain::ids::TenantId;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::rpc::pb::workspace_service_client::WorkspaceServiceClient;
use herald::rpc::pb::{self, DeliveryState, NoMatchReason, VerdictKind, WaitingMessages};
use herald::sandbox::{Fault, FaultKind};
use herald::store::{Left, Store, UseEnd};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::client::{bad_fields, demo_person, is_terminal, notify, reason, task};
use crate::support::process;
use crate::support::world::{Replica, TENANT, World, for_each_database, until};

/// Another tenant.
pub(super) const OTHER: &str = "umbrella";
pub(super) const BEN: &str = "U0DEMOBEN";

/// The calls of this file, at the first replica.
pub(super) struct Leaving {
    workspaces: WorkspaceServiceClient<Channel>,
    herald: HeraldServiceClient<Channel>,
}

impl Leaving {
    pub(super) fn new(world: &World) -> Self {
        Self::at(&world.replicas[0])
    }

    fn at(replica: &Replica) -> Self {
        let channel = process::channel(replica.rpc);
        Self {
            workspaces: WorkspaceServiceClient::new(channel.clone()),
            herald: HeraldServiceClient::new(channel),
        }
    }

    async fn disconnect_as(
        &self,
        request: pb::DisconnectRequest,
    ) -> Result<pb::DisconnectResponse, Status> {
        Ok(self.workspaces.clone().disconnect(request).await?.into_inner())
    }

    pub(super) async fn disconnect(
        &self,
        tenant: &str,
        waiting: WaitingMessages,
    ) -> pb::DisconnectResponse {
        let request = pb::DisconnectRequest {
            tenant_id: tenant.into(),
            waiting_messages: waiting.into(),
            ..pb::DisconnectRequest::default()
        };
        self.disconnect_as(request).await.unwrap()
    }

    async fn delete(&self, tenant: &str) -> Result<pb::DeleteTenantResponse, Status> {
        let request = pb::DeleteTenantRequest { tenant_id: tenant.into() };
        Ok(self.workspaces.clone().delete_tenant(request).await?.into_inner())
    }

    /// Deletes the tenant, part by part.
    async fn delete_all(&self, tenant: &str) {
        until("the tenant is deleted", async || {
            self.delete(tenant).await.unwrap().done.then_some(())
        })
        .await;
    }

    /// A notification that the books of the world do not have: it is erased with its tenant.
    async fn notify(&self, request: pb::NotifyRequest) -> Result<pb::NotifyResponse, Status> {
        Ok(self.herald.clone().notify(request).await?.into_inner())
    }
}

/// A message to Ben that Slack does not accept yet.
pub(super) async fn queued(world: &World, text: &str) -> String {
    let answer = world.client.notify(task(text, &["ben"])).await.unwrap();
    assert_eq!(answer.verdicts[0].kind(), VerdictKind::Queued);
    answer.notification_id
}

/// Red without `end_waiting` in `app/leave.rs` (`unreachable`), without `revoke` there, or without
/// `EMPTY_LIST` in `store/leaving/link.rs` (the list of before stays in memory).
#[tokio::test]
async fn the_last_tenant_leaves_nothing_in_the_workspace() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.client.load(&["ben"]).await;
        world.throttle(BEN, 30);
        let waiting = queued(world, "waiting").await;
        world.called("chat.postMessage", 1).await;

        let left = leaving.disconnect(TENANT, WaitingMessages::Unspecified).await;
        assert!(left.disconnected && left.revoked, "{left:?}");
        assert_eq!(left.remaining, "");
        assert_eq!(world.calls("auth.revoke").len(), 1);
        let ended = world.client.ended(TENANT, &waiting).await;
        assert_eq!(ended[0].state(), DeliveryState::Canceled);
        assert_eq!(ended[0].reason, "disconnected");
        assert_eq!(ended[0].fallback(), pb::Fallback::Wanted);

        assert!(world.client.workspace(TENANT).await.unwrap().workspace.is_none());
        for table in ["directory_pages", "directory_changes", "profile_fields"] {
            assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        let kept = "SELECT COUNT(*) FROM installations WHERE state_reason = 'disconnected' \
            AND refresh_token IS NULL AND installed_by IS NULL";
        assert_eq!(world.count(kept).await, 1);
        let unreachable = world.client.notify(notify("1", "case.started", &["ben"])).await.unwrap();
        let verdict = &unreachable.verdicts[0];
        assert_eq!(verdict.no_match.as_ref().unwrap().reason(), NoMatchReason::NotConnected);
        let again = leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert_eq!(again, pb::DisconnectResponse::default());

        // The workspace can be connected again, and its list is read anew.
        world.sandbox.clear_faults();
        assert_eq!(world.connect(TENANT).await.status, 200);
        world.members_read(TENANT, 3).await;
        queued(world, "back again").await;
        assert_eq!(world.messages(1).await.len(), 1);
    })
    .await;
}

/// Red if `Departure::waits` in `domain/delivery/admission.rs` lets them end, if `is_last` in
/// `store/leaving/link.rs` is true for every tenant, or if `kept_step` in `delivery/judge.rs` only
/// pauses: the lane of a member that both tenants write to would sleep.
#[tokio::test]
async fn messages_wait_for_a_reconnect_and_other_tenants_stay_connected() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        assert_eq!(world.connect(OTHER).await.status, 200);
        world.client.load(&["ben"]).await;
        world.throttle(BEN, 1);
        let waiting = [queued(world, "first").await, queued(world, "second").await];
        world.called("chat.postMessage", 1).await;

        let left = leaving.disconnect(TENANT, WaitingMessages::Keep).await;
        assert!(left.disconnected && !left.revoked, "{left:?}");
        assert_eq!((left.ended_messages, left.remaining.as_str()), (0, ""));
        assert!(world.calls("auth.revoke").is_empty());
        let others = world.client.workspace(OTHER).await.unwrap();
        assert!(others.directory.unwrap().members > 0);
        // Its turn came, and it waits outside the lane, which the other tenant uses.
        let outside = |delivery: &pb::Delivery| delivery.state() == DeliveryState::Resolving;
        world.client.deliveries_until(TENANT, &waiting[0], outside).await;
        world.sandbox.clear_faults();
        world.client.switch_sending(OTHER, true).await;
        world.client.upsert(OTHER, vec![demo_person("ben")]).await;
        let theirs = pb::NotifyRequest { tenant_id: OTHER.into(), ..task("theirs", &["ben"]) };
        world.client.notify(theirs).await.unwrap();
        world.messages(1).await;

        assert_eq!(world.connect(TENANT).await.status, 200);
        let messages = world.messages(3).await;
        for (message, text) in messages.iter().zip(["theirs", "first", "second"]) {
            assert!(message.text.contains(text), "{messages:#?}");
        }
        for notification in &waiting {
            let sent = world.client.ended(TENANT, notification).await;
            assert_eq!(sent[0].state(), DeliveryState::Sent);
        }
    })
    .await;
}

/// No other tenant uses the workspace, so the lanes sleep. Red if `after_connect` in
/// `workspace/connect.rs` does not wake them.
#[tokio::test]
async fn what_the_last_tenant_kept_is_sent_in_order_after_a_reconnect() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.client.load(&["ben"]).await;
        world.throttle(BEN, 1);
        let waiting = [queued(world, "first").await, queued(world, "second").await];
        world.called("chat.postMessage", 1).await;
        let left = leaving.disconnect(TENANT, WaitingMessages::Keep).await;
        assert!(left.disconnected && left.revoked, "{left:?}");
        world.sandbox.clear_faults();
        assert_eq!(world.connect(TENANT).await.status, 200);
        let messages = world.messages(2).await;
        assert!(messages[0].text.contains("first") && messages[1].text.contains("second"));
        for notification in &waiting {
            let sent = world.client.ended(TENANT, notification).await;
            assert_eq!(sent[0].state(), DeliveryState::Sent);
        }
    })
    .await;
}

/// Red without `change_departure` in `app/leave.rs`.
#[tokio::test]
async fn messages_that_were_kept_can_be_ended_later() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.client.load(&["ben"]).await;
        world.throttle(BEN, 1);
        let waiting = queued(world, "waiting").await;
        world.called("chat.postMessage", 1).await;
        leaving.disconnect(TENANT, WaitingMessages::Keep).await;
        let kept = world.client.notification(TENANT, &waiting).await.unwrap();
        assert!(!is_terminal(&kept.deliveries[0]));

        let ended = leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert!(!ended.disconnected, "{ended:?}");
        let ended = world.client.ended(TENANT, &waiting).await;
        assert_eq!(ended[0].reason, "disconnected");
        let departure = format!(
            "SELECT COUNT(*) FROM tenants WHERE tenant = '{TENANT}' \
            AND departure = 'ends'"
        );
        assert_eq!(world.count(&departure).await, 1);
    })
    .await;
}

/// Red without the comparison of `linked_at` and `token_version` in `store/leaving/link.rs`,
/// `leave`.
#[tokio::test]
async fn a_late_disconnect_leaves_a_newer_connection() {
    for_each_database(async |world| {
        let store = Store::open(&world.settings().store).await.unwrap();
        let tenant = TenantId::parse(TENANT).unwrap();
        let what = UseEnd::Link { tenant: &tenant, departure: Departure::Ends };
        let seen = store.leaving().seen(what).await.unwrap().unwrap();
        assert!(seen.is_last);
        assert_eq!(world.connect(TENANT).await.status, 200);
        let late = store.leaving().end(what, &seen).await.unwrap();
        assert_eq!(late, Left::Changed);
        let connected = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(connected.state(), pb::WorkspaceState::Active);
        store.close().await;
    })
    .await;
}

/// Slack takes a while to answer the revocation, and an administrator connects meanwhile. The order
/// in which the two end does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn who_connects_during_a_disconnect_is_connected() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.client.load(&["ben"]).await;
        let slow = Fault::new("auth.revoke", FaultKind::Delay { seconds: 2.0 });
        world.sandbox.script(slow.after().times(1));
        let disconnect = leaving.disconnect(TENANT, WaitingMessages::Keep);
        let connect = async {
            world.called("auth.revoke", 1).await;
            world.connect(TENANT).await
        };
        let (left, page) = tokio::join!(disconnect, connect);
        assert_eq!(page.status, 200, "{left:?}");
        let connected = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(connected.state(), pb::WorkspaceState::Active, "{left:?}");
        queued(world, "after").await;
        assert_eq!(world.messages(1).await.len(), 1);
    })
    .await;
}

/// Red if `Revocation::Unclear` in `workspace/leave.rs` is an error.
#[tokio::test]
async fn a_tenant_leaves_while_slack_is_down() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        let down = FaultKind::Status { code: 503, body: String::new(), retry_after: None };
        world.sandbox.script(Fault::new("auth.revoke", down));
        let left = leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert!(left.disconnected && !left.revoked, "{left:?}");
        assert!(left.remaining.contains("must remove the app"), "{}", left.remaining);
    })
    .await;
}

/// Red without `forget_identities` in `app/leave.rs`.
#[tokio::test]
async fn identities_are_kept_unless_they_are_to_be_forgotten() {
    const KNOWN: &str = "SELECT COUNT(*) FROM people WHERE slack_user_id IS NOT NULL";
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.client.load(&["ben"]).await;
        queued(world, "first").await;
        world.messages(1).await;
        assert_eq!(world.count(KNOWN).await, 1);
        leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert_eq!(world.count(KNOWN).await, 1);

        let request = pb::DisconnectRequest {
            tenant_id: TENANT.into(),
            forget_identities: true,
            ..pb::DisconnectRequest::default()
        };
        leaving.disconnect_as(request).await.unwrap();
        assert_eq!(world.count(KNOWN).await, 0);
        assert!(world.client.person(TENANT, "ben").await.unwrap().identity.is_none());
    })
    .await;
}

#[tokio::test]
async fn calls_for_unknown_tenants_and_choices_are_refused() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        let unknown = leaving.delete("nobody").await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let request = pb::DisconnectRequest {
            tenant_id: "nobody".into(),
            ..pb::DisconnectRequest::default()
        };
        assert_eq!(leaving.disconnect_as(request).await.unwrap_err().code(), Code::NotFound);
        let request = pb::DisconnectRequest {
            tenant_id: TENANT.into(),
            waiting_messages: 9,
            ..pb::DisconnectRequest::default()
        };
        let refused = leaving.disconnect_as(request).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["waiting_messages"]);
    })
    .await;
}

/// Tables with rows of every tenant that has data of all kinds.
const TABLES: [&str; 18] = [
    "deliveries",
    "deliveries_history",
    "notifications",
    "channels",
    "channel_members",
    "channel_changes",
    "delivery_changes",
    "feed_heads",
    "preferences",
    "people",
    "person_keys",
    "templates",
    "template_versions",
    "event_types",
    "connect_attempts",
    "connection_checks",
    "identity_links",
    "tenant_links",
];

/// Data of [`OTHER`], of many kinds. Nothing of it reaches Slack.
async fn fill(world: &World, leaving: &Leaving) {
    assert_eq!(world.connect(OTHER).await.status, 200);
    world.client.switch_sending(OTHER, true).await;
    world.client.upsert(OTHER, vec![demo_person("ben")]).await;
    let preference = pb::SetPreferenceRequest {
        tenant_id: OTHER.into(),
        user_id: "ben".into(),
        event_type: "task.due".into(),
        value: pb::PreferenceValue::Off.into(),
        actor: None,
    };
    world.client.set_preference(preference).await.unwrap();
    let own = pb::EventType {
        name: "own.secret".into(),
        display_name: "Secret".into(),
        ..pb::EventType::default()
    };
    let own =
        pb::CreateEventTypeRequest { tenant_id: OTHER.into(), event_type: Some(own), actor: None };
    world.client.create_event_type(own).await.unwrap();
    let simple = pb::SimpleMessage { heading: "Secret".into(), ..pb::SimpleMessage::default() };
    let template = pb::Template {
        event_type: "own.secret".into(),
        locale: "en".into(),
        form: Some(pb::template::Form::Simple(simple)),
        ..pb::Template::default()
    };
    let template = pb::SetTemplateRequest {
        tenant_id: OTHER.into(),
        template: Some(template),
        ..pb::SetTemplateRequest::default()
    };
    world.client.set_template(template).await.unwrap();
    let later = world.now().await.0 / 1_000_000 + 86_400;
    let wish = pb::ChannelWish {
        name: "Secret".into(),
        create_not_before: Some(prost_types::Timestamp { seconds: later, nanos: 0 }),
        ..pb::ChannelWish::default()
    };
    let target = Some(pb::channel_member::Target::UserId("ben".into()));
    let members = vec![pb::ChannelMember { target, roles: vec!["enrolled".into()] }];
    let channel = pb::EnsureChannelRequest {
        tenant_id: OTHER.into(),
        channel_key: "secret".into(),
        wish: Some(wish),
        members: Some(pb::ChannelMembers { members }),
        ..pb::EnsureChannelRequest::default()
    };
    world.client.ensure_channel(channel).await.unwrap();
    let (tenant_id, user_id) = (OTHER.to_owned(), "ben".to_owned());
    let link = pb::CreateIdentityLinkRequest { tenant_id, user_id, ..Default::default() };
    world.client.create_identity_link(link).await.unwrap();
    world.throttle(BEN, 30);
    let waiting = pb::NotifyRequest { tenant_id: OTHER.into(), ..task("secret", &["ben"]) };
    leaving.notify(waiting).await.unwrap();
    world.called("chat.postMessage", 1).await;
}

async fn rows_of(world: &World, table: &str, tenant: &str) -> i64 {
    world.count(&format!("SELECT COUNT(*) FROM {table} WHERE tenant = '{tenant}'")).await
}

/// Red without the tables of `store/leaving/kinds.rs`, without `fence` in
/// `store/leaving/tenant.rs`, or without the refusals in `app/tenant.rs` and
/// `store/tenancy/tenants.rs`.
#[tokio::test]
async fn a_deleted_tenant_leaves_its_name_only() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.client.load(&["ben", "clara"]).await;
        fill(world, &leaving).await;
        // Nothing was archived yet.
        for table in TABLES.iter().filter(|table| **table != "deliveries_history") {
            until(table, async || (rows_of(world, table, OTHER).await > 0).then_some(())).await;
        }

        let first = leaving.delete(OTHER).await.unwrap();
        assert!(!first.done && !first.remaining.is_empty(), "{first:?}");
        assert_eq!(first.remaining.last().map(String::as_str), Some("tenants"));
        let refused = pb::NotifyRequest { tenant_id: OTHER.into(), ..task("late", &["ben"]) };
        let refused = leaving.notify(refused).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "TENANT_DELETED");
        assert_eq!(reason(&world.client.begin_connect(OTHER).await.unwrap_err()), "TENANT_DELETED");

        leaving.delete_all(OTHER).await;
        for table in TABLES.into_iter().chain(["tenants", "feed_inbox", "channel_feed_inbox"]) {
            assert_eq!(rows_of(world, table, OTHER).await, 0, "{table}");
        }
        let keys = format!("SELECT COUNT(*) FROM data_keys WHERE scope = 'tenant:{OTHER}'");
        assert_eq!(world.count(&keys).await, 0);
        let lost = "SELECT COUNT(*) FROM attempts WHERE delivery NOT IN \
            (SELECT id FROM deliveries UNION SELECT id FROM deliveries_history)";
        assert_eq!(world.count(lost).await, 0);
        // It can be asked again, and the name is not free yet.
        assert_eq!(
            leaving.delete(OTHER).await.unwrap(),
            pb::DeleteTenantResponse { done: true, remaining: Vec::new() }
        );
        assert_eq!(reason(&world.client.begin_connect(OTHER).await.unwrap_err()), "TENANT_DELETED");
        let trail = pb::ListAuditRequest {
            tenant_id: OTHER.into(),
            action: "DeleteTenant".into(),
            ..pb::ListAuditRequest::default()
        };
        until("the deletion is in the audit trail", async || {
            let listed = world.client.list_audit(trail.clone()).await.unwrap();
            (listed.entries.len() >= 2).then_some(())
        })
        .await;

        // The other tenant of the workspace notices nothing.
        world.sandbox.clear_faults();
        assert!(world.calls("auth.revoke").is_empty());
        world.client.notify(task("still here", &["clara"])).await.unwrap();
        assert_eq!(world.messages(1).await.len(), 1);
    })
    .await;
}

/// Red without `forget` in `store/leaving/workspace.rs`.
#[tokio::test]
async fn the_workspace_of_a_deleted_tenant_is_forgotten_with_its_last_tenant() {
    for_each_database(async |world| {
        Leaving::new(world).delete_all(TENANT).await;
        for table in ["installations", "directory", "directory_pages", "workspace_erasures"] {
            assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        let keys = "SELECT COUNT(*) FROM data_keys WHERE scope LIKE 'installation:%'";
        assert_eq!(world.count(keys).await, 0);
        assert_eq!(world.calls("auth.revoke").len(), 1);
    })
    .await;
}

/// Red if `begin_deletion` in `store/leaving/tenant.rs` does not store when it began.
#[tokio::test]
async fn a_deletion_is_continued_after_a_restart() {
    for_each_database(async |world| {
        let first = Leaving::new(world).delete(TENANT).await.unwrap();
        assert!(!first.done && !first.remaining.is_empty(), "{first:?}");
        world.drain().await;
        let next = Replica::start(world.settings()).await;
        Leaving::at(&next).delete_all(TENANT).await;
        for table in ["tenants", "installations", "people"] {
            assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        next.stopped().await;
    })
    .await;
}
