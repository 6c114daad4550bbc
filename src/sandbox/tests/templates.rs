//! Any template with any data: Slack's checks, which were written apart from the fitting, accept
//! the message, nothing in it comes alive, and its button stays.

use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use crate::domain::ids::EventType;
use crate::domain::message::render::kit::BLOCKS_BYTES;
use crate::domain::message::render::mentions::{Mentions, resolved};
use crate::domain::message::render::{Context, Language, Link, Reader, Rendered, Template, render};
use crate::domain::time::Timestamp;
use crate::sandbox::blocks::{Surface, check};

const TARGET: &str = "https://platform.example/1";
/// Messages of the usual test; the soak has ten times as many.
const CASES: u32 = 1_000;

/// Half of the texts are near a limit or beyond it.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<!channel>",
        "<!here|x>",
        "<@U1>",
        "<@herald:ada|Ada>",
        "<#C1>",
        "<http://evil.test|label>",
        "&amp;",
        "{{ data }}",
        "\u{202E}",
        "\u{1}x\u{2}",
        "\u{3}<!channel>\u{4}",
        "👩‍👩‍👧 ",
        "two words ",
        "\"\\",
        "<",
        "日本語",
    ]);
    prop_oneof![
        any::<String>(),
        "[<>&!@#|*_~`{}%\"\\\\a \n]{0,60}",
        Just(String::new()),
        Just("https://x.test/?a=<b>|c".to_owned()),
        (piece.clone(), 1_usize..20).prop_map(|(piece, times)| piece.repeat(times)),
        (piece, prop::sample::select(vec![74, 150, 200, 2_000, 3_000, 8_000]))
            .prop_map(|(piece, length): (&str, usize)| piece.repeat(1 + length / piece.len())),
    ]
}

/// A string of a template, with one placeholder or more.
fn words() -> impl Strategy<Value = String> {
    let placeholder = || {
        prop::sample::select(vec![
            "{{ a }}",
            "{{ b | upper }}",
            "{{ b | multiline }}",
            "{{ a | linked(b) }}",
            "{{ b | link(a) }}",
            "{{ id | mention(a) }}",
            "{{ list | and_join }}",
            "{{ a | truncate(30) }}",
            "{{ at | datetime }}",
            "{% if a %}{{ missing }}{% endif %}",
        ])
    };
    let literal = (1_usize..20).prop_map(|times| "word ".repeat(times));
    let part = prop_oneof![2 => placeholder().prop_map(str::to_owned), 1 => literal];
    (prop::collection::vec(part, 0..5), placeholder())
        .prop_map(|(parts, last)| format!("{}{last}", parts.concat()))
}

fn text(kind: &'static str) -> impl Strategy<Value = Value> {
    words().prop_map(move |text| json!({"type": kind, "text": text}))
}

fn either() -> impl Strategy<Value = Value> {
    prop_oneof![text("mrkdwn"), text("plain_text")]
}

fn button() -> impl Strategy<Value = Value> {
    (text("plain_text"), words()).prop_map(
        |(text, value)| json!({"type": "button", "text": text, "value": value, "url": TARGET}),
    )
}

fn image() -> impl Strategy<Value = Value> {
    words().prop_map(
        |alt| json!({"type": "image", "image_url": "https://x.test/i.png", "alt_text": alt}),
    )
}

fn small_block() -> impl Strategy<Value = Value> {
    prop_oneof![
        either().prop_map(|text| json!({"type": "section", "text": text})),
        (either(), prop::collection::vec(either(), 1..11))
            .prop_map(|(text, fields)| json!({"type": "section", "text": text, "fields": fields})),
        (either(), button())
            .prop_map(|(text, it)| json!({"type": "section", "text": text, "accessory": it})),
        text("plain_text").prop_map(|text| json!({"type": "header", "text": text})),
        prop::collection::vec(prop_oneof![either(), image()], 1..11)
            .prop_map(|elements| json!({"type": "context", "elements": elements})),
        prop::collection::vec(button(), 1..26)
            .prop_map(|elements| json!({"type": "actions", "elements": elements})),
        image(),
        Just(json!({"type": "divider"})),
    ]
}

fn card() -> impl Strategy<Value = Value> {
    (either(), either(), prop::collection::vec(button(), 1..4)).prop_map(
        |(title, body, buttons)| {
            json!({"type": "card", "title": title, "body": body, "actions": buttons})
        },
    )
}

