//! Notify with types that a tenant made or configured: words, recipients, priority, holding.

use herald::rpc::pb::{
    self, DeliveryState as State, Fallback, HoldPolicy, PreferenceValue, SubjectAction,
    SuppressionReason as Reason, VerdictKind as Kind,
};
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use super::{NAME, cancelled, create, delete, named, recipient, training, update, with_data};
use crate::held::{arrive, newcomer};
use crate::support::client::{bad_fields, fields, person, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// The verdict on each recipient of a Notify.
async fn verdicts(world: &World, request: pb::NotifyRequest) -> Vec<(Kind, Reason)> {
    let answer = world.client.notify(request).await.unwrap();
    answer.verdicts.iter().map(|verdict| (verdict.kind(), verdict.suppression())).collect()
}

const QUEUED: (Kind, Reason) = (Kind::Queued, Reason::Unspecified);

const fn suppressed(by: Reason) -> (Kind, Reason) {
    (Kind::Suppressed, by)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_own_type_shows_its_name_and_its_fields() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let own = pb::EventType { display_name: "<!channel> gone".into(), ..training() };
        create(&world.client, own).await.unwrap();
        let data =
            json!({ "course": { "name": "First aid" }, "starts_at": "2026-12-03T08:00:00Z" });
        let request = with_data("one", vec![recipient("ben", &[])], data);
        let linked = pb::NotifyRequest {
            request_id: "two".into(),
            link: "https://platform.example/courses/1".into(),
            ..request.clone()
        };
        world.client.notify(request).await.unwrap();
        world.client.notify(linked).await.unwrap();
        let messages = world.messages(2).await;
        assert_eq!(messages[0].text, "&lt;!channel&gt; gone: First aid");
        let shown = messages.iter().map(|message| message.blocks.to_string()).collect::<Vec<_>>();
        for blocks in &shown {
            assert!(blocks.contains("First aid") && blocks.contains("Dec 3, 2026"), "{blocks}");
            assert!(!blocks.contains("<!channel>"), "{blocks}");
        }
        assert!(!shown[0].contains("button") && shown[1].contains("courses/1"), "{shown:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_an_own_type_is_checked_against_its_fields() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        create(&world.client, training()).await.unwrap();
        let data = json!({ "course": { "name": " " }, "starts_at": "soon", "more": 1 });
        let request = with_data("one", vec![recipient("ben", &[])], data);
        let refused = world.client.notify(request).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["data.course.name", "data.starts_at"]);
        assert_eq!(world.count("SELECT COUNT(*) FROM notifications").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_decide_and_a_person_named_twice_gets_one_message() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada", "clara"]).await;
        let audience = ["organizer", "teacher"].map(String::from).to_vec();
        let own = pb::EventType { audience_roles: audience, ..training() };
        create(&world.client, own).await.unwrap();
        let bot = world.sandbox.bot_user_id();
        let channel = world.sandbox.create_channel("news", false, &[&bot]);
        let channel = pb::Recipient {
            target: Some(pb::recipient::Target::ChannelId(channel)),
            roles: Vec::new(),
        };
        let outside = suppressed(Reason::NotInAudience);
        let recipients = vec![
            recipient("ben", &["guest"]),
            recipient("ada", &["guest", "teacher"]),
            recipient("clara", &[]),
            // Named again, with the roles that the first entry lacks.
            recipient("ben", &["organizer"]),
            recipient("ada", &["organizer"]),
            channel,
        ];
        let answer = world.client.notify(cancelled("one", recipients)).await.unwrap();
        let decided: Vec<_> =
            answer.verdicts.iter().map(|verdict| (verdict.kind(), verdict.suppression())).collect();
        assert_eq!(decided, [QUEUED, QUEUED, outside, QUEUED, QUEUED, QUEUED]);
        assert_eq!(answer.verdicts[0].delivery_id, answer.verdicts[3].delivery_id);
        assert_eq!(answer.verdicts[2].fallback(), Fallback::NotWanted);
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        let clara = ended.iter().find(|delivery| delivery.user_id == "clara").unwrap();
        assert_eq!((clara.state(), &*clara.reason), (State::Suppressed, "not_in_audience"));
        assert_eq!(clara.fallback(), Fallback::NotWanted);
        world.messages(3).await;
        // Roles are a part of the call's identity.
        let again = |roles: &[&str]| cancelled("two", vec![recipient("ben", roles)]);
        world.client.notify(again(&["teacher"])).await.unwrap();
        let other = world.client.notify(again(&["guest"])).await.unwrap_err();
        assert_eq!(other.code(), tonic::Code::AlreadyExists);
        // A type without an audience ignores roles.
        let wide = pb::NotifyRequest {
            recipients: vec![recipient("clara", &["guest"])],
            ..task("wide", &["clara"])
        };
        assert_eq!(verdicts(world, wide).await, [QUEUED]);
        world.settled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audience_of_earlier_messages_is_that_of_the_subject() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let own = pb::EventType {
            audience_roles: vec!["teacher".into()],
            subject_key_path: "course.id".into(),
            ..training()
        };
        create(&world.client, own).await.unwrap();
        let course = json!({ "course": { "name": "First aid", "id": 7 } });
        let first = with_data("one", vec![recipient("ben", &["teacher"])], course.clone());
        assert_eq!(verdicts(world, first).await, [QUEUED]);
        world.settled().await;
        // The subject comes from the data, and the recipients from the messages about it.
        let reply = pb::NotifyRequest {
            subject_action: SubjectAction::Reply.into(),
            ..with_data("two", Vec::new(), course.clone())
        };
        assert_eq!(verdicts(world, reply).await, [QUEUED]);
        world.settled().await;
        let messages = world.messages(2).await;
        assert_eq!(messages[1].thread_ts.as_deref(), Some(&*messages[0].ts));
        // Without a subject, an action on earlier messages is refused.
        let nothing = json!({ "course": { "name": "First aid" } });
        let reply = pb::NotifyRequest {
            subject_action: SubjectAction::Reply.into(),
            ..with_data("three", Vec::new(), nothing)
        };
        let refused = world.client.notify(reply).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["subject_key"]);
        let long = json!({ "course": { "name": "First aid", "id": "x".repeat(257) } });
        let request = with_data("four", vec![recipient("ben", &["teacher"])], long);
        let refused = world.client.notify(request).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["data.course.id"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_not_notified_of_their_own_act() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        create(&world.client, training()).await.unwrap();
        let by_ben = |request_id: &str| pb::NotifyRequest {
            actor_user_id: "ben".into(),
            ..cancelled(request_id, vec![recipient("ben", &[]), recipient("ada", &[])])
        };
        assert_eq!(verdicts(world, by_ben("one")).await, [QUEUED, QUEUED]);
        let skip = pb::EventType { skip_actor: true, ..named(NAME) };
        update(&world.client, skip, &[]).await.unwrap();
        let own_act = suppressed(Reason::OwnAct);
        assert_eq!(verdicts(world, by_ben("two")).await, [own_act, QUEUED]);
        // A built-in type can be configured so, too.
        let skip = pb::EventType { skip_actor: true, ..named("task.assigned") };
        update(&world.client, skip, &[]).await.unwrap();
        let request =
            pb::NotifyRequest { actor_user_id: "ada".into(), ..task("three", &["ben", "ada"]) };
        assert_eq!(verdicts(world, request).await, [QUEUED, own_act]);
        // The call's identity includes the person.
        let other = pb::NotifyRequest { actor_user_id: "ada".into(), ..by_ben("two") };
        let other = world.client.notify(other).await.unwrap_err();
        assert_eq!(other.code(), tonic::Code::AlreadyExists);
        world.settled().await;
        world.messages(4).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_type_suppresses_everyone_also_while_waiting() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        create(&world.client, training()).await.unwrap();
        world.throttle("U0DEMOBEN", 5);
        let waits = cancelled("waits", vec![recipient("ben", &[])]);
        let waits = world.client.notify(waits).await.unwrap();
        assert_eq!(waits.verdicts[0].kind(), Kind::Queued);
        world.called("chat.postMessage", 1).await;
        update(&world.client, named(NAME), &["enabled"]).await.unwrap();
        let off = suppressed(Reason::EventTypeOff);
        let request = cancelled("off", vec![recipient("ben", &[]), recipient("ada", &[])]);
        let answer = world.client.notify(request).await.unwrap();
        for verdict in &answer.verdicts {
            assert_eq!((verdict.kind(), verdict.suppression()), off);
            assert_eq!(verdict.fallback(), Fallback::Wanted);
        }
        // The notification is recorded.
        let read = world.client.notification(TENANT, &answer.notification_id).await.unwrap();
        assert_eq!(read.deliveries.len(), 2);
        let waited = world.client.ended(TENANT, &waits.notification_id).await.remove(0);
        assert_eq!((waited.state(), &*waited.reason), (State::Suppressed, "event_type_off"));
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_opts_out_of_a_mandatory_type() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        create(&world.client, training()).await.unwrap();
        let off = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            value: PreferenceValue::Off.into(),
            ..Default::default()
        };
        let all = world.client.set_preference(off.clone()).await.unwrap();
        assert!(!all.effective);
        let request = |id: &str| cancelled(id, vec![recipient("ben", &[])]);
        let all_off = suppressed(Reason::PreferenceAll);
        assert_eq!(verdicts(world, request("one")).await, [all_off]);
        let mandatory = pb::EventType { mandatory: true, ..named(NAME) };
        update(&world.client, mandatory, &[]).await.unwrap();
        let opt_in = pb::Settings { opt_in: true, ..Default::default() };
        world.client.set(TENANT, opt_in, &["opt_in"]).await.unwrap();
        // It is sent, so the preference does not count at its turn either.
        let answer = world.client.notify(request("two")).await.unwrap();
        let sent = world.client.ended(TENANT, &answer.notification_id).await.remove(0);
        assert_eq!(sent.state(), State::Sent, "{sent:?}");
        let decision = sent.trace.unwrap().decisions.remove(0);
        assert!(decision.switches.unwrap().mandatory);
        let own = pb::SetPreferenceRequest { event_type: NAME.into(), ..off };
        assert!(world.client.set_preference(own).await.unwrap().effective);
        // The tenant's switch still counts.
        world.client.switch_sending(TENANT, false).await;
        let sending_off = suppressed(Reason::SendingOff);
        assert_eq!(verdicts(world, request("three")).await, [sending_off]);
        world.messages(1).await;
    })
    .await;
}

