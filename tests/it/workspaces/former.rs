//! Workspaces that no tenant uses any more without a Disconnect: a tenant moved to another one, or
//! an organization was connected and none of its workspaces was chosen. And tenants that left, and
//! share a workspace with others.

use herald::rpc::pb::recipient::Target;
use herald::rpc::pb::{self, DeliveryState, WaitingMessages, WorkspaceState};
use herald::sandbox;
use herald::sandbox::browser::{self, Browser, Decision};
use serde_json::json;
use url::Url;

use super::leaving::{BEN, Leaving, OTHER, queued};
use crate::events::caller;
use crate::support::client::task;
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

/// Adds workspaces until there are this many; returns the id of the second one.
async fn teams(world: &World, count: u32) -> String {
    let teams = world.sandbox.url().join("_sandbox/teams").unwrap();
    let more = caller().post(teams).json(&json!({ "count": count })).send().await.unwrap();
    assert!(more.status().is_success(), "{more:?}");
    world.sandbox.teams().remove(1).id
}

/// Connects [`TENANT`] to this workspace.
async fn move_to(world: &World, team: &str) {
    let link = world.client.begin_connect(TENANT).await.unwrap().authorize_url;
    let link = Url::parse(&link).unwrap();
    let page = browser::decide_in(&link, Decision::Allow, Some(team)).await.unwrap();
    assert_eq!(page.status, 200, "{}", page.html);
    let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
    assert_eq!((workspace.team_id.as_str(), workspace.state()), (team, WorkspaceState::Active));
}

/// Red without `leave_former` in `app/connect.rs` and `end_unlinked` in `app/leave.rs`.
#[tokio::test]
async fn a_former_workspace_is_left_as_by_a_disconnect() {
    const LEFT: &str = "SELECT COUNT(*) FROM installations i \
        WHERE i.state_reason = 'disconnected' \
        AND NOT EXISTS (SELECT 1 FROM directory_pages p WHERE p.installation = i.id) \
        AND NOT EXISTS (SELECT 1 FROM profile_fields f WHERE f.installation = i.id) \
        AND NOT EXISTS (SELECT 1 FROM workspace_erasures e WHERE e.installation = i.id)";
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let other = teams(world, 2).await;
        world.throttle(BEN, 30);
        let waiting = queued(world, "waiting").await;
        world.called("chat.postMessage", 1).await;
        move_to(world, &other).await;
        let ended = world.client.ended(TENANT, &waiting).await;
        assert_eq!(ended[0].state(), DeliveryState::Canceled, "{ended:?}");
        assert_eq!(ended[0].reason, "disconnected");
        until("the former workspace is erased", async || {
            (world.count(LEFT).await == 1).then_some(())
        })
        .await;
        assert_eq!(world.calls("auth.revoke").len(), 1);
        let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(workspace.state(), WorkspaceState::Active);
    })
    .await;
}

/// Red if `seen` in `store/leaving/link.rs` does not look for other tenants (`UNLINKED`).
#[tokio::test]
async fn a_former_workspace_that_others_use_stays() {
    const EVERY: &str = "SELECT COUNT(*) FROM installations WHERE state = 'active'";
    for_each_database(async |world| {
        assert_eq!(world.connect(OTHER).await.status, 200);
        let other = teams(world, 2).await;
        move_to(world, &other).await;
        // Back, and there again: each time, the second workspace has no tenant for a while.
        let first = sandbox::Config::default().team.id;
        move_to(world, &first).await;
        until("the second workspace is left", async || {
            (world.calls("auth.revoke").len() == 1).then_some(())
        })
        .await;
        until("only the first is alive", async || (world.count(EVERY).await == 1).then_some(()))
            .await;
        for tenant in [TENANT, OTHER] {
            let workspace = world.client.workspace(tenant).await.unwrap().workspace.unwrap();
            assert_eq!(workspace.state(), WorkspaceState::Active, "{tenant}");
        }
    })
    .await;
}

/// Red if `unlinked` in `store/leaving/link.rs` leaves organizations out.
#[tokio::test]
async fn an_organization_of_which_no_workspace_is_chosen_ends() {
    const ALIVE: &str = "SELECT COUNT(*) FROM installations WHERE state = 'active'";
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        teams(world, 3).await;
        world.sandbox.configure(|options| options.org_wide = true);
        let link = world.client.begin_connect(TENANT).await.unwrap().authorize_url;
        let mut browser = Browser::new().unwrap();
        let start = browser.open(&Url::parse(&link).unwrap()).await.unwrap();
        let consent = start.way_to_slack().unwrap();
        let back = browser.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
        let page = browser.open(&back).await.unwrap();
        assert!(page.html.contains("/connect/team") || page.html.contains("connect&#x2f;team"));
        assert_eq!(world.count(ALIVE).await, 4, "the organization and its workspaces");
        // The time in which one can be chosen is over.
        world.execute("UPDATE installations SET installed_at = 0").await.unwrap();
        until("the organization is disconnected", async || {
            (world.count(ALIVE).await == 0).then_some(())
        })
        .await;
        assert_eq!(world.calls("auth.revoke").len(), 1);
        let tokens =
            "SELECT COUNT(*) FROM installations WHERE installed_by IS NOT NULL AND org_wide";
        assert_eq!(world.count(tokens).await, 0);
    })
    .await;
}

