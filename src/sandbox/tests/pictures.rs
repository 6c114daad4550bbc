//! The messages that `tests/pictures` shows in a browser: the built-in ones in all languages, and
//! two of a tenant's own, one in each form.

use serde_json::{Value, json};

use crate::domain::ids::EventType;
use crate::domain::message::event;
use crate::domain::message::render::mentions::{Mentions, resolved};
use crate::domain::message::render::simple::{Fact, Simple, link_button};
use crate::domain::message::render::{
    Compiled, Context, Language, Link, Reader, Rendered, Template,
};
use crate::domain::message::wording;
use crate::domain::time::Timestamp;
use crate::sandbox::blocks::{Surface, check};

/// 23 November 2026, 08:00 UTC: before the times of the demonstration data.
const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

/// A message type: its name, its data, and its words in a language.
struct Shown {
    name: &'static str,
    data: Value,
    words: fn(&str, Language) -> (Compiled, String),
}

fn built_in(name: &str, language: Language) -> (Compiled, String) {
    let words = wording::of(name).expect("a built-in type").words(language);
    (words.compiled.clone(), words.button.clone())
}

fn training(_: &str, language: Language) -> (Compiled, String) {
    let fact = |label: &str, value: &str| Fact { label: label.into(), value: value.into() };
    let simple = Simple {
        heading: "Training cancelled: {{ training.name }}".into(),
        body: "**{{ training.name }}** on {{ starts_at | date }} does not take place. You can \
               join one of the *next* dates:\n\n\
               {% for date in dates %}\n- {{ date | datetime }}\n{% endfor %}"
            .into(),
        fields: vec![
            fact("Trainer", "{{ trainer.name }}"),
            fact("Reason", "{{ reason }}"),
            fact("Places left", "{{ places }}"),
        ],
        context: "Registered: {{ people | and_join }}".into(),
        button: "Choose a date".into(),
        ..Simple::default()
    };
    (Compiled::of(&simple.template(), None), wording::open(language).to_owned())
}

fn contract(_: &str, language: Language) -> (Compiled, String) {
    let mrkdwn = |text: &str| json!({"type": "mrkdwn", "text": text});
    let blocks = json!([
        {"type": "header", "text": {"type": "plain_text", "text": "📄 A contract ends soon"}},
        {
            "type": "section",
            "text": mrkdwn("*{{ contract.name }}* ends {{ ends_on | relative }}."),
            "fields": [
                mrkdwn("*Partner*\n{{ contract.partner }}"),
                mrkdwn("*Ends on*\n{{ ends_on | date }}"),
            ],
        },
        {"type": "divider"},
        {"type": "context", "elements": [mrkdwn("{{ note | multiline }}")]},
        link_button("{{ link.label }}"),
    ]);
    let text = "{{ contract.name }} ends {{ ends_on | date }}".to_owned();
    let template = Template { text, blocks: blocks.to_string() };
    assert_eq!(template.check(), []);
    (Compiled::of(&template, None), wording::open(language).to_owned())
}

fn all() -> Vec<Shown> {
    let mut all: Vec<Shown> = event::catalogue()
        .iter()
        .map(|each| Shown { name: each.name, data: each.demo_data(), words: built_in })
        .collect();
    all.push(Shown {
        name: "training.cancelled",
        data: json!({
            "training": {"name": "First aid"}, "starts_at": "2026-12-03T08:00:00Z",
            "dates": ["2026-12-10T08:00:00Z", "2027-01-14T08:00:00Z"],
            "trainer": {"name": "Kim Example"}, "reason": "The trainer is ill", "places": 4,
            "people": ["Lee Sample", "Kim Example", "Ada Demo"],
        }),
        words: training,
    });
    all.push(Shown {
        name: "contract.expiring",
        data: json!({
            "contract": {"name": "Cleaning of the Graz office", "partner": "Example Services"},
            "ends_on": "2026-12-31",
            "note": "It renews for a year unless it is cancelled.\nThe price rises by 3 %.",
        }),
        words: contract,
    });
    all
}

fn rendered(shown: &Shown, language: Language) -> Rendered {
    let (compiled, button) = (shown.words)(shown.name, language);
    let event = EventType::parse(shown.name).expect("an event type");
    let locales = vec![language.tag().to_owned()];
    let time_zone = "Europe/Vienna".to_owned();
    let reader = Reader { name: Some("Lee Sample".into()), locales, time_zone };
    let link = Link { url: "https://platform.example/1".to_owned(), label: None };
    let context = Context {
        event: &event,
        data: &shown.data,
        reader: &reader,
        link: Some(&link),
        button: &button,
        now: NOW,
    };
    resolved(compiled.render(&context).expect("a message"), &Mentions::default())
}

#[test]
fn every_message_for_pictures_is_taken_whole() {
    let mut messages = Vec::new();
    for shown in all() {
        for language in Language::ALL {
            let message = rendered(&shown, language);
            let checked = check(&message.blocks, Surface::Message);
            assert!(checked.is_ok(), "{checked:?}: {}", message.blocks);
            assert!(!message.shortened, "{}", message.text);
            messages.push(json!({"type": shown.name, "locale": language.tag(),
                "text": message.text, "blocks": message.blocks}));
        }
    }
    assert_eq!(messages.len(), 14 * 6);
    #[expect(clippy::disallowed_methods, reason = "tests/pictures names its file this way")]
    let path = std::env::var("HERALD_PICTURES").ok();
    if let Some(path) = path {
        std::fs::write(path, Value::from(messages).to_string()).expect("the file is written");
    }
}