fn block() -> impl Strategy<Value = Value> {
    let task = words().prop_map(
        |title| json!({"type": "task_card", "task_id": "1", "title": title, "status": "pending"}),
    );
    let cell = words().prop_map(|text| json!({"type": "raw_text", "text": text}));
    let rows = prop::collection::vec(prop::collection::vec(cell, 2..3), 2..6);
    prop_oneof![
        8 => small_block(),
        1 => card(),
        1 => prop::collection::vec(card(), 1..4)
            .prop_map(|cards| json!({"type": "carousel", "elements": cards})),
        1 => (text("plain_text"), prop::collection::vec(small_block(), 1..4))
            .prop_map(|(title, children)| {
                json!({"type": "container", "title": title, "child_blocks": children})
            }),
        1 => (words(), prop::collection::vec(task, 1..4))
            .prop_map(|(title, tasks)| json!({"type": "plan", "title": title, "tasks": tasks})),
        1 => (words(), rows)
            .prop_map(|(caption, rows)| {
                json!({"type": "data_table", "caption": caption, "rows": rows})
            }),
    ]
}

/// The template always has the button of the link; its label may come out empty.
fn template() -> impl Strategy<Value = Template> {
    let parts = (words(), prop::collection::vec(block(), 0..8), words());
    parts.prop_map(|(text, mut blocks, label)| {
        let text_of_button = json!({"type": "plain_text", "text": label});
        let button = json!({"type": "button", "text": text_of_button, "url": "{{ link.url }}"});
        blocks.push(json!({"type": "actions", "elements": [button]}));
        // A longer template is refused. The button stays.
        while Value::from(blocks.as_slice()).to_string().len() > BLOCKS_BYTES {
            blocks.remove(0);
        }
        Template { text, blocks: Value::Array(blocks).to_string() }
    })
}

fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(object) => object.values().for_each(|item| strings(item, into)),
        _ => {}
    }
}

fn has_button(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_button),
        Value::Object(object) => {
            let label = value["text"]["text"].as_str().is_some_and(|it| !it.trim().is_empty());
            let here = value["type"] == "button" && value["url"] == TARGET && label;
            here || object.values().any(has_button)
        }
        _ => false,
    }
}

/// `links`: the template may have made a link of a value.
fn is_good(message: &Rendered, links: bool, mentions: bool) {
    let checked = check(&message.blocks, Surface::Message);
    assert!(checked.is_ok(), "{checked:?}: {}", message.blocks);
    assert!((1..=4_000).contains(&message.text.encode_utf16().count()));
    assert!(has_button(&message.blocks), "{}", message.blocks);
    let mut texts = vec![message.text.clone()];
    strings(&message.blocks, &mut texts);
    for text in texts {
        let text = if mentions { text.replace("<@herald:", "") } else { text };
        for token in ["<!", "<@", "<#", "<mailto"] {
            assert!(!text.contains(token), "{token} in {text}");
        }
        assert!(links || !text.contains("<http"), "a link in {text}");
        assert!(!text.contains(['\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{202E}']), "{text:?}");
    }
}

/// A template, the texts of its data, and the language of its reader.
type Case = (Template, (String, String, String, Vec<String>), Language);

fn cases() -> impl Strategy<Value = Case> {
    let texts = (hostile(), hostile(), hostile(), prop::collection::vec(hostile(), 0..4));
    (template(), texts, prop::sample::select(Language::ALL.to_vec()))
}

fn is_taken((template, (a, b, id, list), language): Case) -> Result<(), TestCaseError> {
    prop_assert_eq!(template.check(), []);
    let event = EventType::parse("own.type").unwrap();
    let (name, time_zone) = (Some(a.clone()), "America/Sao_Paulo".into());
    let reader = Reader { name, locales: vec![language.tag().into()], time_zone };
    let link = Link { url: TARGET.into(), label: None };
    let links = Url::parse(b.trim()).is_ok();
    let at = "2026-11-27T16:00:00Z";
    let data = json!({"a": a, "b": b, "id": id, "list": list, "at": at});
    let (data, reader, link) = (&data, &reader, Some(&link));
    let now = Timestamp(1_795_420_800_000_000);
    let context = Context { event: &event, data, reader, link, button: "Open", now };
    let message = render(&template, &context).expect("a message");
    is_good(&message, links, true);
    is_good(&resolved(message, &Mentions::default()), links, false);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]
    #[test]
    fn any_message_is_taken(case in cases()) {
        is_taken(case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10 * CASES))]
    #[test]
    #[ignore = "minutes; tests/run --soak"]
    fn soak_ten_thousand_messages_are_taken(case in cases()) {
        is_taken(case)?;
    }
}
