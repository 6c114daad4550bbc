//! The judge of finished messages, written against Slack's reference and not against the code that
//! fits. Each function returns the first problem.

use serde_json::Value;
use url::Url;

use crate::domain::message::render::Rendered;
use crate::sandbox::blocks::{Surface, check};

/// The target of the notification's link.
pub(super) const TARGET: &str = "https://platform.example/1";
/// The hosts of the template's own URLs and of those in data that are URLs.
const HOSTS: [&str; 2] = ["x.test", "platform.example"];
/// Slack's limits: of a kind of block or element, the part and its most characters or items.
const LIMITS: [(&str, &str, usize); 23] = [
    ("actions", "elements", 25),
    ("button", "accessibility_label", 75),
    ("button", "text", 75),
    ("button", "value", 2_000),
    ("card", "body", 200),
    ("card", "subtitle", 150),
    ("card", "title", 150),
    ("carousel", "elements", 10),
    ("container", "child_blocks", 10),
    ("container", "title", 150),
    ("context", "elements", 10),
    ("data_table", "caption", 150),
    ("data_table", "rows", 201),
    ("data_visualization", "title", 50),
    ("header", "text", 150),
    ("image", "alt_text", 2_000),
    ("image", "title", 2_000),
    ("plan", "tasks", 50),
    ("plan", "title", 3_000),
    ("section", "fields", 10),
    ("section", "text", 3_000),
    ("table", "rows", 100),
    ("task_card", "title", 3_000),
];
const ROW: usize = 20;
const BLOCKS: usize = 50;
const TEXT: usize = 4_000;
const ALL: usize = 12_000;

/// `unresolved`: mentions are still placeholders.
pub(super) fn good(message: &Rendered, unresolved: bool) -> Result<(), String> {
    check(&message.blocks, Surface::Message).map_err(|error| format!("refused: {error:?}"))?;
    let length = units(&message.text);
    ensure((1..=TEXT).contains(&length), || format!("a text of {length}"))?;
    ensure(!message.text.trim().is_empty(), || "a blank text".into())?;
    ensure(has_button(&message.blocks), || "no button".into())?;
    let mut texts = vec![("text", message.text.as_str(), true)];
    strings(&message.blocks, &mut texts);
    for (key, text, mrkdwn) in texts {
        if matches!(key, "url" | "image_url") {
            is_ours(text)?;
        } else if unresolved {
            inert(&without_placeholders(text)?, mrkdwn)?;
        } else {
            inert(text, mrkdwn)?;
        }
    }
    Ok(())
}

/// The text without placeholders of mentions, which are checked here. Their names are escaped when
/// they are resolved.
fn without_placeholders(text: &str) -> Result<String, String> {
    let mut parts = text.split("<@herald:");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = part.split_once('>').and_then(|(inside, after)| {
            let (id, name) = inside.split_once('|')?;
            Some((id, name, after))
        });
        let Some((id, name, after)) = inside else {
            return Err(format!("a broken placeholder in {text}"));
        };
        let coded = |byte: u8| byte.is_ascii_alphanumeric() || b"%-_.~:=".contains(&byte);
        ensure(id.bytes().all(coded), || format!("the id {id} in {text}"))?;
        ensure(!name.contains(['<', '|']), || format!("the name {name} in {text}"))?;
        rest.push_str(after);
    }
    Ok(rest)
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Adds each string with its key, and whether it is mrkdwn.
fn strings<'v>(value: &'v Value, into: &mut Vec<(&'v str, &'v str, bool)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(object) => {
            let marked = value["type"] == "mrkdwn";
            for (key, item) in object {
                match item.as_str() {
                    Some(text) => into.push((key.as_str(), text, marked && key == "text")),
                    None => strings(item, into),
                }
            }
        }
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

/// A text without live markup but links to URLs of ours.
fn inert(text: &str, mrkdwn: bool) -> Result<(), String> {
    let lower = text.to_lowercase();
    for token in ["<!", "<@", "<#", "<mailto"] {
        ensure(!lower.contains(token), || format!("{token} in {text}"))?;
    }
    let unseen = ['\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{202E}'];
    ensure(!text.contains(unseen), || format!("a control character in {text:?}"))?;
    if !mrkdwn {
        return ensure(!lower.contains("<http"), || format!("a link in the plain text {text}"));
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((token, behind)) = after.split_once('>') else {
            return Err(format!("a `<` without its `>` in {text}"));
        };
        let Some((url, label)) = token.split_once('|') else {
            return Err(format!("<{token}> in {text}"));
        };
        is_ours(&url.replace("&amp;", "&"))?;
        ensure(!label.contains(['<', '|']), || format!("the label {label} in {text}"))?;
        rest = behind;
    }
    let entities = ["amp;", "lt;", "gt;"];
    let whole = |part: &str| entities.iter().any(|entity| part.starts_with(entity));
    ensure(text.split('&').skip(1).all(whole), || format!("a bare or broken entity in {text}"))
}

