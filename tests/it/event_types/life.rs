//! The life of an event type, as an administrator sees it.

use herald::rpc::pb::{self, PreferenceValue, Priority, VerdictKind};
use serde_json::json;
use tonic::Code;

use super::{NAME, cancelled, create, delete, get, named, recipient, training, update};
use crate::support::client::{bad_fields, fields, notify, reason};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

async fn list(world: &World, page_size: i32) -> Vec<Vec<pb::EventType>> {
    let mut pages = Vec::new();
    let mut request =
        pb::ListEventTypesRequest { tenant_id: TENANT.into(), page_size, ..Default::default() };
    loop {
        let page = world.client.list_event_types(request.clone()).await.unwrap();
        pages.push(page.event_types);
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_is_created_read_changed_and_deleted() {
    for_each_database(async |world| {
        let client = &world.client;
        assert_eq!(get(client, NAME).await.unwrap_err().code(), Code::NotFound);
        let created = create(client, training()).await.unwrap();
        assert!(created.enabled && !created.built_in && !created.etag.is_empty());
        assert_eq!(
            created.demo_data,
            Some(fields(json!({
                "course": { "name": "Course name", "id": "Course id" },
                "starts_at": "2026-11-27T16:00:00Z",
            })))
        );
        let wanted = training();
        assert_eq!(
            (&created.display_name, &created.summary, &created.category, &created.fields),
            (&wanted.display_name, &wanted.summary, &wanted.category, &wanted.fields)
        );
        assert_eq!(get(client, NAME).await.unwrap(), created);
        // Only the named parts change.
        let change = pb::EventType {
            summary: String::new(),
            audience_roles: vec!["organizer".into()],
            default_priority: Priority::Bulk.into(),
            mandatory: true,
            ..named(NAME)
        };
        let paths = ["summary", "audience_roles", "default_priority"];
        let changed = update(client, change, &paths).await.unwrap();
        assert!(changed.summary.is_empty() && !changed.mandatory);
        assert_eq!(changed.audience_roles, ["organizer"]);
        assert_eq!(changed.default_priority(), Priority::Bulk);
        assert_eq!(changed.display_name, created.display_name);
        assert_ne!(changed.etag, created.etag);
        // Without a mask, the parts that are set.
        let change = pb::EventType { mandatory: true, ..named(NAME) };
        let changed = update(client, change, &[]).await.unwrap();
        assert!(changed.mandatory && changed.audience_roles == ["organizer"]);
        assert_eq!(get(client, NAME).await.unwrap(), changed);
        delete(client, NAME, &changed.etag).await.unwrap();
        assert_eq!(get(client, NAME).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(delete(client, NAME, "").await.unwrap_err().code(), Code::NotFound);
        // The name may be used again, and nothing of the type before remains.
        assert_eq!(create(client, training()).await.unwrap(), created);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_types_are_configured_and_listed_with_own_ones_page_by_page() {
    for_each_database(async |world| {
        let client = &world.client;
        for name in ["training.moved", NAME, "training.added"] {
            let own = pb::EventType { name: name.into(), ..training() };
            create(client, own).await.unwrap();
        }
        let change = pb::EventType { skip_actor: true, ..named("task.due") };
        let due = update(client, change, &["skip_actor", "enabled"]).await.unwrap();
        assert!(due.built_in && due.skip_actor && !due.enabled);
        assert_eq!((due.display_name.as_str(), due.fields.len()), ("Task due", 3));
        let names = |pages: &[Vec<pb::EventType>]| -> Vec<String> {
            pages.iter().flatten().map(|one| one.name.clone()).collect()
        };
        let all = list(world, 0).await;
        assert_eq!((all.len(), all[0].len()), (1, 15));
        assert_eq!(names(&all)[12..], ["training.added", NAME, "training.moved"]);
        let listed = all[0].iter().find(|one| one.name == "task.due").unwrap();
        assert_eq!(*listed, due);
        let pages = list(world, 5).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5]);
        assert_eq!(names(&pages), names(&all));
        // The same switch as the setting.
        let settings = client.workspace(TENANT).await.unwrap().settings.unwrap();
        assert_eq!(settings.disabled_event_types, ["task.due"]);
        let none = pb::Settings::default();
        client.set(TENANT, none, &["disabled_event_types"]).await.unwrap();
        assert!(get(client, "task.due").await.unwrap().enabled);
        // Settings and preferences may name own types, too.
        let held = pb::Settings { held_event_types: vec![NAME.into()], ..Default::default() };
        client.set(TENANT, held, &["held_event_types"]).await.unwrap();
        assert!(get(client, NAME).await.unwrap().hold_until_arrival);
        delete(client, NAME, "").await.unwrap();
        let settings = client.workspace(TENANT).await.unwrap().settings.unwrap();
        assert!(settings.held_event_types.is_empty());
        // A page after a type that was deleted meanwhile.
        let first = pb::ListEventTypesRequest {
            tenant_id: TENANT.into(),
            page_size: 13,
            ..Default::default()
        };
        let page = client.list_event_types(first.clone()).await.unwrap();
        assert_eq!(page.event_types.last().unwrap().name, "training.added");
        delete(client, "training.added", "").await.unwrap();
        let rest = pb::ListEventTypesRequest { page_token: page.next_page_token, ..first };
        let rest = client.list_event_types(rest).await.unwrap();
        assert_eq!(names(&[rest.event_types]), ["training.moved"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_refuses_a_lost_update() {
    for_each_database(async |world| {
        let client = &world.client;
        let created = create(client, training()).await.unwrap();
        let with = |etag: &str, summary: &str| pb::EventType {
            etag: etag.into(),
            summary: summary.into(),
            ..named(NAME)
        };
        let changed = update(client, with(&created.etag, "First."), &["summary"]).await.unwrap();
        let lost = update(client, with(&created.etag, "Second."), &["summary"]).await;
        let lost = lost.unwrap_err();
        assert_eq!((lost.code(), &*reason(&lost)), (Code::Aborted, "CHANGED_MEANWHILE"));
        let kept = delete(client, NAME, &created.etag).await.unwrap_err();
        assert_eq!(kept.code(), Code::Aborted);
        assert_eq!(get(client, NAME).await.unwrap(), changed);
        // A switch is a part of the state, also if it is set as a setting.
        let off = pb::Settings { disabled_event_types: vec![NAME.into()], ..Default::default() };
        client.set(TENANT, off, &["disabled_event_types"]).await.unwrap();
        let lost = update(client, with(&changed.etag, "Third."), &["summary"]).await;
        assert_eq!(lost.unwrap_err().code(), Code::Aborted);
        let now = get(client, NAME).await.unwrap();
        update(client, with(&now.etag, "Fourth."), &["summary"]).await.unwrap();
        // Changes at the same time are all made.
        let paths = ["display_name", "summary", "category", "mandatory"];
        let change = || pb::EventType {
            display_name: "Cancelled".into(),
            summary: "Fifth.".into(),
            category: "Courses".into(),
            mandatory: true,
            ..named(NAME)
        };
        let all = paths.map(|path| async move { update(client, change(), &[path]).await });
        for answer in futures_util::future::join_all(all).await {
            answer.unwrap();
        }
        let now = get(client, NAME).await.unwrap();
        assert_eq!((&*now.display_name, &*now.summary), ("Cancelled", "Fifth."));
        assert!(now.category == "Courses" && now.mandatory);
    })
    .await;
}

/// Every replica reads the version of the types for each call, so none is behind.
#[tokio::test(flavor = "multi_thread")]
async fn every_replica_uses_a_change_for_the_next_call() {
    let test = async |world: &mut World| {
        world.client.load(&["ben"]).await;
        let mut clients = Vec::new();
        for replica in 0..world.replicas.len() {
            clients.push(world.client(replica, None).await);
        }
        let mut number = 0;
        let mut verdicts = async || {
            let mut kinds = Vec::new();
            for client in &clients {
                number += 1;
                let request = cancelled(&number.to_string(), vec![recipient("ben", &[])]);
                let answer = client.notify(request).await;
                kinds.push(answer.map(|answer| answer.verdicts[0].kind()).map_err(|e| e.code()));
            }
            kinds
        };
        assert_eq!(verdicts().await, [Err(Code::InvalidArgument); 2]);
        create(&clients[0], training()).await.unwrap();
        assert_eq!(verdicts().await, [Ok(VerdictKind::Queued); 2]);
        update(&clients[1], named(NAME), &["enabled"]).await.unwrap();
        assert_eq!(verdicts().await, [Ok(VerdictKind::Suppressed); 2]);
        let on = pb::EventType { enabled: true, ..named(NAME) };
        update(&clients[0], on, &[]).await.unwrap();
        assert_eq!(verdicts().await, [Ok(VerdictKind::Queued); 2]);
        delete(&clients[1], NAME, "").await.unwrap();
        assert_eq!(verdicts().await, [Err(Code::InvalidArgument); 2]);
        world.settled().await;
    };
    let plan = Plan { replicas: 2, ..Plan::default() };
    plan.run(test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_type_leaves_its_notifications_and_is_refused() {
    for_each_database(async |world| {
        let client = &world.client;
        client.load(&["ben"]).await;
        create(client, training()).await.unwrap();
        let request = cancelled("before", vec![recipient("ben", &[])]);
        let before = client.notify(request.clone()).await.unwrap();
        client.ended(TENANT, &before.notification_id).await;
        delete(client, NAME, "").await.unwrap();
        let read = client.notification(TENANT, &before.notification_id).await.unwrap();
        assert_eq!(read.event_type, NAME);
        assert_eq!(read.deliveries[0].state(), pb::DeliveryState::Sent);
        let listed = pb::ListNotificationsRequest {
            tenant_id: TENANT.into(),
            event_type: NAME.into(),
            ..Default::default()
        };
        let listed = client.list_notifications(listed).await.unwrap();
        assert_eq!(listed.notifications.len(), 1);
        // A repetition still gets its answer; a new notification does not.
        assert_eq!(client.notify(request).await.unwrap(), before);
        let new = cancelled("after", vec![recipient("ben", &[])]);
        let refused = client.notify(new).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["event_type"]);
        assert!(refused.message().contains("is not a known event type"), "{}", refused.message());
        world.messages(1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_in_the_audit_trail_with_the_parts_that_changed() {
    for_each_database(async |world| {
        let client = &world.client;
        create(client, training()).await.unwrap();
        let change = pb::EventType { summary: "New.".into(), mandatory: true, ..named(NAME) };
        update(client, change, &[]).await.unwrap();
        delete(client, NAME, "").await.unwrap();
        for (action, before, after) in [
            ("CreateEventType", None, None),
            (
                "UpdateEventType",
                Some(json!({ "summary": "A training was cancelled.", "mandatory": false })),
                Some(json!({ "summary": "New.", "mandatory": true })),
            ),
            ("DeleteEventType", None, None),
        ] {
            let request = pb::ListAuditRequest {
                tenant_id: TENANT.into(),
                action: action.into(),
                ..Default::default()
            };
            let entry = until(action, async || {
                client.list_audit(request.clone()).await.unwrap().entries.into_iter().next()
            })
            .await;
            assert_eq!(entry.object, format!("event_type:{NAME}"));
            match (before, after) {
                (Some(before), Some(after)) => {
                    assert_eq!(entry.before, Some(fields(before)));
                    assert_eq!(entry.after, Some(fields(after)));
                }
                _ => assert_eq!(entry.before.is_some(), action == "DeleteEventType", "{entry:?}"),
            }
            assert_eq!(entry.after.is_none(), action == "DeleteEventType", "{entry:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_another_tenant_are_invisible() {
    for_each_database(async |world| {
        let client = &world.client;
        create(client, training()).await.unwrap();
        client.switch_sending("other", true).await;
        let in_other = |name: &str| pb::GetEventTypeRequest {
            tenant_id: "other".into(),
            name: name.into(),
            actor: None,
        };
        let [theirs, nobodys] = [NAME, "training.unknown"].map(in_other);
        let theirs = client.get_event_type(theirs).await.unwrap_err();
        let nobodys = client.get_event_type(nobodys).await.unwrap_err();
        assert_eq!(theirs.code(), Code::NotFound);
        assert_eq!(theirs.message(), nobodys.message());
        let listed = pb::ListEventTypesRequest { tenant_id: "other".into(), ..Default::default() };
        let listed = client.list_event_types(listed).await.unwrap().event_types;
        assert!(listed.iter().all(|one| one.built_in), "{listed:?}");
        let request = cancelled("other", vec![recipient("ben", &[])]);
        let request = pb::NotifyRequest { tenant_id: "other".into(), ..request };
        let refused = client.notify(request).await.unwrap_err();
        assert!(!refused.message().contains("training"), "{}", refused.message());
        // The same name in both, each with its own parts.
        let own = pb::EventType { display_name: "Theirs".into(), ..training() };
        let request = pb::CreateEventTypeRequest {
            tenant_id: "other".into(),
            event_type: Some(own),
            actor: None,
        };
        client.create_event_type(request).await.unwrap();
        assert_eq!(get(client, NAME).await.unwrap().display_name, "Training cancelled");
        delete(client, NAME, "").await.unwrap();
        let theirs = client.get_event_type(in_other(NAME)).await.unwrap().event_type.unwrap();
        assert_eq!(theirs.display_name, "Theirs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_have_preferences_for_own_types() {
    for_each_database(async |world| {
        let client = &world.client;
        client.load(&["ben"]).await;
        let off = |event: &str| pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            event_type: event.into(),
            value: PreferenceValue::Off.into(),
            actor: None,
        };
        let unknown = client.set_preference(off(NAME)).await.unwrap_err();
        assert_eq!(bad_fields(&unknown), ["event_type"]);
        create(client, training()).await.unwrap();
        assert!(!client.set_preference(off(NAME)).await.unwrap().effective);
        let request = pb::GetPreferencesRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            actor: None,
        };
        let listed = client.get_preferences(request).await.unwrap().event_types;
        let own = listed.iter().find(|one| one.event_type == NAME).unwrap();
        assert_eq!((own.value(), own.effective), (PreferenceValue::Off, false));
        let built_in = client.notify(notify("built-in", "task.due", &["ben"])).await.unwrap();
        assert_eq!(built_in.verdicts[0].kind(), VerdictKind::Queued);
        world.settled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_is_switched_off_without_the_event_types() {
    for_each_database(async |world| {
        world.execute("ALTER TABLE event_types RENAME TO gone").await.unwrap();
        world.client.switch_sending(TENANT, false).await;
        let german = pb::Settings { locale: "de".into(), ..Default::default() };
        let settings = world.client.set(TENANT, german, &["locale"]).await.unwrap();
        assert!(!settings.sending_allowed && settings.locale == "de");
        world.execute("ALTER TABLE gone RENAME TO event_types").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_the_same_state_is_no_change() {
    for_each_database(async |world| {
        let client = &world.client;
        let version = async || client.workspace(TENANT).await.unwrap().settings.unwrap().version;
        let created = create(client, training()).await.unwrap();
        let before = version().await;
        // The answer was lost, and the call is repeated.
        assert_eq!(create(client, training()).await.unwrap(), created);
        let same = pb::EventType { summary: created.summary.clone(), ..named(NAME) };
        assert_eq!(update(client, same, &[]).await.unwrap(), created);
        assert_eq!(version().await, before);
        let off = update(client, named(NAME), &["enabled"]).await.unwrap();
        assert_ne!(off.etag, created.etag);
        // The type that is there is no longer the wanted one.
        let refused = create(client, training()).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["event_type.name"]);
    })
    .await;
}
