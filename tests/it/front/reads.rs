//! Preferences as they are read back, and lists page by page.

use herald::rpc::pb::{self, DeliveryState, PreferenceValue, SuppressionReason};

use crate::support::client::{bad_fields, notify};
use crate::support::world::{TENANT, for_each_database};

#[tokio::test]
async fn choices_read_back_with_what_comes_of_them() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let set = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            event_type: "task.due".into(),
            value: PreferenceValue::Off.into(),
            actor: None,
        };
        world.client.set_preference(set).await.unwrap();
        let (tenant_id, user_id) = (TENANT.into(), "ben".into());
        let request = pb::GetPreferencesRequest { tenant_id, user_id, actor: None };
        let got = world.client.get_preferences(request).await.unwrap();
        assert_eq!((got.preference(), got.event_types.len()), (PreferenceValue::Inherit, 12));
        for choice in got.event_types {
            let off = choice.event_type == "task.due";
            assert_eq!(choice.effective, !off, "{choice:?}");
            let (value, by) = if off {
                (PreferenceValue::Off, SuppressionReason::PreferenceType)
            } else {
                (PreferenceValue::Inherit, SuppressionReason::Unspecified)
            };
            assert_eq!((choice.value(), choice.suppression()), (value, by));
        }
    })
    .await;
}

#[tokio::test]
async fn notifications_are_listed_by_filter_and_page() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        let mut accepted = Vec::new();
        for number in 0..7 {
            let (event, user) =
                if number % 2 == 0 { ("task.assigned", "ben") } else { ("task.due", "clara") };
            let users = [user, "nobody"];
            let answer = world.client.notify(notify(&number.to_string(), event, &users)).await;
            let id = answer.unwrap().notification_id;
            world.client.ended(TENANT, &id).await;
            accepted.push(id);
        }
        accepted.reverse();
        let list = async |filter: pb::ListNotificationsRequest| {
            let mut filter = pb::ListNotificationsRequest { tenant_id: TENANT.into(), ..filter };
            let mut found = Vec::new();
            loop {
                let page = world.client.list_notifications(filter.clone()).await.unwrap();
                assert!(filter.page_size == 0 || page.notifications.len() <= 2);
                found.extend(page.notifications);
                if page.next_page_token.is_empty() {
                    return found;
                }
                filter.page_token = page.next_page_token;
            }
        };
        let ids = |found: &[pb::NotificationSummary]| -> Vec<String> {
            found.iter().map(|one| one.notification_id.clone()).collect()
        };
        let all = pb::ListNotificationsRequest { page_size: 2, ..Default::default() };
        let found = list(all.clone()).await;
        assert_eq!(ids(&found), accepted);
        let counts: Vec<_> = found[0].deliveries.iter().map(|c| (c.state(), c.count)).collect();
        assert_eq!(counts, [(DeliveryState::Sent, 1), (DeliveryState::Unreachable, 1)]);
        let of_ben = pb::ListNotificationsRequest { user_id: "ben".into(), ..all.clone() };
        let found = list(of_ben.clone()).await;
        assert_eq!((found.len(), found[0].deliveries.len()), (4, 1));
        let unreached = pb::ListNotificationsRequest {
            state: DeliveryState::Unreachable.into(),
            ..of_ben.clone()
        };
        assert!(list(unreached).await.is_empty());
        let unreachable = pb::ListNotificationsRequest {
            state: DeliveryState::Unreachable.into(),
            event_type: "task.due".into(),
            ..all.clone()
        };
        assert_eq!(list(unreachable).await.len(), 3);
        let middle = list(all.clone()).await[3].created_at;
        let newer = pb::ListNotificationsRequest { created_from: middle, ..all.clone() };
        let older = pb::ListNotificationsRequest { created_before: middle, ..all.clone() };
        assert_eq!(ids(&list(newer).await), accepted[..4]);
        assert_eq!(ids(&list(older).await), accepted[4..]);
        // A token is bound to its filter.
        let first = pb::ListNotificationsRequest { tenant_id: TENANT.into(), ..all };
        let page = world.client.list_notifications(first).await.unwrap();
        let wrong = pb::ListNotificationsRequest {
            tenant_id: TENANT.into(),
            page_token: page.next_page_token,
            ..of_ben
        };
        let status = world.client.list_notifications(wrong).await.unwrap_err();
        assert_eq!(bad_fields(&status), ["page_token"]);
        let other =
            pb::ListNotificationsRequest { tenant_id: "other".into(), ..Default::default() };
        assert!(world.client.list_notifications(other).await.unwrap().notifications.is_empty());
    })
    .await;
}
