//! Filled-in blocks are brought within Slack's limits ([`kit`](super::kit)), whatever the data.
//!
//! An object whose URL is impossible, or whose `if` failed, is omitted; a text that failed becomes
//! "…". Values are shortened, all to the same length; if that is not enough, "…" replaces the
//! last blocks. A message that has buttons with URLs keeps one at least, because it leads to the
//! full content.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};

use super::fit;
use super::kit::{self, BLOCKS, BlockKind, CELL, CELLS, CHARTS, ELSEWHERE, Kinds, Part};

/// The caps on the length of a value, tried one after the other until all blocks together fit.
const CAPS: [usize; 8] = [usize::MAX, 1500, 700, 300, 150, 80, 40, 10];
/// The keys that a button keeps if the message is otherwise too long.
const BARE: [&str; 5] = ["type", "text", "url", "action_id", "style"];

pub(super) struct FittedBlocks {
    pub(super) blocks: Vec<Value>,
    pub(super) shortened: bool,
    /// The parts that were shortened, or of which something was omitted; `blocks` for a block.
    pub(super) cut: Vec<String>,
}

/// The name of all blocks, for [`FittedBlocks::cut`].
const ALL: &str = "blocks";
/// The place of something that readers do not see.
const DOTS: &str = "…";

/// The blocks within all limits. `label` is that of a button that has none.
pub(super) fn fitted(filled: &[Value], label: &str) -> FittedBlocks {
    let (mut blocks, mut cut) = (Vec::new(), Vec::new());
    for cap in CAPS {
        let mut fitter = Fitter::new(label, cap, ALL);
        fitter.shortened = cap != usize::MAX;
        blocks = fitter.blocks(filled);
        cut = fitter.cut;
        if size(&blocks) <= fit::ALL_BLOCKS {
            return FittedBlocks { blocks, shortened: fitter.shortened, cut };
        }
    }
    // Even without its values it is too long, or the URLs are.
    let (blocks, kept) = without_the_last(blocks);
    cut.retain(|path| (0..kept).any(|at| path.starts_with(&format!("{ALL}[{at}]"))));
    cut.push(ALL.to_owned());
    FittedBlocks { blocks, shortened: true, cut }
}

fn size(blocks: &[Value]) -> usize {
    2 + blocks.iter().map(|block| fit::units(&block.to_string()) + 1).sum::<usize>()
}

/// The first blocks, "…", and the buttons, or at least one; and the number of these first blocks.
fn without_the_last(mut blocks: Vec<Value>) -> (Vec<Value>, usize) {
    let dots = json!({"type": "context", "elements": [{"type": "plain_text", "text": DOTS}]});
    let button = blocks.iter().find_map(button).map(bare);
    let spare = |blocks: &[Value]| {
        let missing = blocks.iter().find_map(self::button).is_none();
        button.clone().filter(|_| missing).map(actions)
    };
    let total = |blocks: &[Value]| {
        size(blocks) + spare(blocks).map_or(0, |spare| fit::units(&spare.to_string()) + 1)
    };
    let mut kept = 0;
    if let Some(last) = blocks.iter().rposition(|block| block["type"] != "actions") {
        kept = last;
        blocks[last] = dots.clone();
        while total(&blocks) > fit::ALL_BLOCKS && kept > 0 {
            kept -= 1;
            blocks.remove(kept);
        }
    }
    if total(&blocks) > fit::ALL_BLOCKS {
        (blocks, kept) = (vec![dots], 0);
    }
    blocks.extend(spare(&blocks));
    (blocks, kept)
}

/// The first button with a URL.
fn button(node: &Value) -> Option<&Value> {
    find(node, &|node| node["type"] == "button" && node["url"].is_string())
}

/// Whether a button in this block opens a URL.
pub(super) fn has_button(block: &Value) -> bool {
    button(block).is_some()
}

/// Whether a button in this block is omitted because its URL is impossible.
pub(super) fn has_lost_button(block: &Value) -> bool {
    find(block, &|node| node["type"] == "button" && is_impossible(node)).is_some()
}

