//! Checks of a template before it is saved: each problem with its place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::filters::Mode;
use super::kit::{self, BLOCKS, BlockKind, CHARTS, FieldPlace, Part, mode, parse};
use super::names::{self, Name, NameKind};
use super::{Problem, Template, escape, filters, fit, keys, places, relations};
use crate::domain::message::problem::TextPlace;

/// The most problems that are placed: an answer has no more.
const PLACED: usize = 50;

impl Template {
    /// All problems that can be found without data; empty if the template is valid. Problems that
    /// depend on data are found by [`template::check`](crate::domain::message::template::check).
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.text.trim().is_empty() {
            let problem = "must not be empty: notifications and screen readers show it";
            problems.push(Problem::new("text", problem));
        } else if let Err(error) = filters::compiles(&self.text) {
            problems.push(places::failed(&error, "text", &self.text));
        }
        match parse(&self.blocks) {
            Ok(array) => {
                let before = problems.len();
                blocks_problems(&array, &self.blocks, &mut problems);
                problems.iter_mut().skip(before).take(PLACED).for_each(|it| self.place(it));
            }
            Err(problem) => problems.push(problem),
        }
        problems
    }

    /// Gives a problem of a part of the blocks the place of that part, unless it has one.
    pub(in crate::domain::message) fn place(&self, problem: &mut Problem) {
        if let Some(path) = problem.field.strip_prefix("blocks")
            && problem.line.is_none()
        {
            let (line, column) = places::of_part(&self.blocks, path);
            (problem.line, problem.column) = (Some(line), Some(column));
        }
    }
}

/// A name that a template reads, with the field in which it is and its place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub field: String,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub name: Name,
}

impl Located {
    /// The names of a template that is a field of its own; none if it does not compile.
    pub(super) fn in_text(field: &str, source: &str) -> Vec<Self> {
        if filters::compiles(source).is_err() {
            return Vec::new();
        }
        let located = |name: Name| {
            let TextPlace { line, column } = places::in_text(source, name.at);
            Self { field: field.to_owned(), line, column, name }
        };
        names::of_template(source).into_iter().map(located).collect()
    }

    /// A problem at this place.
    pub(in crate::domain::message) fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            column: self.column,
            ..Problem::new(self.field.as_str(), problem)
        }
    }

    /// The sentence about a filter, a test or a function that does not exist.
    pub(in crate::domain::message) fn unknown(&self) -> Option<String> {
        let name = self.name.path.join(".");
        let (kind, exists) = match self.name.kind {
            NameKind::Variable => return None,
            NameKind::Filter => ("filter", filters::is_filter(&name)),
            NameKind::Test => ("test", filters::is_test(&name)),
            NameKind::Function => ("function", false),
        };
        (!exists).then(|| format!("does not work: {kind} {name} is unknown"))
    }
}

impl Template {
    /// The names in all strings that compile.
    pub(in crate::domain::message) fn names(&self) -> Vec<Located> {
        let mut found = Located::in_text("text", &self.text);
        for (index, block) in parse(&self.blocks).iter().flatten().enumerate() {
            let field = format!("blocks[{index}]");
            names_in(block, &FieldPlace { source: &self.blocks, field }, &mut found);
        }
        found
    }
}

/// Adds the names in the strings of a part of the blocks.
fn names_in(node: &Value, place: &FieldPlace<'_>, found: &mut Vec<Located>) {
    match node {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                names_in(item, &place.nth(index), found);
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                let here = place.at(key);
                let Value::String(text) = value else {
                    names_in(value, &here, found);
                    continue;
                };
                let names = if key == "if" && filters::is_expression(text).is_ok() {
                    names::of_expression(text)
                } else if mode(object, key).is_some() && filters::compiles(text).is_ok() {
                    names::of_template(text)
                } else {
                    continue;
                };
                let Some(literal) = here.literal().filter(|_| !names.is_empty()) else { continue };
                found.extend(names.into_iter().map(|name| {
                    let TextPlace { line, column } = literal.place(text, Some(name.at));
                    Located { field: here.field.clone(), line, column, name }
                }));
            }
        }
        _ => {}
    }
}

