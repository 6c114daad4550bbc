//! The mapping: two JMESPath expressions that identify a person's Slack member.
//!
//! Expressions come from administrators, so they must not be able to harm the process: length and
//! depth are bounded before parsing ([`depth`]), and a mistake or a hopeless cost is refused when
//! the expression is set, with its place ([`check`], [`estimate`]). [`fuel`] bounds the cost of the
//! evaluation of any expression. An expression is compiled once and is cheap to clone and share.
//!
//! Plain dotted paths, which most mappings are, are followed in the JSON ([`path`]). For the others
//! only the parts that they read are converted ([`needs`]), for many members by overwriting the
//! previous one ([`evaluator`]), and the tree is searched ([`search`], [`functions`], [`values`]).
//! [`json`] reads JSON of unknown shape; two values match if their [`key`]s are equal.

mod check;
mod depth;
mod fuel;
pub(super) mod json;
pub mod key;
mod needs;
mod path;
mod words;

mod values;

mod estimate;
mod functions;

mod search;

mod evaluator;

#[cfg(test)]
mod compliance;
#[cfg(test)]
mod tests;

pub(super) use evaluator::Evaluator;
pub use fuel::{Pass, Stop};
pub(super) use path::{PathEvent, Walk};

use std::fmt;
use std::sync::Arc;

use jmespath::ErrorReason;
use jmespath::ast::Ast;
use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde_json::Value;

use super::limits;
use super::mapping::json::Read;
use super::mapping::key::MatchKey;
use needs::Needs;

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {position})")]
pub struct ExpressionError {
    /// The problem.
    pub message: String,
    /// Byte offset of the fault in the expression.
    pub position: usize,
}

/// Why a mapping was refused: the expression, and its problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {error}")]
pub struct MappingError {
    /// `user_attribute` or `slack_attribute`.
    pub field: &'static str,
    pub error: ExpressionError,
}

/// Why an expression yields nothing on one value. The value is personal, so the error does not show
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression fails, such as `length(title)` for a title that is null: there is no value.
    #[error("the expression cannot be evaluated on this value")]
    Failed,
    /// It ran out of fuel, or yields more than [`limits::VALUES`] values, and then none of them
    /// counts.
    #[error("the expression costs too much on this value")]
    TooCostly,
    /// No one waits for the result any longer.
    #[error("the evaluation was stopped")]
    Stopped,
}

/// The values that a mapping's user attribute yields for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// The keys, which may be none.
    Keys(Vec<MatchKey>),
    /// The evaluation cost too much.
    TooCostly,
}

impl Values {
    /// The keys; empty if they were too costly.
    #[must_use]
    pub fn keys(&self) -> &[MatchKey] {
        match self {
            Self::Keys(keys) => keys,
            Self::TooCostly => &[],
        }
    }
}

/// One compiled expression. Equal if the sources are equal.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    source: String,
    needs: Needs,
    plan: Plan,
}

enum Plan {
    /// Only a chain of fields.
    Path(Vec<String>),
    Search(Ast),
}

impl Expression {
    /// Compiles JMESPath of at most [`limits::EXPRESSION_BYTES`] bytes and
    /// [`limits::EXPRESSION_DEPTH`] levels that a caller sets or tries. An expression that can
    /// never be evaluated at a reasonable cost is refused too.
    pub fn compile(source: &str) -> Result<Self, ExpressionError> {
        let expression = Self::load(source)?;
        if let Plan::Search(ast) = &expression.0.plan {
            estimate::check(ast).map_err(ExpressionError::from)?;
        }
        Ok(expression)
    }

    /// Compiles a stored expression. The estimate is not applied, because the expression was
    /// accepted earlier: if it costs too much on a value, only the evaluation on that value fails.
    pub fn load(source: &str) -> Result<Self, ExpressionError> {
        let error = |message: String, position| ExpressionError { message, position };
        if source.trim().is_empty() {
            return Err(error("an expression must not be empty".into(), 0));
        }
        if source.len() > limits::EXPRESSION_BYTES {
            let (max, was) = (limits::EXPRESSION_BYTES, source.len());
            return Err(error(format!("must be at most {max} bytes, was {was}"), max));
        }
        if let Some(position) = depth::too_deep_at(source) {
            let max = limits::EXPRESSION_DEPTH;
            return Err(error(format!("must nest at most {max} levels"), position));
        }
        let ast = jmespath::parse(source).map_err(|fault| {
            let message = match fault.reason {
                ErrorReason::Parse(complaint) => words::of(&complaint),
                ErrorReason::Runtime(reason) => reason.to_string(),
            };
            error(message, fault.offset.min(source.len()))
        })?;
        check::check(source, &ast).map_err(ExpressionError::from)?;
        let needs = Needs::of(&ast);
        let plan = path::of(&ast).map_or(Plan::Search(ast), Plan::Path);
        Ok(Self(Arc::new(Compiled { source: source.to_owned(), needs, plan })))
    }

