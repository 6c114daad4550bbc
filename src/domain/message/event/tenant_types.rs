//! All event types of one tenant: the built-in ones, as the tenant configured them, and its own.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::Value;

use super::default_message::template;
use super::definition::{Definition, Own, OwnField, Rules};
use super::validate::{at, validate};
use super::{BuiltIn, FieldProblem, Spec, catalogue, find, priority};
use crate::domain::capacity::priority::Priority;
use crate::domain::ids::EventType;
use crate::domain::message::render::Template;
use crate::domain::message::wording::candidates::ReadyWords;
use crate::domain::message::wording::{self, Wording};

/// Bytes in memory, at most about: of a tenant's configured types, of an own type, of each of its
/// fields, and of each byte of a field's example. An example of nested objects needs the most.
const TENANT_BYTES: usize = 4 << 10;
const OWN_BYTES: usize = 8 << 10;
const FIELD_BYTES: usize = 4 << 10;
const EXAMPLE_BYTES: usize = 100;
/// Bytes of a name in memory, at most about.
const NAME_BYTES: usize = 128;

/// The rules of a type that its tenant never configured.
static UNCONFIGURED: Rules =
    Rules { audience_roles: BTreeSet::new(), priority: None, skip_actor: false };

/// The event types of one tenant.
#[derive(Debug, Default)]
pub struct TenantTypes {
    defined: BTreeMap<EventType, Defined>,
    /// The names of definitions that only a newer release can read.
    unread: BTreeSet<EventType>,
}

/// A definition, with its message.
#[derive(Debug)]
struct Defined {
    definition: Definition,
    /// The words of a tenant's own type, once they have been used.
    words: OnceLock<(Template, ReadyWords)>,
}

/// One event type that Notify accepts.
#[derive(Debug, Clone, Copy)]
pub struct KnownType<'a> {
    pub name: &'a str,
    pub source: Source<'a>,
    pub rules: &'a Rules,
}

/// Where the other parts of a type come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    BuiltIn(&'static BuiltIn, &'static Wording),
    Own(OwnSource<'a>),
}

/// A tenant's own type.
#[derive(Debug, Clone, Copy)]
pub struct OwnSource<'a> {
    pub own: &'a Own,
    words: &'a OnceLock<(Template, ReadyWords)>,
}

impl TenantTypes {
    /// The types of a tenant with these definitions.
    #[must_use]
    pub fn new(definitions: impl IntoIterator<Item = (EventType, Definition)>) -> Self {
        let defined = definitions.into_iter().map(|(event, definition)| {
            let defined = Defined { definition, words: OnceLock::new() };
            (event, defined)
        });
        Self { defined: defined.collect(), unread: BTreeSet::new() }
    }

    /// With the names of definitions that only a newer release can read.
    #[must_use]
    pub fn with_unread(self, unread: BTreeSet<EventType>) -> Self {
        Self { unread, ..self }
    }

    /// The type of this name. A type that a tenant made before a release brought one of the same
    /// name remains the tenant's own.
    #[must_use]
    pub fn find<'a>(&'a self, event: &'a EventType) -> Option<KnownType<'a>> {
        let name = event.as_str();
        let Some(defined) = self.defined.get(event) else {
            let source = built_in(event)?;
            return Some(KnownType { name, source, rules: &UNCONFIGURED });
        };
        let source = match &defined.definition.own {
            Some(own) => Source::Own(OwnSource { own, words: &defined.words }),
            None => built_in(event)?,
        };
        Some(KnownType { name, source, rules: &defined.definition.rules })
    }

    /// Whether only a newer release can read the definition of this name: neither is the type
    /// unknown, nor are its rules known.
    #[must_use]
    pub fn is_unread(&self, event: &EventType) -> bool {
        self.unread.contains(event)
    }

    /// Whether there is a type of this name, in this release or a newer one.
    #[must_use]
    pub fn has(&self, event: &EventType) -> bool {
        self.is_unread(event) || self.find(event).is_some()
    }

    /// The number of the tenant's own types. Definitions that cannot be read count as own types.
    #[must_use]
    pub fn own_count(&self) -> usize {
        self.own_names().count() + self.unread.len()
    }

