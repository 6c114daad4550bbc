//! For any data, every built-in message is rendered, fits, and contains no active markup from the
//! data. The checks below are written against Slack's reference, not against the code that fits.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::domain::message::event::{self, Kind, catalogue};

fn hostile_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[<>&!@#|*_~`{}%\"\\\\a \n]{0,60}",
        (
            prop::sample::select(vec![
                "<!channel>",
                "<!here|x>",
                "<@U1>",
                "<#C1>",
                "<http://evil.test|label>",
                "&amp;",
                "{{ data }}",
                "{% raw %}",
                "\u{202E}",
                "\u{1}x\u{2}",
                "\u{3}<!channel>\u{4}",
                "👩‍👩‍👧",
                "e\u{301}",
                "\u{0}",
                "𝔘",
                "]]>",
                "\"},{"
            ]),
            1_usize..4000
        )
            .prop_map(|(piece, times)| piece.repeat(times.min(8_000 / piece.len()))),
    ]
}

fn hostile_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => hostile_text().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}|name", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Data of the right shape with hostile texts; sometimes data of any shape.
fn data_for(index: usize) -> impl Strategy<Value = Value> {
    let fields = catalogue()[index].fields;
    let good = prop::collection::vec(hostile_text(), fields.len()).prop_map(move |texts| {
        let mut data = json!({});
        for (field, text) in fields.iter().zip(texts) {
            let value = match field.kind {
                Kind::Time => json!("2026-11-27T16:00:00Z"),
                Kind::Minutes => json!(15),
                _ => Value::from(text),
            };
            let (head, tail) = field.path.split_once('.').unwrap_or((field.path, ""));
            if tail.is_empty() {
                data[head] = value;
            } else {
                data[head][tail] = value;
            }
        }
        data
    });
    let any_shape = prop::collection::vec(hostile_value(), fields.len()).prop_map(move |values| {
        let heads = fields.iter().map(|field| field.path.split('.').next().unwrap_or_default());
        Value::Object(heads.map(str::to_owned).zip(values).collect::<Map<_, _>>())
    });
    prop_oneof![3 => good, 1 => any_shape]
}

fn any_case() -> impl Strategy<Value = (usize, Value, Option<String>)> {
    (0..catalogue().len())
        .prop_flat_map(|index| (Just(index), data_for(index), prop::option::of(hostile_text())))
}

fn characters(value: &Value) -> usize {
    value.as_str().expect("a string").encode_utf16().count()
}

fn text_within(object: &Value, max: usize) {
    let length = characters(&object["text"]);
    assert!((1..=max).contains(&length), "{length} of {max}: {object}");
}

fn within_slacks_limits(rendered: &Rendered) {
    assert!((1..=4000).contains(&rendered.text.encode_utf16().count()));
    let blocks = rendered.blocks.as_array().expect("an array");
    assert!(blocks.len() <= 50);
    assert!(rendered.blocks.to_string().encode_utf16().count() <= 12_000);
    for block in blocks {
        match block["type"].as_str().expect("a type") {
            "section" => {
                assert!(block.get("text").is_some() || block.get("fields").is_some());
                if block.get("text").is_some() {
                    text_within(&block["text"], 3000);
                }
                if let Some(fields) = block.get("fields") {
                    let fields = fields.as_array().expect("fields");
                    assert!((1..=10).contains(&fields.len()));
                    for field in fields {
                        text_within(field, 2000);
                    }
                }
            }
            "context" => {
                let elements = block["elements"].as_array().expect("elements");
                assert!((1..=10).contains(&elements.len()));
                for element in elements {
                    text_within(element, 3000);
                }
            }
            "header" => text_within(&block["text"], 150),
            "image" => {
                assert!((1..=2000).contains(&characters(&block["alt_text"])));
                assert!((1..=3000).contains(&characters(&block["image_url"])));
            }
            "actions" => {
                let elements = block["elements"].as_array().expect("elements");
                assert!((1..=25).contains(&elements.len()));
                for button in elements {
                    text_within(&button["text"], 75);
                    assert!(button.get("value").is_none_or(|value| characters(value) <= 2000));
                    assert!((1..=3000).contains(&characters(&button["url"])));
                }
            }
            other => panic!("{other} is no block of ours"),
        }
    }
}

/// All texts that a reader sees.
fn shown(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| shown(item, into)),
        Value::Object(object) => object.values().for_each(|item| shown(item, into)),
        _ => {}
    }
}

