//! A string that fails with the data of a message costs the message that string only.

use serde_json::json;

use super::*;

const FAILS: &str = "{{ name | round }}";
const TOO_LONG: &str = "{% for a in items %}{% for b in items %}{{ b }}{% endfor %}{% endfor %}";
const URL: &str = "https://x.test/1";

fn shown(text: &str, blocks: &Value) -> Rendered {
    let template = Template { text: text.into(), blocks: blocks.to_string() };
    let event = EventType::parse("own.type").unwrap();
    let data = json!({"name": "Ada", "items": vec![0; 2000]});
    let reader = reader("en");
    let link = Link { url: URL.into(), label: None };
    let context = Context {
        event: &event,
        data: &data,
        reader: &reader,
        link: Some(&link),
        button: "Open",
        now: NOW,
    };
    render(&template, &context).unwrap()
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text})
}

fn button(label: &str, url: &str) -> Value {
    json!({"type": "button", "text": plain(label), "url": url})
}

fn actions(button: &Value) -> Value {
    json!({"type": "actions", "elements": [button]})
}

/// The button of the notification's link, which takes the place of the buttons of a template.
fn of_link() -> Value {
    let text = json!({"type": "plain_text", "text": "Open", "emoji": true});
    actions(&json!({"type": "button", "text": text, "url": URL}))
}

#[test]
fn a_text_that_fails_is_shown_as_dots() {
    let cell = |text: &str| json!({"type": "raw_text", "text": text});
    let image =
        |alt: &str| json!({"type": "image", "image_url": "https://x.test/", "alt_text": alt});
    let confirm = |title: &str| {
        let confirm = json!({"title": plain(title), "text": plain("b"), "confirm": plain("c"),
            "deny": plain("d")});
        actions(&json!({"type": "button", "text": plain("Go"), "url": URL, "confirm": confirm}))
    };
    let header = |text: &str| json!({"type": "header", "text": plain(text)});
    let table = |text: &str| json!({"type": "table", "rows": [[cell(text), cell("b")]]});
    for (block, left, cut) in [
        (header(FAILS), header("…"), "blocks[0].text.text"),
        (header(TOO_LONG), header("…"), "blocks[0].text.text"),
        (image(FAILS), image("…"), "blocks[0].alt_text"),
        (table(FAILS), table("…"), "blocks[0].rows[0][0].text"),
        (confirm(FAILS), confirm("…"), "blocks[0].elements[0].confirm.title.text"),
    ] {
        let message = shown("x", &json!([block]));
        assert_eq!(message.blocks[0], left);
        assert!(message.shortened && message.cut == [cut], "{block}: {:?}", message.cut);
    }
}

#[test]
fn an_object_whose_condition_fails_is_omitted() {
    let unsure = json!({"if": "name | round > 1", "type": "plain_text", "text": "a"});
    let section = |fields: &[&Value]| json!({"type": "section", "fields": fields});
    let sure = plain("b");
    let message = shown("x", &json!([section(&[&unsure, &sure])]));
    assert_eq!(message.blocks, json!([section(&[&sure]), of_link()]));
    assert_eq!(message.cut, ["blocks[0].fields"]);
    let message = shown("x", &json!([{"if": "name | round", "type": "divider"}]));
    assert_eq!((message.blocks, message.cut), (json!([of_link()]), vec!["blocks".to_owned()]));
}

#[test]
fn a_button_keeps_a_label_and_a_target() {
    for (button, left, cut) in [
        (button(FAILS, URL), of_link(), "blocks[0].elements[0].text"),
        (button("Go", FAILS), of_link(), "blocks"),
        (button("Go", "{{ link.url }}"), actions(&button("Go", URL)), ""),
    ] {
        let message = shown("x", &json!([actions(&button)]));
        assert_eq!(message.blocks, json!([left]), "{button}");
        assert_eq!(message.cut.join(" "), cut, "{button}");
    }
}

#[test]
fn a_fallback_text_that_fails_says_that_there_is_a_message() {
    let message = shown(FAILS, &json!([{"type": "divider"}, actions(&button("Go", URL))]));
    assert_eq!(message.text, Language::English.notice());
    assert_eq!((message.shortened, message.cut), (true, vec!["text".to_owned()]));
}

/// Otherwise many strings that fail could take as long as many messages.
#[test]
fn strings_that_fail_count_as_steps() {
    let message = |text: &str, times: usize| {
        let mut blocks = vec![json!({"type": "header", "text": plain(text)}); times];
        blocks.push(json!({"type": "header", "text": plain("{{ name }}")}));
        let shown = shown("x", &Value::Array(blocks)).blocks;
        (shown[times]["text"]["text"].clone(), shown[times + 1].clone())
    };
    assert_eq!(message(FAILS, 40), (json!("Ada"), of_link()));
    assert_eq!(message(TOO_LONG, 4), (json!("Ada"), of_link()));
    assert_eq!(message(TOO_LONG, 5), (json!("…"), of_link()));
}
