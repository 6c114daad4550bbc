//! A message that is sent as a preview: a line above it says that it is one.

use serde_json::{Value, json};

use super::Rendered;
use super::fit::{ALL_BLOCKS, TEXT, cut, units};
use super::language::Language;
use crate::domain::ids::EventType;

/// Slack's limit for a section's text, and for the number of blocks.
const SECTION: usize = 3000;
const BLOCKS: usize = 50;

/// Marks the message as a preview, in the language of the person who gets it. If it then exceeds
/// Slack's limits, its last blocks are left out, but never its buttons.
#[must_use]
pub fn marked(mut message: Rendered, event: &EventType, language: Language) -> Rendered {
    let mark = mark(event, language);
    let mut blocks = match message.blocks {
        Value::Array(blocks) if !blocks.is_empty() => blocks,
        // With blocks, Slack does not show the text.
        _ => {
            let text = cut(&message.text, SECTION, true);
            vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})]
        }
    };
    let note = json!({"type": "plain_text", "text": mark, "emoji": false});
    blocks.insert(0, json!({"type": "context", "elements": [note]}));
    while blocks.len() > BLOCKS || size(&blocks) > ALL_BLOCKS {
        let last = blocks.iter().skip(1).rposition(|block| block["type"] != "actions");
        let Some(last) = last else { break };
        blocks.remove(last + 1);
        message.shortened = true;
    }
    message.blocks = Value::Array(blocks);
    message.text = cut(&format!("{mark}{}{}", colon(language), message.text), TEXT, true);
    message
}

/// The units of the blocks as JSON.
fn size(blocks: &[Value]) -> usize {
    // The brackets, and a comma after each but the last.
    blocks.iter().map(|block| units(&block.to_string()) + 1).sum::<usize>() + 1
}

fn mark(event: &EventType, language: Language) -> String {
    match language {
        Language::English => format!("Preview of {event} · not sent to anyone else"),
        Language::German => format!("Vorschau von {event} · nicht an andere gesendet"),
        Language::French => format!("Aperçu du message {event} · non envoyé à d’autres"),
        Language::Spanish => format!("Vista previa de {event} · no se ha enviado a nadie más"),
        Language::Portuguese => format!("Prévia de {event} · não foi enviada a mais ninguém"),
        Language::Japanese => {
            format!("{event} のプレビュー · ほかの人には送信されていません")
        }
    }
}

/// Between the mark and the text.
fn colon(language: Language) -> &'static str {
    match language {
        Language::French => "\u{a0}: ",
        Language::Japanese => "：",
        _ => ": ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::render::{Context, Reader, Template, render};
    use crate::domain::time::Timestamp;

    fn event() -> EventType {
        EventType::parse("task.assigned").unwrap()
    }

    /// A message of this text and these blocks.
    fn message(text: &str, blocks: Value) -> Rendered {
        let template = Template { text: "x".into(), blocks: "[]".into() };
        let reader = Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() };
        let context = Context {
            event: &event(),
            data: &json!({}),
            reader: &reader,
            link: None,
            button: "Open",
            now: Timestamp(0),
        };
        let mut message = render(&template, &context).unwrap();
        (message.text, message.blocks) = (text.to_owned(), blocks);
        message
    }

    fn section(text: &str) -> Value {
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    }

    #[test]
    fn the_mark_comes_first_and_the_message_stays() {
        let actions = json!({"type": "actions", "elements": [{"type": "button"}]});
        let before = message("New task", json!([section("*Sign*"), actions]));
        for language in Language::ALL {
            let after = marked(before.clone(), &event(), language);
            let note = after.blocks[0]["elements"][0]["text"].as_str().unwrap();
            assert!(note.contains("task.assigned"), "{language:?}");
            let text = after.text.strip_prefix(note).unwrap();
            let colon = text.strip_suffix("New task").unwrap();
            let written = match language {
                Language::French => "\u{a0}: ",
                Language::Japanese => "：",
                _ => ": ",
            };
            assert_eq!(colon, written, "{language:?}");
            let blocks = after.blocks.as_array().unwrap();
            assert_eq!(blocks[1..], before.blocks.as_array().unwrap()[..], "{language:?}");
            assert!(!after.shortened, "{language:?}");
        }
    }

    #[test]
    fn a_text_without_blocks_is_shown_below_the_mark() {
        let after = marked(message("Hello", json!([])), &event(), Language::English);
        assert_eq!(after.blocks[1], section("Hello"));
    }

    #[test]
    fn a_full_message_makes_room_and_keeps_its_buttons() {
        let actions = json!({"type": "actions", "elements": [{"type": "button"}]});
        let long = "a".repeat(2_930);
        for (sections, text) in [(49, "x"), (4, long.as_str())] {
            let mut blocks = vec![section(text); sections];
            blocks.push(actions.clone());
            let full = message("Hello", Value::Array(blocks));
            let after = marked(full, &event(), Language::English);
            let blocks = after.blocks.as_array().unwrap();
            assert!(blocks.len() <= BLOCKS && size(blocks) <= ALL_BLOCKS);
            assert_eq!(size(blocks), units(&after.blocks.to_string()));
            assert_eq!(blocks.last(), Some(&actions));
            assert!(after.shortened);
        }
    }
}
