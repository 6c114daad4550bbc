//! Order, pace, limits, dead tokens, stopping.

use herald::domain::delivery::State;
use herald::domain::time::micros;
use herald::sandbox::{Fault, FaultKind};
use herald::store::InstallationState;

use super::{SCOPES, SECOND, World, connect, worlds};
use crate::support::store::test_stores;

fn throttled(seconds: u32) -> FaultKind {
    let retry_after = Some(seconds.to_string());
    FaultKind::Status { code: 429, body: String::new(), retry_after }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_keeps_its_order_and_its_pace() {
    const COUNT: u32 = 20;
    for world in worlds().await {
        let running = world.start();
        let mut last = None;
        for number in 0..COUNT {
            last = Some(world.post("U1", &format!("message {number}")).await);
        }
        let record = world.ended(last.unwrap()).await;
        assert_eq!(record.state, State::Sent);
        let expected: Vec<_> = (0..COUNT).map(|number| format!("message {number}")).collect();
        assert_eq!(world.texts(), expected);
        let posts = world.posts();
        let took = posts[19].started_at_micros - posts[0].started_at_micros;
        assert!(took >= micros(SECOND * (COUNT - 1)), "{took} µs");
        running.drain().await;
    }
}

/// Slack's second is so long that no busy machine needs it for one message, so only the pace takes
/// time. One interval of tolerance, because the first request may have been read late.
#[tokio::test(flavor = "multi_thread")]
async fn one_message_a_second_and_no_faster() {
    const COUNT: u32 = 6;
    for store in test_stores().await {
        let world = World::scaled(store, 0.3).await;
        let second = SECOND * 30;
        let mut last = None;
        for number in 0..COUNT {
            last = Some(world.post("U1", &format!("message {number}")).await);
        }
        let running = world.start();
        assert_eq!(world.ended(last.unwrap()).await.state, State::Sent);
        let posts = world.posts();
        let took = posts[5].started_at_micros - posts[0].started_at_micros;
        assert!(took >= micros(second * (COUNT - 2)), "{took} µs");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_waited_out_and_costs_no_attempt() {
    for world in worlds().await {
        world.sandbox.script(Fault::new("chat.postMessage", throttled(7)).times(1));
        let first = world.post("U1", "one").await;
        let second = world.post("U1", "two").await;
        let running = world.start();
        let record = world.ended(second).await;
        assert_eq!((record.state, record.attempt), (State::Sent, 1));
        let record = world.record(first).await;
        assert_eq!((record.state, record.attempt), (State::Sent, 1));
        let outcomes: Vec<_> = record.attempts.iter().map(|a| a.outcome.as_str()).collect();
        assert_eq!(outcomes, ["throttled", "sent"]);
        assert_eq!(world.texts(), ["one", "two"]);
        let posts = world.posts();
        let waited = posts[1].started_at_micros - posts[0].ended_at_micros;
        assert!(waited >= micros(SECOND * 7), "{waited} µs");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_holds_messages_until_the_reconnect() {
    for world in worlds().await {
        world.sandbox.revoke_token(None, "token_revoked");
        let first = world.post("U1", "one").await;
        let second = world.post("U1", "two").await;
        let running = world.start();
        let code = |code: &Option<String>| code.as_deref() == Some("token_revoked");
        let record = world.until(first, |record| code(&record.code)).await;
        assert_eq!((record.state, record.attempt), (State::Pending, 0));
        let installation =
            world.store.tenancy().installation(world.installation).await.unwrap().unwrap();
        assert_eq!(installation.state, InstallationState::Dead);
        connect(&world.store, &world.sandbox, SCOPES).await;
        assert_eq!(world.ended(second).await.state, State::Sent);
        assert_eq!(world.texts(), ["one", "two"]);
        assert_eq!(world.record(first).await.attempt, 1);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_refuses_fails_with_the_reason_and_the_lane_goes_on() {
    for world in worlds().await {
        let refusal = FaultKind::Error { code: "invalid_blocks".into() };
        world.sandbox.script(Fault::new("chat.postMessage", refusal).times(1));
        let bad = world.post("U1", "bad").await;
        let good = world.post("U1", "good").await;
        let running = world.start();
        assert_eq!(world.ended(good).await.state, State::Sent);
        let record = world.record(bad).await;
        assert_eq!((record.state, record.reason.as_deref()), (State::Failed, Some("rejected")));
        assert_eq!(record.code.as_deref(), Some("invalid_blocks"));
        assert_eq!(world.texts(), ["good"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_what_is_under_way_and_gives_the_rest_back() {
    for world in worlds().await {
        let slow = FaultKind::Delay { seconds: 0.3 };
        world.sandbox.script(Fault::new("chat.postMessage", slow).after().times(1));
        let mut stored = world.sandbox.stored();
        let running = world.start();
        let first = world.post("U1", "one").await;
        stored.wait_for(|count| *count == 1).await.unwrap();
        let second = world.post("U1", "two").await;
        running.drain().await;
        assert_eq!(world.record(first).await.state, State::Sent);
        assert_eq!(world.record(second).await.state, State::Pending);
        let running = world.start();
        assert_eq!(world.ended(second).await.state, State::Sent);
        assert_eq!(world.texts(), ["one", "two"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_long_is_not_sent() {
    for world in worlds().await {
        world.sandbox.script(Fault::new("chat.postMessage", throttled(100)).times(1));
        let waits = world.post("U1", "one").await;
        let expires = world.post_expiring("U1", "two", SECOND * 30).await;
        let running = world.start();
        assert_eq!(world.ended(expires).await.state, State::Expired);
        assert_eq!(world.ended(waits).await.state, State::Sent);
        assert_eq!(world.texts(), ["one"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_work_and_keep_the_order() {
    for world in worlds().await {
        let replica = world.replica().await;
        let (running, other) = (world.start(), replica);
        let mut last = Vec::new();
        for number in 0..10 {
            for lane in ["U1", "U2", "U3"] {
                let id = world.post(lane, &format!("{lane} {number}")).await;
                last.push(id);
            }
        }
        for id in last.split_off(27) {
            assert_eq!(world.ended(id).await.state, State::Sent);
        }
        for lane in ["U1", "U2", "U3"] {
            let expected: Vec<_> = (0..10).map(|number| format!("{lane} {number}")).collect();
            let mut texts = world.texts();
            texts.retain(|text| text.starts_with(lane));
            assert_eq!(texts, expected);
        }
        assert_eq!(world.posts().len(), 30);
        running.drain().await;
        other.drain().await;
    }
}