    /// The names of all types: the built-in ones in the order of the catalogue, then the tenant's
    /// own.
    pub fn names(&self) -> impl Iterator<Item = Cow<'_, EventType>> {
        let built_in = catalogue().iter().filter_map(move |built_in| {
            let event = EventType::parse(built_in.name).ok()?;
            (!self.is_own(&event)).then_some(Cow::Owned(event))
        });
        built_in.chain(self.own_names().map(Cow::Borrowed))
    }

    /// The names of the tenant's own types.
    fn own_names(&self) -> impl Iterator<Item = &EventType> {
        self.defined.iter().filter(|(_, it)| it.definition.own.is_some()).map(|(event, _)| event)
    }

    /// Whether this is a type of the tenant's own.
    #[must_use]
    pub fn is_own(&self, event: &EventType) -> bool {
        self.defined.get(event).is_some_and(|defined| defined.definition.own.is_some())
    }

    /// About how many bytes it takes in memory, with all messages compiled.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let own = self.defined.values().filter_map(|defined| defined.definition.own.as_ref());
        let field = |field: &OwnField| {
            let example = field.example.as_ref().map_or(0, |example| example.to_string().len());
            FIELD_BYTES + EXAMPLE_BYTES * example
        };
        let of = |own: &Own| OWN_BYTES + own.fields.iter().map(field).sum::<usize>();
        let bytes: usize = own.map(of).sum();
        let unread = self.unread.len() * NAME_BYTES;
        u32::try_from(TENANT_BYTES + bytes + unread).unwrap_or(u32::MAX)
    }

    /// The definition of a type; without any parts for a built-in type that was never configured.
    #[must_use]
    pub fn definition(&self, event: &EventType) -> Definition {
        self.defined.get(event).map(|defined| defined.definition.clone()).unwrap_or_default()
    }
}

impl<'a> KnownType<'a> {
    /// The tenant's own parts; `None` for a built-in type.
    #[must_use]
    pub fn own(&self) -> Option<&'a Own> {
        match self.source {
            Source::BuiltIn(..) => None,
            Source::Own(source) => Some(source.own),
        }
    }

    /// The fields of the data, as it is checked against them.
    #[must_use]
    pub fn specs(&self) -> Vec<Spec<'a>> {
        match self.source {
            Source::BuiltIn(built_in, _) => built_in.specs().collect(),
            Source::Own(source) => source.own.fields.iter().map(OwnField::spec).collect(),
        }
    }

    /// Sets of fields of which at least one must be present.
    #[must_use]
    pub fn any_of(&self) -> &'static [&'static [&'static str]] {
        match self.source {
            Source::BuiltIn(built_in, _) => built_in.any_of,
            Source::Own(_) => &[],
        }
    }

    /// Example data that fills the fields.
    #[must_use]
    pub fn demo_data(&self) -> Value {
        match self.source {
            Source::BuiltIn(built_in, _) => built_in.demo_data(),
            Source::Own(source) => source.own.demo_data(),
        }
    }

    /// All problems of the data of a notification.
    #[must_use]
    pub fn data_problems(&self, data: &Value) -> Vec<FieldProblem> {
        validate(data, self.specs(), self.any_of())
    }

    /// Whether a message of this type must have a link.
    #[must_use]
    pub fn needs_link(&self) -> bool {
        match self.source {
            Source::BuiltIn(built_in, _) => built_in.needs_link(),
            Source::Own(_) => false,
        }
    }

    /// The priority of messages of this type.
    #[must_use]
    pub fn priority(&self, event: &EventType) -> Priority {
        self.rules.priority.unwrap_or_else(|| priority(event))
    }

    /// The words of its messages.
    #[must_use]
    pub fn words(&self) -> ReadyWords {
        match self.source {
            Source::BuiltIn(_, wording) => ReadyWords::BuiltIn(wording),
            Source::Own(source) => source.words().1.clone(),
        }
    }

    /// The words to store with a notification, so that messages that are written later have them
    /// too; `None` for built-in types, whose words the release has.
    #[must_use]
    pub fn own_words(&self) -> Option<&'a Template> {
        match self.source {
            Source::BuiltIn(..) => None,
            Source::Own(source) => Some(&source.words().0),
        }
    }

    /// The path in `data` at which the type finds the subject of a notification, and the text
    /// there. `None`: the type has no such path, or the data no value there.
    #[must_use]
    pub fn subject<'d>(&self, data: &'d Value) -> Option<(&'a str, Cow<'d, str>)> {
        let path = self.own()?.subject_key_path.as_deref()?;
        let text = match at(data, path).ok()? {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            _ => return None,
        };
        (!text.is_empty()).then_some((path, text))
    }
}

impl<'a> OwnSource<'a> {
    fn words(self) -> &'a (Template, ReadyWords) {
        self.words.get_or_init(|| {
            let template = template(self.own);
            let ready = ReadyWords::own(&template);
            (template, ready)
        })
    }
}

