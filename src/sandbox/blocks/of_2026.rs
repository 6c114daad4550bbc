//! The blocks that Slack added in 2025 and 2026, with the limits of docs.slack.dev and
//! `@slack/types`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Check, Surface};

type Block = Map<String, Value>;

/// Kinds that a container may hold.
const CHILDREN: [&str; 11] = [
    "actions",
    "context",
    "divider",
    "file",
    "header",
    "image",
    "input",
    "rich_text",
    "section",
    "table",
    "video",
];
const PLAIN: &[&str] = &["plain_text"];
const EITHER: &[&str] = &["mrkdwn", "plain_text"];

impl Check {
    /// Checks a block of a newer kind; false if there is no such kind for this surface.
    pub(super) fn of_2026(&mut self, kind: &str, block: &Block, at: &str) -> bool {
        let message = self.surface == Surface::Message;
        match kind {
            "context_actions" if message => drop(self.list(block, "elements", at, 5)),
            "alert" => {
                self.keys(block, at, &["text", "level"]);
                self.text(block, "text", at, 200, EITHER, true);
                let levels = ["default", "info", "warning", "error", "success"];
                self.one_of(block, "level", at, &levels);
            }
            "card" => self.card(block, at),
            "carousel" => {
                self.keys(block, at, &["elements"]);
                for (card, at) in self.list(block, "elements", at, 10) {
                    match (card["type"].as_str(), card.as_object()) {
                        (Some("card"), Some(card)) => self.card(card, &at),
                        _ => self.error("must be one of: card", &format!("{at}/type")),
                    }
                }
            }
            "container" => self.container(block, at),
            "layout" => self.layout(block, at),
            "data_table" => self.data_table(block, at),
            "data_visualization" => {
                self.keys(block, at, &["title", "chart"]);
                self.string(block, "title", at, 50, true);
                self.chart(block, at);
            }
            "task_card" if message => {
                self.task_card(block, at);
                if block.get("status").is_some_and(|status| status == "pending") {
                    self.error("must not be pending outside of a plan", &format!("{at}/status"));
                }
            }
            "plan" if message => {
                self.keys(block, at, &["title", "tasks"]);
                self.string(block, "title", at, 3000, true);
                if block.contains_key("tasks") {
                    let mut ids = HashSet::new();
                    for (task, at) in self.list(block, "tasks", at, 50) {
                        if !ids.insert(task["task_id"].as_str()) {
                            self.error("`task_id` already exists", &format!("{at}/task_id"));
                        }
                        match task.as_object() {
                            Some(task) => self.task_card(task, &at),
                            None => self.error("must be an object", &at),
                        }
                    }
                }
            }
            _ => return false,
        }
        true
    }

    fn card(&mut self, card: &Block, at: &str) {
        let keys = ["hero_image", "icon", "title", "subtitle", "body", "actions"];
        self.keys(card, at, &keys);
        for (key, most) in [("title", 150), ("subtitle", 150), ("body", 200)] {
            self.text(card, key, at, most, EITHER, false);
        }
        for key in ["hero_image", "icon"] {
            if let Some(image) = card.get(key) {
                self.image(image, &format!("{at}/{key}"));
            }
        }
        if card.contains_key("actions") {
            for (button, at) in self.list(card, "actions", at, 3) {
                self.element(button, &at);
            }
        }
        if !["hero_image", "title", "body", "actions"].iter().any(|key| card.contains_key(*key)) {
            self.error("missing required field: hero_image, title, body or actions", at);
        }
    }

    fn container(&mut self, container: &Block, at: &str) {
        let keys = [
            "title",
            "rich_text_title",
            "subtitle",
            "child_blocks",
            "width",
            "icon",
            "is_collapsible",
            "default_collapsed",
            "has_header_divider",
        ];
        self.keys(container, at, &keys);
        if !["title", "rich_text_title"].iter().any(|key| container.contains_key(*key)) {
            self.error("missing required field: title or rich_text_title", at);
        }
        if let Some(title) = container.get("rich_text_title") {
            self.rich_text(title, &format!("{at}/rich_text_title"));
        }
        self.text(container, "title", at, 150, PLAIN, false);
        self.text(container, "subtitle", at, 150, EITHER, false);
        self.one_of(container, "width", at, &["narrow", "standard", "wide", "full"]);
        for (child, at) in self.list(container, "child_blocks", at, 10) {
            if child["type"].as_str().is_some_and(|kind| CHILDREN.contains(&kind)) {
                self.block(child, &at);
            } else {
                let kinds = CHILDREN.join(", ");
                self.error(&format!("must be one of: {kinds}"), &format!("{at}/type"));
            }
        }
    }

    /// The contents of a row are not checked: that part of Slack's page was not available.
    fn layout(&mut self, layout: &Block, at: &str) {
        self.keys(layout, at, &["label", "rows", "is_label_visible", "grid_lines", "fallback"]);
        self.string(layout, "label", at, 150, true);
        self.one_of(layout, "grid_lines", at, &["none", "rows", "outer"]);
        for (row, at) in self.list(layout, "rows", at, 5) {
            if !row.is_object() {
                self.error("must be an object", &at);
            }
        }
        let fallback = layout.get("fallback").and_then(Value::as_array);
        for (index, block) in fallback.into_iter().flatten().enumerate() {
            self.block(block, &format!("{at}/fallback/{index}"));
        }
    }