/// A URL that leads to a host of ours, and does not look as if it led elsewhere.
fn is_ours(url: &str) -> Result<(), String> {
    let parsed = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let known = parsed.host_str().is_some_and(|host| HOSTS.contains(&host));
    let plain = parsed.username().is_empty() && !url.contains(['<', '>', '|', ' ', '\n']);
    ensure(known && plain, || format!("a link to {url}"))
}

/// Whether something was shortened, or has at least nine tenths of a limit.
pub(super) fn is_near_a_limit(message: &Rendered) -> bool {
    message.shortened
        || near(units(&message.text), TEXT)
        || near(units(&message.blocks.to_string()), ALL)
        || near(message.blocks.as_array().map_or(0, Vec::len), BLOCKS)
        || has_near_part(&message.blocks)
}

fn near(size: usize, limit: usize) -> bool {
    10 * size >= 9 * limit
}

fn has_near_part(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_near_part),
        Value::Object(object) => {
            let kind = value["type"].as_str().unwrap_or_default();
            let limits = LIMITS.iter().filter(|(of, ..)| *of == kind);
            let mut sizes = limits.map(|(_, key, limit)| (size(&value[key]), *limit));
            let item_is_near = |key: &str, limit: usize| {
                let mut items = value[key].as_array().into_iter().flatten();
                items.any(|item| near(size(item), limit))
            };
            sizes.any(|(size, limit)| near(size, limit))
                || item_is_near("fields", 2_000)
                || item_is_near("elements", 3_000)
                || item_is_near("rows", ROW)
                || object.values().any(has_near_part)
        }
        _ => false,
    }
}

/// The characters of a text, or the number of items.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(object) => object.get("text").map_or(0, size),
        Value::String(text) => units(text),
        _ => 0,
    }
}

/// The judge finds each fault that is planted into a good message.
#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A message whose section has this text, with the button of the link.
    fn message(text: &str) -> Rendered {
        let button = json!({"type": "button", "url": TARGET,
            "text": {"type": "plain_text", "text": "Open"}});
        let blocks = json!([
            {"type": "section", "text": {"type": "mrkdwn", "text": text}},
            {"type": "actions", "elements": [button]},
        ]);
        let whole = json!({"text": "News", "blocks": blocks, "shortened": false});
        serde_json::from_value(whole).expect("a message")
    }

    #[test]
    fn planted_faults_are_found() {
        let fine = "a <https://x.test/?a=1&amp;b=2|b> &lt;!channel&gt;";
        assert_eq!(good(&message(fine), false), Ok(()));
        let long = "x".repeat(3_001);
        for bad in [
            "<!channel>",
            "a <@U1>",
            "<#C1>",
            "<MAILTO:a@evil.test|a>",
            "<https://evil.test|https://x.test>",
            "<https://x.test@evil.test/|x>",
            "<https://x.test>",
            "<https://x.test|a",
            "R&D",
            "&am",
            "\u{202E}gnp.exe",
            "a\u{1}",
            long.as_str(),
            "",
        ] {
            assert!(good(&message(bad), false).is_err(), "{bad}");
        }
        assert_eq!(good(&message("by <@herald:ada|Ada>"), true), Ok(()));
        assert!(good(&message("by <@herald:ada|Ada>"), false).is_err());
        let mut deaf = message("x");
        deaf.blocks[1]["elements"][0]["url"] = "https://x.test/".into();
        assert_eq!(good(&deaf, false), Err("no button".into()));
        deaf.blocks[0]["accessory"] = message("x").blocks[1]["elements"][0].clone();
        assert_eq!(good(&deaf, false), Ok(()));
        deaf.blocks[1]["elements"][0]["url"] = "https://evil.test/".into();
        assert!(good(&deaf, false).is_err());
    }

    #[test]
    fn a_limit_is_near_from_nine_tenths() {
        assert!(!is_near_a_limit(&message(&"x".repeat(2_699))));
        assert!(is_near_a_limit(&message(&"x".repeat(2_700))));
        let mut fields = message("x");
        fields.blocks[0]["fields"] = json!(vec![json!({"type": "plain_text", "text": "x"}); 9]);
        assert!(is_near_a_limit(&fields));
        let mut shortened = message("x");
        assert!(!is_near_a_limit(&shortened));
        shortened.shortened = true;
        assert!(is_near_a_limit(&shortened));
    }
}
