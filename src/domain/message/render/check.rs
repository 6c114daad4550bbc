//! Checks of a template before it is saved: each problem with its place.

use serde_json::Value;

use super::kit::{
    ACTIONS_ELEMENTS, BLOCKS, CONTEXT_ELEMENTS, FieldPlace, SECTION_FIELDS, mode, parse,
};
use super::{Problem, Template, filters, fit};

impl Template {
    /// All problems that can be found without data; empty if the template is valid. Problems that
    /// depend on data appear in a [`preview`](crate::domain::message::preview::preview).
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.text.trim().is_empty() {
            let problem = "must not be empty: notifications and screen readers show it".to_owned();
            problems.push(Problem { field: "text".to_owned(), line: None, problem });
        } else if let Err(error) = filters::compiles(&self.text) {
            problems.push(Problem::of(error, "text", Some(1)));
        }
        match parse(&self.blocks) {
            Ok(array) => blocks_problems(&array, &self.blocks, &mut problems),
            Err(problem) => problems.push(problem),
        }
        problems
    }
}

/// Adds the problems of the template's blocks.
fn blocks_problems(array: &[Value], source: &str, problems: &mut Vec<Problem>) {
    let root = FieldPlace { source, field: "blocks".to_owned() };
    if array.len() > BLOCKS {
        problems.push(root.problem(format!("must have at most {BLOCKS} blocks")));
    }
    for (index, block) in array.iter().enumerate() {
        let place = root.nth(index);
        strings(block, &place, problems);
        shape(block, &place, problems);
    }
}

const BLOCK_TYPES: &[&str] = &["actions", "context", "divider", "header", "image", "section"];

fn shape(block: &Value, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    if !typed(block, BLOCK_TYPES, place, problems) {
        return;
    }
    let (any_text, plain) = (&["mrkdwn", "plain_text"][..], &["plain_text"][..]);
    let parts: &[(&str, &[&str], usize)] = match block["type"].as_str() {
        Some("header") => &[("text", plain, 1)],
        Some("section") => &[
            ("text", any_text, 1),
            ("fields", any_text, SECTION_FIELDS),
            ("accessory", &["button", "image"], 1),
        ],
        Some("context") => &[("elements", &["image", "mrkdwn", "plain_text"], CONTEXT_ELEMENTS)],
        Some("actions") => &[("elements", &["button"], ACTIONS_ELEMENTS)],
        Some("image") => &[("title", plain, 1)],
        _ => &[],
    };
    let missing = |key: &str| block.get(key).is_none();
    match block["type"].as_str() {
        Some("section") if missing("text") && missing("fields") => {
            problems.push(place.problem("must have text or fields"));
        }
        Some("header") if missing("text") => problems.push(place.problem("must have text")),
        Some("context" | "actions") if missing("elements") => {
            problems.push(place.problem("must have elements"));
        }
        _ => {}
    }
    image_has_url(block, place, problems);
    for (key, types, max) in parts {
        let here = place.at(key);
        match block.get(*key) {
            None => {}
            Some(Value::Array(items)) if *max > 1 => {
                if items.len() > *max {
                    problems.push(here.problem(format!("must have at most {max}")));
                }
                for (index, item) in items.iter().enumerate() {
                    element_shape(item, types, &here.nth(index), problems);
                }
            }
            Some(_) if *max > 1 => problems.push(here.problem("must be an array")),
            Some(item) => element_shape(item, types, &here, problems),
        }
    }
}

fn element_shape(
    item: &Value,
    types: &[&str],
    place: &FieldPlace<'_>,
    problems: &mut Vec<Problem>,
) {
    if !typed(item, types, place, problems) {
        return;
    }
    match item["type"].as_str() {
        Some("button") => match item.get("text") {
            None => problems.push(place.problem("must have text")),
            Some(text) => element_shape(text, &["plain_text"], &place.at("text"), problems),
        },
        Some("mrkdwn" | "plain_text") if !item["text"].is_string() => {
            problems.push(place.at("text").problem("must be a string"));
        }
        _ => image_has_url(item, place, problems),
    }
}

fn image_has_url(item: &Value, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    if item["type"] == "image" && !item["image_url"].is_string() {
        problems.push(place.problem("must have image_url"));
    }
}

fn typed(
    item: &Value,
    types: &[&str],
    place: &FieldPlace<'_>,
    problems: &mut Vec<Problem>,
) -> bool {
    let good = item["type"].as_str().is_some_and(|kind| types.contains(&kind));
    if !good {
        problems.push(place.at("type").problem(format!("must be one of {}", types.join(", "))));
    }
    good
}

/// Every string must compile, and placeholders are allowed only where they are filled in.
fn strings(node: &Value, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    match node {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, &place.nth(index), problems);
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                let here = place.at(key);
                let Value::String(text) = value else {
                    if key == "if" {
                        problems.push(here.problem("must be a string: an expression"));
                    }
                    strings(value, &here, problems);
                    continue;
                };
                let compiled = if key == "if" {
                    filters::is_expression(text)
                } else if mode(object, key).is_some() {
                    filters::compiles(text)
                } else {
                    if text.contains("{{") || text.contains("{%") {
                        problems.push(here.problem("must be literal, without placeholders"));
                    }
                    Ok(())
                };
                if let Err(error) = compiled {
                    problems.push(here.failed(error, text));
                }
                let id = matches!(key.as_str(), "block_id" | "action_id");
                if id && fit::units(text) > 255 {
                    problems.push(here.problem("must be at most 255 characters"));
                }
            }
        }
        _ => {}
    }
}
