//! Each refusal names its field, and in a template line and column, and stores nothing.

use herald::domain::limits;
use herald::rpc::pb::{self, template::Form};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{HERE, TYPE, get, heading, places, roll_back, save, set, stored, template};
use crate::support::client::{bad_fields, reason};
use crate::support::world::{TENANT, for_each_database};

/// The fields that a refusal names, with their problems.
fn problems(status: &Status) -> Vec<(String, String)> {
    assert_eq!((status.code(), &*reason(status)), (Code::InvalidArgument, "INVALID_ARGUMENT"));
    let details = status.get_error_details();
    let violations = details.bad_request().unwrap().field_violations.clone();
    violations.into_iter().map(|one| (one.field, one.description)).collect()
}

fn body(body: &str) -> Form {
    Form::Simple(pb::SimpleMessage { body: body.into(), ..Default::default() })
}

fn blocks(text: &str, blocks_json: &str) -> Form {
    Form::Blocks(pb::BlocksMessage { text: text.into(), blocks_json: blocks_json.into() })
}

fn facts(count: usize) -> Form {
    let field = pb::SimpleField { label: "Label".into(), value: "Value".into() };
    let fields = vec![field; count];
    Form::Simple(pb::SimpleMessage { heading: "Many".into(), fields, ..Default::default() })
}

