//! CancelNotification: waiting deliveries are canceled, and deliveries being sent are reported as
//! such.

use herald::rpc::pb::{self, CancelNotificationRequest, CancelNotificationResponse, DeliveryState};
use tonic::{Code, Status};

use crate::support::client::task;
use crate::support::world::{TENANT, World, for_each_database, until};

async fn cancel(
    world: &World,
    tenant: &str,
    id: &str,
) -> Result<CancelNotificationResponse, Status> {
    let request = CancelNotificationRequest {
        tenant_id: tenant.into(),
        notification_id: id.into(),
        actor: None,
    };
    world.client.cancel_notification(request).await
}

#[tokio::test]
async fn what_was_not_sent_is_canceled_and_never_sent() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        world.throttle("U0DEMOBEN", 5);
        let answer = world.client.notify(task("a", &["ben", "clara"])).await.unwrap();
        let id = answer.notification_id;
        world.called("chat.postMessage", 2).await;
        until("Clara's is settled", async || {
            let deliveries = world.client.notification(TENANT, &id).await.unwrap().deliveries;
            deliveries.iter().any(|one| one.state() == DeliveryState::Sent).then_some(())
        })
        .await;
        let met = cancel(world, TENANT, &id).await.unwrap();
        // The refused request may not have been settled yet.
        assert_eq!(met.canceled_deliveries + met.in_flight_deliveries, 1);
        world.sandbox.clear_faults();
        let mut states: Vec<_> =
            world.client.ended(TENANT, &id).await.iter().map(pb::Delivery::state).collect();
        states.sort_unstable();
        assert_eq!(states, [DeliveryState::Sent, DeliveryState::Canceled]);
        let again = cancel(world, TENANT, &id).await.unwrap();
        assert_eq!((again.canceled_deliveries, again.in_flight_deliveries), (0, 0));
        assert_eq!(again.notification.unwrap().deliveries.len(), 2);
        let status = cancel(world, "other", &id).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_races_with_sending_and_nobody_is_told_both() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara", "daichi"]).await;
        for number in 0..20 {
            let name = ["ben", "clara", "daichi"][number % 3];
            let answer = world.client.notify(task(&number.to_string(), &[name])).await.unwrap();
            cancel(world, TENANT, &answer.notification_id).await.unwrap();
            let ended = world.client.ended(TENANT, &answer.notification_id).await;
            // The books check that a canceled one is not in Slack, and a sent one is there once.
            assert!(ended.iter().all(|delivery| matches!(
                delivery.state(),
                DeliveryState::Sent | DeliveryState::Canceled | DeliveryState::Unreachable
            )));
        }
    })
    .await;
}
