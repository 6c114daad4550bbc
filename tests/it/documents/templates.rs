//! docs/templates.md and docs/template-helpers.md: the examples are rendered, and every filter has
//! one.

use std::collections::BTreeSet;

use herald::domain::ids::{EventType, SlackUserId, UserId};
use herald::domain::message::render::mentions::{Mentioned, Mentions, resolved};
use herald::domain::message::render::simple::Simple;
use herald::domain::message::render::{Context, Link, Reader, Rendered, Template, render};
use herald::domain::time::Timestamp;
use serde_json::{Value, json};

use super::read;

/// 2026-11-23T08:00:00Z.
const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

/// The lines that follow this marker, up to the next blank one.
fn after<'a>(page: &'a str, marker: &str) -> Vec<&'a str> {
    let marker = format!("<!-- {marker} -->");
    let lines = page.lines().skip_while(|line| *line != marker).skip(1);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// The code block that follows this marker.
fn code<'a>(page: &'a str, marker: &str) -> Vec<&'a str> {
    let lines = after(page, marker);
    lines.into_iter().filter(|line| !line.starts_with("```")).collect()
}

/// The cells of a row, without the backticks.
fn cells(row: &str) -> Vec<String> {
    let inside = row.trim_matches('|').replace("\\|", "\u{1}");
    let cells = inside.split('|').map(|cell| cell.trim().trim_matches('`').replace('\u{1}', "|"));
    cells.collect()
}

fn shown(template: &Template, data: &Value, locale: &str) -> Rendered {
    let event = EventType::parse("own.type").unwrap();
    let reader = Reader {
        name: Some("Lee".into()),
        locales: vec![locale.into()],
        time_zone: "Europe/Vienna".into(),
    };
    let link = Link { url: "https://x.test/".into(), label: None };
    let (reader, link) = (&reader, Some(&link));
    let context = Context { event: &event, data, reader, link, button: "Open", now: NOW };
    let rendered = render(template, &context).unwrap();
    let ada = Mentioned { member: SlackUserId::parse("U0ADA").ok(), display_name: None };
    let people: Mentions = [(UserId::parse("ada").unwrap(), ada)].into_iter().collect();
    resolved(rendered, &people)
}

#[test]
fn every_example_is_as_the_page_says() {
    let page = read("docs/template-helpers.md");
    let rows: Vec<_> = after(&page, "examples").into_iter().skip(2).map(cells).collect();
    assert!(rows.len() > 20, "the examples were not found");
    let mut faults = Vec::new();
    for row in rows {
        let [text, data, locale, expected] = &row[..] else { panic!("{row:?}") };
        let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{data}: {error}"));
        let template = Template { text: text.clone(), blocks: "[]".into() };
        assert_eq!(template.check(), [], "{text}");
        let is = shown(&template, &data, locale).text.replace('\n', "⏎");
        if is != *expected {
            faults.push(format!("{text} ({locale}): {is}, not {expected}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_filter_has_an_example() {
    let source = read("src/domain/message/render/filters.rs");
    let filters = source.split("add_filter(\"").skip(1);
    let filters: BTreeSet<&str> = filters.filter_map(|rest| rest.split('"').next()).collect();
    assert!(filters.contains("mention"), "the filters were not found");
    let page = read("docs/template-helpers.md");
    let templates: Vec<String> =
        after(&page, "examples").into_iter().skip(2).map(|row| cells(row)[0].clone()).collect();
    let used = |filter: &&&str| {
        let calls = |template: &String| {
            let mut names = template.split('|').skip(1).map(|rest| {
                rest.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next()
            });
            names.any(|name| name == Some(**filter))
        };
        templates.iter().any(calls)
    };
    let missing: Vec<&&str> = filters.iter().filter(|filter| !used(filter)).collect();
    assert!(missing.is_empty(), "no example: {missing:?}");
}

#[test]
fn both_forms_of_the_page_are_good() {
    let page = read("docs/templates.md");
    let simple: Simple = serde_json::from_str(&code(&page, "simple").join("\n")).unwrap();
    assert_eq!(simple.check(), []);
    let data = json!({
        "training": {"name": "First aid"}, "starts_at": "2026-12-03T08:00:00Z", "reason": "Snow",
        "dates_url": "https://x.test/dates", "trainer": {"id": "ada", "name": "Ada"},
        "people": ["Ana", "Ben"], "photo_url": "https://x.test/photo.png",
    });
    let kinds = |rendered: &Rendered| -> Vec<String> {
        let blocks = rendered.blocks.as_array().unwrap().iter();
        blocks.map(|block| block["type"].as_str().unwrap().to_owned()).collect()
    };
    let rendered = shown(&simple.template(), &data, "en");
    let expected = ["header", "section", "section", "image", "context", "actions"];
    assert_eq!(kinds(&rendered), expected);
    assert_eq!(rendered.blocks[2]["fields"][0]["text"], "*Trainer*\n<@U0ADA>");
    assert!(rendered.text.contains("<https://x.test/dates|another date>"), "{}", rendered.text);

    let blocks = code(&page, "blocks").join("\n");
    let template = Template { text: "{{ training.name }}".into(), blocks };
    assert_eq!(template.check(), []);
    assert_eq!(kinds(&shown(&template, &data, "en")), ["header", "section", "actions"]);
}
