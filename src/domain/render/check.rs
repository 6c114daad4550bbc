//! What is wrong with a template, before it is saved: each problem with its place.

use std::fmt;

use minijinja::ErrorKind;
use serde_json::Value;

use super::{Template, blocks, filters};
use crate::domain::event::FieldProblem;

/// Bytes of a template's blocks.
pub const BLOCKS_BYTES: usize = 32 * 1024;

/// One thing wrong with a template, or with the data of a preview.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// Such as `text`, `blocks[0].text.text` or `data.task.name`.
    pub field: String,
    /// In the template's text or blocks, from 1, where it can be told.
    pub line: Option<usize>,
    /// Continues the name of the field.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} (line {line}) {}", self.field, self.problem),
            None => write!(f, "{} {}", self.field, self.problem),
        }
    }
}

impl From<FieldProblem> for Problem {
    fn from(problem: FieldProblem) -> Self {
        Self { field: problem.field, line: None, problem: problem.problem }
    }
}

impl Problem {
    /// `start` is the line on which the failing string begins.
    pub(super) fn of(error: minijinja::Error, field: &str, start: Option<usize>) -> Self {
        let reason = match (error.kind(), error.detail()) {
            (ErrorKind::SyntaxError | ErrorKind::InvalidOperation, Some(detail)) => {
                detail.to_owned()
            }
            (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
            (ErrorKind::WriteFailure, _) => "the text grows too long".to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        let line = start.map(|start| start + error.line().unwrap_or(1) - 1);
        Self { field: field.to_owned(), line, problem: format!("does not work: {reason}") }
    }
}

impl Template {
    /// Everything that can be known to be wrong without data; empty where the template is good.
    /// What depends on data shows in a [`preview`](super::preview).
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.text.trim().is_empty() {
            let problem = "must not be empty: notifications and screen readers show it".to_owned();
            problems.push(Problem { field: "text".to_owned(), line: None, problem });
        } else if let Err(error) = filters::compiles(&self.text) {
            problems.push(Problem::of(error, "text", Some(1)));
        }
        match parse(&self.blocks) {
            Ok(array) => blocks::check(&array, &self.blocks, &mut problems),
            Err(problem) => problems.push(problem),
        }
        problems
    }
}

/// The array of blocks, its strings not yet filled in.
pub(super) fn parse(source: &str) -> Result<Vec<Value>, Problem> {
    let problem = |line, problem: String| Problem { field: "blocks".to_owned(), line, problem };
    if source.len() > BLOCKS_BYTES {
        return Err(problem(None, format!("must be at most {BLOCKS_BYTES} bytes")));
    }
    match serde_json::from_str(source) {
        Ok(Value::Array(array)) => Ok(array),
        Ok(_) => Err(problem(None, "must be an array of blocks".to_owned())),
        Err(error) => Err(problem(Some(error.line()), format!("must be JSON: {error}"))),
    }
}