/// Each replica remembers failed lookups for longer than a test takes.
fn remembering() -> Plan {
    Plan { adjust: |settings| settings.directory.absent_seconds = 3600, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_keeps_its_words_when_its_type_changes_and_goes() {
    let test = async |world: &mut World| {
        world.client.upsert(TENANT, vec![person("nia", "nia@firm.example")]).await;
        let tested = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("nia".into())),
            actor: None,
        };
        world.client.test_slack(tested).await.unwrap();
        let own = pb::EventType { hold_until_arrival: true, ..training() };
        create(&world.client, own).await.unwrap();
        let request = |id: &str| cancelled(id, vec![recipient("nia", &[])]);
        let not = pb::NotifyRequest { hold: HoldPolicy::DoNotHold.into(), ..request("not") };
        assert_eq!(verdicts(world, not).await[0].0, Kind::Unreachable);
        assert_eq!(verdicts(world, request("held")).await[0].0, Kind::Held);
        let change = pb::EventType { display_name: "Changed".into(), ..named(NAME) };
        update(&world.client, change, &[]).await.unwrap();
        delete(&world.client, NAME, "").await.unwrap();
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        world.settled().await;
        let messages = world.messages(1).await;
        assert_eq!(messages[0].text, "Training cancelled: First aid");
    };
    remembering().run(test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_priority_of_a_type_counts_if_the_call_names_none() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let own = pb::EventType { default_priority: pb::Priority::Urgent.into(), ..training() };
        create(&world.client, own).await.unwrap();
        let bulk =
            pb::EventType { default_priority: pb::Priority::Bulk.into(), ..named("task.due") };
        update(&world.client, bulk, &[]).await.unwrap();
        let stored = async |request: pb::NotifyRequest| {
            let id = world.client.notify(request).await.unwrap().notification_id;
            let of =
                |table: &str| format!("SELECT priority FROM {table} WHERE notification = '{id}'");
            let (now, then) = (of("deliveries"), of("deliveries_history"));
            let query = format!("SELECT MAX(priority) FROM ({now} UNION ALL {then}) AS every");
            world.count(&query).await
        };
        let request = |id: &str| cancelled(id, vec![recipient("ben", &[])]);
        assert_eq!(stored(request("one")).await, 1);
        let chosen = pb::NotifyRequest { priority: pb::Priority::Bulk.into(), ..request("two") };
        assert_eq!(stored(chosen).await, -1);
        let due = crate::support::client::notify("three", "task.due", &["ben"]);
        assert_eq!(stored(due).await, -1);
        world.settled().await;
    })
    .await;
}