/// Whether the object has a URL that data made impossible.
fn is_impossible(object: &Value) -> bool {
    ["url", "image_url"].iter().any(|key| object.get(key).is_some_and(Value::is_null))
}

/// The first object for which this holds.
fn find<'v>(node: &'v Value, holds: &impl Fn(&Value) -> bool) -> Option<&'v Value> {
    match node {
        Value::Array(items) => items.iter().find_map(|item| find(item, holds)),
        Value::Object(_) if holds(node) => Some(node),
        Value::Object(object) => object.values().find_map(|value| find(value, holds)),
        _ => None,
    }
}

fn bare(button: &Value) -> Value {
    let keys = button.as_object().into_iter().flatten();
    let kept = keys.filter(|(key, _)| BARE.contains(&key.as_str()));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn actions(button: Value) -> Value {
    json!({"type": "actions", "elements": [button]})
}

/// Brings each part within its limit; records what was shortened.
struct Fitter<'a> {
    label: &'a str,
    cap: usize,
    shortened: bool,
    /// The part that is being fitted, by its place in the finished message.
    path: String,
    cut: Vec<String>,
    /// The parts that were met with an impossible URL, or that could not be filled in.
    impossible: usize,
}

impl<'a> Fitter<'a> {
    fn new(label: &'a str, cap: usize, path: &str) -> Self {
        let (path, cut) = (path.to_owned(), Vec::new());
        Self { label, cap, shortened: false, path, cut, impossible: 0 }
    }

    fn blocks(&mut self, filled: &[Value]) -> Vec<Value> {
        let (mut kept, mut charts) = (Vec::new(), 0);
        for block in filled {
            let is_chart = block["type"] == "data_visualization";
            if kept.len() == BLOCKS || (is_chart && charts == CHARTS) {
                self.omit_if(self.is_shown(block));
            } else if let Some(block) = self.nth(kept.len(), |fitter| fitter.block(block)) {
                charts += usize::from(is_chart);
                kept.push(block);
            }
        }
        if kept.iter().any(|block| button(block).is_some()) {
            return kept;
        }
        // The block of the button was omitted, or is one too many.
        let wanted = filled.iter().find_map(button).map(|button| actions(button.clone()));
        if let Some(wanted) = wanted.filter(|block| self.is_shown(block)) {
            self.omit_if(kept.len() == BLOCKS);
            kept.truncate(BLOCKS - 1);
            kept.extend(self.nth(kept.len(), |fitter| fitter.block(&wanted)));
        }
        kept
    }

    /// Whether anything is left of this block within the limits.
    fn is_shown(&self, block: &Value) -> bool {
        Fitter::new(self.label, self.cap, "").block(block).is_some()
    }

    /// Something of the present part is omitted.
    fn omit_if(&mut self, omits: bool) {
        if omits {
            self.note();
        }
    }

    /// The present part does not fit.
    fn note(&mut self) {
        self.shortened = true;
        if self.cut.last() != Some(&self.path) {
            self.cut.push(self.path.clone());
        }
    }

    /// The item of this number.
    fn nth(
        &mut self,
        index: usize,
        fitted: impl FnOnce(&mut Self) -> Option<Value>,
    ) -> Option<Value> {
        self.left_of(format_args!("[{index}]"), fitted)
    }

    fn at<T>(&mut self, key: &str, fitted: impl FnOnce(&mut Self) -> T) -> T {
        self.inside(format_args!(".{key}"), fitted)
    }

    /// The rest of a part of the present one. If there is none, nothing was shortened in it; but
    /// readers miss something of the present part if a URL was impossible or something failed.
    fn left_of(
        &mut self,
        step: fmt::Arguments<'_>,
        fitted: impl FnOnce(&mut Self) -> Option<Value>,
    ) -> Option<Value> {
        let (before, impossible) = (self.cut.len(), self.impossible);
        let part = self.inside(step, fitted);
        if part.is_none() {
            self.cut.truncate(before);
            if self.impossible > impossible && !self.cut.contains(&self.path) {
                self.note();
            }
        }
        part
    }

