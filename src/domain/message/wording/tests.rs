use serde_json::{Value, json};

use super::*;
use crate::domain::ids::EventType;
use crate::domain::message::event::{catalogue, demo_data, test_message as of_test};
use crate::domain::message::render::{Context, Link, Reader, Rendered};
use crate::domain::time::Timestamp;

/// 2026-11-23T08:00:00Z.
const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

/// All messages of a language, as [`drawn`] draws them.
fn golden(language: Language) -> &'static str {
    match language {
        Language::English => include_str!("golden/en.txt"),
        Language::German => include_str!("golden/de.txt"),
        Language::French => include_str!("golden/fr.txt"),
        Language::Spanish => include_str!("golden/es.txt"),
        Language::Portuguese => include_str!("golden/pt.txt"),
        Language::Japanese => include_str!("golden/ja.txt"),
    }
}

/// The message with demonstration data, for a reader in Vienna.
fn message(wording: &Wording, language: Language) -> Rendered {
    let reader = Reader {
        name: Some("Lee Sample".into()),
        locales: vec![language.tag().into()],
        time_zone: "Europe/Vienna".into(),
    };
    let event = EventType::parse(wording.event).unwrap();
    let data = demo_data(&event);
    let link = Link { url: format!("https://platform.example/{}", wording.event), label: None };
    let words = wording.words(language);
    let context = Context {
        event: &event,
        data: &data,
        reader: &reader,
        link: (wording.event != of_test::NAME).then_some(&link),
        button: &words.button,
        now: NOW,
    };
    words.compiled.render(&context).unwrap()
}

/// The message as text: the fallback text, the lines of its blocks, and the button in brackets.
fn drawn(event: &str, message: &Rendered) -> String {
    let mut lines = vec![event.to_owned(), format!("  text: {}", message.text)];
    for block in message.blocks.as_array().unwrap() {
        let texts: Vec<&Value> = match block["type"].as_str().unwrap() {
            "section" => vec![&block["text"]["text"]],
            "context" => vec![&block["elements"][0]["text"]],
            _ => {
                let label = block["elements"][0]["text"]["text"].as_str().unwrap();
                lines.push(format!("  [{label}]"));
                vec![]
            }
        };
        let texts = texts.into_iter().flat_map(|text| text.as_str().unwrap().lines());
        lines.extend(texts.map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

/// After an intended change, copy the printed messages into the file; `domain` writes no files.
#[test]
fn messages_are_worded_as_the_golden_files_say() {
    for language in Language::ALL {
        let all = layout::EVENTS.iter().chain([&layout::TEST]);
        let drawn: Vec<String> =
            all.map(|wording| drawn(wording.event, &message(wording, language))).collect();
        let (is, should) = (drawn.join("\n\n") + "\n", golden(language));
        let differ = is.lines().zip(should.lines()).position(|(is, should)| is != should);
        assert!(
            is == should,
            "golden/{}.txt differs from line {} on; it is now:\n{is}",
            language.tag(),
            differ.unwrap_or_else(|| is.lines().count().min(should.lines().count())) + 1,
        );
    }
}

#[test]
fn every_language_has_all_strings() {
    let keys = |strings: &Strings| {
        let details = strings.details.keys().cloned().collect::<Vec<_>>();
        (strings.events.keys().cloned().collect::<Vec<_>>(), details)
    };
    let english: Strings = serde_json::from_str(file(Language::English)).unwrap();
    assert_eq!(english.events.len(), catalogue().len() + 1);
    for language in Language::ALL {
        let strings: Strings = serde_json::from_str(file(language)).unwrap();
        assert_eq!(keys(&strings), keys(&english), "{language:?}");
        let events = strings.events.values();
        let all = events.flat_map(|event| [&event.text, &event.headline, &event.button]);
        let all = all.chain(strings.details.values()).chain([&strings.open]);
        assert!(all.into_iter().all(|text| !text.trim().is_empty()), "{language:?}");
        let HomeWords { types, .. } = &strings.home;
        let types: Vec<&str> = types.keys().map(String::as_str).collect();
        // People get no notices about channels.
        let mut names: Vec<&str> = catalogue().iter().map(|built_in| built_in.name).collect();
        names.retain(|name| *name != "channel.archiving");
        names.sort_unstable();
        assert_eq!(types, names, "{language:?}");
    }
}

#[test]
fn every_event_type_has_words() {
    let names: Vec<&str> = catalogue().iter().map(|built_in| built_in.name).collect();
    let worded: Vec<&str> = layout::EVENTS.iter().map(|wording| wording.event).collect();
    assert_eq!(names, worded);
    assert_eq!(layout::TEST.event, of_test::NAME);
}

#[test]
fn a_message_has_a_headline_its_details_and_a_button() {
    let wording = of("task.assigned").unwrap();
    let shown = message(wording, Language::English);
    let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let details = "Process *New hire onboarding* · Assigned by Kim Example · \
                   Due Fri 27 Nov 2026, 17:00 CET";
    assert_eq!(
        shown.blocks,
        json!([
            { "type": "section", "text": mrkdwn("📋 New task for you\n*Prepare the workplace*") },
            { "type": "context", "elements": [mrkdwn(details)] },
            {
                "type": "actions",
                "elements": [{
                    "type": "button",
                    "action_id": "open_link",
                    "style": "primary",
                    "text": { "type": "plain_text", "text": "Open task", "emoji": true },
                    "url": "https://platform.example/task.assigned",
                }],
            },
        ])
    );
}

/// Optional details leave no gap and no dot behind.
#[test]
fn details_that_are_missing_leave_no_dot() {
    let event = EventType::parse("request.canceled").unwrap();
    let reader = Reader { name: None, locales: vec!["de".into()], time_zone: "UTC".into() };
    let words = of("request.canceled").unwrap().words(Language::German);
    let line = |data: Value| {
        let context = Context {
            event: &event,
            data: &data,
            reader: &reader,
            link: None,
            button: &words.button,
            now: NOW,
        };
        words.compiled.render(&context).unwrap().blocks[1]["elements"][0]["text"].clone()
    };
    let request = json!({ "name": "R" });
    let by = json!({ "name": "K" });
    assert_eq!(line(json!({ "request": request, "reason": "x" })), "Grund: x");
    assert_eq!(line(json!({ "request": request, "canceled_by": by })), "Storniert von K");
    assert_eq!(line(json!({ "request": request })), Value::Null);
    let blank = json!({ "request": request, "canceled_by": { "name": " " }, "reason": "\u{0} \n" });
    assert_eq!(line(blank), Value::Null);
    let no_name = json!({ "request": request, "canceled_by": { "name": "" }, "reason": "x" });
    assert_eq!(line(no_name), "Grund: x");
}