/// Adds the problems of the template's blocks.
fn blocks_problems(array: &[Value], source: &str, problems: &mut Vec<Problem>) {
    let root = FieldPlace { source, field: "blocks".to_owned() };
    if array.len() > BLOCKS {
        problems.push(root.problem(format!("must have at most {BLOCKS} blocks")));
    }
    let (mut blocks, mut actions) = (BTreeSet::new(), BTreeSet::new());
    for (index, block) in array.iter().enumerate() {
        let place = root.nth(index);
        strings(block, &place, problems);
        unique(block, &place, &mut blocks, &mut actions, problems);
        shape(block, kit::BLOCK_KINDS, &place, problems);
        relations::check(block, &place, problems);
    }
    let charts = array.iter().filter(|block| block["type"] == "data_visualization").count();
    if charts > CHARTS {
        problems.push(root.problem(format!("must have at most {CHARTS} of data_visualization")));
    }
}

/// Slack refuses a message that has a `block_id` twice, and one that has an `action_id` twice in a
/// block.
fn unique<'v>(
    node: &'v Value,
    place: &FieldPlace<'_>,
    blocks: &mut BTreeSet<&'v str>,
    actions: &mut BTreeSet<&'v str>,
    problems: &mut Vec<Problem>,
) {
    match node {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                unique(item, &place.nth(index), blocks, actions, problems);
            }
        }
        Value::Object(object) => {
            let mut inside = BTreeSet::new();
            let is_block = kit::BLOCK_KINDS.iter().any(|kind| node["type"] == *kind);
            let actions = if is_block { &mut inside } else { actions };
            for (key, seen) in [("block_id", &mut *blocks), ("action_id", &mut *actions)] {
                if let Some(id) = object.get(key).and_then(Value::as_str)
                    && !seen.insert(id)
                {
                    problems.push(place.at(key).problem("must be unique"));
                }
            }
            for (key, value) in object {
                unique(value, &place.at(key), blocks, actions, problems);
            }
        }
        _ => {}
    }
}

fn shape(node: &Value, kinds: &[&str], place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    if !typed(node, kinds, place, problems) {
        return;
    }
    let name = node["type"].as_str().unwrap_or_default();
    let Some(kind) = kit::find(name) else {
        // A text object or a cell.
        if let Some(object) = node.as_object() {
            keys::check(name, object, place, problems);
        }
        if !node["text"].is_string() {
            problems.push(place.at("text").problem("must be a string"));
        }
        return;
    };
    shape_of(node, kind, place, problems);
}

/// The shape of an object of this kind.
fn shape_of(node: &Value, kind: &BlockKind, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    let Some(object) = node.as_object() else {
        problems.push(place.problem("must be an object"));
        return;
    };
    keys::check(kind.name, object, place, problems);
    for keys in kind.needs {
        if keys.iter().all(|key| node.get(*key).is_none()) {
            problems.push(place.problem(format!("must have {}", keys.join(" or "))));
        }
    }
    for (key, part) in kind.parts {
        if let Some(value) = node.get(*key) {
            part_shape(value, *part, &place.at(key), problems);
        }
    }
}

