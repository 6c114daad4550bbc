//! Blocks: the JSON is parsed first, then each string is filled in separately, then the result is
//! fitted to the limits.
//!
//! Conventions for authors:
//! - a block, element or text object with `"if": "expression"` is omitted if the expression is
//!   false;
//! - empty parts are omitted without an `if`: a text object without text, a context without
//!   elements; a button with a URL gets the default label instead;
//! - an object whose URL comes out as none that Slack accepts is omitted;
//! - placeholders are allowed in `text`, `title`, `caption`, `url`, `image_url`, `alt_text`,
//!   `value` and `accessibility_label`; all other strings are literal.
//!
//! [`kit`](super::kit) lists the kinds of blocks and elements. Others are refused when the template
//! is checked: their limits and escaping are not known here. Every mrkdwn object is sent with
//! `verbatim: true` unless it says otherwise.

use serde_json::{Map, Value, json};

use super::bounds::FittedBlocks;
use super::filters::{Mode, Scope, Strings};
use super::kit::{FieldPlace, mode, parse};
use super::{Context, Problem, RenderError, bounds, escape};

/// Blocks, parsed once; an error of invalid JSON is reported when they are needed.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    source: String,
    parsed: Result<Vec<Value>, Problem>,
}

impl Blocks {
    /// Adds the blocks' strings to the compiled ones.
    pub(super) fn compile(source: &str, strings: &mut Strings) -> Self {
        let parsed = parse(source);
        parsed.iter().flatten().for_each(|block| compile(block, strings));
        Self { source: source.to_owned(), parsed }
    }

    pub(super) fn render(
        &self,
        strings: &Strings,
        scope: &Scope,
        context: &Context<'_>,
    ) -> Result<FittedBlocks, RenderError> {
        let parsed = self.parsed.as_ref().map_err(|problem| RenderError(problem.clone()))?;
        let mut filled = Vec::with_capacity(parsed.len());
        for (index, block) in parsed.iter().enumerate() {
            let place = FieldPlace { source: &self.source, field: format!("blocks[{index}]") };
            filled.extend(fill(block, strings, scope, &place)?);
        }
        keep_link(&mut filled, context);
        Ok(bounds::fitted(&filled, context.button))
    }
}

/// If data made the URLs of all buttons impossible, the button of the notification's link takes
/// their place: it leads to the full content.
fn keep_link(filled: &mut Vec<Value>, context: &Context<'_>) {
    let lost = filled.iter().any(bounds::has_lost_button);
    if !lost || filled.iter().any(bounds::has_button) {
        return;
    }
    let Some(link) = context.link else { return };
    let Ok(url) = escape::url(&link.url) else { return };
    let label = escape::plain(&escape::one_line(link.label.as_deref().unwrap_or_default()));
    let text = json!({ "type": "plain_text", "text": label, "emoji": true });
    let button = json!({ "type": "button", "text": text, "url": url });
    filled.push(json!({ "type": "actions", "elements": [button] }));
}

fn compile(node: &Value, strings: &mut Strings) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| compile(item, strings)),
        Value::Object(object) => {
            for (key, value) in object {
                match (value, mode(object, key)) {
                    (Value::String(condition), _) if key == "if" => {
                        strings.add_condition(condition);
                    }
                    (Value::String(text), Some(mode)) => strings.add(text, mode),
                    (value, _) => compile(value, strings),
                }
            }
        }
        _ => {}
    }
}

/// The value with its strings filled in, including the marks; `None` if its `if` is false. A URL
/// that Slack would refuse is `null`.
fn fill(
    node: &Value,
    strings: &Strings,
    scope: &Scope,
    place: &FieldPlace<'_>,
) -> Result<Option<Value>, RenderError> {
    match node {
        Value::Array(items) => {
            let mut kept = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                kept.extend(fill(item, strings, scope, &place.nth(index))?);
            }
            Ok(Some(Value::Array(kept)))
        }
        Value::Object(object) => fill_object(object, strings, scope, place),
        literal => Ok(Some(literal.clone())),
    }
}

fn fill_object(
    object: &Map<String, Value>,
    strings: &Strings,
    scope: &Scope,
    place: &FieldPlace<'_>,
) -> Result<Option<Value>, RenderError> {
    if let Some(Value::String(condition)) = object.get("if") {
        let holds = strings
            .holds(condition, scope)
            .map_err(|error| RenderError(place.at("if").failed(&error, condition)))?;
        if !holds {
            return Ok(None);
        }
    }
    let mut filled = Map::new();
    for (key, value) in object.iter().filter(|(key, _)| *key != "if") {
        let here = place.at(key);
        let value = match (value, mode(object, key)) {
            (Value::String(text), Some(mode)) => {
                let text = strings
                    .fill(text, mode, scope)
                    .map_err(|error| RenderError(here.failed(&error, text)))?;
                // `null` is a URL that is impossible: `bounds` omits its holder.
                let text = if mode == Mode::Url { escape::url(&text).ok() } else { Some(text) };
                Some(text.map_or(Value::Null, Value::String))
            }
            (value, _) => fill(value, strings, scope, &here)?,
        };
        if let Some(value) = value {
            filled.insert(key.clone(), value);
        }
    }
    Ok(Some(Value::Object(filled)))
}
