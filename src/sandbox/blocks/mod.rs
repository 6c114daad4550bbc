//! Block Kit: refuses the payloads that Slack refuses, with Slack's messages.
//!
//! Limits: Slack's "Reference: blocks". For blocks that are seldom used (rich_text as a block,
//! video, file, table cells) only the required keys are checked.

mod added_keys;
mod of_2026;
mod parts;

use std::collections::HashSet;

use serde_json::{Map, Value};

pub(super) use added_keys::complete;

use super::world::error::Error;

/// Characters of text in all blocks of a message; not documented, but measured by others.
const TOTAL: usize = 13_200;

/// The place where blocks are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    Message,
    Home,
    Modal,
}

impl Surface {
    fn most(self) -> usize {
        match self {
            Self::Message => 50,
            Self::Home | Self::Modal => 100,
        }
    }
}

/// Refuses the blocks that Slack refuses: `invalid_blocks_format`, `invalid_blocks`,
/// `msg_blocks_too_long`.
pub(super) fn check(blocks: &Value, surface: Surface) -> Result<(), Error> {
    let Some(list) = blocks.as_array() else { return Err("invalid_blocks_format".into()) };
    let errors = problems(list, surface);
    if !errors.is_empty() {
        return Err(Error::messages("invalid_blocks", errors));
    }
    if surface == Surface::Message && characters(blocks) > TOTAL {
        return Err("msg_blocks_too_long".into());
    }
    Ok(())
}

/// The errors in the blocks, with Slack's messages.
pub(super) fn problems(list: &[Value], surface: Surface) -> Vec<String> {
    let mut check = Check { errors: Vec::new(), surface };
    let charts = list.iter().filter(|block| block["type"] == "data_visualization").count();
    if surface == Surface::Message && charts > 2 {
        check.error("no more than 2 data_visualization blocks allowed", "/blocks");
    }
    if list.len() > surface.most() {
        let most = surface.most();
        check.error(&format!("no more than {most} items allowed"), "/blocks");
    }
    let mut ids = HashSet::new();
    for (index, block) in list.iter().enumerate() {
        let at = format!("/blocks/{index}");
        check.block(block, &at);
        if let Some(id) = block["block_id"].as_str()
            && !ids.insert(id)
        {
            check.error(&format!("`block_id` {id} already exists"), &format!("{at}/block_id"));
        }
    }
    check.errors
}

fn characters(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(object) => {
            let own = object.get("text").and_then(Value::as_str).map_or(0, |t| t.chars().count());
            own + object.values().map(characters).sum::<usize>()
        }
        _ => 0,
    }
}

const INTERACTIVE: [&str; 19] = [
    "button",
    "workflow_button",
    "overflow",
    "static_select",
    "external_select",
    "users_select",
    "conversations_select",
    "channels_select",
    "multi_static_select",
    "multi_external_select",
    "multi_users_select",
    "multi_conversations_select",
    "multi_channels_select",
    "datepicker",
    "timepicker",
    "datetimepicker",
    "checkboxes",
    "radio_buttons",
    "icon_button",
];

struct Check {
    errors: Vec<String>,
    surface: Surface,
}

impl Check {
    fn error(&mut self, problem: &str, at: &str) {
        self.errors.push(format!("[ERROR] {problem} [json-pointer:{at}]"));
    }

