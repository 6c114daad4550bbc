//! Keeping a workspace connected: tokens that expire, late reports of its end, organizations, and
//! moves into one. The sandbox judges the exchanges of tokens.

use herald::rpc::pb::{self, DeliveryState, WorkspaceState};
use herald::sandbox::{self, Fault, FaultKind};
use herald::slack::signature;
use serde_json::{Value, json};
use url::Url;

use crate::events::caller;
use crate::support::client::task;
use crate::support::world::{Plan, Replica, TENANT, World, until};

/// Slack's seconds are longer here than in other tests: a request must fit into half a lease, and a
/// refresh token works for a minute after its first use.
const SCALE: f64 = 0.1;

pub(super) fn fresh(replicas: usize) -> Plan {
    Plan { ready: false, replicas, scale: SCALE, ..Plan::default() }
}

/// Tokens live for this many of Slack's seconds from now on.
pub(super) fn rotate(world: &World, seconds: u32) {
    world.sandbox.configure(|options| {
        options.token_rotation = true;
        options.token_seconds = seconds;
    });
}

/// The workspace's state, with its reason.
pub(super) async fn state(world: &World) -> (WorkspaceState, String) {
    let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
    (workspace.state(), workspace.state_reason)
}

async fn in_state(world: &World, wanted: WorkspaceState) -> String {
    until(wanted.as_str_name(), async || {
        let (state, reason) = state(world).await;
        (state == wanted).then_some(reason)
    })
    .await
}

/// Sends a message to Ben; returns its id.
pub(super) async fn accepted(world: &World, text: &str) -> String {
    world.client.notify(task(text, &["ben"])).await.unwrap().notification_id
}

pub(super) async fn sent(world: &World, id: &str) -> pb::Delivery {
    let delivery = world.client.ended(TENANT, id).await.remove(0);
    assert_eq!(delivery.state(), DeliveryState::Sent, "{delivery:?}");
    delivery
}

/// Waits until a message waits although its turn has come: its lane sleeps.
pub(super) async fn paused(world: &World, id: &str) -> pb::Delivery {
    until("the message waits", async || {
        let read = world.client.notification(TENANT, id).await.unwrap();
        let delivery = read.deliveries.into_iter().next()?;
        let asleep = "SELECT COUNT(*) FROM lanes WHERE asleep = 1 AND lease_token IS NULL";
        let waits = delivery.state() == DeliveryState::Pending && world.count(asleep).await > 0;
        waits.then_some(delivery)
    })
    .await
}

/// The exchanges that Slack has seen: never two exchanges at once, and one refresh token at most.
fn judge(world: &World) -> Vec<sandbox::Refresh> {
    assert!(world.sandbox.refreshes_at_once() <= 1, "exchanges at once");
    let refreshes = world.sandbox.refreshes();
    for refresh in &refreshes {
        assert!(!refresh.overlapping && refresh.alive <= 1, "{refresh:?} of {refreshes:#?}");
    }
    refreshes
}

async fn refreshed(world: &World, times: usize) {
    until("tokens are exchanged", async || {
        (world.sandbox.refreshes().len() >= times).then_some(())
    })
    .await;
}