fn part_shape(value: &Value, part: Part, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    match part {
        Part::Text { most, plain } => {
            shape(value, if plain { kit::PLAIN } else { kit::TEXTS }, place, problems);
            fits(&value["text"], most, &place.at("text"), problems);
        }
        Part::Words { most } | Part::Run { most } | Part::Whole { most } => {
            if !value.is_string() {
                problems.push(place.problem("must be a string"));
            }
            fits(value, most, place, problems);
        }
        Part::Number => {
            if !value.is_number() {
                problems.push(place.problem("must be a number"));
            }
        }
        Part::One(kinds) => shape(value, kinds, place, problems),
        Part::Untyped(kind) => {
            if let Some(kind) = kit::find(kind) {
                shape_of(value, kind, place, problems);
            }
        }
        Part::Items { kind, most } => {
            let Some(kind) = kit::find(kind) else { return };
            for (item, here) in items(value, 1, most, place, problems) {
                shape_of(item, kind, &here, problems);
            }
        }
        Part::Strings { most, each } => {
            for (item, here) in items(value, 1, most, place, problems) {
                part_shape(item, Part::Words { most: each }, &here, problems);
            }
        }
        Part::List { kinds, most, text } => {
            for (item, here) in items(value, 0, most, place, problems) {
                shape(item, kinds, &here, problems);
                if kit::TEXTS.iter().any(|kind| item["type"] == *kind) {
                    fits(&item["text"], text, &here.at("text"), problems);
                }
            }
        }
        Part::Rows { least, most } => {
            for (row, here) in items(value, least, most, place, problems) {
                for (cell, here) in items(row, 1, kit::CELLS, &here, problems) {
                    shape(cell, &["raw_text"], &here, problems);
                    fits(&cell["text"], kit::CELL, &here.at("text"), problems);
                }
            }
        }
    }
}

/// The items of an array, each with its place.
fn items<'v, 's>(
    value: &'v Value,
    least: usize,
    most: usize,
    place: &FieldPlace<'s>,
    problems: &mut Vec<Problem>,
) -> Vec<(&'v Value, FieldPlace<'s>)> {
    let Some(items) = value.as_array() else {
        problems.push(place.problem("must be an array"));
        return Vec::new();
    };
    if items.len() > most {
        problems.push(place.problem(format!("must have at most {most}")));
    }
    if items.len() < least {
        problems.push(place.problem(format!("must have at least {least}")));
    }
    items.iter().enumerate().map(|(index, item)| (item, place.nth(index))).collect()
}

/// Reports a text that is too long whatever the data: one without placeholders.
fn fits(text: &Value, most: usize, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    let Some(text) = text.as_str() else { return };
    if !filters::is_filled_in(text) && fit::units(text) > most {
        problems.push(place.problem(format!("must be at most {most} characters")));
    }
}

fn typed(
    item: &Value,
    types: &[&str],
    place: &FieldPlace<'_>,
    problems: &mut Vec<Problem>,
) -> bool {
    let good = item["type"].as_str().is_some_and(|kind| types.contains(&kind));
    if !good {
        problems.push(place.at("type").problem(format!("must be one of {}", types.join(", "))));
    }
    good
}

/// Every string must compile, and placeholders are allowed only where they are filled in.
fn strings(node: &Value, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    match node {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, &place.nth(index), problems);
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                let here = place.at(key);
                let Value::String(text) = value else {
                    if key == "if" {
                        problems.push(here.problem("must be a string: an expression"));
                    }
                    strings(value, &here, problems);
                    continue;
                };
                let compiled = if key == "if" {
                    filters::is_expression(text)
                } else if let Some(mode) = mode(object, key) {
                    // A URL that data fills in is judged with the message.
                    if mode == Mode::Url && !filters::is_filled_in(text) {
                        let problem = escape::url(text).err();
                        problems.extend(problem.map(|it| here.problem(it.to_string())));
                    }
                    filters::compiles(text)
                } else {
                    if text.contains("{{") || text.contains("{%") {
                        problems.push(here.problem("must be literal, without placeholders"));
                    }
                    if text.contains(fit::MENTION) {
                        problems.push(here.problem("must not contain `<@herald:`"));
                    }
                    Ok(())
                };
                if let Err(error) = compiled {
                    problems.push(here.failed(&error, text));
                }
                let id = matches!(key.as_str(), "block_id" | "action_id");
                if id && fit::units(text) > 255 {
                    problems.push(here.problem("must be at most 255 characters"));
                }
            }
        }
        _ => {}
    }
}