    fn block(&mut self, block: &Value, at: &str) {
        let Some(object) = block.as_object() else {
            return self.error("must be an object", at);
        };
        let Some(kind) = object.get("type").and_then(Value::as_str) else {
            return self.error("missing required field: type", at);
        };
        self.string(object, "block_id", at, 255, false);
        match kind {
            "section" => self.section(object, at),
            "divider" => self.keys(object, at, &[]),
            "header" => {
                self.keys(object, at, &["text", "level"]);
                self.text(object, "text", at, 150, &["plain_text"], true);
            }
            "context" => self.context(object, at),
            "actions" => self.actions(object, at),
            "image" => {
                let keys =
                    ["image_url", "slack_file", "alt_text", "title", "fallback", "image_bytes"];
                self.keys(object, at, &keys);
                self.image(block, at);
                self.text(object, "title", at, 2000, &["plain_text"], false);
            }
            "markdown" if self.surface == Surface::Message => {
                self.keys(object, at, &["text"]);
                self.string(object, "text", at, 12_000, true);
            }
            "rich_text" => {
                self.list(object, "elements", at, usize::MAX);
            }
            "input" => {
                self.text(object, "label", at, 2000, &["plain_text"], true);
                self.text(object, "hint", at, 2000, &["plain_text"], false);
                self.required(object, "element", at);
            }
            "video" => {
                for key in ["video_url", "thumbnail_url", "alt_text", "title"] {
                    self.required(object, key, at);
                }
            }
            "file" if self.surface == Surface::Message => self.required(object, "external_id", at),
            "table" if self.surface == Surface::Message => self.table(object, at),
            other if self.of_2026(other, object, at) => {}
            other => {
                self.error(&format!("unsupported type: {other}"), &format!("{at}/type"));
            }
        }
    }

    fn section(&mut self, section: &Map<String, Value>, at: &str) {
        self.keys(section, at, &["text", "fields", "accessory", "expand"]);
        if section.get("text").is_none() && section.get("fields").is_none() {
            self.error("missing required field: fields or text", at);
        }
        let kinds = ["mrkdwn", "plain_text"];
        self.text(section, "text", at, 3000, &kinds, false);
        if section.contains_key("fields") {
            for (field, at) in self.list(section, "fields", at, 10) {
                self.text_object(field, &at, 2000, &kinds);
            }
        }
        if let Some(accessory) = section.get("accessory") {
            let at = format!("{at}/accessory");
            if accessory["type"] == "image" {
                self.image(accessory, &at);
            } else {
                self.element(accessory, &at);
            }
        }
    }

    fn context(&mut self, context: &Map<String, Value>, at: &str) {
        self.keys(context, at, &["elements"]);
        for (element, at) in self.list(context, "elements", at, 10) {
            match element["type"].as_str() {
                Some("image") => self.image(element, &at),
                _ => self.text_object(element, &at, 3000, &["mrkdwn", "plain_text"]),
            }
        }
    }

    fn actions(&mut self, actions: &Map<String, Value>, at: &str) {
        self.keys(actions, at, &["elements"]);
        let mut ids = HashSet::new();
        for (element, at) in self.list(actions, "elements", at, 25) {
            self.element(element, &at);
            if let Some(id) = element["action_id"].as_str()
                && !ids.insert(id)
            {
                self.error(&format!("`action_id` {id} already exists"), &at);
            }
        }
    }

    fn table(&mut self, table: &Map<String, Value>, at: &str) {
        for (row, at) in self.list(table, "rows", at, 100) {
            if row.as_array().is_none_or(|cells| cells.len() > 20) {
                self.error("no more than 20 items allowed", &at);
            }
        }
    }

    fn image(&mut self, image: &Value, at: &str) {
        let Some(object) = image.as_object() else { return self.error("must be an object", at) };
        if object.get("slack_file").is_none() {
            self.url(object, "image_url", at, true);
        }
        self.string(object, "alt_text", at, 2000, true);
    }

