//! Mapping expressions: `EXPRESSION 0 JSON`.
//!
//! An expression is refused, or evaluated within its fuel. Evaluating it twice yields the same,
//! never more values than allowed, and the result of jmespath's own interpreter.

use herald::domain::limits;
use herald::domain::mapping::key::MatchKey;
use herald::domain::mapping::{EvaluationError, Expression, Pass};
use jmespath::{Context, DEFAULT_RUNTIME, Rcvar, Variable};
use serde_json::{Value, json};

use super::parts::{parts, text};

type Found = Result<Vec<MatchKey>, EvaluationError>;

pub(crate) fn run(input: &[u8]) {
    let [source, record] = parts(input);
    let source = text(source);
    let Ok(expression) = Expression::load(&source) else {
        assert!(
            Expression::compile(&source).is_err(),
            "accepted as a setting, but refused when loaded: {source}"
        );
        return;
    };
    let record = serde_json::from_slice(record).unwrap_or_else(|_| usual());
    let found = keys(&expression, &record);
    assert_eq!(found, keys(&expression, &record), "another result: {source}");
    assert_ne!(found, Err(EvaluationError::Stopped));
    if let Ok(keys) = &found {
        assert!(keys.len() <= limits::VALUES, "{} values", keys.len());
    }
    // The crate returns NaN for the average of an empty list; Herald returns null.
    if found != Err(EvaluationError::TooCostly) && !source.contains("avg") {
        assert_eq!(found, expected(&source, &record), "not JMESPath's result: {source}");
    }
}

fn keys(expression: &Expression, value: &Value) -> Found {
    expression.keys(value, &mut Pass::default())
}

/// The result of the crate's interpreter.
fn expected(source: &str, record: &Value) -> Found {
    let ast = jmespath::parse(source).expect("the expression compiles");
    let record = Rcvar::new(Variable::try_from(record).expect("JSON"));
    let mut context = Context::new(source, &DEFAULT_RUNTIME);
    let result = jmespath::interpret(&record, &ast, &mut context);
    let result = result.map_err(|_| EvaluationError::Failed)?;
    keys(&Expression::load("@").expect("itself"), &plain(&result))
}

/// The parts of the result that can be keys: a text or number, or those of a list. Nested lists and
/// objects are left out: their parts may be shared, and written out they can be exponentially
/// large. Expression references have a type of their own and are not values.
fn plain(result: &Variable) -> Value {
    match result {
        Variable::Array(items) => items.iter().map(|item| scalar(item)).collect(),
        other => scalar(other),
    }
}

fn scalar(result: &Variable) -> Value {
    match result {
        Variable::Expref(_) | Variable::Array(_) | Variable::Object(_) => Value::Null,
        other => serde_json::to_value(other).expect("JSON"),
    }
}

/// A person's record, for inputs without one.
fn usual() -> Value {
    json!({
        "user_id": "u1", "email": "Ana@Example.com", "display_name": "Ana", "locale": "de-AT",
        "time_zone": "Europe/Vienna", "metadata": {"a": [1, 2.5, "x", null, true, {"b": [[3]]}]},
        "profile": {"email": "ana@example.com", "fields": {"Xf1": {"value": "7", "alt": ""}}},
        "l": ["b", "a", "a", 10, -0.0, 1e300], "o": {"k": "v", "n": 0}
    })
}
