//! `blocks.validate`: the errors in blocks, a view or a message, without sending it.

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::blocks::{self, Surface};
use crate::sandbox::world::error::Error;

/// Longest argument, in characters.
const CHARACTERS: usize = 100_000;

pub(super) fn validate(call: &mut Call<'_>) -> Result<Value, Error> {
    let given: Vec<_> = ["blocks", "view", "message"]
        .into_iter()
        .filter_map(|key| call.args.json(key).map(|value| (key, value)))
        .collect();
    let refused = |message: &str| Error::messages("invalid_arguments", vec![message.to_owned()]);
    let [(key, Ok(value))] = given.as_slice() else {
        return Err(refused("must provide exactly one of `blocks`, `view`, or `message`"));
    };
    if value.to_string().chars().count() > CHARACTERS {
        return Err(refused("must be at most 100000 characters"));
    }
    let (code, surface, list) = match *key {
        "blocks" => ("invalid_blocks", Surface::Message, value),
        "view" if value["type"] == "home" => ("invalid_view", Surface::Home, &value["blocks"]),
        "view" => ("invalid_view", Surface::Modal, &value["blocks"]),
        _ => ("invalid_message", Surface::Message, &value["blocks"]),
    };
    let problems = match list.as_array() {
        Some(list) => blocks::problems(list, surface),
        None => vec!["[ERROR] must be an array [json-pointer:/blocks]".to_owned()],
    };
    if problems.is_empty() {
        return Ok(json!({}));
    }
    let errors: Vec<_> = problems.iter().map(|text| error(text, *key == "blocks")).collect();
    Err(Error::with(code, json!({ "errors": errors })))
}

/// Converts `[ERROR] … [json-pointer:…]` to the form that this method answers.
fn error(text: &str, bare: bool) -> Value {
    let text = text.trim_start_matches("[ERROR] ").trim_end_matches(']');
    let (message, pointer) = text.split_once(" [json-pointer:").unwrap_or((text, ""));
    let pointer = if bare { pointer.trim_start_matches("/blocks") } else { pointer };
    let number = |text: &str| text.split(' ').find_map(|word| word.parse::<u64>().ok());
    let constraint = if let Some(kinds) = message.strip_prefix("must be one of: ") {
        json!({ "type": "enum", "expected": kinds.split(", ").collect::<Vec<_>>() })
    } else if message.starts_with("must be less than") {
        json!({ "type": "max_length", "expected": number(message).map(|most| most - 1) })
    } else if message.starts_with("no more than") {
        json!({ "type": "max_items", "expected": number(message) })
    } else if let Some(key) = message.strip_prefix("missing required field: ") {
        json!({ "type": "required", "expected": [key] })
    } else {
        Value::Null
    };
    let mut error = json!({ "code": "failed_constraint", "message": message, "pointer": pointer });
    if !constraint.is_null() {
        error["constraint"] = constraint;
    }
    error
}
