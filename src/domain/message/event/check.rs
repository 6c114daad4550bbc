//! The limits of a definition. All problems are reported in one answer, each with the path of its
//! field in the request.

use super::definition::{Definition, Own, OwnField};
use super::validate::value_problem;
use super::{Kind, Spec, find};
use crate::domain::ids::EventType;
use crate::domain::limits;
use crate::domain::message::problem::FieldProblem;
use crate::domain::message::render::escape;

/// The beginning of names that no tenant may use: Herald's own messages have them.
const RESERVED: &str = "herald.";

/// The problem of the name of a new type.
#[must_use]
pub fn name_problem(event: &EventType) -> Option<FieldProblem> {
    let problem = if find(event).is_some() {
        format!("{event} is built in: change it with UpdateEventType")
    } else if event.as_str().starts_with(RESERVED) {
        format!("must not begin with {RESERVED}")
    } else {
        return None;
    };
    Some(FieldProblem::new("event_type.name", problem))
}

/// All problems of a definition; empty if it is valid.
#[must_use]
pub fn problems(definition: &Definition) -> Vec<FieldProblem> {
    let mut found = Found::default();
    let roles = definition.rules.audience_roles.len();
    if roles > limits::ROLES {
        found.bad("audience_roles", format!("must be at most {}, was {roles}", limits::ROLES));
    }
    if let Some(own) = &definition.own {
        found.own(own);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<FieldProblem>);

impl Found {
    fn bad(&mut self, field: &str, problem: impl Into<String>) {
        self.0.push(FieldProblem::new(format!("event_type.{field}"), problem));
    }

    fn own(&mut self, own: &Own) {
        self.text("display_name", &own.display_name, limits::EVENT_TYPE_DISPLAY_BYTES);
        if escape::one_line(&own.display_name).is_empty() {
            self.bad("display_name", "must not be empty");
        }
        self.text("summary", &own.summary, limits::EVENT_TYPE_SUMMARY_BYTES);
        self.text("category", &own.category, limits::EVENT_TYPE_CATEGORY_BYTES);
        let (max, was) = (limits::EVENT_FIELDS, own.fields.len());
        if was > max {
            self.bad("fields", format!("must be at most {max}, was {was}"));
            return;
        }
        for (index, field) in own.fields.iter().enumerate() {
            self.field(&format!("fields[{index}]"), field, &own.fields[..index]);
        }
        if let Some(path) = &own.subject_key_path {
            let named = own.fields.iter().find(|field| field.path == *path);
            if named.is_none_or(|field| field.kind != Kind::Text) {
                let problem = "must be the path of a field of kind TEXT";
                self.bad("subject_key_path", problem);
            }
        }
    }

    fn field(&mut self, at: &str, field: &OwnField, before: &[OwnField]) {
        let path = format!("{at}.path");
        if let Some(problem) = path_problem(&field.path) {
            self.bad(&path, problem);
        } else if before.iter().any(|other| other.path == field.path) {
            self.bad(&path, format!("{} is named twice", field.path));
        } else if let Some(other) = before.iter().find(|other| excludes(other, field)) {
            let problem = format!("conflicts with {}: one of them contains the other", other.path);
            self.bad(&path, problem);
        }
        self.text(&format!("{at}.meaning"), &field.meaning, limits::EVENT_FIELD_MEANING_BYTES);
        let Some(example) = &field.example else { return };
        let (max, was) = (limits::EVENT_FIELD_EXAMPLE_BYTES, example.to_string().len());
        if was > max {
            self.bad(&format!("{at}.example"), format!("must be at most {max} bytes, was {was}"));
        } else if let Some(problem) = value_problem(field.spec(), example) {
            self.bad(&format!("{at}.example"), problem);
        }
    }

    fn text(&mut self, field: &str, text: &str, max: usize) {
        if text.len() > max {
            self.bad(field, format!("must be at most {max} bytes, was {}", text.len()));
        } else if text.chars().any(char::is_control) {
            self.bad(field, "must not contain control characters");
        }
    }
}

/// Whether no data could have both: one is inside a value of the other, which is not an object.
fn excludes(one: &OwnField, other: &OwnField) -> bool {
    let is_inside = |inner: Spec<'_>, outer: Spec<'_>| {
        let rest = inner.path.strip_prefix(outer.path);
        outer.kind != Kind::Object && rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let (one, other) = (one.spec(), other.spec());
    is_inside(one, other) || is_inside(other, one)
}

fn path_problem(path: &str) -> Option<String> {
    let (max, was) = (limits::EVENT_FIELD_PATH_BYTES, path.len());
    if path.is_empty() {
        return Some("must not be empty".into());
    }
    if was > max {
        return Some(format!("must be at most {max} bytes, was {was}"));
    }
    let parts = limits::EVENT_FIELD_PATH_PARTS;
    if path.split('.').count() > parts {
        return Some(format!("must have at most {parts} parts"));
    }
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let named = path.split('.').all(is_name);
    (!named).then(|| "must look like course.starts_at (names joined by dots)".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ids::AudienceRole;
    use crate::domain::message::event::catalogue;

    fn field(path: &str, kind: Kind) -> OwnField {
        OwnField { path: path.into(), kind, required: false, meaning: String::new(), example: None }
    }

    fn good() -> Own {
        Own {
            display_name: "Training cancelled".into(),
            fields: vec![field("course", Kind::Object), field("course.name", Kind::Text)],
            subject_key_path: Some("course.name".into()),
            ..Own::default()
        }
    }

    fn told(change: impl FnOnce(&mut Own)) -> Vec<String> {
        let mut own = good();
        change(&mut own);
        let definition = Definition { own: Some(own), ..Definition::default() };
        problems(&definition).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_definition_has_no_problem() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
        assert_eq!(problems(&Definition::default()), []);
    }

    #[test]
    fn names_of_built_in_types_and_of_herald_are_taken() {
        let problem = |name: &str| name_problem(&EventType::parse(name).unwrap());
        for built_in in catalogue() {
            assert!(problem(built_in.name).is_some(), "{}", built_in.name);
        }
        assert!(problem("herald.test").is_some() && problem("herald.new").is_some());
        assert_eq!(problem("training.cancelled"), None);
    }

    #[test]
    fn each_field_has_its_limit() {
        let long = |most: usize| "x".repeat(most + 1);
        for (problem, was) in [
            (
                "event_type.display_name must not be empty",
                told(|own| own.display_name = "  ".into()),
            ),
            (
                "event_type.display_name must be at most 128 bytes, was 129",
                told(|own| own.display_name = long(128)),
            ),
            (
                "event_type.display_name must not contain control characters",
                told(|own| own.display_name = "a\nb".into()),
            ),
            (
                "event_type.summary must be at most 512 bytes, was 513",
                told(|own| own.summary = long(512)),
            ),
            (
                "event_type.category must be at most 64 bytes, was 65",
                told(|own| own.category = long(64)),
            ),
            (
                "event_type.fields must be at most 30, was 31",
                told(|own| own.fields = vec![field("a", Kind::Text); 31]),
            ),
            (
                "event_type.subject_key_path must be the path of a field of kind TEXT",
                told(|own| own.subject_key_path = Some("course".into())),
            ),
            (
                "event_type.subject_key_path must be the path of a field of kind TEXT",
                told(|own| own.subject_key_path = Some("nowhere".into())),
            ),
        ] {
            assert_eq!(was, [problem]);
        }
    }

    #[test]
    fn each_part_of_a_field_has_its_limit() {
        let changed = |change: fn(&mut OwnField)| told(|own| change(&mut own.fields[0]));
        let at = "event_type.fields[0]";
        for (problem, was) in [
            ("path must not be empty", changed(|field| field.path.clear())),
            ("path must be at most 100 bytes, was 101", changed(|f| f.path = "x".repeat(101))),
            ("path must have at most 4 parts", changed(|f| f.path = "a.b.c.d.e".into())),
            (
                "path must look like course.starts_at (names joined by dots)",
                changed(|field| field.path = "a..b".into()),
            ),
            (
                "path must look like course.starts_at (names joined by dots)",
                changed(|field| field.path = "1a".into()),
            ),
            (
                "path must look like course.starts_at (names joined by dots)",
                changed(|field| field.path = "a b".into()),
            ),
            (
                "meaning must be at most 256 bytes, was 257",
                changed(|f| f.meaning = "x".repeat(257)),
            ),
            ("example must be an object", changed(|field| field.example = Some(json!("text")))),
            (
                "example must be at most 256 bytes, was 302",
                changed(|field| field.example = Some(Value::from("x".repeat(300)))),
            ),
        ] {
            assert_eq!(was, [format!("{at}.{problem}")]);
        }
    }

    #[test]
    fn fields_must_fit_each_other() {
        let twice = told(|own| own.fields.push(field("course.name", Kind::Time)));
        assert_eq!(twice, ["event_type.fields[2].path course.name is named twice"]);
        for path in ["course.name.first", "course"] {
            let inside = told(|own| {
                own.fields.remove(0);
                own.fields.push(field(path, Kind::Text));
            });
            let problem = "conflicts with course.name: one of them contains the other";
            assert_eq!(inside, [format!("event_type.fields[1].path {problem}")]);
        }
        let other = told(|own| own.fields.push(field("course.names", Kind::Text)));
        assert_eq!(other, Vec::<String>::new());
    }

    #[test]
    fn an_audience_has_a_limit() {
        let role = |number: usize| AudienceRole::parse(format!("role-{number}")).unwrap();
        let mut definition = Definition::default();
        definition.rules.audience_roles = (0..20).map(role).collect::<BTreeSet<_>>();
        assert_eq!(problems(&definition), []);
        definition.rules.audience_roles.insert(role(20));
        let told: Vec<_> = problems(&definition).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["event_type.audience_roles must be at most 20, was 21"]);
    }
}
