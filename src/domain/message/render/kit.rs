//! Block Kit in templates: parsing its JSON, the modes of its strings, and Slack's limits.

use serde_json::{Map, Value};

use super::Problem;
use super::filters::Mode;

/// The most blocks of a message.
pub const BLOCKS: usize = 50;
pub(super) const SECTION_FIELDS: usize = 10;
pub(super) const CONTEXT_ELEMENTS: usize = 10;
pub(super) const ACTIONS_ELEMENTS: usize = 25;

/// The most bytes of a template's blocks.
pub const BLOCKS_BYTES: usize = 32 * 1024;

/// The array of blocks, with strings that are not yet filled in.
pub(super) fn parse(source: &str) -> Result<Vec<Value>, Problem> {
    let problem = |line, problem: String| Problem { field: "blocks".to_owned(), line, problem };
    if source.len() > BLOCKS_BYTES {
        return Err(problem(None, format!("must be at most {BLOCKS_BYTES} bytes")));
    }
    match serde_json::from_str(source) {
        Ok(Value::Array(array)) => Ok(array),
        Ok(_) => Err(problem(None, "must be an array of blocks".to_owned())),
        Err(error) => Err(problem(Some(error.line()), not_json(&error, source))),
    }
}

/// serde_json's error, for authors; the line is reported separately.
fn not_json(error: &serde_json::Error, source: &str) -> String {
    let (line, column) = (error.line(), error.column());
    let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default().as_bytes();
    // Valid JSON never has these two in a row outside a string.
    let tag = column.checked_sub(2).and_then(|from| text.get(from..column));
    if matches!(tag, Some(b"{{" | b"{%")) {
        let at = column - 1;
        return format!("must be JSON: a placeholder must be inside a string, at column {at}");
    }
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    let said = said
        .replace("EOF while parsing", "it ends inside")
        .replace("recursion limit exceeded", "it is nested too deep");
    format!("must be JSON: {said}, at column {column}")
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

    /// The line on which this string begins, if the source contains it in the spelling of
    /// `serde_json`.
    fn line(&self, string: &str) -> Option<usize> {
        let json = Value::from(string).to_string();
        let at = self.source.find(&json)?;
        Some(self.source[..at].matches('\n').count() + 1)
    }

    pub(super) fn failed(&self, error: minijinja::Error, string: &str) -> Problem {
        // A JSON string is on one line, whatever line breaks it contains.
        let mut problem = Problem::of(error, &self.field, None);
        problem.line = self.line(string);
        problem
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem { field: self.field.clone(), line: None, problem: problem.into() }
    }
}

/// How the string under `key` is filled in; `None`: it is literal.
pub(super) fn mode(holder: &Map<String, Value>, key: &str) -> Option<Mode> {
    match key {
        "text" if holder.get("type").is_some_and(|kind| kind == "mrkdwn") => Some(Mode::Mrkdwn),
        "text" | "alt_text" | "value" | "accessibility_label" => Some(Mode::Plain),
        "url" | "image_url" => Some(Mode::Url),
        _ => None,
    }
}
