//! Block Kit in templates: parsing its JSON, the modes of its strings, and Slack's limits, as one
//! table that both the check of a template and the fitting of a message read.
//!
//! Of the blocks of 2025 and 2026 a template may use card, carousel, container, data_table,
//! data_visualization, plan, table and task_card. Not alert (Slack's own clients disagree whether
//! it works in messages), context_actions (its buttons need a receiver), layout (the contents of
//! its rows are undocumented) and markdown (data could become markup in it; the simple form of a
//! message has Markdown: [`simple`](super::simple)).

use serde_json::{Map, Value};

use super::filters::{Mode, place_of};
use super::places::Literal;
use super::{Problem, fit};
use crate::domain::limits::TEMPLATE_BLOCKS_BYTES;
use crate::domain::message::problem::TextPlace;

/// The most blocks of a message.
pub const BLOCKS: usize = 50;
/// The most fields of a section.
pub const SECTION_FIELDS: usize = 10;
/// The most blocks of the kind `data_visualization` in a message.
pub(super) const CHARTS: usize = 2;
/// The most cells of a row.
pub(super) const CELLS: usize = 20;
/// The most characters of a cell: the text of a data_table may have 20,000 in all, more than all
/// blocks of a message together.
pub(super) const CELL: usize = 2_000;

/// A part of a block or element. Lengths are in characters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// A text object; `plain`: of plain_text only.
    Text {
        most: usize,
        plain: bool,
    },
    /// A string that readers see.
    Words {
        most: usize,
    },
    /// A string in a rich text, which may be only white space.
    Run {
        most: usize,
    },
    /// A string that must not be shortened: a URL or an id.
    Whole {
        most: usize,
    },
    Number,
    /// One object of these kinds.
    One(Kinds),
    /// One object of this kind, which has no `type`.
    Untyped(&'static str),
    /// 1 to `most` objects of this kind, which have no `type`.
    Items {
        kind: &'static str,
        most: usize,
    },
    /// 1 to `most` strings of at most `each` characters.
    Strings {
        most: usize,
        each: usize,
    },
    /// Objects of these kinds; `text` is the longest text of a text object among them.
    List {
        kinds: Kinds,
        most: usize,
        text: usize,
    },
    /// Rows of cells.
    Rows {
        least: usize,
        most: usize,
    },
}

pub(super) type Kinds = &'static [&'static str];

/// A kind of block or element. Other keys are literal and stay as they are; those that Slack does
/// not know are refused (`keys`).
#[derive(Debug)]
pub(super) struct BlockKind {
    pub(super) name: &'static str,
    pub(super) parts: &'static [(&'static str, Part)],
    /// Sets of keys of which at least one must be present.
    pub(super) needs: &'static [Kinds],
}

/// The kinds of blocks that a template may have, in the order of the alphabet.
pub(super) const BLOCK_KINDS: Kinds = &[
    "actions",
    "card",
    "carousel",
    "container",
    "context",
    "data_table",
    "data_visualization",
    "divider",
    "header",
    "image",
    "plan",
    "section",
    "table",
    "task_card",
];
pub(super) const PLAIN: Kinds = &["plain_text"];
pub(super) const TEXTS: Kinds = &["mrkdwn", "plain_text"];
const RICH_TEXT: Kinds = &["rich_text"];
const RICH_PARTS: Kinds =
    &["rich_text_list", "rich_text_preformatted", "rich_text_quote", "rich_text_section"];
const RUNS: Kinds = &[
    "broadcast",
    "channel",
    "color",
    "date",
    "emoji",
    "link",
    "team",
    "text",
    "user",
    "usergroup",
];
/// Slack documents no limit.
pub(super) const UNLIMITED: usize = usize::MAX;
/// The most characters of a string for which Slack documents no limit.
pub(super) const ELSEWHERE: usize = 2_000;
const BUTTON: Kinds = &["button"];
const IMAGE: Kinds = &["image"];

const fn text(most: usize) -> Part {
    Part::Text { most, plain: false }
}

const fn plain(most: usize) -> Part {
    Part::Text { most, plain: true }
}

const fn words(most: usize) -> Part {
    Part::Words { most }
}

const fn whole(most: usize) -> Part {
    Part::Whole { most }
}

const fn items(kind: &'static str, most: usize) -> Part {
    Part::Items { kind, most }
}

const fn list(kinds: Kinds, most: usize) -> Part {
    Part::List { kinds, most, text: 3_000 }
}

macro_rules! kind {
    ($name:literal, $parts:expr, $needs:expr $(,)?) => {
        BlockKind { name: $name, parts: $parts, needs: $needs }
    };
}

const FIELDS: Part = Part::List { kinds: TEXTS, most: SECTION_FIELDS, text: fit::FIELD };
const CHILDREN: Kinds = &["actions", "context", "divider", "header", "image", "section"];

