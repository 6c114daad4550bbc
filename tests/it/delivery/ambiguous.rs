//! Answers that were lost and workers that died: history settles what became of the message.

use std::time::Duration;

use herald::delivery::Config;
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, SlackUserId};
use herald::sandbox::{Fault, FaultKind};
use herald::slack::{Destination, PostMessage};
use herald::workspace;
use serde_json::json;

use super::{PATIENCE, World, connect, worlds};

fn broken() -> FaultKind {
    FaultKind::Status { code: 500, body: String::new(), retry_after: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stored_is_found_and_not_sent_again() {
    for world in worlds().await {
        world.sandbox.script(Fault::new("chat.postMessage", broken()).after().times(1));
        let first = world.post("U1", "one").await;
        let second = world.post("U1", "two").await;
        let running = world.start();
        assert_eq!(world.ended(second).await.state, State::Sent);
        let record = world.record(first).await;
        assert_eq!((record.state, record.attempt), (State::Sent, 1));
        let messages = world.sandbox.messages();
        assert_eq!(world.texts(), ["one", "two"]);
        assert_eq!(record.ts.as_deref(), Some(messages[0].ts.as_str()));
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_stored_is_sent_once_more_after_the_third_look() {
    for world in worlds().await {
        world.sandbox.script(Fault::new("chat.postMessage", FaultKind::Reset).times(1));
        let first = world.post("U1", "one").await;
        let second = world.post("U1", "two").await;
        let running = world.start();
        assert_eq!(world.ended(second).await.state, State::Sent);
        assert_eq!(world.texts(), ["one", "two"]);
        assert_eq!(world.record(first).await.attempt, 2);
        assert_eq!(world.calls("conversations.history").len(), 3);
        let posts = world.posts();
        let apart = posts[1].started_at_micros - posts[0].ended_at_micros;
        assert!(apart >= 300_000, "Slack had {apart} µs to store it");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_looked_through_like_a_direct_message() {
    for world in worlds().await {
        let bot = world.sandbox.bot_user_id();
        let channel = world.sandbox.create_channel("news", false, &[&bot]);
        world.sandbox.script(Fault::new("chat.postMessage", broken()).after().times(1));
        let id = world.post(&channel, "one").await;
        let running = world.start();
        let record = world.ended(id).await;
        assert_eq!(record.state, State::Sent);
        assert_eq!(record.channel, Some(super::channel(&channel)));
        assert_eq!(world.texts(), ["one"]);
        assert_eq!(world.calls("conversations.open").len(), 0);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_history_cannot_be_read_the_setting_decides() {
    for world in worlds().await {
        connect(&world.store, &world.sandbox, &["chat:write", "users:read"]).await;
        world.sandbox.set_scopes(&["chat:write", "users:read"]);
        let once = Fault::new("chat.postMessage", FaultKind::Reset).times(1);
        world.sandbox.script(once.clone());
        let id = world.post("U1", "again").await;
        let running = world.start();
        assert_eq!(world.ended(id).await.state, State::Sent);
        running.drain().await;
        world.sandbox.script(once);
        let id = world.post("U1", "not again").await;
        let running = world.start_with(&Config { resend_unreadable: false, ..Config::default() });
        let record = world.ended(id).await;
        assert_eq!((record.state, record.reason.as_deref()), (State::Parked, Some("unconfirmed")));
        assert_eq!(world.texts(), ["again"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_frozen_after_the_intent_posts_nothing() {
    for world in worlds().await {
        let member = SlackUserId::parse("U1").unwrap();
        let message = PostMessage {
            destination: Destination::Person(&member),
            text: "late",
            blocks: &json!([]),
            delivery_id: DeliveryId(uuid::Uuid::now_v7()),
            thread_ts: None,
        };
        let passed = tokio::time::Instant::now();
        let token = world.workspaces.token(world.installation).await.unwrap();
        let posted =
            world.workspaces.post(world.installation, "U1", &token, &message, passed).await;
        assert!(matches!(posted, Err(workspace::Error::Late)));
        assert_eq!(world.posts().len(), 0);
    }
}

/// A worker that dies after its intent, having posted or not.
async fn die(world: &World, posted: bool) {
    let over = Duration::ZERO;
    let claims = world.store.claim_lanes(10, over).await.unwrap();
    let [claim] = claims.as_slice() else { panic!("{claims:?}") };
    let head = world.store.head(claim).await.unwrap().unwrap();
    world.store.intend(claim, head.delivery, over).await.unwrap().unwrap();
    if posted {
        let member = SlackUserId::parse(claim.lane.as_str()).unwrap();
        let message = PostMessage {
            destination: Destination::Person(&member),
            text: "one",
            blocks: &json!([]),
            delivery_id: head.delivery,
            thread_ts: None,
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (installation, lane) = (claim.installation, claim.lane.as_str());
        let token = world.workspaces.token(installation).await.unwrap();
        world.workspaces.post(installation, lane, &token, &message, deadline).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_died_while_sending_leaves_one_message() {
    for posted in [false, true] {
        for world in worlds().await {
            let first = world.post("U1", "one").await;
            let second = world.post("U1", "two").await;
            die(&world, posted).await;
            let running = world.start();
            assert_eq!(world.ended(second).await.state, State::Sent);
            let record = world.record(first).await;
            assert_eq!((record.state, record.attempt), (State::Sent, if posted { 1 } else { 2 }));
            assert_eq!(record.attempts[0].outcome, "crashed");
            assert_eq!(world.texts(), ["one", "two"]);
            running.drain().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_in_doubt_share_the_budget_of_history_and_all_are_settled() {
    for world in worlds().await {
        let mut all = Vec::new();
        for number in 1..=9 {
            all.push(world.post(&format!("U{number}"), "one").await);
        }
        let over = Duration::ZERO;
        for claim in world.store.claim_lanes(10, over).await.unwrap() {
            let head = world.store.head(&claim).await.unwrap().unwrap();
            world.store.intend(&claim, head.delivery, over).await.unwrap().unwrap();
        }
        let running = world.start();
        for id in all {
            assert_eq!(world.ended(id).await.state, State::Sent);
        }
        assert_eq!(world.texts().len(), 9);
        running.drain().await;
    }
}
