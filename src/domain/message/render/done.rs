//! A message whose subject is done: the same text, struck through, without buttons.

use serde_json::Value;

use super::Rendered;
use super::fit::{ALL_BLOCKS, FIELD, SECTION, TEXT, cut, units};

/// Marks the message as done, at a glance and for screen readers.
const MARK: &str = "✔ ";

/// Strikes the message through and marks it. A text that would exceed its limit with the strokes
/// stays without them; if the blocks together would exceed theirs, all texts of the blocks do.
#[must_use]
pub fn done(message: &Rendered) -> Rendered {
    let struck = crossed(&message.blocks, true);
    let blocks = if units(&struck.to_string()) <= ALL_BLOCKS {
        struck
    } else {
        crossed(&message.blocks, false)
    };
    let only_text = blocks.as_array().is_none_or(Vec::is_empty);
    let text = if only_text { strike(&message.text, TEXT) } else { message.text.clone() };
    let text = cut(&format!("{MARK}{text}"), TEXT, true);
    Rendered { text, blocks, shortened: message.shortened, cut: Vec::new() }
}

/// The remaining blocks; the first block that can carry the mark gets it.
fn crossed(blocks: &Value, strokes: bool) -> Value {
    let mut marked = false;
    let kept = blocks.as_array().into_iter().flatten().filter_map(|block| {
        let mut block = without_buttons(block)?;
        if block["type"] == "section" {
            let fields = block.get_mut("fields").and_then(Value::as_array_mut);
            for field in fields.into_iter().flatten() {
                cross(field, FIELD, "", strokes);
            }
            let mark = if marked { "" } else { MARK };
            if let Some(text) = block.get_mut("text") {
                marked |= cross(text, SECTION, mark, strokes);
            }
        }
        Some(block)
    });
    Value::Array(kept.collect())
}

/// The block without its buttons; `None` if nothing else is in it.
fn without_buttons(block: &Value) -> Option<Value> {
    let mut object = block.as_object()?.clone();
    let inside = match block["type"].as_str() {
        Some("actions" | "input") => return None,
        Some("section") => {
            object.remove("accessory");
            return Some(Value::Object(object));
        }
        Some("card") => {
            object.remove("actions");
            let shows = ["hero_image", "title", "body"].iter().any(|key| object.contains_key(*key));
            return shows.then_some(Value::Object(object));
        }
        Some("carousel") => "elements",
        Some("container") => "child_blocks",
        _ => return Some(Value::Object(object)),
    };
    let parts = block[inside].as_array().into_iter().flatten();
    let kept: Vec<Value> = parts.filter_map(without_buttons).collect();
    let shows = !kept.is_empty();
    object.insert(inside.to_owned(), Value::Array(kept));
    shows.then_some(Value::Object(object))
}

/// Strikes one text object through; `false`: there is none, or it does not fit with the mark.
fn cross(object: &mut Value, limit: usize, mark: &str, strokes: bool) -> bool {
    let Some(text) = object["text"].as_str() else { return false };
    let plain = object["type"] != "mrkdwn";
    let room = limit.saturating_sub(units(mark));
    let text = if plain || !strokes { text.to_owned() } else { strike(text, room) };
    if units(&text) > room {
        return false;
    }
    object["text"] = Value::from(format!("{mark}{text}"));
    true
}

/// Each line struck through; unchanged if the result does not fit, or if a code block would show
/// the strokes literally.
fn strike(text: &str, limit: usize) -> String {
    if text.contains("```") {
        return text.to_owned();
    }
    let lines: Vec<String> = text.split('\n').map(strike_line).collect();
    let struck = lines.join("\n");
    if units(&struck) <= limit { struck } else { text.to_owned() }
}

