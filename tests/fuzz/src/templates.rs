//! Templates and their data: `EVENT 0 DATA 0 NAME 0 ZONE 0 URL 0 LABEL 0 TEXT 0 BLOCKS`. A built-in
//! event uses its own template.
//!
//! A template that passes its check yields a message within Slack's limits, or an error. Rendering
//! it again yields the same, also with a reader reduced to the fields that the template reads. If
//! its author wrote no markup, the message has none.

use herald::domain::ids::EventType;
use herald::domain::message::event::{self, validate};
use herald::domain::message::render::{
    Compiled, Context, Language, Link, Reader, Rendered, Template, render,
};
use herald::domain::time::Timestamp;
use serde_json::{Value, json};

use super::parts::{parts, text};

/// Tokens that Slack reads as more than text.
const LIVE: [&str; 5] = ["<!", "<@", "<#", "<http", "<mailto"];

pub(crate) fn run(input: &[u8]) {
    let [event, data, name, zone, url, label, words, blocks] = parts(input);
    let own = EventType::parse("own.type").unwrap();
    let event = EventType::parse(text(event).into_owned()).unwrap_or_else(|_| own.clone());
    let mine = || Template { text: text(words).into(), blocks: text(blocks).into() };
    let built_in = event::find(&event);
    let language = Language::preferred(&[text(name).into_owned()]);
    let words = built_in.and_then(|built_in| built_in.words(language));
    let template = words.map_or_else(mine, |words| words.template.clone());
    let data = serde_json::from_slice(data).ok().filter(|data| validate(data, [], &[]).is_empty());
    let data = data.unwrap_or_else(usual);
    let some = |bytes| Some(text(bytes).into_owned()).filter(|text| !text.is_empty());
    let locales = some(name).into_iter().collect();
    let reader = Reader {
        name: some(name).as_deref().map(Into::into),
        locales,
        time_zone: text(zone).into(),
    };
    let link = some(url).map(|url| Link { url, label: some(label) });
    let link = link.filter(|link| link.problem("link").is_none());
    let now = Timestamp(1_764_400_000_000_000);
    let button = event::button(&event, language);
    let link = link.as_ref();
    let context = Context { event: &event, data: &data, reader: &reader, link, button, now };
    judge(&template, &context, built_in.is_some());
}