fn no_live_markup(rendered: &Rendered) {
    let mut texts = vec![rendered.text.clone()];
    shown(&rendered.blocks, &mut texts);
    for text in texts {
        for token in ["<!", "<@", "<#", "<http", "<mailto"] {
            assert!(!text.to_lowercase().contains(token), "{token} in {text}");
        }
        assert!(
            text.chars().all(|c| !c.is_control() || c == '\n'),
            "a control character in {text:?}"
        );
    }
    let mut mrkdwn = vec![rendered.text.clone()];
    for block in rendered.blocks.as_array().expect("an array") {
        if block["type"] != "actions" {
            shown(block, &mut mrkdwn);
        }
    }
    for text in mrkdwn {
        assert!(!text.contains(['<', '>']), "{text}");
        for part in text.split('&').skip(1) {
            let whole = ["amp;", "lt;", "gt;"].iter().any(|entity| part.starts_with(entity));
            assert!(whole, "a bare or broken entity in {text}");
        }
    }
}

/// A tenant's template with data in every place that accepts it.
fn tenants_own() -> Template {
    let text = "{{ a }} {{ b | upper }} {{ a | linked(b) }} {{ c | multiline }}";
    let field = json!({"type": "mrkdwn", "text": "*{{ a }}*\n{{ c | multiline }}"});
    let button = json!({"type": "button", "value": "{{ a }}", "url": "{{ link.url }}",
        "text": {"type": "plain_text", "text": "{{ b }}!"}});
    let elsewhere = json!({"type": "button", "url": "{{ b }}",
        "text": {"type": "plain_text", "text": "Go"}});
    let blocks = json!([
        {"type": "header", "text": {"type": "plain_text", "text": "{{ a }} {{ b }}"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": text},
         "fields": vec![field.clone(); 10]},
        {"type": "image", "image_url": "{{ link.url }}", "alt_text": "{{ c }}"},
        {"type": "image", "image_url": "{{ a }}", "alt_text": "x"},
        {"type": "context", "elements": vec![field; 10]},
        {"type": "actions", "elements": [elsewhere]},
        {"type": "actions", "elements": vec![button; 25]},
    ]);
    Template { text: text.into(), blocks: blocks.to_string() }
}

proptest! {
#![proptest_config(ProptestConfig::with_cases(400))]
#[test]
fn every_built_in_message_fits_and_is_harmless(
    (index, data, label) in any_case(),
    language in prop::sample::select(Language::ALL.to_vec()),
) {
    let built_in = &catalogue()[index];
    let event = EventType::parse(built_in.name).unwrap();
    let time_zone = label.clone().unwrap_or_default();
    let reader = Reader { name: label.as_deref().map(Into::into), locales: Vec::new(), time_zone };
    let link = Link { url: "https://platform.example/1".into(), label };
    let words = built_in.words(language).unwrap();
    let (button, now) = (words.button.as_str(), Timestamp(0));
    let (data, reader, link) = (&data, &reader, Some(&link));
    let context = Context { event: &event, data, reader, link, button, now };
    let rendered = words.compiled.render(&context).expect("a message");
    within_slacks_limits(&rendered);
    no_live_markup(&rendered);
    let shown = format!("{}{}", rendered.text, rendered.blocks);
    prop_assert!(!rendered.shortened || shown.contains('…'));
    let json = serde_json::to_string(&rendered).unwrap();
    prop_assert_eq!(serde_json::from_str::<Rendered>(&json).unwrap(), rendered);
}}

proptest! {
    // Fewer cases: each fills a hundred places.
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_tenants_message_fits_and_is_harmless_too(
        a in hostile_value(),
        b in hostile_text(),
        c in hostile_text(),
    ) {
        let template = tenants_own();
        prop_assert_eq!(template.check(), []);
        let event = EventType::parse("own.type").unwrap();
        let reader = Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() };
        let link = Link { url: "https://platform.example/1".into(), label: None };
        let data = json!({ "a": a, "b": b, "c": c });
        let (button, now) = (event::button(&event, Language::English), Timestamp(0));
        let (data, reader, link) = (&data, &reader, Some(&link));
        let context = Context { event: &event, data, reader, link, button, now };
        let rendered = render(&template, &context).expect("a message");
        within_slacks_limits(&rendered);
        let mut texts = vec![rendered.text.clone()];
        shown(&rendered.blocks, &mut texts);
        for text in texts {
            for token in ["<!", "<@", "<#", "<http", "<mailto"] {
                // The template asks for `linked`, so its link is active if the data is a URL.
                let live = token == "<http" && escape::url(&b).is_ok();
                prop_assert!(live || !text.contains(token), "{} in {}", token, text);
            }
        }
    }
}
