use std::collections::BTreeSet;

use super::*;
use crate::domain::message::render::{Context, Link, Reader, render};
use crate::domain::time::Timestamp;

/// 2026-11-23T08:00:00Z.
const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

fn golden(name: &str) -> &'static str {
    macro_rules! files {
        ($($name:literal),*) => {
            match name { $($name => include_str!(concat!("golden/", $name, ".json")),)* _ => "" }
        };
    }
    files!(
        "case.started",
        "task.assigned",
        "task.due",
        "request.canceled",
        "request.completed",
        "process.imported",
        "project.invited",
        "event.invited",
        "event.enrolled",
        "learning.assigned",
        "event.reminder"
    )
}

fn demo_message(built_in: &BuiltIn) -> String {
    let reader = Reader {
        name: Some("Lee Sample".into()),
        locale: Some("de-AT".into()),
        time_zone: "Europe/Vienna".into(),
    };
    let link = Link { url: format!("https://platform.example/{}", built_in.name), label: None };
    let event = EventType::parse(built_in.name).unwrap();
    let data = built_in.demo_data();
    let context = Context {
        event: &event,
        data: &data,
        reader: &reader,
        link: Some(&link),
        button: button(&event),
        now: NOW,
    };
    let rendered = render(&built_in.template(), &context).unwrap();
    serde_json::to_string_pretty(&rendered).unwrap() + "\n"
}

#[test]
fn the_catalogue_is_that_of_the_requirements() {
    let names: Vec<_> = catalogue().iter().map(|built_in| built_in.name).collect();
    assert_eq!(names.len(), 11);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 11);
    assert!(names.iter().all(|name| find(&EventType::parse(*name).unwrap()).is_some()));
    assert!(find(&EventType::parse("own.type").unwrap()).is_none());
}

#[test]
fn demonstration_data_fills_the_fields_and_is_good() {
    for built_in in catalogue() {
        let event = EventType::parse(built_in.name).unwrap();
        let data = demo_data(&event);
        assert_eq!(validate_data(&event, &data), [], "{}", built_in.name);
        for field in built_in.fields.iter().filter(|field| field.demo != "null") {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            assert!(data.pointer(&pointer).is_some_and(|value| !value.is_null()), "{pointer}");
        }
    }
}

#[test]
fn every_default_template_passes_its_own_check() {
    for built_in in catalogue() {
        assert_eq!(built_in.template().check(), [], "{}", built_in.name);
    }
}

/// After an intended change, copy the printed message into the file; `domain` writes no files.
#[test]
fn messages_are_worded_as_the_golden_files_say() {
    for built_in in catalogue() {
        let (is, should) = (demo_message(built_in), golden(built_in.name));
        let differ = is.lines().zip(should.lines()).position(|(is, should)| is != should);
        assert!(
            is == should,
            "golden/{}.json differs from line {} on; it is now:\n{is}",
            built_in.name,
            differ.unwrap_or_else(|| is.lines().count().min(should.lines().count())) + 1,
        );
    }
}

#[test]
fn required_data_alone_makes_a_message_that_shows_it() {
    let reader = Reader { name: None, locale: None, time_zone: "Asia/Tokyo".into() };
    for built_in in catalogue() {
        let event = EventType::parse(built_in.name).unwrap();
        let mut data = Map::new();
        for field in built_in.fields.iter().filter(|field| field.required) {
            insert(&mut data, field.path, serde_json::from_str(field.demo).unwrap());
        }
        if built_in.name == "event.reminder" {
            data.insert("starts_at".into(), "2026-11-23T08:15:00Z".into());
        }
        let data = Value::Object(data);
        assert_eq!(validate_data(&event, &data), []);
        let context = Context {
            event: &event,
            data: &data,
            reader: &reader,
            link: None,
            button: button(&event),
            now: NOW,
        };
        let rendered = render(&built_in.template(), &context).unwrap();
        let shown = rendered.blocks.to_string();
        for field in built_in.fields.iter().filter(|field| field.required) {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            let value = data.pointer(&pointer).unwrap().as_str().unwrap();
            let value = match value {
                "2026-11-27T16:00:00Z" => "Sat 28 Nov 2026, 01:00 JST",
                "2026-12-03T08:00:00Z" => "Thu 3 Dec 2026, 17:00 JST",
                "2026-12-11" => "Fri 11 Dec 2026",
                text => text,
            };
            assert!(shown.contains(value), "{}: {value} in {shown}", built_in.name);
        }
        if built_in.name == "event.reminder" {
            assert!(shown.contains("Starts in 15 minutes"), "{shown}");
        }
        assert!(!shown.contains("\"actions\"") && !shown.contains("None"), "{shown}");
    }
}
