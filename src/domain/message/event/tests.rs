use std::collections::BTreeSet;

use super::*;
use crate::domain::message::render::{Context, Language, Reader};
use crate::domain::time::Timestamp;

/// 2026-11-23T08:00:00Z.
const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

#[test]
fn the_catalogue_is_that_of_the_requirements_with_one_of_heralds_own() {
    let names: Vec<_> = catalogue().iter().map(|built_in| built_in.name).collect();
    assert_eq!(names.len(), 12);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 12);
    let notice = find(&channel_archiving()).unwrap();
    let linked = catalogue().iter().filter(|built_in| built_in.needs_link());
    assert!(linked.count() == 11 && !notice.needs_link());
    assert!(names.iter().all(|name| find(&EventType::parse(*name).unwrap()).is_some()));
    let own = EventType::parse("own.type").unwrap();
    assert!(find(&own).is_none());
    assert_eq!(button(&own, Language::German), "Öffnen");
}

#[test]
fn demonstration_data_fills_the_fields_and_is_good() {
    for built_in in catalogue() {
        let event = EventType::parse(built_in.name).unwrap();
        let data = demo_data(&event);
        assert_eq!(validate(&data, built_in.specs(), built_in.any_of), [], "{}", built_in.name);
        for field in built_in.fields.iter().filter(|field| field.demo != "null") {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            assert!(data.pointer(&pointer).is_some_and(|value| !value.is_null()), "{pointer}");
        }
    }
}

#[test]
fn every_default_template_passes_its_own_check() {
    for built_in in catalogue() {
        for language in Language::ALL {
            let words = built_in.words(language).unwrap();
            assert_eq!(words.template.check(), [], "{} {language:?}", built_in.name);
            assert_eq!(built_in.button(language), words.button);
        }
    }
}

#[test]
fn required_data_alone_makes_a_message_that_shows_it() {
    let reader = Reader { name: None, locales: Vec::new(), time_zone: "Asia/Tokyo".into() };
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
        assert_eq!(validate(&data, built_in.specs(), built_in.any_of), []);
        let words = built_in.words(Language::English).unwrap();
        let context = Context {
            event: &event,
            data: &data,
            reader: &reader,
            link: None,
            button: &words.button,
            now: NOW,
        };
        let rendered = words.compiled.render(&context).unwrap();
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