/// Posts an event as Slack does, which happened now.
async fn tell(world: &World, id: &str, inner: &Value) {
    let config = sandbox::Config::default();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let body = json!({
        "token": "t", "team_id": config.team.id, "api_app_id": config.app_id,
        "type": "event_callback", "event_id": id, "event_time": now, "event": inner,
        "authorizations": [{ "team_id": config.team.id, "is_bot": true }],
    });
    let (body, timestamp) = (body.to_string().into_bytes(), now.to_string());
    let signature = signature::sign(&config.signing_secret, &timestamp, &body);
    let request = caller().post(events_url(world)).header("content-type", "application/json");
    let request = request.header("x-slack-request-timestamp", timestamp);
    let answer = request.header("x-slack-signature", signature).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn events_url(world: &World) -> Url {
    Url::parse(&format!("http://{}/slack/events", world.replicas[0].http)).unwrap()
}

/// Waits until this many events were taken and all of them are applied.
async fn applied(world: &World, events: i64) {
    until("events are applied", async || {
        let done = "SELECT COUNT(*) FROM seen_events WHERE state = 'done'";
        (world.count(done).await == events).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_keep_a_token_of_five_seconds_alive() {
    fresh(3)
        .run(async |world| {
            rotate(world, 50);
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            for round in 1..=4 {
                let id = accepted(world, &format!("round {round}")).await;
                assert_eq!(sent(world, &id).await.attempts, 1);
                refreshed(world, round).await;
            }
            let refreshes = judge(world);
            assert!(refreshes.iter().all(|refresh| !refresh.again), "{refreshes:#?}");
            assert_eq!(state(world).await.0, WorkspaceState::Active);
            let posts = world.calls("chat.postMessage");
            assert_eq!(posts.len(), 4, "no post was refused");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_with_the_same_refresh_token() {
    fresh(2)
        .run(async |world| {
            rotate(world, 60);
            world.make_ready().await;
            let lost = Fault::new("oauth.v2.access", FaultKind::Reset).times(1).after();
            world.sandbox.script(lost);
            refreshed(world, 3).await;
            let refreshes = judge(world);
            assert_eq!(refreshes.iter().filter(|refresh| refresh.again).count(), 1);
            assert_eq!(state(world).await.0, WorkspaceState::Active);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_early_is_exchanged_and_costs_no_attempt() {
    fresh(1)
        .run(async |world| {
            rotate(world, 43_200);
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            world.sandbox.revoke_token(None, "token_expired");
            let ids = [accepted(world, "one").await, accepted(world, "two").await];
            for id in &ids {
                assert_eq!(sent(world, id).await.attempts, 1);
            }
            assert_eq!(judge(world).len(), 1);
            let texts = world.settled().await;
            assert!(texts[0].text.contains("one") && texts[1].text.contains("two"), "{texts:#?}");
            assert_eq!(state(world).await.0, WorkspaceState::Active);
        })
        .await;
}

/// The token works until its end; then the workspace must be connected again, and waiting
/// messages are sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_token_ends_the_workspace_when_its_token_ends() {
    fresh(1)
        .run(async |world| {
            rotate(world, 30);
            let refused = FaultKind::Error { code: "invalid_refresh_token".to_owned() };
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            world.sandbox.script(Fault::new("oauth.v2.access", refused));
            let reason = in_state(world, WorkspaceState::ReconnectRequired).await;
            assert!(reason == "invalid_refresh_token" || reason == "token_expired", "{reason}");
            let id = accepted(world, "waits").await;
            assert_eq!(paused(world, &id).await.attempts, 0);
            world.sandbox.clear_faults();
            assert_eq!(world.connect(TENANT).await.status, 200);
            assert_eq!(sent(world, &id).await.attempts, 1);
        })
        .await;
}

/// One pause, whatever the number of messages and replicas; then all are sent in their order
/// (faults.md, 20). Red if `Outcome::Unauthorized` counts as an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_pauses_once_and_what_waits_is_sent_in_order() {
    const TEXTS: [&str; 3] = ["one", "two", "three"];
    fresh(2)
        .run(async |world| {
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            world.sandbox.revoke_token(None, "token_revoked");
            let mut ids = Vec::new();
            for text in TEXTS {
                ids.push(accepted(world, text).await);
            }
            let reason = in_state(world, WorkspaceState::ReconnectRequired).await;
            assert_eq!(reason, "token_revoked");
            assert_eq!(paused(world, &ids[0]).await.attempts, 0);
            let refused = world.calls("chat.postMessage").len();
            assert!(refused <= 1, "the others did not meet the dead token: {refused}");
            assert_eq!(world.connect(TENANT).await.status, 200);
            for id in &ids {
                assert_eq!(sent(world, id).await.attempts, 1);
            }
            let messages = world.settled().await;
            for (message, text) in messages.iter().zip(TEXTS) {
                assert!(message.text.contains(text), "{messages:#?}");
            }
        })
        .await;
}

/// A token in another cell, and one that was cut, are used nowhere, and the replica serves on
/// (faults.md, 28). Red if the encryption does not bind a value to its cell.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_token_is_used_nowhere_until_a_connect_replaces_it() {
    const DAMAGES: [&str; 2] =
        ["token = refresh_token", "token = substr(token, 1, length(token) - 1)"];
    fresh(1)
        .run(async |world| {
            rotate(world, 43_200);
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            let calls = || ["chat.postMessage", "users.info"].map(|name| world.calls(name).len());
            for damage in DAMAGES {
                world.execute(&format!("UPDATE installations SET {damage}")).await.unwrap();
                let before = calls();
                let id = accepted(world, "waits").await;
                let pin = pb::PinIdentityRequest {
                    tenant_id: TENANT.into(),
                    user_id: "ben".into(),
                    slack_user_id: "U0DEMOBEN".into(),
                    actor: None,
                };
                world.client.pin_identity(pin).await.unwrap_err();
                assert_eq!(calls(), before, "{damage}");
                assert_eq!(world.connect(TENANT).await.status, 200);
                assert_eq!(sent(world, &id).await.attempts, 1, "{damage}");
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_an_end_is_exchanged_once_the_app_rotates() {
    Plan { ready: false, replicas: 2, ..Plan::default() }
        .run(async |world| {
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            rotate(world, 43_200);
            another_rotates(world).await;
            assert_eq!(world.called("oauth.v2.exchange", 1).await.len(), 1);
            let renewed = "SELECT COUNT(*) FROM installations WHERE renewals = 1";
            until("the new token is stored", async || {
                (world.count(renewed).await == 1).then_some(())
            })
            .await;
            let id = accepted(world, "after").await;
            assert_eq!(sent(world, &id).await.attempts, 1);
        })
        .await;
}

/// Stores another installation of the app, with a token that expires. No tenant uses it, and it has
/// ended.
async fn another_rotates(world: &World) {
    let other = "INSERT INTO installations (id, app_id, enterprise_id, team_id, org_wide, \
        team_name, bot_user_id, bot_name, scopes, state, state_reason, state_changed_at, \
        installed_at, token_version, token, refresh_token) \
        SELECT '00000000-0000-7000-8000-000000000001', app_id, '', 'T0OTHER', FALSE, 'Other', '', \
        '', '', 'dead', 'disconnected', 0, 0, 1, token, token FROM installations";
    world.execute(other).await.unwrap();
}

/// Slack ends a token when it gives the next one, and its answer takes a while. Red if `died` in
/// `workspace/mod.rs` does not ask whether the token is being exchanged: then the workspace stops,
/// and the next token is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_an_exchange_has_ended_stops_no_workspace() {
    fresh(1)
        .run(async |world| {
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            rotate(world, 43_200);
            another_rotates(world).await;
            let slow = Fault::new("oauth.v2.exchange", FaultKind::Delay { seconds: 1.0 });
            world.sandbox.script(slow.after().times(1));
            // A replica that starts looks for such tokens at once.
            let second = Replica::start(world.settings()).await;
            world.called("oauth.v2.exchange", 1).await;
            let id = accepted(world, "during the exchange").await;
            assert_eq!(sent(world, &id).await.attempts, 1);
            assert_eq!(state(world).await.0, WorkspaceState::Active);
            second.stopped().await;
        })
        .await;
}

/// Whatever the order of the reports and of the callback, the new installation lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_reinstall_survives_every_order_of_its_reports() {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let plan = Plan { ready: false, ..Plan::default() };
    for rotates in [false, true] {
        plan.clone()
            .run(async |world| {
                if rotates {
                    rotate(world, 43_200);
                }
                world.make_ready().await;
                world.client.load(&["ben"]).await;
                for (number, order) in (1..).zip(ORDERS) {
                    world.sandbox.uninstall();
                    for step in order {
                        let bot = world.sandbox.bot_user_id();
                        let tokens = json!({ "oauth": [], "bot": [bot] });
                        match step {
                            0 => {
                                let gone = json!({ "type": "app_uninstalled" });
                                tell(world, &format!("EvGone{number}"), &gone).await;
                            }
                            1 => {
                                let gone = json!({ "type": "tokens_revoked", "tokens": tokens });
                                tell(world, &format!("EvRevoked{number}"), &gone).await;
                            }
                            _ => assert_eq!(world.connect(TENANT).await.status, 200),
                        }
                    }
                    applied(world, 2 * number).await;
                    assert_eq!(state(world).await.0, WorkspaceState::Active, "{order:?}");
                    let id = accepted(world, &format!("after {order:?}")).await;
                    assert_eq!(sent(world, &id).await.attempts, 1, "{order:?}");
                }
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_wide_install_serves_its_workspace_until_it_is_taken_away() {
    fresh(1)
        .run(async |world| {
            let config = sandbox::Config::default();
            let at = [config.app_id.as_str(), config.team.id.as_str()];
            world.sandbox.configure(|options| options.org_wide = true);
            rotate(world, 43_200);
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            assert_eq!(workspace.team_id, config.team.id);
            let id = accepted(world, "hello").await;
            assert_eq!(sent(world, &id).await.attempts, 1);

            world.sandbox.send_events_to(events_url(world));
            world.sandbox.grant_team_at(at, false);
            let reason = in_state(world, WorkspaceState::ReconnectRequired).await;
            assert_eq!(reason, "team_access_not_granted");
            let id = accepted(world, "waits").await;
            assert_eq!(paused(world, &id).await.attempts, 0);
            world.sandbox.grant_team_at(at, true);
            in_state(world, WorkspaceState::Active).await;
            assert_eq!(sent(world, &id).await.attempts, 1);
            let shared = "SELECT COUNT(*) FROM installations WHERE org IS NOT NULL";
            assert_eq!(world.count(shared).await, 1);

            // The one token that all workspaces share.
            world.sandbox.revoke_token(None, "token_expired");
            let id = accepted(world, "with the next token").await;
            assert_eq!(sent(world, &id).await.attempts, 1);
            assert_eq!(judge(world).len(), 1);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_moves_pauses_and_continues_in_order_with_new_ids() {
    fresh(1)
        .run(async |world| {
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            let before = accepted(world, "before").await;
            sent(world, &before).await;
            let known = member_of(world, "ben").await;
            in_channel(world).await;
            world.sandbox.migrate_to_org("E0GRID");
            let ids = [accepted(world, "one").await, accepted(world, "two").await];
            assert_eq!(paused(world, &ids[0]).await.attempts, 0);
            assert_eq!(state(world).await.0, WorkspaceState::Active, "the token is not dead");
            assert!(world.sandbox.finish_migration());
            for id in &ids {
                assert_eq!(sent(world, id).await.attempts, 1);
            }
            let texts: Vec<String> =
                world.settled().await.into_iter().map(|message| message.text).collect();
            for (text, word) in texts.iter().zip(["before", "one", "two"]) {
                assert!(text.contains(word), "{texts:?}");
            }
            let now = member_of(world, "ben").await;
            assert_eq!(now, known.replacen('U', "W", 1));
            let moved = "SELECT COUNT(*) FROM installations WHERE enterprise_id = 'E0GRID' AND \
                migrating_since IS NULL AND mapped_after IS NULL AND migration_look_at IS NULL";
            assert_eq!(world.count(moved).await, 1);
            let renamed = format!("{IN_CHANNEL} AND slack_user = '{now}'");
            assert_eq!(world.count(&renamed).await, 1);
        })
        .await;
}

/// Members that Herald knows to be in their channels.
const IN_CHANNEL: &str = "SELECT COUNT(*) FROM channel_members WHERE state = 'member'";

/// Makes a channel, and waits until Ben is in it.
async fn in_channel(world: &World) {
    let wish = pb::ChannelWish { name: "Room".into(), ..pb::ChannelWish::default() };
    let target = Some(pb::channel_member::Target::UserId("ben".into()));
    let members = vec![pb::ChannelMember { target, roles: vec!["enrolled".into()] }];
    let channel = pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: "room".into(),
        wish: Some(wish),
        members: Some(pb::ChannelMembers { members }),
        ..pb::EnsureChannelRequest::default()
    };
    world.client.ensure_channel(channel).await.unwrap();
    until("Ben is in the channel", async || (world.count(IN_CHANNEL).await == 1).then_some(()))
        .await;
}

/// Slack's id of a person, as stored.
async fn member_of(world: &World, user: &str) -> String {
    let person = world.client.person(TENANT, user).await.unwrap();
    person.identity.unwrap().member.unwrap().slack_user_id
}