/// Slack answers about a stranger after three seconds; the type changes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_decided_by_the_type_after_the_wait() {
    for_each_database(async |world| {
        world.client.upsert(TENANT, vec![person("new", "new@demo.example")]).await;
        create(&world.client, training()).await.unwrap();
        let hangs = FaultKind::Hang { seconds: 3.0 };
        world.sandbox.script(Fault::new("users.lookupByEmail", hangs));
        let request = pb::NotifyRequest {
            decide_within: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            ..cancelled("one", vec![recipient("new", &["guest"])])
        };
        let change = async || {
            world.called("users.lookupByEmail", 1).await;
            let own = pb::EventType { audience_roles: vec!["teacher".into()], ..named(NAME) };
            update(&world.client, own, &[]).await.unwrap();
        };
        let (decided, ()) = tokio::join!(verdicts(world, request), change());
        assert_eq!(decided, [suppressed(Reason::NotInAudience)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_without_a_message_stores_no_words() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        create(&world.client, training()).await.unwrap();
        let stored = async |request_id: &str, action: SubjectAction| {
            let request = pb::NotifyRequest {
                subject_key: "course:7".into(),
                subject_action: action.into(),
                data: Some(fields(json!({ "course": { "name": "First aid" } }))),
                ..cancelled(request_id, vec![recipient("ben", &[])])
            };
            let id = world.client.notify(request).await.unwrap().notification_id;
            world.client.ended(TENANT, &id).await;
            let bytes = "SELECT CAST(LENGTH(data) AS BIGINT) FROM notifications";
            world.count(&format!("{bytes} WHERE id = '{id}'")).await
        };
        let posted = stored("one", SubjectAction::NewMessage).await;
        let done = stored("two", SubjectAction::Done).await;
        assert!(done < posted, "{done} {posted}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_place_reaches_the_person_who_made_it() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let own = pb::EventType { skip_actor: true, ..training() };
        create(&world.client, own).await.unwrap();
        let about = |id: &str, recipients, action: SubjectAction| pb::NotifyRequest {
            subject_key: "course:7".into(),
            subject_action: action.into(),
            ..cancelled(id, recipients)
        };
        let first = about("one", vec![recipient("ben", &[])], SubjectAction::NewMessage);
        assert_eq!(verdicts(world, first).await, [QUEUED]);
        world.settled().await;
        let by_ben = |id: &str, recipients, action| pb::NotifyRequest {
            actor_user_id: "ben".into(),
            ..about(id, recipients, action)
        };
        let edit = by_ben("two", Vec::new(), SubjectAction::Replace);
        assert_eq!(verdicts(world, edit).await, [QUEUED]);
        let own_act = suppressed(Reason::OwnAct);
        let reply = by_ben("three", Vec::new(), SubjectAction::Reply);
        assert_eq!(verdicts(world, reply).await, [own_act]);
        let named = by_ben("four", vec![recipient("ben", &[])], SubjectAction::Replace);
        assert_eq!(verdicts(world, named).await, [own_act]);
        world.settled().await;
        world.called("chat.update", 1).await;
    })
    .await;
}
