//! Each refusal names its field and stores nothing.

use herald::domain::limits;
use herald::rpc::pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{NAME, cancelled, create, delete, field, get, named, recipient, training, update};
use crate::support::client::reason;
use crate::support::world::{TENANT, World, for_each_database};

/// The fields that a refusal names, with their problems.
fn problems(status: &Status) -> Vec<(String, String)> {
    assert_eq!((status.code(), &*reason(status)), (Code::InvalidArgument, "INVALID_ARGUMENT"));
    let details = status.get_error_details();
    let violations = details.bad_request().unwrap().field_violations.clone();
    violations.into_iter().map(|one| (one.field, one.description)).collect()
}

fn wanted(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(field, problem)| ((*field).into(), (*problem).into())).collect()
}

/// A number that every change of a type or of the settings changes.
async fn stored(world: &World) -> (i64, i64, i64) {
    (
        world.count("SELECT COUNT(*) FROM event_types").await,
        world.count("SELECT CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM tenants").await,
        world.count("SELECT COUNT(*) FROM notifications").await,
    )
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn number(number: f64) -> prost_types::Value {
    prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) }
}

/// Spoils a good definition.
type Spoil = fn(&mut pb::EventType);

const SHAPE: &str = "must look like task.assigned (words joined by dots)";
const PATH: &str = "must look like course.starts_at (names joined by dots)";
const KIND: &str = "must be one of TEXT, TIME, MINUTES, URL, OBJECT";