fn judge(template: &Template, context: &Context<'_>, built_in: bool) {
    let good = template.check().is_empty();
    assert!(good || !built_in, "{:?}", template.check());
    let message = render(template, context);
    assert_eq!(message, render(template, context), "another message");
    let compiled = Compiled::of(template, None);
    let view = compiled.view(context.reader.clone());
    let seen = compiled.render(&Context { reader: &view, ..*context });
    assert_eq!(message, seen, "the template reads the name unnoticed");
    assert!(message.is_ok() || !built_in, "{message:?}");
    let Ok(message) = message else { return };
    assert!((1..=4000).contains(&units(&message.text)), "{}", message.text);
    assert!(!message.text.trim().is_empty());
    if good {
        within_limits(&message);
        without_marks(&message);
        if !writes_markup(template) {
            without_markup(&message);
        }
    }
    let json = serde_json::to_string(&message).unwrap();
    assert_eq!(serde_json::from_str::<Rendered>(&json).unwrap(), message);
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn within_limits(message: &Rendered) {
    let blocks = message.blocks.as_array().expect("an array");
    assert!(blocks.len() <= 50);
    assert!(units(&message.blocks.to_string()) <= 12_000, "{}", message.blocks);
    blocks.iter().for_each(of_a_kind);
}

fn of_a_kind(block: &Value) {
    match block["type"].as_str().expect("a type") {
        "section" => {
            assert!(block.get("text").is_some() || block.get("fields").is_some());
            each(block.get("text"), |text| has_text(text, 3000));
            list(block, "fields", 10, |field| has_text(field, 2000));
            each(block.get("accessory"), element);
        }
        "context" => list(block, "elements", 10, element),
        "actions" => list(block, "elements", 25, element),
        "header" => has_text(&block["text"], 150),
        "image" => {
            element(block);
            each(block.get("title"), |title| has_text(title, 2000));
        }
        "divider" => {}
        _ => of_2026(block),
    }
}

/// The kinds of blocks that Slack added in 2025 and 2026.
fn of_2026(block: &Value) {
    let words = |key: &str, most| {
        let words = units(block[key].as_str().expect("a string"));
        assert!((1..=most).contains(&words), "{key}: {block}");
    };
    match block["type"].as_str().expect("a type") {
        "card" => {
            for key in ["hero_image", "icon"] {
                each(block.get(key), element);
            }
            each(block.get("title"), |text| has_text(text, 150));
            each(block.get("subtitle"), |text| has_text(text, 150));
            each(block.get("body"), |text| has_text(text, 200));
            list(block, "actions", 3, element);
        }
        "carousel" => list(block, "elements", 10, of_2026),
        "container" => {
            each(block.get("title"), |text| has_text(text, 150));
            each(block.get("subtitle"), |text| has_text(text, 150));
            each(block.get("icon"), element);
            list(block, "child_blocks", 10, of_a_kind);
        }
        "plan" => {
            words("title", 3000);
            list(block, "tasks", 50, of_2026);
        }
        "task_card" => words("title", 3000),
        "data_visualization" => words("title", 50),
        "data_table" => {
            words("caption", 150);
            rows(block, 201);
        }
        "table" => rows(block, 100),
        other => panic!("{other} is not a block of a template"),
    }
}

fn rows(block: &Value, most: usize) {
    let rows = block["rows"].as_array().expect("rows");
    assert!((1..=most).contains(&rows.len()), "{block}");
    for row in rows {
        let cells = row.as_array().expect("cells");
        assert!((1..=20).contains(&cells.len()), "{block}");
        for cell in cells {
            has_text(cell, 2000);
        }
    }
}

fn each(value: Option<&Value>, check: impl Fn(&Value)) {
    value.into_iter().for_each(check);
}

fn list(block: &Value, key: &str, most: usize, check: impl Fn(&Value)) {
    if let Some(items) = block.get(key) {
        let items = items.as_array().expect("a list");
        assert!((1..=most).contains(&items.len()), "{block}");
        items.iter().for_each(check);
    }
}

fn element(element: &Value) {
    let short = |key: &str, most| {
        let text = element.get(key).map(|text| units(text.as_str().expect("a string")));
        assert!(text.is_none_or(|units| (1..=most).contains(&units)), "{key}: {element}");
    };
    match element["type"].as_str().expect("a type") {
        "mrkdwn" | "plain_text" => has_text(element, 3000),
        "button" => {
            has_text(&element["text"], 75);
            short("value", 2000);
            short("accessibility_label", 75);
            short("url", 3000);
        }
        "image" => {
            assert!(element["alt_text"].is_string() && element["image_url"].is_string());
            short("alt_text", 2000);
            short("image_url", 3000);
        }
        other => panic!("{other} is not an element of a template"),
    }
}

fn has_text(object: &Value, most: usize) {
    let text = object["text"].as_str().expect("a text");
    assert!((1..=most).contains(&units(text)) && !text.trim().is_empty(), "{object}");
}

/// Calls `with` for each string, and whether it is mrkdwn.
fn strings(value: &Value, mrkdwn: bool, with: &mut impl FnMut(&str, bool)) {
    match value {
        Value::String(text) => with(text, mrkdwn),
        Value::Array(items) => items.iter().for_each(|item| strings(item, false, with)),
        Value::Object(object) => {
            let marked = object.get("type").is_some_and(|kind| kind == "mrkdwn");
            object.iter().for_each(|(key, item)| strings(item, marked && key == "text", with));
        }
        _ => {}
    }
}

/// Rendering marks values with these characters until the message fits; none may remain anywhere.
fn without_marks(message: &Rendered) {
    let check = &mut |text: &str, _| {
        assert!(!text.contains(['\u{1}', '\u{2}', '\u{3}', '\u{4}']), "{text:?}");
    };
    check(&message.text, true);
    strings(&message.blocks, false, check);
}

fn without_markup(message: &Rendered) {
    let check = &mut |text: &str, mrkdwn: bool| {
        let lower = text.to_lowercase();
        assert!(LIVE.iter().all(|token| !lower.contains(token)), "{text}");
        assert!(!mrkdwn || !text.contains(['<', '>']), "{text}");
    };
    check(&message.text, true);
    strings(&message.blocks, false, check);
}

/// Whether the author wrote markup, or asked for a link or a mention.
fn writes_markup(template: &Template) -> bool {
    let mut found = false;
    let look = &mut |text: &str, _| {
        // The engine skips control characters like white space.
        let skipped = |it: char| it.is_whitespace() || it.is_control();
        let filters = text.split('|').skip(1).map(|it| it.trim_start_matches(skipped));
        let mut asked = filters.filter(|it| it.starts_with("link") || it.starts_with("mention"));
        found |= text.contains(['<', '>']) || asked.next().is_some();
    };
    look(&template.text, true);
    strings(&serde_json::from_str(&template.blocks).unwrap_or_default(), false, look);
    found
}

/// Data for inputs without any.
fn usual() -> Value {
    json!({
        "a": "<!channel> & <http://x.test|y>", "b": "B\u{1}\u{2}<@U1>", "n": 15,
        "t": "2026-11-27T16:00:00Z",
        "l": ["x", {"name": "<#C1>"}], "task": {"name": "*T* `&lt;`", "due": "2026-12-03"}
    })
}
