//! Problems of a caller's input, each with its place.

use std::fmt;

use minijinja::ErrorKind;

/// One problem of a caller's request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct FieldProblem {
    /// The path of the field, such as `data.task.name`.
    pub field: String,
    /// Continues the name of the field: `is required`.
    pub problem: String,
}

impl FieldProblem {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// One problem of a template, or of the data of a preview.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The path, such as `text`, `blocks[0].text.text` or `data.task.name`.
    pub field: String,
    /// The line in the template's text or blocks, from 1, if it is known.
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
    /// `start` is the line on which the faulty string begins.
    pub(in crate::domain) fn of(
        error: minijinja::Error,
        field: &str,
        start: Option<usize>,
    ) -> Self {
        let reason = match (error.kind(), error.detail()) {
            (ErrorKind::SyntaxError | ErrorKind::InvalidOperation, Some(detail)) => {
                detail.to_owned()
            }
            (ErrorKind::UnknownFilter | ErrorKind::UnknownTest, Some(detail)) => detail.to_owned(),
            (ErrorKind::UnknownFunction, Some(detail)) => format!("function {detail}"),
            (ErrorKind::MissingArgument, _) => "an argument is missing".to_owned(),
            (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
            (ErrorKind::WriteFailure, _) => "the text grows too long".to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        let line = start.map(|start| start + error.line().unwrap_or(1) - 1);
        Self { field: field.to_owned(), line, problem: format!("does not work: {reason}") }
    }
}
