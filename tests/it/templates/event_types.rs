//! Event types that have templates.

use herald::rpc::pb::{self, FieldKind};
use tonic::Code;

use super::{get, list, places, reset, roll_back, set};
use crate::support::client::bad_fields;
use crate::support::event_types::{NAME, create, delete, field, named, training, update};
use crate::support::world::for_each_database;

#[tokio::test(flavor = "multi_thread")]
async fn a_type_with_templates_is_not_deleted_and_leaves_no_versions_behind() {
    for_each_database(async |world| {
        let client = &world.client;
        create(client, training()).await.unwrap();
        set(client, ("task.due", "", "en"), "Due").await.unwrap();
        set(client, (NAME, "", "de"), "Abgesagt").await.unwrap();
        let refused = delete(client, NAME, "").await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["name"]);
        let one = "has 1 template (de): remove it with ResetTemplate first";
        assert!(refused.message().contains(one), "{}", refused.message());
        set(client, (NAME, "course-7", "en"), "Off").await.unwrap();
        let refused = delete(client, NAME, "").await.unwrap_err();
        let two = "has 2 templates (de, en of content course-7): remove them with ResetTemplate \
                   first";
        assert!(refused.message().contains(two), "{}", refused.message());
        for locale in ["fr", "es"] {
            set(client, (NAME, "", locale), "!").await.unwrap();
        }
        let refused = delete(client, NAME, "").await.unwrap_err();
        let four = "has 4 templates (de, es, fr, …)";
        assert!(refused.message().contains(four), "{}", refused.message());
        for at in [("", "de"), ("", "es"), ("", "fr"), ("course-7", "en")] {
            reset(client, (NAME, at.0, at.1), "").await.unwrap();
        }
        delete(client, NAME, "").await.unwrap();
        // Nothing of the type before remains; other types keep their templates.
        create(client, training()).await.unwrap();
        let read = get(client, (NAME, "", "de"), 0).await.unwrap();
        assert_eq!((read.template.unwrap().version, read.changes.len()), (0, 0));
        let gone = roll_back(client, (NAME, "", "de"), 1, "").await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        assert_eq!(places(client).await, ["task.due  en"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_a_template_uses_is_not_removed() {
    for_each_database(async |world| {
        let client = &world.client;
        create(client, training()).await.unwrap();
        set(client, (NAME, "", "en"), "{{ course.name }}").await.unwrap();
        set(client, (NAME, "course-7", "de"), "{{ starts_at | date }}").await.unwrap();
        let with = |fields: Vec<pb::EventField>| pb::EventType { fields, ..named(NAME) };
        let (name, starts) = (
            || field("course.name", FieldKind::Text, true),
            || field("starts_at", FieldKind::Time, false),
        );
        let refused = update(client, with(vec![name()]), &["fields"]).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["event_type.fields"]);
        let told = "must keep starts_at: the template de of content course-7 uses it";
        assert!(refused.message().contains(told), "{}", refused.message());
        // A field that no template uses may go, and others may come.
        let more = field("room", FieldKind::Text, false);
        update(client, with(vec![name(), starts(), more]), &["fields"]).await.unwrap();
        reset(client, (NAME, "course-7", "de"), "").await.unwrap();
        update(client, with(vec![name()]), &["fields"]).await.unwrap();
        // The version that used the field cannot be brought back.
        let refused = roll_back(client, (NAME, "course-7", "de"), 1, "").await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["version"]);
        assert!(refused.message().contains("starts_at"), "{}", refused.message());
        assert_eq!(list(client, (NAME, ""), 0).await.concat().len(), 1);
    })
    .await;
}

/// A template that a change breaks would show "…" to readers with data that the change allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_on_which_a_template_relies_stays_required() {
    for_each_database(async |world| {
        let client = &world.client;
        let name = || field("course.name", FieldKind::Text, true);
        let left = |required| field("left", FieldKind::Minutes, required);
        let with = |fields: Vec<pb::EventField>| pb::EventType { fields, ..named(NAME) };
        create(client, pb::EventType { fields: vec![name(), left(true)], ..training() })
            .await
            .unwrap();
        set(client, (NAME, "", "en"), "{{ course.name }}").await.unwrap();
        set(client, (NAME, "course-7", "de"), "Noch {{ left | round }}").await.unwrap();
        let optional = || with(vec![name(), left(false)]);
        let refused = update(client, optional(), &["fields"]).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["event_type.fields"]);
        for part in [
            "must keep left unchanged: the template de of content course-7 relies on it",
            "template.simple.heading (line 1",
            "only the required fields",
            "SetTemplate first",
        ] {
            assert!(refused.message().contains(part), "{part}: {}", refused.message());
        }
        // After any other change, the templates still work.
        let described = pb::EventField { meaning: "How long.".into(), ..left(true) };
        let optional_name = field("course.name", FieldKind::Text, false);
        update(client, with(vec![optional_name, described]), &["fields"]).await.unwrap();
        let careful = "Noch {% if left is number %}{{ left | round }}{% endif %}";
        set(client, (NAME, "course-7", "de"), careful).await.unwrap();
        update(client, optional(), &["fields"]).await.unwrap();
    })
    .await;
}
