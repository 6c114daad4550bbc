//! Filled-in blocks are brought within Slack's limits ([`kit`](super::kit)), whatever the data.
//!
//! Values are shortened first, all to the same length; if that is not enough, the last blocks make
//! way for "…". A message that has a button with a URL keeps one: it leads to what was shortened.

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
}

/// The blocks within all limits. `label` is that of a button that has none.
pub(super) fn fitted(filled: &[Value], label: &str) -> FittedBlocks {
    let mut blocks = Vec::new();
    for cap in CAPS {
        let mut fitter = Fitter { label, cap, shortened: cap != usize::MAX };
        blocks = fitter.blocks(filled);
        if size(&blocks) <= fit::ALL_BLOCKS {
            return FittedBlocks { blocks, shortened: fitter.shortened };
        }
    }
    // Even without its values it is too long, or the URLs are.
    FittedBlocks { blocks: without_the_last(blocks), shortened: true }
}

fn size(blocks: &[Value]) -> usize {
    2 + blocks.iter().map(|block| fit::units(&block.to_string()) + 1).sum::<usize>()
}

/// The first blocks, "…", and the buttons, or at least one.
fn without_the_last(mut blocks: Vec<Value>) -> Vec<Value> {
    let dots = json!({"type": "context", "elements": [{"type": "plain_text", "text": "…"}]});
    let button = blocks.iter().find_map(button).map(bare);
    let spare = |blocks: &[Value]| {
        let missing = blocks.iter().find_map(self::button).is_none();
        button.clone().filter(|_| missing).map(actions)
    };
    let total = |blocks: &[Value]| {
        size(blocks) + spare(blocks).map_or(0, |spare| fit::units(&spare.to_string()) + 1)
    };
    if let Some(mut at) = blocks.iter().rposition(|block| block["type"] != "actions") {
        blocks[at] = dots.clone();
        while total(&blocks) > fit::ALL_BLOCKS && at > 0 {
            at -= 1;
            blocks.remove(at);
        }
    }
    if total(&blocks) > fit::ALL_BLOCKS {
        blocks = vec![dots];
    }
    blocks.extend(spare(&blocks));
    blocks
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

/// Brings each part within its limit; records whether anything was shortened.
struct Fitter<'a> {
    label: &'a str,
    cap: usize,
    shortened: bool,
}

impl Fitter<'_> {
    fn blocks(&mut self, filled: &[Value]) -> Vec<Value> {
        let mut kept: Vec<_> = filled.iter().filter_map(|block| self.block(block)).collect();
        let mut charts = 0;
        kept.retain(|block| {
            charts += usize::from(block["type"] == "data_visualization");
            charts <= CHARTS || block["type"] != "data_visualization"
        });
        self.shortened |= charts > CHARTS || kept.len() > BLOCKS;
        let wanted = filled.iter().find_map(button);
        let wanted = wanted.and_then(|button| self.known(button, &["button"], 0));
        if let Some(wanted) = wanted
            && !kept.iter().take(BLOCKS).any(|block| button(block).is_some())
        {
            // Its block was omitted, or is one too many.
            kept.truncate(BLOCKS - 1);
            let mut block = actions(wanted);
            self.elsewhere(&mut block);
            kept.push(block);
        }
        kept.truncate(BLOCKS);
        kept
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
                self.shortened |= fitted.shortened;
                *text = fitted.text;
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.elsewhere(item)),
            Value::Object(keys) => keys.values_mut().for_each(|value| self.elsewhere(value)),
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
                && let Some(fitted) = self.part(&value, *part)
            {
                object.insert((*key).into(), fitted);
            }
        }
        self.fill_in(name, &mut object);
        let complete =
            kind.needs.iter().all(|keys| keys.iter().any(|key| object.contains_key(*key)));
        complete.then_some(Value::Object(object))
    }

    /// Slack requires a label and an `alt_text`.
    fn fill_in(&mut self, name: &str, object: &mut Map<String, Value>) {
        if name == "image" && !object.contains_key("alt_text") {
            object.insert("alt_text".into(), "image".into());
        }
        if name == "button" && object.contains_key("url") && !object.contains_key("text") {
            let label = json!({"type": "plain_text", "text": self.label, "emoji": true});
            if let Some(label) = self.text_object(&label, 75) {
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
                let rows = value.as_array()?.iter();
                let rows = rows.map(|row| self.row(row)).collect::<Option<Vec<_>>>()?;
                Some(Value::Array(self.first(rows, most)))
            }
        }
    }

    /// `None` if nothing is left.
    fn list(&mut self, value: &Value, kinds: Kinds, most: usize, text: usize) -> Option<Value> {
        let items = value.as_array()?.iter();
        let kept: Vec<_> = items.filter_map(|item| self.known(item, kinds, text)).collect();
        let kept = self.first(kept, most);
        (!kept.is_empty()).then_some(Value::Array(kept))
    }

    /// Cells keep their places, so an empty one is a dash.
    fn row(&mut self, row: &Value) -> Option<Value> {
        let cells = row.as_array()?.iter().map(|cell| {
            let dash = || json!({"type": "raw_text", "text": "–"});
            self.known(cell, &["raw_text"], CELL).unwrap_or_else(dash)
        });
        let cells = cells.collect();
        Some(Value::Array(self.first(cells, CELLS)))
    }

    fn first(&mut self, mut items: Vec<Value>, most: usize) -> Vec<Value> {
        self.shortened |= items.len() > most;
        items.truncate(most);
        items
    }

    fn text_object(&mut self, object: &Value, most: usize) -> Option<Value> {
        let mut object = object.as_object()?.clone();
        let markup = object.get("type").is_some_and(|kind| kind == "mrkdwn");
        let text = self.words(object.get("text")?.as_str()?, most, markup);
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
        self.shortened |= fitted.shortened;
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
        let charts = vec![chart.clone(); 3];
        assert_eq!(fitted(&charts, "Open").blocks.len(), CHARTS);
    }
}
