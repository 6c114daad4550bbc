//! Order, pace, and unclear answers of Slack: each message is posted once.

use herald::rpc::pb::{Delivery, DeliveryState, WaitCause};
use herald::sandbox::{Fault, FaultKind};

use crate::support::client::task;
use crate::support::world::{Plan, SCALE, TENANT, World, for_each_database};

/// The tolerance of invariant I5, in microseconds.
const TOLERANCE: i64 = 50_000;

fn status(code: u16, retry_after: Option<u32>) -> FaultKind {
    let retry_after = retry_after.map(|seconds| seconds.to_string());
    FaultKind::Status { code, body: String::new(), retry_after }
}

/// Sends `one` and `two` to ben while `fault` strikes; both arrive once, in order.
async fn both_arrive(world: &World, fault: Fault) -> Vec<Delivery> {
    world.client.load(&["ben"]).await;
    world.sandbox.script(fault);
    let mut deliveries = Vec::new();
    for text in ["one", "two"] {
        let answer = world.client.notify(task(text, &["ben"])).await.unwrap();
        deliveries.push(answer.notification_id);
    }
    let messages = world.settled().await;
    assert_eq!(messages.len(), 2, "{:#?}", world.sandbox.log());
    assert!(messages[0].text.contains("one") && messages[1].text.contains("two"));
    let mut ended = Vec::new();
    for (id, message) in deliveries.iter().zip(&messages) {
        let delivery = world.client.ended(TENANT, id).await.remove(0);
        assert_eq!(delivery.state(), DeliveryState::Sent);
        assert_eq!(delivery.ts, message.ts);
        ended.push(delivery);
    }
    ended
}

#[tokio::test]
async fn a_person_gets_messages_in_order_at_one_a_second() {
    const SECOND: i64 = 100_000;
    Plan { rate_limits: true, scale: 0.1, replicas: 2, ..Plan::default() }
        .run(async |world| {
            world.client.load(&["ben"]).await;
            let clients = [world.client(0, None).await, world.client(1, None).await];
            let words: Vec<String> = (10..20).map(|number| format!("number {number}")).collect();
            let mut last = String::new();
            for (number, word) in words.iter().enumerate() {
                let answer = clients[number % 2].notify(task(word, &["ben"])).await.unwrap();
                last = answer.notification_id;
            }
            let messages = world.settled().await;
            assert_eq!(messages.len(), words.len());
            for (message, word) in messages.iter().zip(&words) {
                assert!(message.text.contains(word), "{messages:#?}");
            }
            let posts = world.calls("chat.postMessage");
            assert_eq!(posts.len(), words.len(), "no avoidable 429");
            let last = world.client.ended(TENANT, &last).await.remove(0);
            let waits = last.trace.unwrap_or_default().waits;
            assert!(waits.iter().any(|wait| wait.cause() == WaitCause::Conversation), "{waits:?}");
            for (first, one) in posts.iter().enumerate() {
                for (last, other) in posts.iter().enumerate().skip(first + 1) {
                    let within = other.started_at_micros - one.started_at_micros;
                    let between = i64::try_from(last - first).unwrap();
                    assert!(within + TOLERANCE >= between * SECOND, "{between} in {within} us");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn a_retry_after_is_waited_for_and_costs_no_attempt() {
    for_each_database(async |world| {
        let throttled = Fault::new("chat.postMessage", status(429, Some(10))).times(1);
        let deliveries = both_arrive(world, throttled).await;
        assert_eq!((deliveries[0].attempts, deliveries[1].attempts), (1, 1));
        let outcomes: Vec<_> =
            deliveries[0].attempt_log.iter().map(|attempt| attempt.outcome.as_str()).collect();
        assert_eq!(outcomes, ["throttled", "sent"]);
        let posts = world.calls("chat.postMessage");
        assert_eq!(posts.len(), 3);
        let waited = posts[1].started_at_micros - posts[0].ended_at_micros;
        #[expect(clippy::cast_precision_loss, reason = "less than a second")]
        let seconds = waited as f64 / 1_000_000.0;
        assert!(seconds >= 10.0 * SCALE, "{seconds}");
    })
    .await;
}

#[tokio::test]
async fn trouble_before_storing_is_tried_again() {
    for_each_database(async |world| {
        let fault =
            Fault::new("chat.postMessage", FaultKind::Error { code: "service_unavailable".into() });
        let deliveries = both_arrive(world, fault.times(2)).await;
        assert_eq!(deliveries[0].attempts, 3);
        assert_eq!(deliveries[1].attempts, 1);
    })
    .await;
}

#[tokio::test]
async fn an_ambiguous_answer_before_storing_is_settled_and_sent_once() {
    for_each_database(async |world| {
        let fault = Fault::new("chat.postMessage", status(503, None)).times(1);
        both_arrive(world, fault).await;
    })
    .await;
}

/// Slack stored the message but answered with an error: history shows it, and nothing is posted
/// again.
async fn stored_all_the_same(kind: FaultKind) {
    for_each_database(async |world| {
        let fault = Fault::new("chat.postMessage", kind.clone()).times(1).after();
        let deliveries = both_arrive(world, fault).await;
        assert_eq!(world.calls("chat.postMessage").len(), 2, "posted once each");
        assert!(!world.calls("conversations.history").is_empty());
        assert_eq!(deliveries[0].attempts, 1);
    })
    .await;
}

#[tokio::test]
async fn a_503_after_storing_is_one_message() {
    stored_all_the_same(status(503, None)).await;
}

#[tokio::test]
async fn an_internal_error_after_storing_is_one_message() {
    stored_all_the_same(FaultKind::Error { code: "internal_error".into() }).await;
}

#[tokio::test]
async fn a_reset_after_storing_is_one_message() {
    stored_all_the_same(FaultKind::Reset).await;
}

#[tokio::test]
async fn one_refused_conversation_holds_up_no_other() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        let kind = FaultKind::Error { code: "service_unavailable".into() };
        let fault = Fault::new("chat.postMessage", kind);
        world.sandbox.script(Fault { channel: Some("U0DEMOBEN".into()), ..fault });
        world.client.notify(task("stuck", &["ben"])).await.unwrap();
        world.called("chat.postMessage", 1).await;
        let ada = world.client.notify(task("goes on", &["ada"])).await.unwrap();
        let ada = world.client.ended(TENANT, &ada.notification_id).await.remove(0);
        assert_eq!(ada.state(), DeliveryState::Sent);
        world.sandbox.clear_faults();
        assert_eq!(world.settled().await.len(), 2);
    })
    .await;
}