fn strike_line(line: &str) -> String {
    let words = line.trim();
    // Slack ends a stroke at the next `~`.
    if words.is_empty() || words.contains('~') {
        return line.to_owned();
    }
    match words.strip_prefix('>') {
        Some(quoted) if !quoted.trim().is_empty() => format!("> ~{}~", quoted.trim()),
        Some(_) => line.to_owned(),
        None => format!("~{words}~"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_stay_and_the_buttons_go() {
        let message = Rendered {
            text: "New task: Sign".into(),
            blocks: json!([
                {"type": "section", "text": {"type": "mrkdwn", "text": "📋 New task\n*Sign*"},
                 "accessory": {"type": "button"}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": "Process *Hire*"}]},
                {"type": "section", "text": {"type": "mrkdwn", "text": "> quoted\n~old~"}},
                {"type": "actions", "elements": [{"type": "button"}]},
            ]),
            shortened: false,
            cut: Vec::new(),
        };
        let done = done(&message);
        assert_eq!(done.text, "✔ New task: Sign");
        assert_eq!(
            done.blocks,
            json!([
                {"type": "section",
                 "text": {"type": "mrkdwn", "text": "✔ ~📋 New task~\n~*Sign*~"}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": "Process *Hire*"}]},
                {"type": "section", "text": {"type": "mrkdwn", "text": "> ~quoted~\n~old~"}},
            ])
        );
    }

    #[test]
    fn buttons_inside_blocks_go_too() {
        let text = json!({"type": "plain_text", "text": "x"});
        let card = json!({"type": "card", "title": text, "actions": [{"type": "button"}]});
        let bare = json!({"type": "card", "title": text});
        let only_buttons = json!({"type": "card", "actions": [{"type": "button"}]});
        let actions = json!({"type": "actions", "elements": [{"type": "button"}]});
        let header = json!({"type": "header", "text": text});
        let message = Rendered {
            text: "x".into(),
            blocks: json!([
                card,
                only_buttons,
                {"type": "carousel", "elements": [card, only_buttons]},
                {"type": "container", "child_blocks": [header, actions]},
                {"type": "container", "child_blocks": [actions]},
            ]),
            shortened: false,
            cut: Vec::new(),
        };
        assert_eq!(
            done(&message).blocks,
            json!([
                bare,
                {"type": "carousel", "elements": [bare]},
                {"type": "container", "child_blocks": [header]},
            ])
        );
    }

    #[test]
    fn a_text_alone_is_crossed_out_itself() {
        let (text, blocks) = ("Hello\nyou".into(), json!([]));
        let message = Rendered { text, blocks, shortened: false, cut: Vec::new() };
        assert_eq!(done(&message).text, "✔ ~Hello~\n~you~");
    }

    /// Such a text has three bytes for each character. It is struck through like any other.
    #[test]
    fn a_long_text_in_another_script_is_crossed_out() {
        let section = json!({"type": "section",
            "text": {"type": "mrkdwn", "text": "あ".repeat(2_900)}});
        let blocks = Value::Array(vec![section; 3]);
        assert!(units(&blocks.to_string()) < ALL_BLOCKS && blocks.to_string().len() > ALL_BLOCKS);
        let text = "A long one".into();
        let done = done(&Rendered { text, blocks, shortened: false, cut: Vec::new() });
        for (number, block) in done.blocks.as_array().unwrap().iter().enumerate() {
            let text = block["text"]["text"].as_str().unwrap();
            let start = if number == 0 { "✔ ~あ" } else { "~あ" };
            assert!(text.starts_with(start) && text.ends_with("あ~"), "section {number}");
        }
    }

    proptest! {
        #[test]
        fn what_fitted_fits(
            lines in proptest::collection::vec(".{0,80}", 1..60),
            sections in 1usize..5,
        ) {
            let text: String = cut(&lines.join("\n"), SECTION, false);
            let block = json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
            let blocks = Value::Array(vec![block; sections]);
            let fits = units(&blocks.to_string()) <= ALL_BLOCKS;
            let text = cut(&text, TEXT, false);
            let done = done(&Rendered { text, blocks, shortened: false, cut: Vec::new() });
            prop_assert!(units(&done.text) <= TEXT);
            let size = units(&done.blocks.to_string());
            prop_assert!(!fits || size <= ALL_BLOCKS + units(MARK));
            for block in done.blocks.as_array().unwrap() {
                prop_assert!(units(block["text"]["text"].as_str().unwrap()) <= SECTION);
            }
        }
    }
}