    fn element(&mut self, element: &Value, at: &str) {
        let Some(object) = element.as_object() else {
            return self.error("must be an object", at);
        };
        let Some(kind) = object.get("type").and_then(Value::as_str) else {
            return self.error("missing required field: type", at);
        };
        if !INTERACTIVE.contains(&kind) {
            return self.error(&format!("unsupported type: {kind}"), &format!("{at}/type"));
        }
        self.string(object, "action_id", at, 255, false);
        if let Some(confirm) = object.get("confirm").and_then(Value::as_object) {
            self.confirm(confirm, &format!("{at}/confirm"));
        }
        match kind {
            "button" => {
                let keys = ["type", "action_id", "text", "url", "value", "style", "confirm"];
                self.only(object, at, &keys, &["accessibility_label"]);
                self.text(object, "text", at, 75, &["plain_text"], true);
                self.string(object, "value", at, 2000, false);
                self.string(object, "accessibility_label", at, 75, false);
                self.url(object, "url", at, false);
                let style = object.get("style").and_then(Value::as_str).unwrap_or("primary");
                if !matches!(style, "primary" | "danger") {
                    self.error("must be one of: primary, danger", &format!("{at}/style"));
                }
            }
            "overflow" => self.options(object, at, 5),
            "checkboxes" | "radio_buttons" => self.options(object, at, 10),
            "static_select" | "multi_static_select" => {
                self.text(object, "placeholder", at, 150, &["plain_text"], false);
                if object.contains_key("option_groups") {
                    for (group, at) in self.list(object, "option_groups", at, 100) {
                        if let Some(group) = group.as_object() {
                            self.text(group, "label", &at, 75, &["plain_text"], true);
                            self.options(group, &at, 100);
                        }
                    }
                } else {
                    self.options(object, at, 100);
                }
            }
            _ => self.text(object, "placeholder", at, 150, &["plain_text"], false),
        }
    }

    fn options(&mut self, holder: &Map<String, Value>, at: &str, most: usize) {
        for (option, at) in self.list(holder, "options", at, most) {
            if let Some(option) = option.as_object() {
                self.text(option, "text", &at, 75, &["plain_text", "mrkdwn"], true);
                self.string(option, "value", &at, 75, true);
            }
        }
    }