/// An id of something that a rich text names.
const ID: Part = whole(255);
/// The bars, lines or areas of a chart.
const XY: &[(&str, Part)] =
    &[("series", items("series", 12)), ("axis_config", Part::Untyped("axis_config"))];
const XY_NEEDS: &[Kinds] = &[&["series"], &["axis_config"]];
const RICH: &[(&str, Part)] = &[("elements", list(RUNS, UNLIMITED))];
const ELEMENTS: &[Kinds] = &[&["elements"]];

/// Slack's limits: "Reference: blocks", "Block elements" and, for the newer kinds, `@slack/types`.
/// Of charts, several libraries repeat those of Slack's page; where they disagree, the larger.
static KINDS: &[BlockKind] = &[
    kind!("actions", &[("elements", list(BUTTON, 25))], &[&["elements"]]),
    kind!(
        "button",
        &[
            ("text", plain(75)),
            ("value", words(2_000)),
            ("accessibility_label", words(75)),
            ("url", whole(3_000)),
            ("confirm", Part::Untyped("confirm")),
        ],
        &[&["text"]],
    ),
    kind!(
        "confirm",
        &[("title", plain(100)), ("text", text(300)), ("confirm", plain(30)), ("deny", plain(30))],
        &[&["title"], &["text"], &["confirm"], &["deny"]],
    ),
    kind!(
        "card",
        &[
            ("hero_image", Part::One(IMAGE)),
            ("icon", Part::One(IMAGE)),
            ("title", text(150)),
            ("subtitle", text(150)),
            ("body", text(200)),
            ("actions", list(BUTTON, 3)),
        ],
        &[&["hero_image", "title", "body", "actions"]],
    ),
    kind!("carousel", &[("elements", list(&["card"], 10))], &[&["elements"]]),
    kind!(
        "container",
        &[
            ("title", plain(150)),
            ("rich_text_title", Part::One(RICH_TEXT)),
            ("subtitle", text(150)),
            ("icon", Part::One(IMAGE)),
            ("child_blocks", list(CHILDREN, 10)),
        ],
        &[&["title", "rich_text_title"], &["child_blocks"]],
    ),
    kind!(
        "context",
        &[("elements", list(&["image", "mrkdwn", "plain_text"], 10))],
        &[&["elements"]],
    ),
    kind!(
        "data_table",
        &[("caption", words(150)), ("rows", Part::Rows { least: 2, most: 201 })],
        &[&["caption"], &["rows"]],
    ),
    kind!(
        "data_visualization",
        &[("title", words(50)), ("chart", Part::One(&["area", "bar", "line", "pie"]))],
        &[&["title"], &["chart"]],
    ),
    kind!("area", XY, XY_NEEDS),
    kind!("bar", XY, XY_NEEDS),
    kind!("line", XY, XY_NEEDS),
    kind!("pie", &[("segments", items("segment", 12))], &[&["segments"]]),
    kind!("segment", &[("label", words(20)), ("value", Part::Number)], &[&["label"], &["value"]]),
    kind!("series", &[("name", words(20)), ("data", items("point", 20))], &[&["name"], &["data"]]),
    kind!("point", &[("label", words(20)), ("value", Part::Number)], &[&["label"], &["value"]]),
    kind!(
        "axis_config",
        &[
            ("categories", Part::Strings { most: 20, each: 20 }),
            ("x_label", words(50)),
            ("y_label", words(50)),
        ],
        &[&["categories"]],
    ),
    kind!("divider", &[], &[]),
    kind!("header", &[("text", plain(150))], &[&["text"]]),
    kind!(
        "image",
        &[("image_url", whole(3_000)), ("alt_text", words(2_000)), ("title", plain(2_000)),],
        &[&["image_url"]],
    ),
    kind!(
        "plan",
        &[("title", words(3_000)), ("tasks", list(&["task_card"], 50))],
        &[&["title"], &["tasks"]],
    ),
    kind!(
        "section",
        &[
            ("text", text(fit::SECTION)),
            ("fields", FIELDS),
            ("accessory", Part::One(&["button", "image"])),
        ],
        &[&["text", "fields"]],
    ),
    kind!("table", &[("rows", Part::Rows { least: 1, most: 100 })], &[&["rows"]]),
    kind!(
        "task_card",
        &[
            ("task_id", whole(255)),
            ("title", words(3_000)),
            ("details", Part::One(RICH_TEXT)),
            ("output", Part::One(RICH_TEXT)),
            ("sources", list(&["url"], UNLIMITED)),
        ],
        &[&["task_id"], &["title"], &["status"]],
    ),
    kind!("url", &[("url", whole(3_000)), ("text", words(ELSEWHERE))], &[&["url"], &["text"]]),
    kind!("rich_text", &[("elements", list(RICH_PARTS, UNLIMITED))], ELEMENTS),
    kind!("rich_text_section", RICH, ELEMENTS),
    kind!("rich_text_quote", RICH, ELEMENTS),
    kind!("rich_text_preformatted", &[("elements", list(&["link", "text"], UNLIMITED))], ELEMENTS),
    kind!(
        "rich_text_list",
        &[("elements", list(&["rich_text_section"], UNLIMITED))],
        &[&["elements"], &["style"]],
    ),
    kind!("text", &[("text", Part::Run { most: ELSEWHERE })], &[&["text"]]),
    kind!("link", &[("url", whole(3_000)), ("text", Part::Run { most: ELSEWHERE })], &[&["url"]]),
    kind!("emoji", &[("name", ID)], &[&["name"]]),
    kind!("user", &[("user_id", ID)], &[&["user_id"]]),
    kind!("usergroup", &[("usergroup_id", ID)], &[&["usergroup_id"]]),
    kind!("channel", &[("channel_id", ID)], &[&["channel_id"]]),
    kind!("team", &[("team_id", ID)], &[&["team_id"]]),
    kind!("broadcast", &[], &[&["range"]]),
    kind!("color", &[("value", whole(255))], &[&["value"]]),
    kind!(
        "date",
        &[("timestamp", Part::Number), ("url", whole(3_000))],
        &[&["timestamp"], &["format"]],
    ),
];

