//! Slack's checks accept Herald's own messages.

use serde_json::{Value, json};

use super::{config, start};
use crate::domain::ids::EventType;
use crate::domain::message::event;
use crate::domain::message::render::{Context, Language, Link, Reader};
use crate::domain::time::Timestamp;

#[tokio::test]
async fn every_built_in_message_is_taken() {
    let slack = start(config()).await;
    let zone = "Europe/Berlin".to_owned();
    let reader = Reader { name: Some("Ada".into()), locales: Vec::new(), time_zone: zone };
    let link = Link { url: "https://app.example/x".into(), label: None };
    let types = event::catalogue();
    for (built_in, language) in types.iter().zip(Language::ALL.into_iter().cycle()) {
        let words = built_in.words(language).unwrap();
        let name = EventType::parse(built_in.name).unwrap();
        let data = built_in.demo_data();
        let now = Timestamp(1_760_000_000_000_000);
        let context = Context {
            event: &name,
            data: &data,
            reader: &reader,
            link: Some(&link),
            button: &words.button,
            now,
        };
        let rendered = words.compiled.render(&context).unwrap();
        let body: Value =
            json!({"channel": "U0DEMOADA", "text": rendered.text, "blocks": rendered.blocks});
        let posted = slack.json("chat.postMessage", body).await;
        assert_eq!(posted["ok"], true, "{} {language:?}: {posted}", built_in.name);
    }
    assert_eq!(slack.sandbox.messages().len(), 12);
}
