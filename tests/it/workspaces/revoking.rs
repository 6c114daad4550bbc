//! The revocation of a workspace's token when its last tenant leaves, also if Slack cannot be asked
//! for it, or carries it out late; and that of a new token that no tenant is connected by.

use std::time::Duration;

use herald::domain::delivery::admission::Departure;
use herald::domain::ids::TenantId;
use herald::rpc::pb::{self, WaitingMessages};
use herald::sandbox::browser::Decision;
use herald::store::{Left, Store, UseEnd};

use super::leaving::{BEN, Leaving, OTHER};
use crate::events::{about, metric, tell};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

/// A token that has expired, a workspace that moves, and a cell that was moved (faults.md, 28). Red
/// if `not_revoked` in `workspace/leave.rs` returns these errors.
#[tokio::test]
async fn a_tenant_leaves_although_its_token_cannot_be_used() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        world.sandbox.configure(|options| options.token_rotation = true);
        for obstacle in ["token_expires_at = 0", "migrating_since = 0", "token = refresh_token"] {
            assert_eq!(world.connect(TENANT).await.status, 200);
            world.execute(&format!("UPDATE installations SET {obstacle}")).await.unwrap();
            let left = leaving.disconnect(TENANT, WaitingMessages::End).await;
            assert!(left.disconnected && !left.revoked, "{obstacle}: {left:?}");
            assert!(left.remaining.contains("must remove the app"), "{obstacle}: {left:?}");
        }
        assert!(world.calls("auth.revoke").is_empty());
        assert_eq!(world.connect(TENANT).await.status, 200);
        assert!(leaving.disconnect(TENANT, WaitingMessages::End).await.revoked);
    })
    .await;
}

/// Each of two tenants sees the other, and both leave. Red without the comparison of `is_last` in
/// `is_as_seen` in `store/leaving/link.rs`: no one revokes the token.
#[tokio::test]
async fn who_leaves_last_revokes_the_token() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        assert_eq!(world.connect(OTHER).await.status, 200);
        let store = Store::open(&world.settings().store).await.unwrap();
        let tenant = TenantId::parse(TENANT).unwrap();
        let what = UseEnd::Link { tenant: &tenant, departure: Departure::Ends };
        let seen = store.leaving().seen(what).await.unwrap().unwrap();
        assert!(!seen.is_last);
        let first = leaving.disconnect(OTHER, WaitingMessages::End).await;
        assert!(first.disconnected && !first.revoked, "{first:?}");
        let late = store.leaving().end(what, &seen).await.unwrap();
        assert_eq!(late, Left::Changed);
        assert!(leaving.disconnect(TENANT, WaitingMessages::End).await.revoked);
        assert_eq!(world.calls("auth.revoke").len(), 1);
        store.close().await;
    })
    .await;
}

/// Red if `org` is always `None` in `end` in `store/leaving/link.rs`.
#[tokio::test]
async fn the_last_tenant_of_an_organization_ends_its_token() {
    const ALIVE: &str = "SELECT COUNT(*) FROM installations \
        WHERE state <> 'dead' OR refresh_token IS NOT NULL OR installed_by IS NOT NULL";
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        let leaving = Leaving::new(world);
        world.sandbox.configure(|options| options.org_wide = true);
        for tenant in [TENANT, OTHER] {
            assert_eq!(world.connect(tenant).await.status, 200);
        }
        assert_eq!(world.count(ALIVE).await, 2, "the organization and its workspace");
        let first = leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert!(first.disconnected && !first.revoked, "{first:?}");
        assert_eq!(world.count(ALIVE).await, 2);
        let last = leaving.disconnect(OTHER, WaitingMessages::End).await;
        assert!(last.disconnected && last.revoked, "{last:?}");
        assert_eq!(world.calls("auth.revoke").len(), 1);
        assert_eq!(world.count(ALIVE).await, 0);

        assert_eq!(world.connect(TENANT).await.status, 200);
        let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(workspace.state(), pb::WorkspaceState::Active);
    })
    .await;
}

/// An app with token rotation stays installed, so Slack continues to send its events. Red without
/// the condition on `state_reason` in `store/member_lists/slack_events.rs`.
#[tokio::test]
async fn nothing_of_later_events_is_stored() {
    const STORED: &str = "SELECT COUNT(*) FROM seen_events";
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        tell(world, "EvBefore", about(BEN, 1_900_000_000, "ben")).await;
        assert_eq!(world.count(STORED).await, 1);
        until("the event is applied", async || {
            let done = format!("{STORED} WHERE state = 'done'");
            (world.count(&done).await == 1).then_some(())
        })
        .await;
        leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert_eq!(world.count(STORED).await, 0);
        tell(world, "EvAfter", about(BEN, 1_900_000_001, "ben")).await;
        assert_eq!(world.count(STORED).await, 0);
    })
    .await;
}

