//! Keys that Slack adds to blocks.

use serde_json::{Value, json};

use super::INTERACTIVE;

/// Adds the keys that Slack adds: `block_id`, `action_id`, `verbatim`, `emoji`.
pub(in crate::sandbox) fn complete(blocks: &mut Value, seed: i64) {
    let mut next = seed.unsigned_abs();
    let mut id = move || {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut text = String::new();
        let mut rest = next >> 24;
        for _ in 0..5 {
            text.extend(char::from_digit(u32::try_from(rest % 36).unwrap_or(0), 36));
            rest /= 36;
        }
        text
    };
    for block in blocks.as_array_mut().into_iter().flatten() {
        if let Some(block) = block.as_object_mut() {
            block.entry("block_id").or_insert_with(|| json!(id()));
            // Slack's answers always contain it.
            if block.get("type").is_some_and(|kind| kind == "layout") {
                block.entry("fallback").or_insert_with(|| json!([]));
            }
        }
        complete_inside(block, &mut id);
    }
}

fn complete_inside(value: &mut Value, id: &mut dyn FnMut() -> String) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| complete_inside(item, id)),
        Value::Object(object) => {
            match object.get("type").and_then(Value::as_str) {
                Some("mrkdwn") => {
                    object.entry("verbatim").or_insert(json!(false));
                }
                Some("plain_text") => {
                    object.entry("emoji").or_insert(json!(true));
                }
                Some(kind) if INTERACTIVE.contains(&kind) => {
                    object.entry("action_id").or_insert_with(|| json!(id()));
                }
                _ => {}
            }
            object.values_mut().for_each(|item| complete_inside(item, id));
        }
        _ => {}
    }
}
