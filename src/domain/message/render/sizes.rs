//! The sizes of a message's parts, each beside its limit.

use serde_json::Value;

use super::kit::{self, BLOCKS, BlockKind, CELL, CELLS, Part, UNLIMITED};
use super::{Rendered, fit};

/// The size of one part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSize {
    /// `text`, `blocks` (their number), `blocks.characters` (all together), or a path such as
    /// `blocks[0].text.text` or `blocks[1].elements`.
    pub part: String,
    /// In characters as Slack counts them, or in elements.
    pub size: usize,
    /// The most that a message of Herald has here.
    pub limit: usize,
}

/// The size of each part that has a limit.
#[must_use]
pub fn sizes(message: &Rendered) -> Vec<PartSize> {
    let blocks = message.blocks.as_array().map_or(&[][..], Vec::as_slice);
    let mut sizes = Sizes(Vec::new());
    sizes.add("text", fit::units(&message.text), fit::TEXT);
    sizes.add("blocks", blocks.len(), BLOCKS);
    sizes.add("blocks.characters", fit::units(&message.blocks.to_string()), fit::ALL_BLOCKS);
    for (index, block) in blocks.iter().enumerate() {
        sizes.known(block, &format!("blocks[{index}]"), 0);
    }
    sizes.0
}

struct Sizes(Vec<PartSize>);

impl Sizes {
    fn add(&mut self, part: &str, size: usize, limit: usize) {
        self.0.push(PartSize { part: part.to_owned(), size, limit });
    }

    /// A block, an element, or a text object of at most `most` characters.
    fn known(&mut self, node: &Value, path: &str, most: usize) {
        let Some(kind) = node["type"].as_str().and_then(kit::find) else {
            self.string(&node["text"], &format!("{path}.text"), most);
            return;
        };
        self.of_kind(node, kind, path);
    }

    fn of_kind(&mut self, node: &Value, kind: &BlockKind, path: &str) {
        for (key, part) in kind.parts {
            if let Some(value) = node.get(*key) {
                self.part(value, *part, &format!("{path}.{key}"));
            }
        }
    }

    fn part(&mut self, value: &Value, part: Part, path: &str) {
        match part {
            Part::Text { most, .. } => self.known(value, path, most),
            Part::Words { most } | Part::Run { most } | Part::Whole { most } => {
                self.string(value, path, most);
            }
            Part::Number => {}
            Part::One(_) => self.known(value, path, 0),
            Part::Untyped(kind) => {
                if let Some(kind) = kit::find(kind) {
                    self.of_kind(value, kind, path);
                }
            }
            Part::Items { kind, most } => {
                let Some(kind) = kit::find(kind) else { return };
                for (item, path) in self.items(value, path, most) {
                    self.of_kind(item, kind, &path);
                }
            }
            Part::Strings { most, each } => {
                for (item, path) in self.items(value, path, most) {
                    self.string(item, &path, each);
                }
            }
            Part::List { most, text, .. } => {
                for (item, path) in self.items(value, path, most) {
                    self.known(item, &path, text);
                }
            }
            Part::Rows { most, .. } => {
                for (row, path) in self.items(value, path, most) {
                    for (cell, path) in self.items(row, &path, CELLS) {
                        self.known(cell, &path, CELL);
                    }
                }
            }
        }
    }

    fn string(&mut self, value: &Value, path: &str, most: usize) {
        if let Some(text) = value.as_str() {
            self.add(path, fit::units(text), most);
        }
    }

    /// The items of a list, each with its path.
    fn items<'v>(&mut self, list: &'v Value, path: &str, most: usize) -> Vec<(&'v Value, String)> {
        let items = list.as_array().map_or(&[][..], Vec::as_slice);
        if most != UNLIMITED {
            self.add(path, items.len(), most);
        }
        items.iter().enumerate().map(|(at, item)| (item, format!("{path}[{at}]"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_part_with_a_limit_is_measured() {
        let plain = |text: &str| json!({"type": "plain_text", "text": text});
        let button = json!({"type": "button", "text": plain("Go"), "url": "https://x"});
        let mrkdwn = json!({"type": "mrkdwn", "text": "héy😀"});
        let blocks = json!([
            {"type": "section", "text": mrkdwn, "accessory": button},
            {"type": "divider"},
            {"type": "context", "elements": [plain("a"), plain("bc")]},
            {"type": "table", "rows": [[{"type": "raw_text", "text": "cell"}]]},
        ]);
        let all = fit::units(&blocks.to_string());
        let message = Rendered { text: "four".into(), blocks, shortened: false, cut: Vec::new() };
        let sizes: Vec<(String, usize, usize)> =
            sizes(&message).into_iter().map(|it| (it.part, it.size, it.limit)).collect();
        let expected = [
            ("text", 4, 4_000),
            ("blocks", 4, 50),
            ("blocks.characters", all, 12_000),
            ("blocks[0].text.text", 5, 3_000),
            ("blocks[0].accessory.text.text", 2, 75),
            ("blocks[0].accessory.url", 9, 3_000),
            ("blocks[2].elements", 2, 10),
            ("blocks[2].elements[0].text", 1, 3_000),
            ("blocks[2].elements[1].text", 2, 3_000),
            ("blocks[3].rows", 1, 100),
            ("blocks[3].rows[0]", 1, 20),
            ("blocks[3].rows[0][0].text", 4, 2_000),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(part, size, limit)| (part.to_owned(), size, limit))
            .collect();
        assert_eq!(sizes, expected);
    }
}