/// Red if `is_abandoned` in `store/leaving/workspace.rs` asks whether the installation is dead.
#[tokio::test]
async fn an_erasure_ends_although_the_organization_gives_the_app_back() {
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        let leaving = Leaving::new(world);
        let config = sandbox::Config::default();
        let at = [config.app_id.as_str(), config.team.id.as_str()];
        let second = teams(world, 2).await;
        world.sandbox.configure(|options| options.org_wide = true);
        for (tenant, team) in [(TENANT, config.team.id.as_str()), (OTHER, second.as_str())] {
            let link = pb::BeginConnectRequest {
                tenant_id: tenant.into(),
                expected_team_id: team.into(),
                ..pb::BeginConnectRequest::default()
            };
            let link = world.client.begin_connect_as(link).await.unwrap().authorize_url;
            assert_eq!(world.decide(&link, Decision::Allow).await.status, 200);
        }
        let left = leaving.disconnect(TENANT, WaitingMessages::End).await;
        assert!(left.disconnected && !left.revoked, "{left:?}");
        let events = format!("http://{}/slack/events", world.replicas[0].http);
        world.sandbox.send_events_to(Url::parse(&events).unwrap());
        world.sandbox.grant_team_at(at, false);
        world.sandbox.grant_team_at(at, true);
        let revived = format!(
            "SELECT COUNT(*) FROM installations \
            WHERE team_id = '{}' AND org IS NOT NULL AND state = 'active'",
            config.team.id
        );
        until("it is given back", async || (world.count(&revived).await == 1).then_some(())).await;
        // As if the erasure had stopped half-way.
        let now = world.now().await.0;
        let of = format!("FROM installations WHERE team_id = '{}'", config.team.id);
        let rest = format!(
            "INSERT INTO seen_events (installation, event_id, seen_at, kind, state, happened_at, \
            due_at) SELECT id, 'EvLeft', {now}, 'user_change', 'done', {now}, {now} {of}"
        );
        world.execute(&rest).await.unwrap();
        let erasing = format!(
            "INSERT INTO workspace_erasures (installation, started_at) SELECT id, {now} {of}"
        );
        world.execute(&erasing).await.unwrap();
        until("the erasure ends", async || {
            (world.count("SELECT COUNT(*) FROM workspace_erasures").await == 0).then_some(())
        })
        .await;
        let events = "SELECT COUNT(*) FROM seen_events WHERE event_id = 'EvLeft'";
        assert_eq!(world.count(events).await, 0);
    })
    .await;
}

/// Red if `kept_step` in `delivery/judge.rs` pauses a message to a channel, or if `after_connect`
/// in `workspace/connect.rs` does not call it back (`rejoin`).
#[tokio::test]
async fn a_kept_message_to_a_channel_holds_no_other_tenant_up() {
    for_each_database(async |world| {
        let leaving = Leaving::new(world);
        assert_eq!(world.connect(OTHER).await.status, 200);
        world.client.switch_sending(OTHER, true).await;
        let bot = world.sandbox.bot_user_id();
        let channel = world.sandbox.create_channel("news", false, &[&bot]);
        let to = |tenant: &str, text: &str| pb::NotifyRequest {
            tenant_id: tenant.into(),
            recipients: vec![pb::Recipient {
                target: Some(Target::ChannelId(channel.clone())),
                roles: Vec::new(),
            }],
            ..task(text, &[])
        };
        world.throttle(&channel, 1);
        let mut kept = Vec::new();
        for text in ["first", "second"] {
            kept.push(world.client.notify(to(TENANT, text)).await.unwrap().notification_id);
        }
        world.called("chat.postMessage", 1).await;
        let left = leaving.disconnect(TENANT, WaitingMessages::Keep).await;
        assert!(left.disconnected && !left.revoked, "{left:?}");
        world.client.notify(to(OTHER, "theirs")).await.unwrap();
        world.sandbox.clear_faults();
        world.messages(1).await;

        assert_eq!(world.connect(TENANT).await.status, 200);
        let last = world.client.notify(to(TENANT, "last")).await.unwrap().notification_id;
        kept.push(last);
        let messages = world.messages(4).await;
        for (message, text) in messages.iter().zip(["theirs", "first", "second", "last"]) {
            assert!(message.text.contains(text), "{messages:#?}");
        }
        for notification in &kept {
            let sent = world.client.ended(TENANT, notification).await;
            assert_eq!(sent[0].state(), DeliveryState::Sent);
        }
    })
    .await;
}
