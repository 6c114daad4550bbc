//! Blocks: the JSON is parsed first, then each string is filled in separately, then the result is
//! fitted to the limits.
//!
//! Conventions for authors:
//! - a block, element or text object with `"if": "expression"` is omitted if the expression is
//!   false;
//! - empty parts are omitted without an `if`: a text object without text, a context without
//!   elements;
//! - placeholders are allowed in `text`, `url`, `image_url`, `alt_text`, `value` and
//!   `accessibility_label`; all other strings are literal.
//!
//! Blocks are header, section, context, actions, divider and image; elements are button and image.
//! Others are refused when the template is checked: their limits and escaping are not known here.
//! Every mrkdwn object is sent with `verbatim: true` unless it says otherwise. Limits are Slack's
//! ("Reference: blocks", "Block elements").

use serde_json::{Map, Value, json};

use super::filters::{Mode, Scope, Strings};
use super::kit::{
    ACTIONS_ELEMENTS, BLOCKS, CONTEXT_ELEMENTS, FieldPlace, SECTION_FIELDS, mode, parse,
};
use super::{Problem, RenderError, escape, fit};

/// The caps on the length of a value, tried one after the other until all blocks together fit.
const CAPS: [usize; 8] = [usize::MAX, 1500, 700, 300, 150, 80, 40, 10];
/// The most units of a text at a place where no supported block has one.
const ELSEWHERE: usize = 2_000;

pub(super) struct Fitted {
    pub(super) blocks: Vec<Value>,
    pub(super) shortened: bool,
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

    pub(super) fn render(&self, strings: &Strings, scope: &Scope) -> Result<Fitted, RenderError> {
        let parsed =
            self.parsed.as_ref().map_err(|problem| RenderError::Template(problem.clone()))?;
        let mut filled = Vec::with_capacity(parsed.len());
        for (index, block) in parsed.iter().enumerate() {
            let place = FieldPlace { source: &self.source, field: format!("blocks[{index}]") };
            filled.extend(fill(block, (strings, scope), &place)?);
        }
        Ok(fitted(&filled))
    }
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

fn fitted(filled: &[Value]) -> Fitted {
    let mut fitter = Fitter { cap: usize::MAX, shortened: false };
    let mut blocks = Vec::new();
    for cap in CAPS {
        fitter = Fitter { cap, shortened: cap != usize::MAX };
        blocks = fitter.blocks(filled);
        if size(&blocks) <= fit::ALL_BLOCKS {
            return Fitted { blocks, shortened: fitter.shortened };
        }
    }
    // Even without its values it is too long, or the URLs are: the last blocks are removed, but not
    // the buttons.
    let mut at = blocks.iter().rposition(|block| block["type"] != "actions").unwrap_or(0);
    blocks[at] = json!({"type": "context", "elements": [{"type": "plain_text", "text": "…"}]});
    while size(&blocks) > fit::ALL_BLOCKS && blocks.len() > 1 {
        at = if at > 0 { at - 1 } else { blocks.len() - 1 };
        blocks.remove(at);
    }
    Fitted { blocks, shortened: fitter.shortened }
}

fn size(blocks: &[Value]) -> usize {
    2 + blocks.iter().map(|block| fit::units(&block.to_string()) + 1).sum::<usize>()
}

/// The value with its strings filled in, including the marks; `None` if its `if` is false.
fn fill(
    node: &Value,
    with: (&Strings, &Scope),
    place: &FieldPlace<'_>,
) -> Result<Option<Value>, RenderError> {
    let (strings, scope) = with;
    let Value::Object(object) = node else {
        return Ok(Some(node.clone()));
    };
    if let Some(Value::String(condition)) = object.get("if") {
        let holds = strings
            .holds(condition, scope)
            .map_err(|error| RenderError::Template(place.at("if").failed(error, condition)))?;
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
                    .map_err(|error| RenderError::Template(here.failed(error, text)))?;
                let text = if mode == Mode::Url {
                    escape::url(&text)
                        .map_err(|problem| RenderError::Url { field: here.field, problem })?
                } else {
                    text
                };
                Some(Value::String(text))
            }
            (Value::Array(items), _) => {
                let mut kept = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    kept.extend(fill(item, with, &here.nth(index))?);
                }
                Some(Value::Array(kept))
            }
            (value, _) => fill(value, with, &here)?,
        };
        if let Some(value) = value {
            filled.insert(key.clone(), value);
        }
    }
    Ok(Some(Value::Object(filled)))
}

/// Brings filled-in blocks within the limits; records whether anything was shortened.
struct Fitter {
    cap: usize,
    shortened: bool,
}

impl Fitter {
    fn blocks(&mut self, blocks: &[Value]) -> Vec<Value> {
        let kept: Vec<_> = blocks.iter().filter_map(|block| self.block(block)).collect();
        self.first(kept, BLOCKS)
    }