    fn inside<T>(&mut self, step: fmt::Arguments<'_>, fitted: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        // Writing to a string cannot fail.
        self.path.write_fmt(step).ok();
        let result = fitted(self);
        self.path.truncate(length);
        result
    }

    fn block(&mut self, block: &Value) -> Option<Value> {
        let mut block = self.known(block, kit::BLOCK_KINDS, 0)?;
        self.elsewhere(&mut block);
        Some(block)
    }

    /// Texts at places where none of the supported blocks has one: marks must be removed there too.
    fn elsewhere(&mut self, node: &mut Value) {
        match node {
            Value::String(text) if text.contains(fit::MARKS) => {
                let fitted = fit::fit(text, ELSEWHERE, self.cap, true);
                self.omit_if(fitted.shortened);
                *text = fitted.text;
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.inside(format_args!("[{index}]"), |fitter| fitter.elsewhere(item));
                }
            }
            Value::Object(keys) => {
                let before = keys.len();
                keys.retain(|_, value| !value.is_null());
                self.omit_if(keys.len() < before);
                for (key, value) in keys {
                    self.at(key, |fitter| fitter.elsewhere(value));
                }
            }
            _ => {}
        }
    }

    /// A block, an element or a text object of at most `text` units; `None` if it is of another
    /// kind, or if a part that it needs is empty.
    fn known(&mut self, node: &Value, kinds: &[&str], text: usize) -> Option<Value> {
        if node.is_null() || is_impossible(node) {
            self.impossible += 1;
            return None;
        }
        let name = node["type"].as_str().filter(|name| kinds.contains(name))?;
        match kit::find(name) {
            Some(kind) => self.of_kind(node, kind),
            None => self.text_object(node, text),
        }
    }

    /// An object of this kind; `None` if a part that it needs is empty.
    fn of_kind(&mut self, node: &Value, kind: &BlockKind) -> Option<Value> {
        self.impossible += usize::from(node.is_null());
        let mut object = node.as_object()?.clone();
        // The default label says more than "…".
        if kind.name == "button" && node["text"].get("text").is_some_and(Value::is_null) {
            object.remove("text");
            self.at("text", Self::note);
        }
        for (key, part) in kind.parts {
            if let Some(value) = object.remove(*key)
                && let Some(fitted) =
                    self.left_of(format_args!(".{key}"), |fitter| fitter.part(&value, *part))
            {
                object.insert((*key).into(), fitted);
            }
        }
        self.fill_in(kind.name, &mut object);
        let complete =
            kind.needs.iter().all(|keys| keys.iter().any(|key| object.contains_key(*key)));
        complete.then_some(Value::Object(object))
    }

    /// Slack requires a label, an `alt_text`, and the title of a container.
    fn fill_in(&mut self, name: &str, object: &mut Map<String, Value>) {
        let titled = ["title", "rich_text_title"].iter().any(|key| object.contains_key(*key));
        if name == "container" && !titled {
            object.insert("title".into(), json!({"type": "plain_text", "text": "–"}));
        }
        if name == "image" && !object.contains_key("alt_text") {
            object.insert("alt_text".into(), "image".into());
        }
        if name == "button" && object.contains_key("url") && !object.contains_key("text") {
            let label = json!({"type": "plain_text", "text": self.label, "emoji": true});
            if let Some(label) = self.at("text", |fitter| fitter.text_object(&label, 75)) {
                object.insert("text".into(), label);
            }
        }
    }

    fn part(&mut self, value: &Value, part: Part) -> Option<Value> {
        match part {
            Part::Text { most, plain } => {
                self.known(value, if plain { kit::PLAIN } else { kit::TEXTS }, most)
            }
            Part::Words { most } => {
                let text = self.words(value, most, false)?;
                (!text.trim().is_empty()).then(|| text.into())
            }
            Part::Run { most } => {
                let text = self.words(value, most, false)?;
                (!text.is_empty()).then(|| text.into())
            }
            Part::Whole { .. } | Part::Number => {
                self.impossible += usize::from(value.is_null());
                (!value.is_null()).then(|| value.clone())
            }
            Part::One(kinds) => self.known(value, kinds, 0),
            Part::Untyped(kind) => self.of_kind(value, kit::find(kind)?),
            Part::Items { kind, most } => {
                let kind = kit::find(kind)?;
                self.each(value, most, |fitter, item| fitter.of_kind(item, kind))
            }
            Part::Strings { most, each } => {
                self.each(value, most, |fitter, item| fitter.part(item, Part::Words { most: each }))
            }
            Part::List { kinds, most, text } => self.list(value, kinds, most, text),
            Part::Rows { least, most } => {
                let mut rows = Vec::new();
                for row in value.as_array()? {
                    rows.extend(self.nth(rows.len(), |fitter| fitter.row(row)));
                }
                (rows.len() >= least).then(|| Value::Array(self.first(rows, most)))
            }
        }
    }

    fn list(&mut self, value: &Value, kinds: Kinds, most: usize, text: usize) -> Option<Value> {
        self.each(value, most, |fitter, item| fitter.known(item, kinds, text))
    }

    /// The items of a list that are left, at most this many; `None` if there are none.
    fn each(
        &mut self,
        value: &Value,
        most: usize,
        fitted: impl Fn(&mut Self, &Value) -> Option<Value>,
    ) -> Option<Value> {
        let mut kept = Vec::new();
        for item in value.as_array()? {
            kept.extend(self.nth(kept.len(), |fitter| fitted(fitter, item)));
        }
        let kept = self.first(kept, most);
        (!kept.is_empty()).then_some(Value::Array(kept))
    }

    /// Cells keep their places, so an empty one is a dash. A row without cells is omitted.
    fn row(&mut self, row: &Value) -> Option<Value> {
        let cells = row.as_array()?.iter().enumerate().map(|(index, cell)| {
            let dash = || json!({"type": "raw_text", "text": "–"});
            let fitted = self.nth(index, |fitter| fitter.known(cell, &["raw_text"], CELL));
            fitted.unwrap_or_else(dash)
        });
        let cells: Vec<Value> = cells.collect();
        (!cells.is_empty()).then(|| Value::Array(self.first(cells, CELLS)))
    }

    fn first(&mut self, mut items: Vec<Value>, most: usize) -> Vec<Value> {
        if items.len() > most {
            // Parts of the omitted items are not listed.
            let prefix = |index: usize| format!("{}[{index}]", self.path);
            let omitted: Vec<String> = (most..items.len()).map(prefix).collect();
            self.cut.retain(|path| !omitted.iter().any(|item| path.starts_with(item.as_str())));
            self.note();
        }
        items.truncate(most);
        items
    }

    fn text_object(&mut self, object: &Value, most: usize) -> Option<Value> {
        let mut object = object.as_object()?.clone();
        let markup = object.get("type").is_some_and(|kind| kind == "mrkdwn");
        let words = object.get("text")?;
        let text = self.at("text", |fitter| fitter.words(words, most, markup))?;
        if text.trim().is_empty() {
            return None;
        }
        object.insert("text".into(), text.into());
        if markup && !object.contains_key("verbatim") {
            // Bare URLs, #channels and @mentions in users' text stay plain text.
            object.insert("verbatim".into(), true.into());
        }
        Some(Value::Object(object))
    }

    /// The text within its limit; "…" if it failed, `None` if it is no text.
    fn words(&mut self, marked: &Value, most: usize, markup: bool) -> Option<String> {
        if marked.is_null() {
            self.note();
            return Some(DOTS.to_owned());
        }
        let fitted = fit::fit(marked.as_str()?, most, self.cap, markup);
        self.omit_if(fitted.shortened);
        Some(fitted.text)
    }
}

#[cfg(test)]
mod tests;
