//! Slack's checks accept Herald's own messages.

use serde_json::{Value, json};

use super::{config, start};
use crate::domain::ids::EventType;
use crate::domain::message::event;
use crate::domain::message::render::{self, Context, Link, Reader};
use crate::domain::time::Timestamp;

#[tokio::test]
async fn every_built_in_message_is_taken() {
    let slack = start(config()).await;
    let zone = "Europe/Berlin".to_owned();
    let reader = Reader { name: Some("Ada".into()), locale: Some("en".into()), time_zone: zone };
    let link = Link { url: "https://app.example/x".into(), label: None };
    for built_in in event::catalogue() {
        let name = EventType::parse(built_in.name).unwrap();
        let data = built_in.demo_data();
        let now = Timestamp(1_760_000_000_000_000);
        let context = Context {
            event: &name,
            data: &data,
            reader: &reader,
            link: Some(&link),
            button: event::button(&name),
            now,
        };
        let rendered = render::render(&built_in.template(), &context).unwrap();
        let body: Value =
            json!({"channel": "U0DEMOADA", "text": rendered.text, "blocks": rendered.blocks});
        let posted = slack.json("chat.postMessage", body).await;
        assert_eq!(posted["ok"], true, "{}: {posted}", built_in.name);
    }
    assert_eq!(slack.sandbox.messages().len(), 11);
}