    /// A list of 1 to `most` items, each with its pointer.
    fn list<'v>(
        &mut self,
        holder: &'v Map<String, Value>,
        key: &str,
        at: &str,
        most: usize,
    ) -> Vec<(&'v Value, String)> {
        let Some(items) = holder.get(key).and_then(Value::as_array) else {
            self.error(&format!("missing required field: {key}"), at);
            return Vec::new();
        };
        let at = format!("{at}/{key}");
        if items.is_empty() {
            self.error("must have at least 1 item", &at);
        }
        if items.len() > most {
            self.error(&format!("no more than {most} items allowed"), &at);
        }
        let pointed = |(index, item)| (item, format!("{at}/{index}"));
        items.iter().enumerate().map(pointed).collect()
    }

    fn text(
        &mut self,
        holder: &Map<String, Value>,
        key: &str,
        at: &str,
        most: usize,
        kinds: &[&str],
        required: bool,
    ) {
        match holder.get(key) {
            Some(text) => self.text_object(text, &format!("{at}/{key}"), most, kinds),
            None if required => self.required(holder, key, at),
            None => {}
        }
    }

    fn text_object(&mut self, text: &Value, at: &str, most: usize, kinds: &[&str]) {
        let Some(object) = text.as_object() else { return self.error("must be an object", at) };
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        if !kinds.contains(&kind) {
            let kinds = kinds.join(", ");
            self.error(&format!("must be one of: {kinds}"), &format!("{at}/type"));
        }
        self.only(object, at, &["type", "text", "emoji", "verbatim"], &[]);
        self.string(object, "text", at, most, true);
        if object.get("text").and_then(Value::as_str) == Some("") {
            self.error("must be more than 0 characters", &format!("{at}/text"));
        }
    }

    fn string(
        &mut self,
        holder: &Map<String, Value>,
        key: &str,
        at: &str,
        most: usize,
        required: bool,
    ) {
        match holder.get(key) {
            Some(Value::String(text)) if text.chars().count() > most => {
                let problem = format!("must be less than {} characters", most + 1);
                self.error(&problem, &format!("{at}/{key}"));
            }
            Some(Value::String(_)) => {}
            Some(_) => self.error("must be a string", &format!("{at}/{key}")),
            None if required => self.required(holder, key, at),
            None => {}
        }
    }

    fn url(&mut self, holder: &Map<String, Value>, key: &str, at: &str, required: bool) {
        self.string(holder, key, at, 3000, required);
        if let Some(text) = holder.get(key).and_then(Value::as_str)
            && url::Url::parse(text).is_err()
        {
            self.error("invalid url", &format!("{at}/{key}"));
        }
    }

    fn required(&mut self, holder: &Map<String, Value>, key: &str, at: &str) {
        if !holder.contains_key(key) {
            self.error(&format!("missing required field: {key}"), at);
        }
    }

    /// Refuses keys that a block of this type does not have.
    fn keys(&mut self, block: &Map<String, Value>, at: &str, allowed: &[&str]) {
        self.only(block, at, &["type", "block_id"], allowed);
    }

    fn only(&mut self, object: &Map<String, Value>, at: &str, one: &[&str], other: &[&str]) {
        for key in object.keys() {
            if !one.contains(&key.as_str()) && !other.contains(&key.as_str()) {
                self.error(&format!("invalid additional property: {key}"), &format!("{at}/{key}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(blocks: Value) -> Vec<String> {
        match check(&blocks, Surface::Message) {
            Ok(()) => Vec::new(),
            Err(error) => {
                let body = error.body();
                let messages = body["response_metadata"]["messages"].as_array().cloned();
                let messages = messages.unwrap_or_else(|| vec![body["error"].clone()]);
                messages.iter().map(|m| m.as_str().unwrap().to_owned()).collect()
            }
        }
    }

    fn section(length: usize) -> Value {
        json!({"type": "section", "text": {"type": "mrkdwn", "text": "x".repeat(length)}})
    }

    #[test]
    fn a_text_too_long_is_refused_in_slacks_words() {
        assert!(errors(json!([section(3000)])).is_empty());
        let expected =
            "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]";
        assert_eq!(errors(json!([section(3001)])), [expected]);
        let empty = "[ERROR] must be more than 0 characters [json-pointer:/blocks/0/text/text]";
        assert_eq!(errors(json!([section(0)])), [empty]);
    }

    #[test]
    fn limits_of_number_and_kind() {
        let divider = json!({"type": "divider"});
        assert!(errors(json!(vec![divider.clone(); 50])).is_empty());
        let many = errors(json!(vec![divider; 51]));
        assert_eq!(many, ["[ERROR] no more than 50 items allowed [json-pointer:/blocks]"]);
        let unknown = errors(json!([{"type": "marquee"}]));
        assert_eq!(unknown, ["[ERROR] unsupported type: marquee [json-pointer:/blocks/0/type]"]);
        let header = json!([{"type": "header", "text": {"type": "mrkdwn", "text": "a"}}]);
        assert!(errors(header)[0].contains("must be one of: plain_text"));
        assert!(errors(json!([{"type": "section"}]))[0].contains("missing required field"));
        assert_eq!(errors(json!({"type": "divider"})), ["invalid_blocks_format"]);
        assert_eq!(errors(json!(vec![section(3000); 5])), ["msg_blocks_too_long"]);
        let odd = json!([{"type": "divider", "colour": "red"}]);
        assert!(errors(odd)[0].contains("invalid additional property: colour"));
    }

    #[test]
    fn buttons_are_checked() {
        let button = |text: &str, url: &str| {
            json!([{"type": "actions", "elements": [{"type": "button", "url": url,
                "text": {"type": "plain_text", "text": text}}]}])
        };
        assert!(errors(button("Open", "https://example.com/a")).is_empty());
        assert!(errors(button(&"x".repeat(76), "https://example.com"))[0].contains("less than 76"));
        assert!(errors(button("Open", "nowhere"))[0].contains("invalid url"));
    }

    #[test]
    fn ids_are_added() {
        let mut blocks = json!([{"type": "actions", "elements": [{"type": "button",
            "text": {"type": "plain_text", "text": "a"}}]}, {"type": "divider"}]);
        complete(&mut blocks, 7);
        assert!(blocks[0]["block_id"].is_string() && blocks[1]["block_id"].is_string());
        assert_ne!(blocks[0]["block_id"], blocks[1]["block_id"]);
        assert!(blocks[0]["elements"][0]["action_id"].is_string());
        assert_eq!(blocks[0]["elements"][0]["text"]["emoji"], true);
    }
}
