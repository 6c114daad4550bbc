//! DeletePerson: no row has data of the person any longer, and the counts stay.

use herald::rpc::pb::{self, DeliveryState};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::client::{demo_person, notify_targets, task};
use crate::support::world::{TENANT, World, for_each_database};

/// Tables with their columns that could name a person.
const ROWS: &[(&str, &str)] = &[
    ("people", "user_id"),
    ("preferences", "user_id"),
    ("deliveries", "user_id"),
    ("deliveries_history", "user_id"),
    ("feed_inbox", "user_id"),
    ("delivery_changes", "user_id"),
    ("deliveries", "lane"),
    ("deliveries_history", "lane"),
];

/// The messages of one person that one call erases.
const ONE_CALL: i64 = 10_000;

async fn delete(world: &World, user: &str) -> pb::DeletePersonResponse {
    try_to_delete(world, user).await.unwrap()
}

async fn try_to_delete(world: &World, user: &str) -> Result<pb::DeletePersonResponse, Status> {
    let (tenant_id, user_id) = (TENANT.into(), user.into());
    let request = pb::DeletePersonRequest { tenant_id, user_id, actor: None };
    world.client.delete_person(request).await
}

#[tokio::test]
async fn a_person_is_forgotten_everywhere() {
    for_each_database(async |world| {
        world.client.load(&["clara"]).await;
        let ben = pb::recipient::Target::Person(demo_person("ben"));
        let sent = notify_targets("sent", "task.assigned", [ben]);
        let alone = world.client.notify(sent.clone()).await.unwrap();
        world.client.ended(TENANT, &alone.notification_id).await;
        let preference = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            event_type: "task.due".into(),
            value: pb::PreferenceValue::Off.into(),
            actor: None,
        };
        world.client.set_preference(preference).await.unwrap();
        let shared = world.client.notify(task("shared", &["ben", "clara"])).await.unwrap();
        world.client.ended(TENANT, &shared.notification_id).await;
        world.throttle("U0DEMOBEN", 5);
        let queued = world.client.notify(task("queued", &["ben"])).await.unwrap();
        world.called("chat.postMessage", 4).await;

        let mut erased = delete(world, "ben").await;
        assert!(erased.deleted);
        // The request that Slack refused may not have been settled yet.
        assert_eq!(erased.canceled_deliveries + erased.in_flight_deliveries, 1);
        let ended = world.client.ended(TENANT, &queued.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Canceled);
        if erased.in_flight_deliveries > 0 {
            erased = delete(world, "ben").await;
        }
        assert!(erased.erased_deliveries > 0);
        for (table, column) in ROWS {
            let text =
                format!("SELECT COUNT(*) FROM {table} WHERE {column} IN ('ben', 'U0DEMOBEN')");
            assert_eq!(world.count(&text).await, 0, "{table}.{column}");
        }
        let content = "SELECT COUNT(*) FROM deliveries WHERE user_id IS NULL \
            AND (content IS NOT NULL OR slack_ts IS NOT NULL)";
        assert_eq!(world.count(content).await, 0);
        let link = format!(
            "SELECT COUNT(*) FROM notifications WHERE link IS NOT NULL AND id = '{}'",
            alone.notification_id
        );
        assert_eq!(world.count(&link).await, 0);
        // Data shared with others stays, and so do the counts.
        let kept = world.client.notification(TENANT, &shared.notification_id).await.unwrap();
        assert_eq!(kept.deliveries.len(), 2);
        assert!(kept.deliveries.iter().all(|delivery| delivery.user_id != "ben"));
        assert!(kept.deliveries.iter().any(|delivery| delivery.user_id == "clara"));
        let status = world.client.person(TENANT, "ben").await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        // The fingerprint stays: the call is still recognized, and its answer names no one.
        let replayed = world.client.notify(sent).await.unwrap();
        assert_eq!(replayed.notification_id, alone.notification_id);
        let verdict = &replayed.verdicts[0];
        assert_eq!(verdict.member, None);
        let recipient = pb::verdict::Recipient::UserId("deleted-person".into());
        assert_eq!(verdict.recipient, Some(recipient));
        let again = delete(world, "ben").await;
        assert_eq!(again, pb::DeletePersonResponse::default());
    })
    .await;
}

/// Each is the only one of its notification, which retention has removed: small rows, and quickly
/// written.
async fn write_old_messages(world: &World, user: &str, count: i64) {
    let rows = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) \
         INSERT INTO deliveries_history (sequence, id, tenant, notification, user_id, position, \
         state, attempt, probes, crashes, due_at, expires_at, priority, kind, event_type, \
         created_at, updated_at) \
         SELECT -n, 'd' || n, '{TENANT}', 'n' || n, '{user}', n, 'expired', 0, 0, 0, 1, 1, 0, \
         'normal', 'task.assigned', 1, 1 FROM n"
    );
    assert_eq!(world.execute(&rows).await, Ok(u64::try_from(count).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_erases_so_many_messages_and_repeated_calls_the_rest() {
    const REST: i64 = 20;
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        write_old_messages(world, "ben", ONE_CALL + REST).await;
        let left = "SELECT COUNT(*) FROM deliveries_history WHERE user_id = 'ben'";
        let known = "SELECT COUNT(*) FROM people WHERE user_id = 'ben'";

        let part = try_to_delete(world, "ben").await.unwrap_err();
        assert_eq!(part.code(), Code::Unavailable, "{part:?}");
        assert!(part.message().contains("a repeated call continues"), "{}", part.message());
        let retry = part.get_details_retry_info().unwrap();
        assert!(retry.retry_delay.is_some_and(|wait| !wait.is_zero()));
        assert_eq!((world.count(left).await, world.count(known).await), (REST, 1));

        let erased = delete(world, "ben").await;
        assert!(erased.deleted);
        assert_eq!(erased.erased_deliveries, REST);
        assert_eq!((world.count(left).await, world.count(known).await), (0, 0));
    })
    .await;
}
