//! Filled-in blocks are brought within Slack's limits ([`kit`](super::kit)), whatever the data.
//!
//! Values are shortened first, all to the same length; if that is not enough, "…" replaces the
//! last blocks. A message that has buttons with URLs keeps at least one, because it leads to the
//! full content.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};

use super::fit;
use super::kit::{self, BLOCKS, CELL, CELLS, CHARTS, Kinds, Part};

/// The caps on the length of a value, tried one after the other until all blocks together fit.
const CAPS: [usize; 8] = [usize::MAX, 1500, 700, 300, 150, 80, 40, 10];
/// The most units of a text at a place where no supported block has one.
const ELSEWHERE: usize = 2_000;
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

/// The blocks within all limits. `label` is that of a button that has none.
pub(super) fn fitted(filled: &[Value], label: &str) -> FittedBlocks {
    let (mut blocks, mut cut) = (Vec::new(), Vec::new());
    for cap in CAPS {
        let mut fitter =
            Fitter { label, cap, shortened: cap != usize::MAX, path: ALL.to_owned(), cut: vec![] };
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
    let dots = json!({"type": "context", "elements": [{"type": "plain_text", "text": "…"}]});
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
    match node {
        Value::Array(items) => items.iter().find_map(button),
        Value::Object(_) if node["type"] == "button" && node["url"].is_string() => Some(node),
        Value::Object(object) => object.values().find_map(button),
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
}

impl Fitter<'_> {
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
        let (label, cap) = (self.label, self.cap);
        let mut other =
            Fitter { label, cap, shortened: false, path: String::new(), cut: Vec::new() };
        other.block(block).is_some()
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

    /// The item of this number. If nothing is left of it, nothing was shortened in it.
    fn nth(
        &mut self,
        index: usize,
        fitted: impl FnOnce(&mut Self) -> Option<Value>,
    ) -> Option<Value> {
        let before = self.cut.len();
        let item = self.inside(format_args!("[{index}]"), fitted);
        if item.is_none() {
            self.cut.truncate(before);
        }
        item
    }

    fn at<T>(&mut self, key: &str, fitted: impl FnOnce(&mut Self) -> T) -> T {
        self.inside(format_args!(".{key}"), fitted)
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
        let name = node["type"].as_str().filter(|name| kinds.contains(name))?;
        let Some(kind) = kit::find(name) else { return self.text_object(node, text) };
        let mut object = node.as_object()?.clone();
        for (key, part) in kind.parts {
            if let Some(value) = object.remove(*key)
                && let Some(fitted) = self.at(key, |fitter| fitter.part(&value, *part))
            {
                object.insert((*key).into(), fitted);
            }
        }
        self.fill_in(name, &mut object);
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
                let text = self.words(value.as_str()?, most, false);
                (!text.trim().is_empty()).then(|| text.into())
            }
            Part::Whole { .. } => Some(value.clone()),
            Part::One(kinds) => self.known(value, kinds, 0),
            Part::List { kinds, most, text } => self.list(value, kinds, most, text),
            Part::Rows { most, .. } => {
                let rows = value.as_array()?.iter().enumerate();
                let rows = rows.map(|(index, row)| self.nth(index, |fitter| fitter.row(row)));
                let rows = rows.collect::<Option<Vec<_>>>()?;
                Some(Value::Array(self.first(rows, most)))
            }
        }
    }

    /// `None` if nothing is left.
    fn list(&mut self, value: &Value, kinds: Kinds, most: usize, text: usize) -> Option<Value> {
        let mut kept = Vec::new();
        for item in value.as_array()? {
            kept.extend(self.nth(kept.len(), |fitter| fitter.known(item, kinds, text)));
        }
        let kept = self.first(kept, most);
        (!kept.is_empty()).then_some(Value::Array(kept))
    }

    /// Cells keep their places, so an empty one is a dash.
    fn row(&mut self, row: &Value) -> Option<Value> {
        let cells = row.as_array()?.iter().enumerate().map(|(index, cell)| {
            let dash = || json!({"type": "raw_text", "text": "–"});
            let fitted = self.nth(index, |fitter| fitter.known(cell, &["raw_text"], CELL));
            fitted.unwrap_or_else(dash)
        });
        let cells = cells.collect();
        Some(Value::Array(self.first(cells, CELLS)))
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
        let words = object.get("text")?.as_str()?;
        let text = self.at("text", |fitter| fitter.words(words, most, markup));
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

    fn words(&mut self, marked: &str, most: usize, markup: bool) -> String {
        let fitted = fit::fit(marked, most, self.cap, markup);
        self.omit_if(fitted.shortened);
        fitted.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Value {
        json!({"type": "plain_text", "text": text})
    }

    fn link(url: &str) -> Value {
        json!({"type": "button", "text": plain("Go"), "url": url})
    }

    fn kinds(blocks: &[Value]) -> Vec<&str> {
        blocks.iter().map(|block| block["type"].as_str().unwrap()).collect()
    }

    fn button_of(filled: &[Value]) -> (Vec<Value>, Value) {
        let blocks = fitted(filled, "Open").blocks;
        assert!(size(&blocks) <= fit::ALL_BLOCKS && blocks.len() <= BLOCKS);
        let button = blocks.iter().find_map(button).expect("a button").clone();
        (blocks, button)
    }

    #[test]
    fn a_button_outlives_the_block_that_held_it() {
        let empty = json!({"type": "section", "text": plain(" "), "accessory": link("https://x")});
        let (blocks, _) = button_of(&[empty]);
        assert_eq!(kinds(&blocks), ["actions"]);
        let full = json!({"type": "section", "text": plain(&"w".repeat(2950))});
        let last = json!({"type": "section", "text": plain("x"), "accessory": link("https://x")});
        let (blocks, _) = button_of(&[vec![full; 6], vec![last]].concat());
        assert_eq!(kinds(&blocks), ["section", "section", "section", "context", "actions"]);
        let divider = json!({"type": "divider"});
        let (blocks, _) =
            button_of(&[vec![divider; 60], vec![actions(link("https://x"))]].concat());
        assert_eq!(blocks.len(), BLOCKS);
    }

    #[test]
    fn one_button_outlives_many() {
        let long = format!("https://x/{}", "a".repeat(2900));
        let many = json!({"type": "actions", "elements": vec![link(&long); 25]});
        let (blocks, button) = button_of(&[many]);
        assert_eq!(kinds(&blocks), ["context", "actions"]);
        assert_eq!(button["url"].as_str().unwrap().len(), long.len());
    }

    #[test]
    fn a_button_without_a_label_gets_the_default_one() {
        let button = json!({"type": "button", "text": plain(" "), "url": "https://x"});
        let (_, button) = button_of(&[actions(button)]);
        assert_eq!(button["text"]["text"], "Open");
        let deaf = json!({"type": "button", "text": plain(" ")});
        assert!(fitted(&[actions(deaf)], "Open").blocks.is_empty());
    }

    #[test]
    fn the_parts_that_were_cut_are_listed() {
        let long = |size: usize| plain(&"w".repeat(size));
        let empty = json!({"type": "section", "text": plain(" ")});
        let section = |text: Value| json!({"type": "section", "text": text});
        let fields = json!({"type": "section", "fields": vec![long(2_100); 12]});
        let header = json!({"type": "header", "text": long(160)});
        assert_eq!(fitted(&[section(long(9))], "Open").cut, Vec::<String>::new());
        let cut = fitted(&[empty, header, section(long(3_001))], "Open").cut;
        assert_eq!(cut, ["blocks[0].text.text", "blocks[1].text.text"]);
        let cut = fitted(&[fields], "Open").cut;
        assert!(!cut.iter().any(|part| part.contains("[10]") || part.contains("[11]")), "{cut:?}");
        assert!(cut.contains(&"blocks".to_owned()), "{cut:?}");
        let many = fitted(&vec![json!({"type": "divider"}); 51], "Open");
        assert!(many.shortened && many.cut == ["blocks"], "{:?}", many.cut);
    }

    /// The block that makes room for the button is omitted visibly.
    #[test]
    fn a_full_message_that_needs_a_button_is_shortened() {
        let mut blocks = vec![json!({"type": "divider"}); BLOCKS];
        blocks.push(json!({"type": "section", "text": plain(" "), "accessory": link("https://x")}));
        let message = fitted(&blocks, "Open");
        assert_eq!(message.blocks.len(), BLOCKS);
        assert!(message.shortened && message.cut == ["blocks"], "{:?}", message.cut);
    }

    #[test]
    fn the_blocks_of_2026_are_measured() {
        let long = "word ".repeat(800);
        let cell = |text: &str| json!({"type": "raw_text", "text": text});
        let task = json!({"type": "task_card", "task_id": "1", "title": long, "status": "pending"});
        let blocks = fitted(
            &[
                json!({"type": "card", "title": plain(&long), "body": plain(&long),
                    "actions": vec![link("https://x"); 4]}),
                json!({"type": "container", "title": plain(&long), "child_blocks":
                    vec![json!({"type": "header", "text": plain("h")}); 12]}),
                json!({"type": "plan", "title": "p", "tasks": [task]}),
                json!({"type": "data_table", "caption": long,
                    "rows": [[cell("a"), cell("")], [cell(&long), cell("b")]]}),
                json!({"type": "data_visualization", "title": long, "chart": {"type": "pie"}}),
            ],
            "Open",
        );
        assert!(blocks.shortened);
        let [card, container, plan, table, chart] = &blocks.blocks[..] else { panic!("five") };
        let units = |text: &Value| fit::units(text.as_str().unwrap());
        assert!(units(&card["title"]["text"]) <= 150 && units(&card["body"]["text"]) <= 200);
        assert_eq!(card["actions"].as_array().unwrap().len(), 3);
        assert_eq!(container["child_blocks"].as_array().unwrap().len(), 10);
        assert!(units(&plan["tasks"][0]["title"]) <= 3000);
        assert!(units(&table["caption"]) <= 150);
        assert_eq!(table["rows"][0][1]["text"], "–");
        assert!(units(&chart["title"]) <= 50 && chart["chart"]["type"] == "pie");
        assert!(blocks.cut.contains(&"blocks[0].title.text".to_owned()), "{:?}", blocks.cut);
        assert!(blocks.cut.contains(&"blocks[0].actions".to_owned()), "{:?}", blocks.cut);
        let charts = vec![chart.clone(); 3];
        assert_eq!(fitted(&charts, "Open").blocks.len(), CHARTS);
    }

    /// Slack refuses a container without one, and its blocks are worth more than a title.
    #[test]
    fn a_container_keeps_a_title() {
        let divider = json!({"type": "divider"});
        let untitled = json!({"type": "container", "title": plain(" "), "child_blocks": [divider]});
        let blocks = fitted(&[untitled], "Open").blocks;
        assert_eq!(blocks[0]["title"]["text"], "–");
        assert_eq!(blocks[0]["child_blocks"], json!([divider]));
    }
}
