//! Blocks: the JSON is parsed first, then each string is filled in separately, then the result is
//! fitted to the limits.
//!
//! Conventions for authors:
//! - a block, element or text object with `"if": "expression"` is omitted if the expression is
//!   false;
//! - empty parts are omitted without an `if`: a text object without text, a context without
//!   elements; a button with a URL gets the default label instead;
//! - an object whose URL comes out as none that Slack accepts is omitted;
//! - a string that fails with the data is shown as "…", and an object whose `if` does is omitted;
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
use super::{Context, Problem, RenderError, bounds, escape, filters};

/// The filling in of one message.
pub(super) struct Filling<'a> {
    strings: &'a Strings,
    scope: Scope,
    /// A string that fails with this data is an error, too.
    strict: bool,
    /// The strings that failed with this data.
    failed: usize,
}

impl<'a> Filling<'a> {
    pub(super) fn new(strings: &'a Strings, scope: Scope, strict: bool) -> Self {
        Self { strings, scope, strict, failed: 0 }
    }

    /// The filled-in string; `None` if it fails with this data.
    pub(super) fn string(
        &mut self,
        text: &str,
        mode: Mode,
        problem: impl FnOnce(&minijinja::Error) -> Problem,
    ) -> Result<Option<String>, RenderError> {
        let filled = self.strings.fill(text, mode, &self.scope);
        self.kept(filled, problem)
    }

    fn holds(
        &mut self,
        condition: &str,
        place: &FieldPlace<'_>,
    ) -> Result<Option<bool>, RenderError> {
        let holds = self.strings.holds(condition, &self.scope);
        self.kept(holds, |error| place.at("if").failed(error, condition))
    }

    fn kept<T>(
        &mut self,
        result: Result<T, minijinja::Error>,
        problem: impl FnOnce(&minijinja::Error) -> Problem,
    ) -> Result<Option<T>, RenderError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.strict || !filters::is_of_data(&error) => {
                Err(RenderError(problem(&error)))
            }
            Err(_) => {
                self.failed += 1;
                Ok(None)
            }
        }
    }
}

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
        filling: &mut Filling<'_>,
        context: &Context<'_>,
    ) -> Result<FittedBlocks, RenderError> {
        let parsed = self.parsed.as_ref().map_err(|problem| RenderError(problem.clone()))?;
        let mut filled = Vec::with_capacity(parsed.len());
        for (index, block) in parsed.iter().enumerate() {
            let place = FieldPlace { source: &self.source, field: format!("blocks[{index}]") };
            filled.extend(fill(block, filling, &place)?);
        }
        keep_link(&mut filled, filling.failed > 0, context);
        Ok(bounds::fitted(&filled, context.button))
    }
}

/// If something failed, or data made the URLs of all buttons impossible, and no button is left, the
/// message gets that of the notification's link: it leads to the full content.
fn keep_link(filled: &mut Vec<Value>, failed: bool, context: &Context<'_>) {
    let lost = failed || filled.iter().any(bounds::has_lost_button);
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

/// The value with its strings filled in, including the marks; `None` if its `if` is false. `null`
/// is a URL that Slack would refuse, a string that fails, or an object whose `if` fails: `bounds`
/// puts "…" in its place, or omits it.
fn fill(
    node: &Value,
    filling: &mut Filling<'_>,
    place: &FieldPlace<'_>,
) -> Result<Option<Value>, RenderError> {
    match node {
        Value::Array(items) => {
            let mut kept = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                kept.extend(fill(item, filling, &place.nth(index))?);
            }
            Ok(Some(Value::Array(kept)))
        }
        Value::Object(object) => fill_object(object, filling, place),
        literal => Ok(Some(literal.clone())),
    }
}

fn fill_object(
    object: &Map<String, Value>,
    filling: &mut Filling<'_>,
    place: &FieldPlace<'_>,
) -> Result<Option<Value>, RenderError> {
    if let Some(Value::String(condition)) = object.get("if") {
        match filling.holds(condition, place)? {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => return Ok(Some(Value::Null)),
        }
    }
    let mut filled = Map::new();
    for (key, value) in object.iter().filter(|(key, _)| *key != "if") {
        let here = place.at(key);
        let value = match (value, mode(object, key)) {
            (Value::String(text), Some(mode)) => {
                let filled = filling.string(text, mode, |error| here.failed(error, text))?;
                let filled = match mode {
                    Mode::Url => filled.and_then(|url| escape::url(&url).ok()),
                    Mode::Mrkdwn | Mode::Plain => filled,
                };
                Some(filled.map_or(Value::Null, Value::String))
            }
            (value, _) => fill(value, filling, &here)?,
        };
        if let Some(value) = value {
            filled.insert(key.clone(), value);
        }
    }
    Ok(Some(Value::Object(filled)))
}
