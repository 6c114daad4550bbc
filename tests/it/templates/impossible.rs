//! Data that Slack would refuse as a URL costs a message the part with the URL, and nothing else.

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