    fn data_table(&mut self, table: &Block, at: &str) {
        let keys = ["rows", "caption", "page_size", "row_header_column_index"];
        self.keys(table, at, &keys);
        self.string(table, "caption", at, 150, true);
        let rows = self.list(table, "rows", at, 201);
        if rows.len() == 1 {
            self.error("must have at least 2 items", &format!("{at}/rows"));
        }
        let characters: usize = rows.iter().map(|(row, _)| row.to_string().chars().count()).sum();
        if characters > 20_000 {
            self.error("must be less than 20001 characters", &format!("{at}/rows"));
        }
        for (row, at) in rows {
            if row.as_array().is_none_or(|cells| cells.is_empty() || cells.len() > 20) {
                self.error("no more than 20 items allowed", &at);
            }
        }
    }

    fn task_card(&mut self, task: &Block, at: &str) {
        let keys = ["task_id", "title", "details", "output", "sources", "status"];
        self.keys(task, at, &keys);
        self.string(task, "task_id", at, 255, true);
        self.string(task, "title", at, 3000, true);
        self.required(task, "status", at);
        self.one_of(task, "status", at, &["pending", "in_progress", "complete", "error"]);
        for key in ["details", "output"] {
            if let Some(text) = task.get(key) {
                self.rich_text(text, &format!("{at}/{key}"));
            }
        }
        if task.contains_key("sources") {
            for (source, at) in self.list(task, "sources", at, usize::MAX) {
                let Some(source) = source.as_object() else {
                    self.error("must be an object", &at);
                    continue;
                };
                self.only(source, &at, &["type", "url", "text"], &[]);
                self.required(source, "type", &at);
                self.one_of(source, "type", &at, &["url"]);
                self.url(source, "url", &at, true);
                self.string(source, "text", &at, usize::MAX, true);
            }
        }
    }

    pub(super) fn one_of(&mut self, holder: &Block, key: &str, at: &str, values: &[&str]) {
        let given = holder.get(key);
        if given.is_some_and(|value| !values.iter().any(|known| value == known)) {
            let values = values.join(", ");
            self.error(&format!("must be one of: {values}"), &format!("{at}/{key}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::blocks::problems;

    fn wrong(block: Value) -> Vec<String> {
        problems(&[block], Surface::Message)
    }

    fn text(text: &str) -> Value {
        json!({ "type": "mrkdwn", "text": text })
    }

    fn plain(text: &str) -> Value {
        json!({ "type": "plain_text", "text": text })
    }

    fn card() -> Value {
        json!({ "type": "card", "title": text("Atlas"), "body": text("Due today") })
    }

    fn task() -> Value {
        json!({ "type": "task_card", "task_id": "1", "title": "a", "status": "pending" })
    }

    #[test]
    fn each_newer_block_is_taken() {
        let rows =
            json!([[{ "type": "raw_text", "text": "a" }], [{ "type": "raw_text", "text": "b" }]]);
        let divider = json!({ "type": "divider" });
        for good in [
            json!({ "type": "alert", "text": text("a"), "level": "warning" }),
            json!({ "type": "carousel", "elements": [card()] }),
            json!({ "type": "container", "title": plain("t"), "child_blocks": [divider] }),
            json!({ "type": "data_table", "caption": "c", "rows": rows }),
            json!({ "type": "layout", "label": "l", "rows": [{}], "grid_lines": "outer" }),
            json!({ "type": "plan", "title": "p", "tasks": [task()] }),
            json!({ "type": "context_actions", "elements": vec![json!({}); 5] }),
            json!({ "type": "task_card", "task_id": "1", "title": "a", "status": "error" }),
            card(),
        ] {
            assert!(wrong(good.clone()).is_empty(), "{good}: {:?}", wrong(good.clone()));
        }
    }

    #[test]
    fn each_newer_block_is_checked() {
        for (bad, said) in [
            (json!({ "type": "alert", "text": text(&"x".repeat(201)) }), "less than 201"),
            (json!({ "type": "alert", "text": text("a"), "level": "loud" }), "must be one of"),
            (json!({ "type": "card" }), "missing required field"),
            (json!({ "type": "carousel", "elements": vec![card(); 11] }), "no more than 10"),
            (
                json!({ "type": "container", "child_blocks": [{ "type": "plan" }] }),
                "one of: actions",
            ),
            (
                json!({ "type": "container", "child_blocks": [{ "type": "divider" }] }),
                "missing required field: title",
            ),
            (json!({ "type": "data_table", "caption": "c", "rows": [[1]] }), "at least 2"),
            (json!({ "type": "layout", "rows": [{}] }), "missing required field: label"),
            (json!({ "type": "layout", "label": "l", "rows": [{}, {}, {}, {}, {}, {}] }), "than 5"),
            (
                json!({ "type": "layout", "label": "l", "rows": [{}], "grid_lines": "all" }),
                "must be one of: none",
            ),
            (
                json!({ "type": "layout", "label": "l", "rows": [{}], "fallback": [{}] }),
                "fallback/0",
            ),
            (json!({ "type": "plan", "title": "p", "tasks": vec![task(); 51] }), "no more than 50"),
            (
                json!({ "type": "context_actions", "elements": vec![json!({}); 6] }),
                "no more than 5",
            ),
            (
                json!({ "type": "data_visualization", "title": "t" }),
                "missing required field: chart",
            ),
            (
                json!({ "type": "task_card", "task_id": "1", "title": "a", "status": "done" }),
                "one of: pending",
            ),
        ] {
            let found = wrong(bad);
            assert!(found.iter().any(|problem| problem.contains(said)), "{said}: {found:?}");
        }
        assert!(
            problems(&[json!({ "type": "plan", "title": "p" })], Surface::Home)[0]
                .contains("unsupported type: plan")
        );
    }
}