    fn first(&mut self, mut items: Vec<Value>, max: usize) -> Vec<Value> {
        self.shortened |= items.len() > max;
        items.truncate(max);
        items
    }

    fn block(&mut self, block: &Value) -> Option<Value> {
        let mut block = self.known(block)?;
        self.elsewhere(&mut block);
        Some(block)
    }

    /// Texts at places where none of the supported blocks has one: marks must be removed there too.
    fn elsewhere(&mut self, node: &mut Value) {
        match node {
            Value::String(text) if text.contains(fit::MARKS) => {
                let fitted = fit::fit(text, ELSEWHERE, self.cap, true);
                self.shortened |= fitted.shortened;
                *text = fitted.text;
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.elsewhere(item)),
            Value::Object(keys) => keys.values_mut().for_each(|value| self.elsewhere(value)),
            _ => {}
        }
    }

    fn known(&mut self, block: &Value) -> Option<Value> {
        let mut block = block.as_object()?.clone();
        match block.get("type")?.as_str()? {
            "divider" => {}
            "header" => self.text(&mut block, "text", 150)?,
            "section" => {
                let has_text = self.text(&mut block, "text", 3000).is_some();
                let has_fields =
                    self.items(&mut block, "fields", SECTION_FIELDS, |fitter, field| {
                        fitter.text_object(field, 2000)
                    });
                if let Some(accessory) = block.remove("accessory")
                    && let Some(accessory) = self.element(&accessory)
                {
                    block.insert("accessory".into(), accessory);
                }
                if !has_text && has_fields.is_none() {
                    return None;
                }
            }
            "context" => self.items(&mut block, "elements", CONTEXT_ELEMENTS, Self::element)?,
            "actions" => self.items(&mut block, "elements", ACTIONS_ELEMENTS, Self::element)?,
            "image" => {
                self.image(&mut block)?;
                let _title_may_be_missing = self.text(&mut block, "title", 2000);
            }
            _ => return None,
        }
        Some(Value::Object(block))
    }

    fn element(&mut self, element: &Value) -> Option<Value> {
        let mut fitted = element.as_object()?.clone();
        match fitted.get("type")?.as_str()? {
            "mrkdwn" | "plain_text" => return self.text_object(element, 3000),
            "button" => {
                self.text(&mut fitted, "text", 75)?;
                self.string(&mut fitted, "value", 2000);
                self.string(&mut fitted, "accessibility_label", 75);
            }
            "image" => self.image(&mut fitted)?,
            _ => return None,
        }
        Some(Value::Object(fitted))
    }

    /// Slack requires `alt_text`.
    fn image(&mut self, image: &mut Map<String, Value>) -> Option<()> {
        image.get("image_url")?;
        self.string(image, "alt_text", 2000);
        if !image.contains_key("alt_text") {
            image.insert("alt_text".into(), "image".into());
        }
        Some(())
    }

    /// Fits the text object under `key`; an empty one is removed, and `None` returned.
    fn text(&mut self, holder: &mut Map<String, Value>, key: &str, limit: usize) -> Option<()> {
        let fitted = self.text_object(&holder.remove(key)?, limit)?;
        holder.insert(key.into(), fitted);
        Some(())
    }

    fn text_object(&mut self, object: &Value, limit: usize) -> Option<Value> {
        let mut object = object.as_object()?.clone();
        let markup = object.get("type").is_some_and(|kind| kind == "mrkdwn");
        let fitted = fit::fit(object.get("text")?.as_str()?, limit, self.cap, markup);
        self.shortened |= fitted.shortened;
        if fitted.text.trim().is_empty() {
            return None;
        }
        object.insert("text".into(), fitted.text.into());
        if markup && !object.contains_key("verbatim") {
            // Bare URLs, #channels and @mentions in users' text stay plain text.
            object.insert("verbatim".into(), true.into());
        }
        Some(Value::Object(object))
    }

    /// A string outside a text object; removed if it is empty.
    fn string(&mut self, holder: &mut Map<String, Value>, key: &str, limit: usize) {
        if let Some(Value::String(marked)) = holder.remove(key) {
            let fitted = fit::fit(&marked, limit, self.cap, false);
            self.shortened |= fitted.shortened;
            if !fitted.text.is_empty() {
                holder.insert(key.into(), fitted.text.into());
            }
        }
    }

    /// Fits the items under `key`; if none are left, the key is removed, and `None` returned.
    fn items(
        &mut self,
        holder: &mut Map<String, Value>,
        key: &str,
        max: usize,
        fit: impl Fn(&mut Self, &Value) -> Option<Value>,
    ) -> Option<()> {
        let Some(Value::Array(items)) = holder.remove(key) else { return None };
        let kept: Vec<_> = items.iter().filter_map(|item| fit(self, item)).collect();
        let kept = self.first(kept, max);
        (!kept.is_empty()).then(|| holder.insert(key.into(), Value::Array(kept)))?;
        Some(())
    }
}
