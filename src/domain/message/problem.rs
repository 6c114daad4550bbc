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

/// A place in a template's text or blocks, as far as it is known. Both count from 1.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TextPlace {
    pub(super) line: Option<usize>,
    /// The character of the line.
    pub(super) column: Option<usize>,
}

/// One problem of a template, or of the data of a preview.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The path, such as `text`, `blocks[0].text.text` or `data.task.name`.
    pub field: String,
    /// The line in the template's text or blocks, from 1, if it is known.
    pub line: Option<usize>,
    /// The character of the line, from 1, if it is known.
    #[serde(default)]
    pub column: Option<usize>,
    /// Continues the name of the field.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => {
                write!(f, "{} (line {line}, column {column}) {}", self.field, self.problem)
            }
            (Some(line), None) => write!(f, "{} (line {line}) {}", self.field, self.problem),
            (None, _) => write!(f, "{} {}", self.field, self.problem),
        }
    }
}

impl From<FieldProblem> for Problem {
    fn from(problem: FieldProblem) -> Self {
        Self::new(problem.field, problem.problem)
    }
}

impl Problem {
    /// A problem of a field as a whole.
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), line: None, column: None, problem: problem.into() }
    }

    /// The problem of a text as a whole, placed where the text begins.
    pub(super) fn at_the_beginning(self) -> Self {
        Self { line: Some(1), column: Some(1), ..self }
    }

    /// A problem of a template's string, at this place.
    pub(super) fn of(error: &minijinja::Error, field: &str, place: TextPlace) -> Self {
        let reason = match (error.kind(), error.detail()) {
            (
                ErrorKind::SyntaxError
                | ErrorKind::InvalidOperation
                | ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest,
                Some(detail),
            ) => detail.to_owned(),
            (ErrorKind::UnknownFunction, Some(detail)) => format!("function {detail}"),
            (ErrorKind::MissingArgument, _) => "an argument is missing".to_owned(),
            (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
            (ErrorKind::WriteFailure, _) => "the text grows too long".to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        let TextPlace { line, column } = place;
        Self { line, column, ..Self::new(field, format!("does not work: {reason}")) }
    }
}