/// Definitions that CreateEventType refuses; those without a fault in the name are also tried as
/// changes.
#[rustfmt::skip]
const DEFINITIONS: &[(Spoil, &[(&str, &str)])] = &[
    (|it| it.name.clear(), &[("event_type.name", "must not be empty")]),
    (|it| it.name = "training".into(), &[("event_type.name", SHAPE)]),
    (|it| it.name = "task.due".into(),
        &[("event_type.name", "task.due is built in: change it with UpdateEventType")]),
    (|it| it.name = "herald.news".into(), &[("event_type.name", "must not begin with herald.")]),
    (|it| it.display_name = " ".into(), &[("event_type.display_name", "must not be empty")]),
    (|it| it.display_name = long(129),
        &[("event_type.display_name", "must be at most 128 bytes, was 129")]),
    (|it| it.summary = "a\nb".into(),
        &[("event_type.summary", "must not contain control characters")]),
    (|it| it.category = long(65), &[("event_type.category", "must be at most 64 bytes, was 65")]),
    (|it| it.fields = vec![field("a", pb::FieldKind::Text, false); 31],
        &[("event_type.fields", "must be at most 30, was 31")]),
    (|it| it.fields[1].kind = 0, &[("event_type.fields[1].kind", KIND)]),
    (|it| it.fields[1].kind = 99, &[("event_type.fields[1].kind", KIND)]),
    (|it| it.fields[2].path = "a b".into(), &[("event_type.fields[2].path", PATH)]),
    (|it| it.fields[2].path = "course.name".into(),
        &[("event_type.fields[2].path", "course.name is named twice")]),
    (|it| it.fields[0].meaning = long(257),
        &[("event_type.fields[0].meaning", "must be at most 256 bytes, was 257")]),
    (|it| it.fields[1].example = Some(number(-0.5)), &[("event_type.fields[1].example",
        "must be a time: RFC 3339 with an offset (2026-11-27T17:00:00+01:00), Unix seconds, or a \
        date (2026-11-27)")]),
    (|it| it.fields[0].example = Some(number(f64::NAN)),
        &[("event_type.fields[0].example", "must not hold NaN or an infinite number")]),
    (|it| it.subject_key_path = "starts_at".into(),
        &[("event_type.subject_key_path", "must be the path of a field of kind TEXT")]),
    (|it| it.audience_roles = vec!["teacher".into(), "a b".into()],
        &[("event_type.audience_roles[1]",
            "must not contain ' '; allowed are letters, digits and - _ . :")]),
    (|it| it.audience_roles = vec!["teacher".into(); 21],
        &[("event_type.audience_roles", "must be at most 20, was 21")]),
    (|it| it.default_priority = 9,
        &[("event_type.default_priority", "must be urgent, normal or bulk")]),
    (|it| { it.display_name = long(129); it.fields[0].path.clear(); it.fields[2].kind = 1;
            it.fields[2].meaning = "\u{7}".into(); },
        &[("event_type.display_name", "must be at most 128 bytes, was 129"),
            ("event_type.fields[0].path", "must not be empty"),
            ("event_type.fields[2].meaning", "must not contain control characters")]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_definition_names_every_field_and_stores_nothing() {
    for_each_database(async |world| {
        let client = &world.client;
        let before = stored(world).await;
        for (spoil, told) in DEFINITIONS {
            let mut definition = training();
            spoil(&mut definition);
            let refused = create(client, definition).await.unwrap_err();
            assert_eq!(problems(&refused), wanted(told));
        }
        let nothing = pb::CreateEventTypeRequest { tenant_id: TENANT.into(), ..Default::default() };
        let refused = client.create_event_type(nothing).await.unwrap_err();
        assert_eq!(problems(&refused), wanted(&[("event_type", "must be set")]));
        assert_eq!(stored(world).await, before);
        // The same faults in a change of a type that is there.
        let created = create(client, training()).await.unwrap();
        let other = pb::EventType { summary: "Another.".into(), ..training() };
        let twice = create(client, other).await.unwrap_err();
        let problem = "exists already: change it with UpdateEventType";
        assert_eq!(problems(&twice), wanted(&[("event_type.name", problem)]));
        let before = stored(world).await;
        for (spoil, told) in DEFINITIONS {
            let mut definition = training();
            spoil(&mut definition);
            if definition.name != NAME {
                continue;
            }
            let refused = update(client, definition, &[]).await.unwrap_err();
            assert_eq!(problems(&refused), wanted(told));
        }
        assert_eq!(stored(world).await, before);
        assert_eq!(get(client, NAME).await.unwrap(), created);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_a_name_a_part_and_a_part_that_can_be_changed() {
    for_each_database(async |world| {
        let client = &world.client;
        create(client, training()).await.unwrap();
        let before = stored(world).await;
        let mask = |path: &str| {
            format!(
                "\"{path}\" cannot be changed; parts that can be are enabled, mandatory, \
                 hold_until_arrival, audience_roles, default_priority, skip_actor, display_name, \
                 summary, category, fields, subject_key_path"
            )
        };
        for path in ["name", "built_in", "etag", "button"] {
            let refused = update(client, named(NAME), &[path]).await.unwrap_err();
            assert_eq!(problems(&refused), wanted(&[("update_mask", mask(path).as_str())]));
        }
        let nothing = update(client, named(NAME), &[]).await.unwrap_err();
        let problem = "nothing would change: name the fields in update_mask";
        assert_eq!(problems(&nothing), wanted(&[("update_mask", problem)]));
        let etag = pb::EventType { etag: long(65), mandatory: true, ..named(NAME) };
        let refused = update(client, etag, &[]).await.unwrap_err();
        let problem = "must be at most 64 bytes, was 65";
        assert_eq!(problems(&refused), wanted(&[("event_type.etag", problem)]));
        let unknown = pb::EventType { mandatory: true, ..named("training.unknown") };
        assert_eq!(update(client, unknown, &[]).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(stored(world).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_types_keep_their_fields_and_stay() {
    for_each_database(async |world| {
        let client = &world.client;
        let before = stored(world).await;
        let problem = "cannot be changed: task.due is built in";
        for part in ["display_name", "summary", "category", "fields", "subject_key_path"] {
            let change = pb::EventType { name: "task.due".into(), ..training() };
            let refused = update(client, change, &[part]).await.unwrap_err();
            let field = format!("event_type.{part}");
            assert_eq!(problems(&refused), wanted(&[(field.as_str(), problem)]));
        }
        let refused = delete(client, "task.due", "").await.unwrap_err();
        let problem =
            "task.due is built in and cannot be deleted: switch it off with UpdateEventType";
        assert_eq!(problems(&refused), wanted(&[("name", problem)]));
        for name in ["", "task", "Task.due"] {
            let refused = delete(client, name, "").await.unwrap_err();
            assert_eq!(problems(&refused)[0].0, "name");
            assert_eq!(problems(&get(client, name).await.unwrap_err())[0].0, "name");
        }
        assert_eq!(stored(world).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_roles_and_acts_of_a_notify_are_named() {
    for_each_database(async |world| {
        let client = &world.client;
        create(client, training()).await.unwrap();
        let before = stored(world).await;
        let name = "must not contain ' '; allowed are letters, digits and - _ . :";
        let mut channel = recipient("ben", &["teacher"]);
        channel.target = Some(pb::recipient::Target::ChannelId("C1".into()));
        let crowd = vec!["teacher"; 21];
        for (recipients, told) in [
            (vec![recipient("ben", &["teacher", "a b"])], ("recipients[0].roles[1]", name)),
            (vec![recipient("ben", &[""])], ("recipients[0].roles[0]", "must not be empty")),
            (
                vec![recipient("ada", &[]), recipient("ben", &crowd)],
                ("recipients[1].roles", "must be at most 20, was 21"),
            ),
            (vec![channel], ("recipients[0].roles", "must be empty for a channel")),
        ] {
            let refused = client.notify(cancelled("bad", recipients)).await.unwrap_err();
            assert_eq!(problems(&refused), wanted(&[told]));
        }
        let by = pb::NotifyRequest {
            actor_user_id: long(257),
            ..cancelled("bad", vec![recipient("ben", &[])])
        };
        let problem = "must be at most 256 bytes, was 257";
        let refused = client.notify(by).await.unwrap_err();
        assert_eq!(problems(&refused), wanted(&[("actor_user_id", problem)]));
        assert_eq!(stored(world).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_limited_number_of_types() {
    for_each_database(async |world| {
        let client = &world.client;
        let own = |number: usize| pb::EventType { name: format!("own.t{number}"), ..training() };
        for number in 0..limits::EVENT_TYPES_OF_TENANT {
            create(client, own(number)).await.unwrap();
        }
        let refused = create(client, own(limits::EVENT_TYPES_OF_TENANT)).await.unwrap_err();
        let problem = "the tenant has 150 event types of its own: delete one";
        assert_eq!(problems(&refused), wanted(&[("event_type", problem)]));
        // Built-in types can still be configured, and a deleted type makes room.
        let skip = pb::EventType { skip_actor: true, ..named("task.due") };
        update(client, skip, &[]).await.unwrap();
        delete(client, "own.t7", "").await.unwrap();
        create(client, own(limits::EVENT_TYPES_OF_TENANT)).await.unwrap();
        // Settings have room for all of them.
        let settings = pb::Settings {
            disabled_event_types: (8..limits::EVENT_TYPES_OF_TENANT)
                .map(|number| format!("own.t{number}"))
                .collect(),
            ..Default::default()
        };
        client.set(TENANT, settings, &["disabled_event_types"]).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_only_a_newer_release_can_read_is_neither_used_nor_changed() {
    for_each_database(async |world| {
        let client = &world.client;
        client.load(&["ben"]).await;
        create(client, training()).await.unwrap();
        let request = cancelled("before", vec![recipient("ben", &[])]);
        let before = client.notify(request.clone()).await.unwrap();
        let set = async |definition: &str| {
            let set = format!("UPDATE event_types SET definition = {definition}");
            world.execute(&format!("{set} WHERE name = '{NAME}'")).await.unwrap();
        };
        set("'v2' || definition").await;
        // A change of another type: the types in memory are no longer those of the tenant.
        let skip = pb::EventType { skip_actor: true, ..named("task.due") };
        update(client, skip, &[]).await.unwrap();
        let stored_before = stored(world).await;
        let change = pb::EventType { mandatory: true, ..named(NAME) };
        for refused in [
            client.notify(cancelled("after", vec![recipient("ben", &[])])).await.map(drop),
            create(client, training()).await.map(drop),
            update(client, change, &[]).await.map(drop),
            delete(client, NAME, "").await,
        ] {
            let refused = refused.unwrap_err();
            assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "UNAVAILABLE"));
            assert!(refused.get_error_details().retry_info().is_some(), "{refused:?}");
        }
        assert_eq!(stored(world).await, stored_before);
        // A repetition has its answer, and the type can be switched off.
        assert_eq!(client.notify(request).await.unwrap(), before);
        let off = pb::Settings { disabled_event_types: vec![NAME.into()], ..Default::default() };
        client.set(TENANT, off, &["disabled_event_types"]).await.unwrap();
        set("SUBSTR(definition, 3)").await;
        update(client, pb::EventType { enabled: true, ..named(NAME) }, &[]).await.unwrap();
        let after = cancelled("after", vec![recipient("ben", &[])]);
        client.notify(after).await.unwrap();
        world.messages(2).await;
    })
    .await;
}
