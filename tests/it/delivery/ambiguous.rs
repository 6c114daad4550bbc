//! Lost answers and dead workers: history decides what happened to the message.

use std::time::Duration;

use herald::delivery::Config;
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, SlackUserId};
use herald::sandbox::{Fault, FaultKind};
use herald::slack::{Destination, PostMessage};
use herald::store::{Backend, RecoverOutcome, Settle, SettleContext};
use herald::workspace;
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::slow::OWN_CLOCK;
use super::{HOUR, PATIENCE, World, connect, worlds};
use crate::outbox::{claim_lanes, intend_post};
use crate::support::store::test_stores;

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

/// A database whose clock is ten minutes ahead and can be set; PostgreSQL only.
async fn with_own_clock() -> Option<World> {
    let mut stores = test_stores().await.into_iter();
    let mut store = stores.find(|store| store.backend() == Backend::Postgres)?;
    store.raw().await.execute_unprepared(OWN_CLOCK).await.unwrap();
    store.store = store.replica().await;
    Some(World::new(store).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_stored_ten_minutes_ago_by_its_clock_is_found() {
    let Some(world) = with_own_clock().await else { return };
    world.sandbox.script(Fault::new("chat.postMessage", broken()).after().times(1));
    let id = world.post("U1", "one").await;
    let running = world.start();
    let record = world.ended(id).await;
    assert_eq!((record.state, record.attempt), (State::Sent, 1));
    assert_eq!(world.texts(), ["one"]);
    running.drain().await;
}

/// The clock steps forward between the second and the third check of history, so the third comes at
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_forward_takes_no_time_from_slack() {
    let Some(world) = with_own_clock().await else { return };
    let raw = world.store.raw().await;
    raw.execute_unprepared("UPDATE clock.ahead SET by = '0'").await.unwrap();
    world.sandbox.script(Fault::new("chat.postMessage", FaultKind::Reset).times(1));
    let id = world.post("U1", "one").await;
    let running = world.start();
    // The request, and two checks.
    world.until(id, |record| record.attempts.len() == 3).await;
    raw.execute_unprepared("UPDATE clock.ahead SET by = '10 minutes'").await.unwrap();
    let record = world.ended(id).await;
    assert_eq!((record.state, record.attempt), (State::Sent, 2));
    let posts = world.posts();
    let apart = posts[1].started_at_micros - posts[0].ended_at_micros;
    assert!(apart >= 300_000, "Slack had {apart} µs to store it");
    assert!(world.calls("conversations.history").len() > 3, "the third check must not decide");
    running.drain().await;
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
        world.sandbox.script(once.clone());
        let id = world.post("U1", "not again").await;
        let running = world.start_with(&Config { resend_unreadable: false, ..Config::default() });
        let record = world.ended(id).await;
        assert_eq!((record.state, record.reason.as_deref()), (State::Parked, Some("unconfirmed")));
        assert_eq!(world.texts(), ["again"]);
        running.drain().await;
        // The same for only one event type.
        for (parks, state) in [("task.assigned", State::Parked), ("task.due", State::Sent)] {
            world.sandbox.script(once.clone());
            let id = world.post("U1", parks).await;
            let park_event_types = vec![parks.to_owned()];
            let running = world.start_with(&Config { park_event_types, ..Config::default() });
            assert_eq!(world.ended(id).await.state, state, "{parks}");
            running.drain().await;
        }
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

/// A worker that dies after its intent, either after it posted or before.
async fn die(world: &World, posted: bool) {
    let over = Duration::ZERO;
    let claims = claim_lanes(world.store.lanes(), 10, over).await.unwrap();
    let [claim] = claims.as_slice() else { panic!("{claims:?}") };
    let head = world.store.lanes().head(claim).await.unwrap().unwrap();
    intend_post(world.store.outbox(), claim, head.delivery, over).await.unwrap().unwrap();
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

/// A third death does not show whether Slack stored the message. History does, and a message is
/// parked only if it is not there (faults.md 22).
#[tokio::test(flavor = "multi_thread")]
async fn what_killed_three_workers_is_parked_only_where_history_does_not_have_it() {
    for posted in [false, true] {
        for world in worlds().await {
            let deadly = world.post("U1", "one").await;
            let next = world.post("U1", "two").await;
            for death in 1..=3 {
                die(&world, posted && death == 3).await;
                if death == 3 {
                    break;
                }
                let claims = claim_lanes(world.store.lanes(), 10, HOUR).await.unwrap();
                let outcome = world.store.outbox().recover(&claims[0], deadly).await.unwrap();
                assert_eq!(outcome, RecoverOutcome::Unknown);
                let absent = Settle::Retry { after: Duration::ZERO, code: "absent".into() };
                assert!(
                    world
                        .store
                        .outbox()
                        .settle(&claims[0], deadly, &absent, SettleContext::default())
                        .await
                        .unwrap()
                );
            }
            let running = world.start();
            assert_eq!(world.ended(next).await.state, State::Sent);
            let record = world.record(deadly).await;
            let looks = world.calls("conversations.history").len();
            if posted {
                assert_eq!((record.state, looks > 0), (State::Sent, true));
                assert_eq!(world.texts(), ["one", "two"]);
            } else {
                let parked = (State::Parked, Some("crashed"), true);
                assert_eq!((record.state, record.reason.as_deref(), looks >= 3), parked);
                assert_eq!(world.texts(), ["two"]);
            }
            running.drain().await;
        }
    }
}

/// Every unclear answer, whether Slack stored the message or not, ends in exactly one message
/// (faults.md 16), and so do slow, partial and missing answers (17).
#[tokio::test(flavor = "multi_thread")]
async fn every_unclear_answer_ends_in_one_message() {
    let status = |code| FaultKind::Status { code, body: "<html>".into(), retry_after: None };
    let error = |code: &str| FaultKind::Error { code: code.into() };
    // All nine, both before Slack stores and after.
    let answers = [
        status(500),
        status(502),
        status(503),
        error("internal_error"),
        error("fatal_error"),
        error("request_timeout"),
        FaultKind::Slow { bytes_per_second: 400 },
        FaultKind::Truncate,
        FaultKind::Hang { seconds: 0.5 },
    ];
    for stored in [false, true] {
        for world in worlds().await {
            let mut all = Vec::new();
            for (number, kind) in (1..).zip(&answers) {
                let lane = format!("U{number}");
                let fault = Fault::new("chat.postMessage", kind.clone()).times(1);
                let fault = Fault { channel: Some(lane.clone()), ..fault };
                world.sandbox.script(if stored { fault.after() } else { fault });
                all.push(world.post(&lane, "one").await);
                all.push(world.post(&lane, "two").await);
            }
            let running = world.start();
            for id in all {
                assert_eq!(world.ended(id).await.state, State::Sent);
            }
            for number in 1..=answers.len() {
                let lane = format!("U{number}");
                let messages = world.sandbox.messages();
                let theirs = messages.iter().filter(|one| one.user.as_deref() == Some(&*lane));
                let texts: Vec<_> = theirs.map(|message| &*message.text).collect();
                assert_eq!(texts, ["one", "two"], "{:?}, stored: {stored}", answers[number - 1]);
            }
            running.drain().await;
        }
    }
}

/// One conversation whose answers come one byte a second, or never, does not affect the others
/// (faults.md 17).
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_answers_slowly_holds_up_no_other() {
    for kind in [FaultKind::Slow { bytes_per_second: 1 }, FaultKind::Hang { seconds: 600.0 }] {
        for store in test_stores().await {
            let world = World::scaled(store, 1.0).await;
            let fault = Fault::new("chat.postMessage", kind.clone());
            world.sandbox.script(Fault { channel: Some("U1".into()), ..fault });
            let slow = world.post("U1", "slow").await;
            let running = world.start_with(&Config { workers: 2, ..Config::default() });
            world.until(slow, |record| record.state == State::Sending).await;
            for number in 2..=9 {
                let other = world.post(&format!("U{number}"), "goes on").await;
                assert_eq!(world.ended(other).await.state, State::Sent);
            }
            running.task.abort();
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
        for claim in claim_lanes(world.store.lanes(), 10, over).await.unwrap() {
            let head = world.store.lanes().head(&claim).await.unwrap().unwrap();
            intend_post(world.store.outbox(), &claim, head.delivery, over).await.unwrap().unwrap();
        }
        let running = world.start();
        for id in all {
            assert_eq!(world.ended(id).await.state, State::Sent);
        }
        assert_eq!(world.texts().len(), 9);
        running.drain().await;
    }
}