/// Words that are refused: the beginning of the field, and parts of the sentence.
fn forms() -> Vec<(Form, &'static str, Vec<&'static str>)> {
    let long = "x".repeat(limits::TEMPLATE_TEXT_BYTES + 1);
    let too_long = "must be at most 4000 bytes, was 4001";
    let large = format!("[{}]", " ".repeat(limits::TEMPLATE_BLOCKS_BYTES));
    vec![
        (body("Hello\n{{ task.name"), "template.simple.body", vec!["line 2", "column"]),
        (body("Hello\n\n  {% if %}"), "template.simple.body", vec!["line 3", "column"]),
        (body("Hello {{ tsk.name }}"), "template.simple.body", vec!["tsk", "line 1", "column"]),
        (body("{{ task.owner }}"), "template.simple.body", vec!["task.owner", "line 1"]),
        (body("{{ data.task.owner }}"), "template.simple.body", vec!["task.owner", "line 1"]),
        (body("{{ task.name | shout }}"), "template.simple.body", vec!["shout", "line 1"]),
        (body(" "), "template.simple.body", vec!["must not be empty"]),
        (body(&long), "template.simple.body", vec![too_long]),
        (heading(&long), "template.simple.heading", vec![too_long]),
        (facts(11), "template.simple.fields", vec!["must be at most 10, was 11"]),
        (blocks("Hello {{ tsk }}", "[]"), "template.blocks.text", vec!["tsk", "line 1"]),
        (blocks(&long, "[]"), "template.blocks.text", vec![too_long]),
        (blocks("Hello", "{"), "template.blocks", Vec::new()),
        (
            blocks("Hello", "[\n  {\"type\": \"nonsense\"}]"),
            "template.blocks.blocks_json[0].type",
            vec!["line 2, column 12", "must be one of"],
        ),
        (
            blocks("Hello", &large),
            "template.blocks.blocks_json",
            vec!["must be at most 32768 bytes, was 32770"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_would_not_work_are_refused_with_their_place() {
    for_each_database(async |world| {
        let client = &world.client;
        set(client, HERE, "Works").await.unwrap();
        let before = stored(world).await;
        for (form, field, parts) in forms() {
            let shown = format!("{form:?}");
            let shown = shown.get(..200).unwrap_or(&shown);
            let refused = save(client, template(HERE, form)).await.unwrap_err();
            let told = problems(&refused);
            let (named, sentence) = &told[0];
            assert!(named.starts_with(field), "{shown}: {told:?}");
            for part in parts {
                assert!(sentence.contains(part), "{part} for {shown}: {told:?}");
            }
        }
        assert_eq!(stored(world).await, before);
        assert_eq!(get(client, HERE, 0).await.unwrap().template.unwrap().version, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_too_long_together_are_refused() {
    for_each_database(async |world| {
        let text = "x".repeat(limits::TEMPLATE_TEXT_BYTES);
        let field = pb::SimpleField { label: "Label".into(), value: text.clone() };
        let form = Form::Simple(pb::SimpleMessage {
            heading: "Long".into(),
            fields: vec![field; 10],
            ..Default::default()
        });
        let refused = save(&world.client, template(HERE, form)).await.unwrap_err();
        let told = problems(&refused);
        assert_eq!(told[0].0, "template.simple");
        assert!(told[0].1.contains("must be at most 36864 bytes, was 40054"), "{told:?}");
        assert_eq!(stored(world).await.0, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_does_not_exist_is_refused() {
    for_each_database(async |world| {
        let client = &world.client;
        let before = stored(world).await;
        let long = "x".repeat(limits::CONTENT_ID_BYTES + 1);
        for (at, field) in [
            (("task", "", "en"), "template.event_type"),
            ((TYPE, &*long, "en"), "template.content_id"),
            ((TYPE, "", ""), "template.locale"),
            ((TYPE, "", "not a locale"), "template.locale"),
            ((TYPE, "", "de-"), "template.locale"),
        ] {
            let refused = set(client, at, "Hello").await.unwrap_err();
            assert_eq!(bad_fields(&refused), [field], "{at:?}");
        }
        let unknown = set(client, ("task.unknown", "", "en"), "Hello").await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        assert!(unknown.message().contains("event type"), "{}", unknown.message());
        for (template, field) in [
            (None, "template"),
            (Some(pb::Template { form: None, ..template(HERE, heading("x")) }), "template"),
            (
                Some(pb::Template { etag: "x".repeat(65), ..template(HERE, heading("x")) }),
                "template.etag",
            ),
        ] {
            let request =
                pb::SetTemplateRequest { tenant_id: TENANT.into(), template, ..Default::default() };
            let refused = client.set_template(request).await.unwrap_err();
            assert_eq!(bad_fields(&refused), [field]);
        }
        assert_eq!(bad_fields(&get(client, HERE, -1).await.unwrap_err()), ["version"]);
        assert_eq!(bad_fields(&roll_back(client, HERE, 0, "").await.unwrap_err()), ["version"]);
        assert_eq!(stored(world).await, before);
    })
    .await;
}

/// Each of its strings takes fewer steps than a string may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_many_loops_is_refused() {
    for_each_database(async |world| {
        let client = &world.client;
        let loops = |count: usize| {
            let words = "{% for c in task.name %}{% endfor %}x";
            let text = serde_json::json!({ "type": "mrkdwn", "text": words });
            let section = serde_json::json!({ "type": "section", "text": text });
            let blocks_json = serde_json::Value::Array(vec![section; count]).to_string();
            Form::Blocks(pb::BlocksMessage { text: "New task".into(), blocks_json })
        };
        save(client, template(HERE, loops(2))).await.unwrap();
        let refused = save(client, template(HERE, loops(50))).await.unwrap_err();
        let problems = problems(&refused);
        let [(field, problem)] = &problems[..] else { panic!("{problems:?}") };
        assert!(field.starts_with("template.blocks.blocks_json["), "{field}");
        assert!(problem.contains("it takes too many steps"), "{problem}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_type_is_worded_in_a_limited_number_of_locales() {
    const LOCALES: [&str; 20] = [
        "bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "hu", "it", "ja", "nb", "nl", "pl",
        "pt", "ro", "sk", "sv", "tr",
    ];
    for_each_database(async |world| {
        let client = &world.client;
        assert_eq!(LOCALES.len(), limits::TEMPLATE_LOCALES);
        for locale in LOCALES {
            set(client, (TYPE, "", locale), "Hello").await.unwrap();
        }
        let refused = set(client, (TYPE, "", "uk"), "Hello").await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["template.locale"]);
        // Those that are there can be changed, and other places have their own number.
        set(client, (TYPE, "", "de"), "Hallo").await.unwrap();
        set(client, (TYPE, "course-7", "uk"), "Hello").await.unwrap();
        assert_eq!(places(client).await.len(), LOCALES.len() + 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_limited_number_of_templates() {
    for_each_database(async |world| {
        let client = &world.client;
        set(client, HERE, "Hello").await.unwrap();
        // Made without Herald: a thousand calls would take long.
        let row = |number| format!("('{TENANT}', '{TYPE}', 'c{number}', 'en', 1, 1, 1)");
        let rows: Vec<String> = (1..limits::TEMPLATES_OF_TENANT).map(row).collect();
        let text = format!(
            "INSERT INTO templates (tenant, event_type, content_id, locale, version, live, \
             updated_at) VALUES {}",
            rows.join(", ")
        );
        world.execute(&text).await.unwrap();
        let refused = set(client, ("task.due", "", "en"), "Due").await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["template"]);
        assert!(refused.message().contains("1000 templates"), "{}", refused.message());
        set(client, HERE, "Changed").await.unwrap();
        super::reset(client, HERE, "").await.unwrap();
        set(client, ("task.due", "", "en"), "Due").await.unwrap();
    })
    .await;
}
