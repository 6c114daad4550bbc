//! Data that Slack would refuse as a URL, or with which a string of the template fails, costs a
//! message that part and nothing else.

use herald::rpc::pb::{self, FieldKind, template::Form};
use serde_json::{Value, json};

use super::{reader, save, template};
use crate::event_types::{NAME, create, field, recipient, training, with_data};
use crate::support::client::fields;
use crate::support::world::{TENANT, for_each_database};

const LINK: &str = "https://platform.example/courses/1";
const BLOCKS: &str = r#"[
  {"type": "image", "image_url": "{{ photo }}", "alt_text": "The room"},
  {"type": "section", "text": {"type": "mrkdwn", "text": "{{ course.name }} is off"}},
  {"type": "actions", "elements": [
    {"type": "button", "text": {"type": "plain_text", "text": "Plan"}, "url": "{{ photo }}"}]}]"#;

/// No trial of SetTemplate has so many people, or a number for names.
const UNSURE: &str = r#"[
  {"type": "section", "text":
    {"type": "mrkdwn", "text": "{% for one in extra.people %}{{ one }};{% endfor %}"}},
  {"type": "section", "text":
    {"type": "mrkdwn", "text": "{{ course.name }}: {{ extra.names | join }}"}},
  {"type": "divider", "if": "extra.names | join"},
  {"type": "section", "text": {"type": "mrkdwn", "text": "{{ course.name }} is off"}}]"#;

fn data(photo: &str) -> Value {
    json!({ "course": { "name": "First aid" }, "photo": photo })
}

/// The kinds of the blocks.
fn kinds(blocks: &Value) -> Vec<&str> {
    blocks.as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect()
}

/// The URLs of the buttons.
fn targets(blocks: &Value) -> Vec<&str> {
    let blocks = blocks.as_array().unwrap().iter();
    let elements = blocks.filter_map(|block| block["elements"].as_array()).flatten();
    elements.filter_map(|element| element["url"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_part_with_the_url_is_omitted_and_the_link_stays() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "en")]).await;
        let mut with_photo = training();
        with_photo.fields.push(field("photo", FieldKind::Text, false));
        create(client, with_photo).await.unwrap();
        let form =
            Form::Blocks(pb::BlocksMessage { text: "Off".into(), blocks_json: BLOCKS.into() });
        save(client, template((NAME, "", "en"), form)).await.unwrap();
        let long = format!("https://x.test/{}", "a".repeat(3_000));
        let good = "https://x.test/room.png";
        let all = &["image", "section", "actions"][..];
        for (number, (photo, shown, target)) in [
            (good, all, good),
            ("javascript:alert(1)", &all[1..], LINK),
            (&*long, &all[1..], LINK),
            ("", &all[1..], LINK),
        ]
        .into_iter()
        .enumerate()
        {
            let request = pb::NotifyRequest {
                link: LINK.into(),
                ..with_data(&format!("off-{number}"), vec![recipient("ben", &[])], data(photo))
            };
            client.notify(request).await.unwrap();
            let message = world.messages(number + 1).await.remove(number);
            assert_eq!(kinds(&message.blocks), shown, "{photo}");
            assert_eq!(targets(&message.blocks), [target], "{photo}");
        }
        let preview = pb::PreviewTemplateRequest {
            tenant_id: TENANT.into(),
            event_type: NAME.into(),
            locale: "en".into(),
            link: LINK.into(),
            source: Some(pb::preview_template_request::Source::Data(fields(data("nowhere")))),
            ..Default::default()
        };
        let preview = client.preview_template(preview).await.unwrap();
        assert_eq!(preview.shortened, ["blocks"]);
        world.settled().await;
    })
    .await;
}

/// The texts of the sections.
fn texts(blocks: &Value) -> Vec<&str> {
    let blocks = blocks.as_array().unwrap().iter();
    blocks.filter_map(|block| block["text"]["text"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_shown_as_dots_and_the_message_arrives() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "en")]).await;
        let mut with_parts = training();
        with_parts.fields.push(field("extra", FieldKind::Object, false));
        create(client, with_parts).await.unwrap();
        let form =
            Form::Blocks(pb::BlocksMessage { text: "Off".into(), blocks_json: UNSURE.into() });
        save(client, template((NAME, "", "en"), form)).await.unwrap();
        let data = |extra: Value| json!({ "course": { "name": "First aid" }, "extra": extra });
        let (good, bad) = (
            data(json!({ "people": ["Ada", "Ben"], "names": ["x"] })),
            data(json!({ "people": vec![0; 6_000], "names": 5 })),
        );
        let notified = async |number: usize, data: Value| {
            let request = pb::NotifyRequest {
                link: LINK.into(),
                ..with_data(&format!("off-{number}"), vec![recipient("ben", &[])], data)
            };
            client.notify(request).await.unwrap();
            world.messages(number).await.remove(number - 1).blocks
        };
        let shown = notified(1, good).await;
        assert_eq!(kinds(&shown), ["section", "section", "divider", "section"]);
        assert_eq!(texts(&shown), ["Ada;Ben;", "First aid: x", "First aid is off"]);
        let shown = notified(2, bad.clone()).await;
        assert_eq!(kinds(&shown), ["section", "section", "section", "actions"]);
        assert_eq!(texts(&shown), ["…", "…", "First aid is off"]);
        assert_eq!(targets(&shown), [LINK]);
        let preview = pb::PreviewTemplateRequest {
            tenant_id: TENANT.into(),
            event_type: NAME.into(),
            locale: "en".into(),
            link: LINK.into(),
            source: Some(pb::preview_template_request::Source::Data(fields(bad))),
            ..Default::default()
        };
        let preview = client.preview_template(preview).await.unwrap();
        let failed = ["blocks[0].text.text", "blocks[1].text.text", "blocks"];
        assert_eq!(preview.shortened, failed);
        world.settled().await;
    })
    .await;
}
