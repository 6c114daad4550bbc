//! `deliver_after`: a message that waits for its time delays no other, and goes after those
//! accepted before it.

use std::time::Duration;

use herald::rpc::pb::{self, DeliveryState, WaitCause};

use crate::support::client::{bad_fields, task};
use crate::support::world::{TENANT, World, for_each_database};

/// `text` for ben, delayed by this time.
async fn later(world: &World, text: &str, by: Duration) -> pb::NotifyRequest {
    let at = world.now().await.plus(by).0;
    let nanos = i32::try_from(at.rem_euclid(1_000_000) * 1000).unwrap();
    let at = prost_types::Timestamp { seconds: at.div_euclid(1_000_000), nanos };
    pb::NotifyRequest { deliver_after: Some(at), ..task(text, &["ben"]) }
}

fn words(world: &World) -> Vec<String> {
    world.sandbox.messages().into_iter().map(|message| message.text).collect()
}

#[tokio::test]
async fn it_joins_the_tail_when_its_time_comes() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let deferred =
            world.client.notify(later(world, "later", Duration::from_secs(1)).await).await.unwrap();
        let promised = deferred.verdicts[0].estimated_send_time;
        assert!(promised.is_some());
        let id = &deferred.notification_id;
        let waiting = world.client.notification(TENANT, id).await.unwrap().deliveries;
        assert_eq!(waiting[0].state(), DeliveryState::Pending);
        assert_eq!(waiting[0].due_at, promised);
        assert_eq!(waiting[0].slack_target, "U0DEMOBEN");
        let trace = waiting[0].trace.clone().unwrap();
        assert_eq!(trace.waits[0].cause(), WaitCause::DeliverAfter);
        let now = world.client.notify(task("now", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &now.notification_id).await;
        let sent = world.client.ended(TENANT, id).await;
        assert_eq!(sent[0].state(), DeliveryState::Sent);
        let started = sent[0].attempt_log[0].started_at.unwrap();
        let promised = promised.unwrap();
        assert!((started.seconds, started.nanos) >= (promised.seconds, promised.nanos));
        let words = words(world);
        assert!(words[0].contains("now") && words[1].contains("later"), "{words:?}");
    })
    .await;
}

#[tokio::test]
async fn it_can_be_canceled_and_must_come_before_the_expiry() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let deferred = later(world, "later", Duration::from_secs(3600)).await;
        let deferred = world.client.notify(deferred).await.unwrap();
        let cancel = pb::CancelNotificationRequest {
            tenant_id: TENANT.into(),
            notification_id: deferred.notification_id,
            actor: None,
        };
        let canceled = world.client.cancel_notification(cancel).await.unwrap();
        assert_eq!(canceled.canceled_deliveries, 1);
        let late = later(world, "too late", Duration::from_secs(73 * 3600)).await;
        assert_eq!(bad_fields(&world.client.notify(late).await.unwrap_err()), ["deliver_after"]);
        let mut odd = later(world, "odd", Duration::ZERO).await;
        odd.deliver_after = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
        assert_eq!(bad_fields(&world.client.notify(odd).await.unwrap_err()), ["deliver_after"]);
        // A time in the past: sent at once.
        let mut past = later(world, "past", Duration::ZERO).await;
        past.deliver_after = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let past = world.client.notify(past).await.unwrap();
        world.client.ended(TENANT, &past.notification_id).await;
        assert_eq!(words(world).len(), 1);
    })
    .await;
}
