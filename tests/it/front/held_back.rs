//! Messages that must not be sent: they were switched off before or while they waited, they are too
//! late, or the recipient's account was closed meanwhile.

use herald::rpc::pb::{
    self, DeliveryState, PreferenceValue, SetPreferenceRequest, Settings, SuppressionReason,
    VerdictKind,
};

use crate::support::client::{notify, task};
use crate::support::world::{TENANT, World, for_each_database};

/// Sets a preference of `ben`; an empty event type means all of them.
async fn prefer(world: &World, event_type: &str, value: PreferenceValue) {
    let request = SetPreferenceRequest {
        tenant_id: TENANT.into(),
        user_id: "ben".into(),
        event_type: event_type.into(),
        value: value.into(),
        actor: None,
    };
    world.client.set_preference(request).await.unwrap();
}

/// Accepts a message to `ben` whose lane is throttled, and waits until Slack refused it once.
async fn wait_behind_a_429(world: &World) -> String {
    world.client.load(&["ben"]).await;
    world.throttle("U0DEMOBEN", 5);
    let answer = world.client.notify(task("waits", &["ben"])).await.unwrap();
    assert_eq!(answer.verdicts[0].kind(), VerdictKind::Queued);
    world.called("chat.postMessage", 1).await;
    answer.notification_id
}

/// The ended delivery; none of its messages is in Slack.
async fn ended(world: &World, id: &str) -> pb::Delivery {
    let deliveries = world.client.ended(TENANT, id).await;
    assert!(world.sandbox.messages().is_empty());
    deliveries.into_iter().next().unwrap()
}

#[tokio::test]
async fn each_switch_suppresses_and_is_named() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let mut number = 0;
        let mut verdict = async || {
            number += 1;
            let request = notify(&number.to_string(), "task.due", &["ben"]);
            let verdict = world.client.notify(request).await.unwrap().verdicts.remove(0);
            assert_eq!(verdict.kind(), VerdictKind::Suppressed);
            assert!(!verdict.delivery_id.is_empty() && !verdict.sentence.is_empty());
            verdict.suppression()
        };
        prefer(world, "task.due", PreferenceValue::Off).await;
        assert_eq!(verdict().await, SuppressionReason::PreferenceType);
        prefer(world, "", PreferenceValue::Off).await;
        prefer(world, "task.due", PreferenceValue::On).await;
        assert_eq!(verdict().await, SuppressionReason::PreferenceAll, "off beats on for one");
        prefer(world, "", PreferenceValue::Inherit).await;
        prefer(world, "task.due", PreferenceValue::Inherit).await;

        let opt_in = Settings { opt_in: true, ..Settings::default() };
        world.client.set(TENANT, opt_in, &["opt_in"]).await.unwrap();
        assert_eq!(verdict().await, SuppressionReason::OptIn);
        prefer(world, "task.due", PreferenceValue::On).await;
        let off = Settings { disabled_event_types: vec!["task.due".into()], ..Settings::default() };
        world.client.set(TENANT, off, &["disabled_event_types"]).await.unwrap();
        assert_eq!(verdict().await, SuppressionReason::EventTypeOff);
        world.client.switch_sending(TENANT, false).await;
        assert_eq!(verdict().await, SuppressionReason::SendingOff);
        world.settled().await;
        assert!(world.calls("chat.postMessage").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_person_who_turns_off_meanwhile_gets_nothing() {
    for_each_database(async |world| {
        let id = wait_behind_a_429(world).await;
        prefer(world, "task.assigned", PreferenceValue::Off).await;
        let delivery = ended(world, &id).await;
        assert_eq!(delivery.state(), DeliveryState::Suppressed);
        assert_eq!(delivery.reason, "preference_type_off");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_is_switched_off_meanwhile_sends_nothing() {
    for_each_database(async |world| {
        let id = wait_behind_a_429(world).await;
        world.client.switch_sending(TENANT, false).await;
        let delivery = ended(world, &id).await;
        assert_eq!(delivery.state(), DeliveryState::Suppressed);
        assert_eq!(delivery.reason, "sending_off");
    })
    .await;
}

#[tokio::test]
async fn what_waited_too_long_expires() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.throttle("U0DEMOBEN", 5);
        let expires_in = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let request = pb::NotifyRequest { expires_in, ..task("late", &["ben"]) };
        let id = world.client.notify(request).await.unwrap().notification_id;
        let delivery = ended(world, &id).await;
        assert_eq!(delivery.state(), DeliveryState::Expired);
        assert_eq!(delivery.attempts, 0, "{delivery:?}");
    })
    .await;
}

#[tokio::test]
async fn an_account_that_is_closed_meanwhile_gets_nothing() {
    for_each_database(async |world| {
        let id = wait_behind_a_429(world).await;
        world.sandbox.deactivate("U0DEMOBEN");
        // A test looks up the one person in Slack, and all replicas learn the answer.
        let request = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("ben".into())),
            actor: None,
        };
        let tested = world.client.test_slack(request).await.unwrap();
        assert!(!tested.identity_stored, "{tested:?}");
        let delivery = ended(world, &id).await;
        assert_eq!(delivery.state(), DeliveryState::Failed);
        assert_eq!(delivery.reason, "recipient_deactivated");
    })
    .await;
}