/// The built-in type of this name, with its words.
fn built_in(event: &EventType) -> Option<Source<'static>> {
    Some(Source::BuiltIn(find(event)?, wording::of(event.as_str())?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::message::event::Kind;

    fn event(name: &str) -> EventType {
        EventType::parse(name).unwrap()
    }

    fn types() -> TenantTypes {
        let field = |path: &str, kind, required| OwnField {
            path: path.into(),
            kind,
            required,
            meaning: String::new(),
            example: None,
        };
        let own = Own {
            display_name: "Training cancelled".into(),
            fields: vec![
                field("course.name", Kind::Text, true),
                field("starts_at", Kind::Time, false),
            ],
            subject_key_path: Some("course.name".into()),
            ..Own::default()
        };
        let rules = Rules { priority: Some(Priority::Bulk), ..Rules::default() };
        TenantTypes::new([
            (event("training.cancelled"), Definition { own: Some(own), ..Definition::default() }),
            (event("task.due"), Definition { rules, own: None }),
        ])
    }

    #[test]
    fn own_types_are_known_and_built_in_ones_configured() {
        let (types, own, due) = (types(), event("training.cancelled"), event("task.due"));
        let known = types.find(&own).unwrap();
        assert!(types.is_own(&own) && !known.needs_link());
        assert_eq!(known.priority(&own), Priority::Normal);
        assert!(known.own_words().unwrap().blocks.contains("Training cancelled"));
        let known = types.find(&due).unwrap();
        assert!(!types.is_own(&due) && known.needs_link() && known.own_words().is_none());
        assert_eq!(known.priority(&due), Priority::Bulk);
        let reminder = event("event.reminder");
        assert_eq!(types.find(&reminder).unwrap().priority(&reminder), Priority::Urgent);
        assert!(types.find(&event("tea.ready")).is_none());
        let names: Vec<_> = types.names().map(|name| name.to_string()).collect();
        assert_eq!(names.len(), catalogue().len() + 1);
        assert_eq!(names.last().unwrap(), "training.cancelled");
    }

    #[test]
    fn a_definition_for_a_built_in_type_that_this_release_lacks_is_no_type() {
        let types = TenantTypes::new([(event("future.type"), Definition::default())]);
        assert!(types.find(&event("future.type")).is_none());
        assert_eq!(types.names().count(), catalogue().len());
    }

    #[test]
    fn a_definition_that_cannot_be_read_is_counted_and_is_no_unknown_type() {
        let newer = event("training.newer");
        let types = types().with_unread(BTreeSet::from([newer.clone()]));
        assert!(types.is_unread(&newer) && types.has(&newer) && types.find(&newer).is_none());
        let due = event("task.due");
        assert!(types.has(&due) && !types.is_unread(&due) && !types.has(&event("tea.ready")));
        assert_eq!(types.own_count(), 2);
    }

    #[test]
    fn an_example_has_its_weight() {
        let weight = |example: Option<Value>| {
            let mut definition = types().definition(&event("training.cancelled"));
            definition.own.as_mut().unwrap().fields[0].example = example;
            TenantTypes::new([(event("training.cancelled"), definition)]).weight()
        };
        let nested = json!({"a": {"a": {"a": {}}}});
        assert!(weight(Some(nested)) >= weight(None) + 2000);
    }

    #[test]
    fn data_of_both_kinds_is_checked_by_one_validator() {
        let (types, own) = (types(), event("training.cancelled"));
        let told = |data: Value| -> Vec<String> {
            let known = types.find(&own).unwrap();
            known.data_problems(&data).iter().map(ToString::to_string).collect()
        };
        assert_eq!(told(json!({"course": {"name": "x", "more": 1}})), Vec::<String>::new());
        let problems = told(json!({"starts_at": "soon"}));
        assert_eq!(problems[0], "data.course.name is required");
        assert!(problems[1].starts_with("data.starts_at must be a time"), "{problems:?}");
    }

    #[test]
    fn the_subject_is_a_text_or_a_number_in_the_data() {
        let (types, own) = (types(), event("training.cancelled"));
        let known = types.find(&own).unwrap();
        let subject = |data: &Value| known.subject(data).map(|(_, text)| text.into_owned());
        assert_eq!(subject(&json!({"course": {"name": "c-7"}})).as_deref(), Some("c-7"));
        assert_eq!(subject(&json!({"course": {"name": 7}})).as_deref(), Some("7"));
        assert_eq!(subject(&json!({"course": {"name": ""}})), None);
        assert_eq!(subject(&json!({"course": 1})), None);
    }
}
