//! Two users who are one Slack member share a message, and each gets a verdict.

use herald::rpc::pb;

use crate::support::client::{person, task};
use crate::support::world::{TENANT, World, for_each_database};

async fn listed(world: &World, user: &str) -> usize {
    let request = pb::ListNotificationsRequest {
        tenant_id: TENANT.into(),
        user_id: user.into(),
        ..pb::ListNotificationsRequest::default()
    };
    world.client.list_notifications(request).await.unwrap().notifications.len()
}

#[tokio::test]
async fn each_of_them_is_told() {
    for_each_database(async |world| {
        let people = vec![person("work", "ben@demo.example"), person("home", "ben@demo.example")];
        world.client.upsert(TENANT, people).await;
        let answer = world.client.notify(task("shared", &["work", "home"])).await.unwrap();
        assert_eq!(answer.verdicts[0].delivery_id, answer.verdicts[1].delivery_id);
        let sent = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!((sent.len(), &*sent[0].user_id), (1, "work"));
        assert_eq!(sent[0].also_user_ids, ["home"]);
        assert_eq!((listed(world, "work").await, listed(world, "home").await), (1, 1));
        let mut feed = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
        let mut changes = Vec::new();
        while !changes.iter().any(|c: &pb::DeliveryChange| c.state() == pb::DeliveryState::Sent) {
            changes.extend(feed.message().await.unwrap().unwrap().changes);
        }
        assert!(changes.iter().all(|change| change.also_user_ids == ["home"]), "{changes:?}");
        // Deleting one of them leaves the other.
        let forget = pb::DeletePersonRequest {
            tenant_id: TENANT.into(),
            user_id: "work".into(),
            actor: None,
        };
        world.client.delete_person(forget).await.unwrap();
        let kept = world.client.notification(TENANT, &answer.notification_id).await.unwrap();
        assert_eq!(kept.deliveries[0].user_id, "home");
        assert!(kept.deliveries[0].also_user_ids.is_empty());
        assert_eq!((listed(world, "work").await, listed(world, "home").await), (0, 1));
    })
    .await;
}