    /// The expression as it was set.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether, evaluated on a member, it could read `profile.fields`, which `users.list` does not
    /// return. True if in doubt.
    #[must_use]
    pub fn reads_profile_fields(&self) -> bool {
        self.0.needs.touches(&FIELDS)
    }

    /// Whether it is exactly this chain of fields.
    #[must_use]
    pub fn is_path(&self, fields: &[&str]) -> bool {
        matches!(&self.0.plan, Plan::Path(path) if path == fields)
    }

    /// The chain of fields, if the expression is only that.
    pub(super) fn path(&self) -> Option<&[String]> {
        match &self.0.plan {
            Plan::Path(path) => Some(path),
            Plan::Search(_) => None,
        }
    }

    /// Whether it is only a chain of fields: then evaluating it costs no more than reading the
    /// value.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.path().is_some()
    }

    /// The keys of a person or a member: none if the result is null, empty, a boolean or an object;
    /// several if it is a list. Each once, in the order of the list.
    pub fn keys(&self, value: &Value, pass: &mut Pass) -> Result<Vec<MatchKey>, EvaluationError> {
        let mut keys: Vec<MatchKey> = Vec::new();
        let mut too_many = false;
        self.read(value, pass, &mut |event| match event {
            PathEvent::Restart => {
                keys.clear();
                too_many = false;
            }
            PathEvent::Text(text) => {
                let known = keys.iter().any(|key| key.as_str() == text);
                if !known && keys.len() < limits::VALUES {
                    keys.push(MatchKey::from_canonical(text));
                } else {
                    too_many |= !known;
                }
            }
        })?;
        if too_many { Err(EvaluationError::TooCostly) } else { Ok(keys) }
    }

    /// The values for a person; a failure yields none. `None`: the evaluation was stopped.
    #[must_use]
    pub fn values(&self, value: &Value, pass: &mut Pass) -> Option<Values> {
        match self.keys(value, pass) {
            Ok(keys) => Some(Values::Keys(keys)),
            Err(EvaluationError::Failed) => Some(Values::Keys(Vec::new())),
            Err(EvaluationError::TooCostly) => Some(Values::TooCostly),
            Err(EvaluationError::Stopped) => None,
        }
    }

    /// Reports the canonical text of every key in a JSON document, or in a parsed value.
    fn read<'de, D: Deserializer<'de>>(
        &self,
        json: D,
        pass: &mut Pass,
        found: &mut impl FnMut(PathEvent<'_>),
    ) -> Result<(), EvaluationError> {
        let failed = |_| EvaluationError::Failed;
        match &self.0.plan {
            Plan::Path(path) => Read(Walk { path, found }).deserialize(json).map_err(failed),
            Plan::Search(ast) => {
                let needed = Read(&self.0.needs).deserialize(json).map_err(failed)?;
                let result = pass.value(|fuel| search::search(&needed, ast, fuel))?;
                path::tell_variable(&result, found);
                Ok(())
            }
        }
    }
}

impl From<check::Fault> for ExpressionError {
    fn from(fault: check::Fault) -> Self {
        Self { message: fault.message, position: fault.position }
    }
}

/// The place of a member's custom fields.
pub(super) const FIELDS: [&str; 2] = ["profile", "fields"];

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}

/// A tenant's mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Evaluated on the person's record.
    pub user: Expression,
    /// Evaluated on the member object.
    pub slack: Expression,
}

impl Mapping {
    /// Compiles both expressions, like [`Expression::compile`], the user attribute first.
    pub fn compile(user: &str, slack: &str) -> Result<Self, MappingError> {
        Self::by(Expression::compile, user, slack)
    }

    /// Compiles stored expressions, like [`Expression::load`].
    pub fn load(user: &str, slack: &str) -> Result<Self, MappingError> {
        Self::by(Expression::load, user, slack)
    }

    fn by(
        compile: impl Fn(&str) -> Result<Expression, ExpressionError>,
        user: &str,
        slack: &str,
    ) -> Result<Self, MappingError> {
        let compile =
            |field, source| compile(source).map_err(|error| MappingError { field, error });
        Ok(Self {
            user: compile("user_attribute", user)?,
            slack: compile("slack_attribute", slack)?,
        })
    }
}
