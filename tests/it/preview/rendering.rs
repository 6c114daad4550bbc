//! The message in the answer: its words, its reader, its data and its sizes.

use herald::rpc::pb::{self, TemplateLevel, preview_template_request::Source};
use serde_json::json;
use tonic::Code;

use super::{data, preview, request, shows, simple};
use crate::support::client::{bad_fields, demo_person, fields, reason, task};
use crate::support::event_types::{NAME, create, field, training};
use crate::support::templates::save;
use crate::support::world::{Plan, TENANT, World, for_each_database};

async fn refused(world: &World, request: pb::PreviewTemplateRequest) -> tonic::Status {
    world.client.preview_template(request).await.unwrap_err()
}

#[tokio::test]
async fn a_built_in_message_is_shown_with_the_examples_of_its_type_and_nothing_is_sent() {
    // Without a workspace, too.
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, vec![demo_person("ben")]).await;
        let shown = preview(world, request()).await;
        assert!(shown.text.contains("New task for you: Prepare the workplace"), "{}", shown.text);
        assert!(shows(&shown, "Open task"), "the button needs a link, and gets an example");
        assert_eq!((shown.level(), shown.version), (TemplateLevel::BuiltIn, 0));
        assert_eq!(shown.locale, "en");
        assert!(shown.shortened.is_empty(), "{:?}", shown.shortened);
        let sizes: Vec<_> = shown.sizes.iter().map(|it| (it.part.as_str(), it.limit)).collect();
        for part in [("text", 4_000), ("blocks", 50)] {
            assert!(sizes.contains(&part), "{part:?} in {sizes:?}");
        }
        assert!(shown.sizes.iter().all(|it| 0 < it.size && it.size <= it.limit), "{sizes:?}");
        assert!(shown.browser_url.is_empty() && shown.browser_url_expire_time.is_none());
        assert!(shown.sent.is_none() && shown.slack_check.is_none());
        for table in ["notifications", "deliveries", "previews"] {
            assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_reader_decides_the_language_and_the_name() {
    for_each_database(async |world| {
        let mut german = demo_person("ben");
        (german.locale, german.display_name) = ("de-AT".into(), "Ben".into());
        world.client.upsert(TENANT, vec![german]).await;
        let reader = || pb::PreviewTemplateRequest { user_id: "ben".into(), ..request() };
        let shown = preview(world, reader()).await;
        assert!(shown.text.contains("Neue Aufgabe"), "{}", shown.text);
        assert_eq!(shown.locale, "de");
        let french = pb::PreviewTemplateRequest { locale: "fr".into(), ..reader() };
        assert!(preview(world, french).await.text.contains("Nouvelle tâche"));
        let named = simple("en", "Hello {{ reader.name }}", "{{ task.name }}");
        let named = pb::PreviewTemplateRequest { template: Some(named), ..reader() };
        assert!(shows(&preview(world, named).await, "Hello Ben"));
        let stranger = pb::PreviewTemplateRequest { user_id: "nobody".into(), ..request() };
        assert_eq!(refused(world, stranger).await.code(), Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_given_template_is_shown_before_it_is_saved() {
    for_each_database(async |world| {
        let template =
            simple("de", "Bis {{ due_at | date }}", "**{{ task.name }}** für {{ missing }}");
        let wrong = pb::PreviewTemplateRequest { template: Some(template), ..request() };
        let wrong = refused(world, wrong).await;
        assert_eq!(bad_fields(&wrong), ["template.simple.body"], "{wrong:?}");
        assert!(
            wrong.message().contains("line 1") && wrong.message().contains("missing"),
            "{wrong}"
        );
        let broken = simple("de", "Neu", "eins\n{{ task.name | nope }}");
        let broken = pb::PreviewTemplateRequest { template: Some(broken), ..request() };
        let broken = refused(world, broken).await;
        assert_eq!(broken.code(), Code::InvalidArgument);
        assert!(
            broken.message().contains("line 2") && broken.message().contains("nope"),
            "{broken}"
        );
        let good = simple("de", "Bis {{ due_at | date }}", "**{{ task.name }}**");
        let good = pb::PreviewTemplateRequest { template: Some(good), ..request() };
        let shown = preview(world, good).await;
        assert!(shows(&shown, "27. Nov. 2026"), "dates are in the template's language");
        assert_eq!((shown.level(), shown.version), (TemplateLevel::Unspecified, 0));
        assert_eq!(shown.locale, "de");
        let empty = pb::PreviewTemplateRequest {
            template: Some(pb::Template { form: None, ..simple("de", "x", "x") }),
            ..request()
        };
        assert_eq!(bad_fields(&refused(world, empty).await), ["template"]);
    })
    .await;
}

#[tokio::test]
async fn the_words_in_force_are_those_of_the_first_level_that_has_some() {
    for_each_database(async |world| {
        save(&world.client, simple("de", "Mandant", "{{ task.name }}")).await.unwrap();
        save(&world.client, simple("de", "Mandant zwei", "{{ task.name }}")).await.unwrap();
        let course = pb::Template {
            content_id: "course-7".into(),
            ..simple("de", "Kurs", "{{ task.name }}")
        };
        save(&world.client, course).await.unwrap();
        for (locale, content, heading, level, version) in [
            ("de", "", "Mandant zwei", TemplateLevel::Tenant, 2),
            ("de", "course-8", "Mandant zwei", TemplateLevel::Tenant, 2),
            ("de", "course-7", "Kurs", TemplateLevel::ContentItem, 1),
            ("en", "", "New task for you", TemplateLevel::BuiltIn, 0),
        ] {
            let request = pb::PreviewTemplateRequest {
                locale: locale.into(),
                content_id: content.into(),
                ..request()
            };
            let shown = preview(world, request).await;
            let case = format!("{locale} {content}");
            assert!(shows(&shown, heading), "{case}: {:?}", shown.blocks);
            assert_eq!((shown.level(), shown.version), (level, version), "{case}");
        }
    })
    .await;
}

#[tokio::test]
async fn data_is_checked_as_notify_checks_it() {
    for_each_database(async |world| {
        let wrong = Source::Data(fields(json!({ "task": { "name": ["x"] } })));
        let wrong = pb::PreviewTemplateRequest { source: Some(wrong), ..request() };
        let mut bad = bad_fields(&refused(world, wrong).await);
        bad.sort_unstable();
        assert_eq!(bad, ["data.process.name", "data.task.name"]);
        let link = pb::PreviewTemplateRequest { link: "javascript:x".into(), ..request() };
        assert_eq!(bad_fields(&refused(world, link).await), ["link"]);
        let unknown = pb::PreviewTemplateRequest { event_type: "no.such".into(), ..request() };
        assert_eq!(refused(world, unknown).await.code(), Code::NotFound);
        let locale = pb::PreviewTemplateRequest { locale: "d".repeat(36), ..request() };
        assert_eq!(bad_fields(&refused(world, locale).await), ["locale"]);
    })
    .await;
}

#[tokio::test]
async fn a_past_notification_lends_its_data_until_it_is_erased() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let sent = world.client.notify(task("Sign the contract", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &sent.notification_id).await;
        let past = |id: &str| pb::PreviewTemplateRequest {
            source: Some(Source::NotificationId(id.into())),
            ..request()
        };
        let shown = preview(world, past(&sent.notification_id)).await;
        assert!(shown.text.contains("Sign the contract"), "{}", shown.text);
        assert!(shows(&shown, "https://platform.example/things/1"), "its link, too");
        let other = pb::PreviewTemplateRequest {
            event_type: "task.due".into(),
            ..past(&sent.notification_id)
        };
        assert_eq!(bad_fields(&refused(world, other).await), ["notification_id"]);
        let absent = past("0197a3c0-0000-7000-8000-000000000001");
        assert_eq!(refused(world, absent).await.code(), Code::NotFound);
        world.client.upsert("umbrella", vec![demo_person("ben")]).await;
        let of_another = pb::PreviewTemplateRequest {
            tenant_id: "umbrella".into(),
            ..past(&sent.notification_id)
        };
        assert_eq!(refused(world, of_another).await.code(), Code::NotFound);

        let (tenant_id, user_id) = (TENANT.into(), "ben".into());
        let delete = pb::DeletePersonRequest { tenant_id, user_id, actor: None };
        world.client.delete_person(delete).await.unwrap();
        let erased = refused(world, past(&sent.notification_id)).await;
        assert_eq!(erased.code(), Code::FailedPrecondition);
        assert_eq!(reason(&erased), "NOTIFICATION_ERASED");
    })
    .await;
}

#[tokio::test]
async fn parts_that_do_not_fit_are_named_and_fit() {
    for_each_database(async |world| {
        let long = pb::PreviewTemplateRequest {
            source: Some(data(&"A long name ".repeat(600))),
            ..request()
        };
        let shown = preview(world, long).await;
        assert!(shown.shortened.contains(&"text".to_owned()), "{:?}", shown.shortened);
        assert!(shown.shortened.iter().any(|part| part.starts_with("blocks[")));
        assert!(shown.sizes.iter().all(|size| size.size <= size.limit), "{:?}", shown.sizes);
        assert!(shows(&shown, "Open task"), "the button stays");
    })
    .await;
}

#[tokio::test]
async fn mentions_are_those_that_would_be_sent() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let found = world.client.notify(task("Find ben", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &found.notification_id).await;
        let mut own = training();
        own.fields.push(field("by", pb::FieldKind::Text, false));
        create(&world.client, own).await.unwrap();
        let template = pb::Template {
            event_type: NAME.into(),
            ..simple("en", "{{ course.name }}", "By {{ by | mention }}")
        };
        let shown = |by: &str| {
            let data = json!({ "course": { "name": "First aid" }, "by": by });
            pb::PreviewTemplateRequest {
                event_type: NAME.into(),
                template: Some(template.clone()),
                source: Some(Source::Data(fields(data))),
                ..request()
            }
        };
        assert!(shows(&preview(world, shown("ben")).await, "By <@U0DEMOBEN>"));
        let stranger = preview(world, shown("stranger")).await;
        assert!(!shows(&stranger, "<@"), "{:?}", stranger.blocks);
    })
    .await;
}
