//! The event types: the built-in ones with their recipients, their data and their default messages,
//! and those that tenants define.
//!
//! Reading order: `catalogue` (the built-in ones), `definition` (the parts that a tenant defines),
//! `check` (its limits), `validate` (data against a type of either kind), `tenant_types` (all types
//! of one tenant).

mod catalogue;
pub mod test_message;
mod validate;

pub mod definition;

pub mod check;
mod default_message;
pub mod edit;

pub mod tenant_types;

use serde_json::{Map, Value};

use super::render::Language;
use super::wording::{self, Words};
use crate::domain::capacity::priority::Priority;
use crate::domain::ids::EventType;

pub use super::problem::FieldProblem;
pub use validate::{Spec, validate};

/// One event type that every tenant has from the start.
#[derive(Debug)]
pub struct BuiltIn {
    /// The name, such as `task.assigned`.
    pub name: &'static str,
    /// One sentence that describes the event.
    pub summary: &'static str,
    /// The recipients; the caller of Notify names them.
    pub recipients: &'static str,
    /// The fields of the data. More fields are allowed; a tenant's templates use only these.
    pub fields: &'static [Field],
    /// Sets of which at least one field must be present.
    pub any_of: &'static [&'static [&'static str]],
    /// The target of the button, for the documentation.
    pub opens: &'static str,
}

/// The event type of the notice before a channel is archived, which Herald itself sends.
#[must_use]
pub fn channel_archiving() -> EventType {
    #[expect(clippy::expect_used, reason = "a constant; a test parses it")]
    EventType::parse(catalogue::CHANNEL_ARCHIVING).expect("constant")
}

/// One field of an event type's data.
#[derive(Debug)]
pub struct Field {
    /// The path in `data`, its parts joined by dots.
    pub path: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// One sentence for integrators.
    pub meaning: &'static str,
    /// The JSON text of the value in previews and the demo; `null` if another field takes its
    /// place.
    demo: &'static str,
}

/// The type of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A non-empty string, or a number.
    Text,
    /// RFC 3339 with an offset, Unix seconds, or only a date (`2026-11-27`).
    Time,
    /// Whole minutes, not negative.
    Minutes,
    /// An absolute http or https URL without user name and password.
    Url,
    /// An object.
    Object,
}

/// The twelve event types, in the order in which the documentation lists them.
#[must_use]
pub fn catalogue() -> &'static [BuiltIn] {
    &catalogue::CATALOGUE
}

/// The name of a type or a field for people: `starts_at` is `Starts at`, and `task.due` is `Task
/// due`.
#[must_use]
pub fn label(name: &str) -> String {
    let words = name.replace(['.', '_'], " ");
    let words = words.trim_start();
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The built-in event type of this name; `None` for a tenant's own.
#[must_use]
pub fn find(event: &EventType) -> Option<&'static BuiltIn> {
    catalogue().iter().find(|built_in| built_in.name == event.as_str())
}

/// The label of the link's button if the caller gives no `link_label`.
#[must_use]
pub fn button(event: &EventType, language: Language) -> &'static str {
    wording::button(event.as_str(), language)
}

/// The priority of messages of this type if its tenant defines none. Repeated in the proto.
#[must_use]
pub fn priority(event: &EventType) -> Priority {
    match event.as_str() {
        // It announces how soon an event begins.
        "event.reminder" => Priority::Urgent,
        "process.imported" => Priority::Bulk,
        _ => Priority::Normal,
    }
}

/// Demonstration data of a built-in event type; an empty object for a tenant's own.
#[must_use]
pub fn demo_data(event: &EventType) -> Value {
    find(event).map_or_else(|| Value::Object(Map::new()), BuiltIn::demo_data)
}

impl BuiltIn {
    /// The fields, as data is checked against them.
    pub fn specs(&self) -> impl Iterator<Item = Spec<'static>> {
        let fields = self.fields;
        fields.iter().map(|field| Spec {
            path: field.path,
            kind: field.kind,
            required: field.required,
        })
    }

    /// Whether a message of this type must have a link to the thing itself.
    #[must_use]
    pub fn needs_link(&self) -> bool {
        self.name != catalogue::CHANNEL_ARCHIVING
    }

    /// The default message; each type of the catalogue has one, which a test checks.
    #[must_use]
    pub fn words(&self, language: Language) -> Option<&'static Words> {
        wording::of(self.name).map(|wording| wording.words(language))
    }

    /// The label of the link button if the caller gives no `link_label`.
    #[must_use]
    pub fn button(&self, language: Language) -> &'static str {
        wording::button(self.name, language)
    }

    /// Data that fills every field except those that another field replaces.
    #[must_use]
    pub fn demo_data(&self) -> Value {
        let mut data = Map::new();
        for field in self.fields {
            let demo = serde_json::from_str(field.demo).unwrap_or(Value::Null);
            if !demo.is_null() {
                insert(&mut data, field.path, demo);
            }
        }
        Value::Object(data)
    }
}

/// Puts a value at a dotted path. An object joins the one that is there, whose entries stay.
pub(super) fn insert(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            if let (Some(Value::Object(present)), Value::Object(more)) =
                (object.get_mut(path), &value)
            {
                for (key, value) in more {
                    present.entry(key.as_str()).or_insert_with(|| value.clone());
                }
            } else {
                object.insert(path.into(), value);
            }
        }
        Some((head, rest)) => {
            let inner = object.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