/// The kind of this name; `None` for text objects, cells, and kinds that templates may not have.
pub(super) fn find(name: &str) -> Option<&'static BlockKind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The array of blocks, with strings that are not yet filled in.
pub(super) fn parse(source: &str) -> Result<Vec<Value>, Problem> {
    if source.len() > TEMPLATE_BLOCKS_BYTES {
        return Err(Problem::new(
            "blocks",
            format!("must be at most {TEMPLATE_BLOCKS_BYTES} bytes"),
        ));
    }
    match serde_json::from_str(source) {
        Ok(Value::Array(array)) => Ok(array),
        Ok(_) => Err(Problem::new("blocks", "must be an array of blocks")),
        Err(error) => Err(not_json(&error, source)),
    }
}

/// serde_json's error, for authors.
fn not_json(error: &serde_json::Error, source: &str) -> Problem {
    let (line, column) = (error.line(), error.column());
    let problem = |column: usize, problem: String| Problem {
        line: Some(line),
        column: Some(column.max(1)),
        ..Problem::new("blocks", format!("must be JSON: {problem}"))
    };
    let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    // serde_json counts bytes.
    let characters = |bytes: usize| text.get(..bytes).map_or(bytes, |text| text.chars().count());
    // Valid JSON never has these two in a row outside a string.
    let tag = column.checked_sub(2).and_then(|from| text.as_bytes().get(from..column));
    if matches!(tag, Some(b"{{" | b"{%")) {
        let inside = "a placeholder must be inside a string".to_owned();
        return problem(characters(column).saturating_sub(1), inside);
    }
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    let said = said
        .replace("EOF while parsing", "it ends inside")
        .replace("recursion limit exceeded", "it is nested too deep");
    problem(characters(column), said)
}

/// The place of a string, for errors.
pub(super) struct FieldPlace<'a> {
    pub(super) source: &'a str,
    pub(super) field: String,
}

impl FieldPlace<'_> {
    pub(super) fn at(&self, key: &str) -> Self {
        Self { source: self.source, field: format!("{}.{key}", self.field) }
    }

    pub(super) fn nth(&self, index: usize) -> Self {
        Self { source: self.source, field: format!("{}[{index}]", self.field) }
    }

    /// The problem of a string in the blocks.
    pub(super) fn failed(&self, error: &minijinja::Error, string: &str) -> Problem {
        Problem::of(error, &self.field, self.place(string, place_of(error)))
    }

    /// The line and the column of a byte of a string in the blocks.
    fn place(&self, string: &str, at: Option<usize>) -> TextPlace {
        self.literal().map(|literal| literal.place(string, at)).unwrap_or_default()
    }

    /// The string in the source.
    pub(super) fn literal(&self) -> Option<Literal<'_>> {
        let path = self.field.strip_prefix("blocks").unwrap_or(&self.field);
        Literal::find(self.source, path)
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem::new(self.field.clone(), problem)
    }
}

/// How the string under `key` is filled in; `None`: it is literal.
pub(super) fn mode(holder: &Map<String, Value>, key: &str) -> Option<Mode> {
    match key {
        "text" if holder.get("type").is_some_and(|kind| kind == "mrkdwn") => Some(Mode::Mrkdwn),
        "text" | "alt_text" | "value" | "accessibility_label" | "title" | "caption" => {
            Some(Mode::Plain)
        }
        // That of a `slack_file` is literal: without it, Slack refuses the image.
        "url" | "image_url" if holder.contains_key("type") => Some(Mode::Url),
        _ => None,
    }
}