/// A revocation belongs to one connect, and must not begin for another. Red without the comparison
/// of `token_version` in `begin_revocation` in `store/keep/revocations.rs`.
#[tokio::test]
async fn a_revocation_does_not_begin_after_a_reconnect() {
    const LONG: Duration = Duration::from_secs(3600);
    for_each_database(async |world| {
        let store = Store::open(&world.settings().store).await.unwrap();
        let tenant = TenantId::parse(TENANT).unwrap();
        let what = UseEnd::Link { tenant: &tenant, departure: Departure::Ends };
        let seen = store.leaving().seen(what).await.unwrap().unwrap();
        let begin = async || {
            let tokens = store.tokens();
            tokens.begin_revocation(seen.holder(), seen.generation(), LONG).await.unwrap()
        };
        assert!(begin().await);
        assert_eq!(world.connect(TENANT).await.status, 200);
        assert!(!begin().await, "the next connect has the same token");
        store.close().await;
    })
    .await;
}

/// Slack carries a revocation out after the workspace was connected again by the same token, and no
/// one sends anything. Red without `confirm_revoked` in `app/leave.rs`.
#[tokio::test]
async fn a_connection_that_a_late_revocation_met_says_so() {
    const LONG: Duration = Duration::from_secs(3600);
    for_each_database(async |world| {
        let store = Store::open(&world.settings().store).await.unwrap();
        let tenant = TenantId::parse(TENANT).unwrap();
        let what = UseEnd::Link { tenant: &tenant, departure: Departure::Ends };
        let seen = store.leaving().seen(what).await.unwrap().unwrap();
        let tokens = store.tokens();
        assert!(tokens.begin_revocation(seen.holder(), seen.generation(), LONG).await.unwrap());
        store.close().await;
        assert_eq!(world.connect(TENANT).await.status, 200);
        world.members_read(TENANT, 2).await;
        world.sandbox.revoke_token(None, "token_revoked");
        // The request has ended for certain.
        world.execute("UPDATE installations SET confirm_at = 0").await.unwrap();
        until("the connection is known to be dead", async || {
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            let dead = workspace.state() == pb::WorkspaceState::ReconnectRequired;
            (dead && workspace.state_reason == "token_revoked").then_some(())
        })
        .await;
        let pending = "SELECT COUNT(*) FROM installations WHERE confirm_at IS NOT NULL";
        until("nothing is left to confirm", async || {
            (world.count(pending).await == 0).then_some(())
        })
        .await;
    })
    .await;
}

/// Connects by a link for another workspace than the one that is chosen.
async fn connect_wrongly(world: &World) {
    let link = pb::BeginConnectRequest {
        tenant_id: TENANT.into(),
        expected_team_id: "T0ELSEWHERE".into(),
        ..pb::BeginConnectRequest::default()
    };
    let link = world.client.begin_connect_as(link).await.unwrap().authorize_url;
    let page = world.decide(&link, Decision::Allow).await;
    assert_ne!(page.status, 200, "{}", page.html);
}

/// Red without `discard` in `workspace/connect.rs`, or if `users_of` in `workspace/discard.rs`
/// finds no one: an app without rotation has one token, and the connection would lose it.
#[tokio::test]
async fn a_new_token_that_is_not_used_is_revoked_unless_a_connection_has_it() {
    const DISCARDED: &str = "herald_discarded_tokens_total";
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        connect_wrongly(world).await;
        assert_eq!(world.calls("auth.revoke").len(), 1);
        assert_eq!(metric(world, 0, DISCARDED, "result=\"revoked\"").await, 1);
        world.make_ready().await;
        connect_wrongly(world).await;
        assert_eq!(world.calls("auth.revoke").len(), 1);
        assert_eq!(metric(world, 0, DISCARDED, "result=\"in_use\"").await, 1);
        let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(workspace.state(), pb::WorkspaceState::Active);
        // With rotation, each connect has a token of its own.
        world.sandbox.configure(|options| options.token_rotation = true);
        connect_wrongly(world).await;
        assert_eq!(world.calls("auth.revoke").len(), 2);
        assert_eq!(metric(world, 0, DISCARDED, "result=\"revoked\"").await, 2);
    })
    .await;
}
