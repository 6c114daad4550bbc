//! Validation of data against its event type. All invalid fields are reported in one answer, at
//! acceptance, so that nothing is refused later.

use serde_json::Value;

use super::Kind;
use crate::domain::limits;
use crate::domain::message::problem::FieldProblem;
use crate::domain::message::render::{escape, zone};

/// One field, as a value is checked against it.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// The path in `data`, its parts joined by dots.
    pub path: &'a str,
    pub kind: Kind,
    pub required: bool,
}

/// All problems of a notification's data; empty if it is valid. At least one field of each set in
/// `any_of` must be present. Fields without a spec are allowed. Depth and size are checked first:
/// data that fails these checks is not checked further.
#[must_use]
pub fn validate<'a>(
    data: &Value,
    specs: impl IntoIterator<Item = Spec<'a>>,
    any_of: &[&[&str]],
) -> Vec<FieldProblem> {
    if !data.is_object() {
        return vec![FieldProblem::new("data", "must be an object")];
    }
    if deeper_than(data, limits::JSON_DEPTH) {
        let max = limits::JSON_DEPTH;
        return vec![FieldProblem::new("data", format!("must not nest deeper than {max} levels"))];
    }
    let bytes = data.to_string().len();
    if bytes > limits::DATA_BYTES {
        let max = limits::DATA_BYTES;
        return vec![FieldProblem::new(
            "data",
            format!("must be at most {max} bytes of JSON, was {bytes}"),
        )];
    }
    let mut problems: Vec<_> =
        specs.into_iter().filter_map(|spec| problem_of(spec, data)).collect();
    for set in any_of {
        if set.iter().all(|path| matches!(at(data, path), Ok(Value::Null))) {
            let names = set.join(" or data.");
            problems.push(FieldProblem::new(
                format!("data.{}", set[0]),
                format!("is required (data.{names})"),
            ));
        }
    }
    problems.dedup();
    problems
}

fn problem_of(spec: Spec<'_>, data: &Value) -> Option<FieldProblem> {
    let name = format!("data.{}", spec.path);
    let value = match at(data, spec.path) {
        Ok(value) => value,
        Err(holder) => {
            return Some(FieldProblem::new(format!("data.{holder}"), "must be an object"));
        }
    };
    if value.is_null() {
        return spec.required.then(|| FieldProblem::new(name, "is required"));
    }
    value_problem(spec, value).map(|problem| FieldProblem::new(name, problem))
}

/// The problem of a value that is present.
pub(super) fn value_problem(spec: Spec<'_>, value: &Value) -> Option<String> {
    match spec.kind {
        Kind::Text => text_problem(value, spec.required),
        Kind::Time => zone::Moment::parse(value).err().map(|problem| problem.to_string()),
        Kind::Minutes => {
            let whole = value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0 && n < 1e9);
            (!whole).then(|| "must be a whole number of minutes, not negative".to_owned())
        }
        Kind::Url => match value {
            Value::String(text) => escape::url(text).err().map(|problem| problem.to_string()),
            _ => Some("must be a URL".to_owned()),
        },
        Kind::Object => (!value.is_object()).then(|| "must be an object".to_owned()),
    }
}

fn text_problem(value: &Value, required: bool) -> Option<String> {
    match value {
        Value::String(text) if required && escape::one_line(text).is_empty() => {
            Some("must not be empty".to_owned())
        }
        Value::String(_) | Value::Number(_) => None,
        _ => Some("must be text".to_owned()),
    }
}

/// The value at a dotted path, null if there is none. The error is the path of a value that would
/// have to be an object but is not.
pub(super) fn at<'a>(data: &'a Value, path: &str) -> Result<&'a Value, String> {
    let mut value = data;
    let mut walked = String::new();
    for part in path.split('.') {
        match value {
            Value::Object(object) => value = object.get(part).unwrap_or(&Value::Null),
            Value::Null => return Ok(&Value::Null),
            _ => return Err(walked),
        }
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(part);
    }
    Ok(value)
}

/// Whether a value nests deeper than `max`, without recursing any deeper. A scalar has depth 0.
fn deeper_than(value: &Value, max: usize) -> bool {
    let inner = |value: &Value| match max.checked_sub(1) {
        None => true,
        Some(rest) => deeper_than(value, rest),
    };
    match value {
        Value::Array(items) => max == 0 || items.iter().any(inner),
        Value::Object(object) => max == 0 || object.values().any(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::find;
    use super::*;
    use crate::domain::ids::EventType;

    /// The problems of data for a built-in event type; a type of another name has no fields.
    fn problems(event: &str, data: Value) -> Vec<String> {
        let problems = match find(&EventType::parse(event).unwrap()) {
            Some(built_in) => validate(&data, built_in.specs(), built_in.any_of),
            None => validate(&data, [], &[]),
        };
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_bad_fields_are_told_at_once() {
        let data = json!({"task": {"name": " \u{0}"}, "process": "Onboarding", "due_at": "soon"});
        assert_eq!(
            problems("task.assigned", data),
            [
                "data.task.name must not be empty",
                "data.process must be an object",
                "data.due_at must be a time: RFC 3339 with an offset \
                 (2026-11-27T17:00:00+01:00), Unix seconds, or a date (2026-11-27)",
            ]
        );
    }

    #[test]
    fn extra_fields_are_allowed_and_missing_ones_named() {
        let data = json!({"task": {"name": "x", "color": "red"}, "more": [1]});
        assert_eq!(problems("task.assigned", data), ["data.process.name is required"]);
    }

    #[test]
    fn a_reminder_needs_either_way_of_saying_how_soon() {
        let event = json!({"name": "x"});
        assert_eq!(
            problems("event.reminder", json!({ "event": event })),
            ["data.starts_in_minutes is required (data.starts_in_minutes or data.starts_at)"]
        );
        assert!(
            problems("event.reminder", json!({"event": event, "starts_in_minutes": 15.0}))
                .is_empty()
        );
        assert!(
            problems("event.reminder", json!({"event": event, "starts_at": 1_790_000_000}))
                .is_empty()
        );
    }

    #[test]
    fn depth_and_size_are_bounded_for_every_event_type() {
        let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert!(problems("own.type", nested(16)).is_empty());
        assert_eq!(problems("own.type", nested(17)), ["data must not nest deeper than 16 levels"]);
        let large = json!({"a": "x".repeat(limits::DATA_BYTES)});
        assert!(problems("own.type", large)[0].starts_with("data must be at most 32768 bytes"));
        assert_eq!(problems("own.type", json!([])), ["data must be an object"]);
    }
}
