//! The content of a notification in its stored form: messages whose member is found later are
//! written from it.
//!
//! The data is stored as the object that it is if the messages have the words of the release.
//! Otherwise the words are stored too, as a list of both: those of a tenant's own type, and the
//! tenant's templates. The messages keep the words that were in force when the notification was
//! accepted, whatever happens to the type and to the templates.
//!
//! Earlier releases read the list as the data and one template. For a built-in type the list
//! therefore also has a template in that place, the first of the tenant's, which this release does
//! not read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::render::Template;
use super::wording;
use super::wording::candidates::{Candidate, Candidates, ReadyWords};
use crate::domain::ids::EventType;

/// The content of a notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// An object.
    pub data: Value,
    words: Option<Words>,
}

/// The words that are stored with a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Words {
    #[serde(flatten)]
    template: Template,
    /// Whether the type is built in, so that the template is only for earlier releases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    built_in: bool,
    /// The tenant's templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidate>,
}

/// The stored form. `own`: the words of a tenant's own type; `candidates`: the tenant's templates
/// for this notification.
pub fn to_bytes(
    data: &Value,
    own: Option<&Template>,
    candidates: &[Candidate],
) -> Result<Vec<u8>, serde_json::Error> {
    let first = || candidates.first().map(|candidate| candidate.form.template());
    let Some(template) = own.cloned().or_else(first) else { return serde_json::to_vec(data) };
    let words = Words { template, built_in: own.is_none(), candidates: candidates.to_vec() };
    serde_json::to_vec(&(data, words))
}

impl Stored {
    /// From the stored form; `None` if it cannot be read.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"[") {
            let (data, words) = serde_json::from_slice(bytes).ok()?;
            return Some(Self { data, words: Some(words) });
        }
        Some(Self { data: serde_json::from_slice(bytes).ok()?, words: None })
    }

    /// The words of messages of this type; `None` if there are none, because a newer release knows
    /// the type.
    #[must_use]
    pub fn words(&self, event: &EventType) -> Option<ReadyWords> {
        let built_in = || wording::of(event.as_str()).map(ReadyWords::BuiltIn);
        let Some(words) = &self.words else { return built_in() };
        let below = if words.built_in { built_in() } else { None };
        let below = below.unwrap_or_else(|| ReadyWords::own(&words.template));
        if words.candidates.is_empty() {
            return Some(below);
        }
        let candidates = Candidates::new(words.candidates.clone(), below);
        Some(ReadyWords::Chosen(Arc::new(candidates)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::message::render::Reader;
    use crate::domain::message::wording::form::Form;
    use crate::domain::message::wording::levels::Level;

    fn template(text: &str) -> Template {
        Template { text: text.into(), blocks: "[]".into() }
    }

    fn reader(locale: &str) -> Reader {
        Reader { name: None, locales: vec![locale.into()], time_zone: "UTC".into() }
    }

    #[test]
    fn own_words_are_stored_with_the_data_and_built_in_ones_are_not() {
        let data = json!({"task": {"name": "x"}});
        let (own, due) = ("training.cancelled", "task.due");
        let [own, due] = [own, due].map(|name| EventType::parse(name).unwrap());
        let bytes = to_bytes(&data, None, &[]).unwrap();
        assert_eq!(bytes, serde_json::to_vec(&data).unwrap(), "earlier releases read this form");
        let stored = Stored::from_bytes(&bytes).unwrap();
        assert_eq!(stored.data, data);
        let built_in = stored.words(&due).unwrap();
        assert_eq!(built_in.choice(&reader("de")).button, "Aufgabe öffnen");
        assert!(stored.words(&own).is_none());
        let words = template("Hello");
        let bytes = to_bytes(&data, Some(&words), &[]).unwrap();
        assert_eq!(bytes, serde_json::to_vec(&(&data, &words)).unwrap(), "and this one");
        let stored = Stored::from_bytes(&bytes).unwrap();
        assert_eq!(stored.data, data);
        for event in [&own, &due] {
            assert!(matches!(stored.words(event), Some(ReadyWords::Own(_))), "{event}");
        }
        assert_eq!(Stored::from_bytes(b"[1"), None);
    }

    #[test]
    fn templates_of_the_tenant_are_stored_over_the_words_below() {
        let data = json!({});
        let (own, due) = ("training.cancelled", "task.due");
        let [own, due] = [own, due].map(|name| EventType::parse(name).unwrap());
        let candidate = Candidate {
            level: Level::Tenant,
            locale: "de".into(),
            version: 7,
            form: Form::Blocks(template("Hallo")),
        };
        let candidates = [candidate];
        for (event, below, button) in
            [(&own, Some(template("Hello")), "Open"), (&due, None, "Open task")]
        {
            let bytes = to_bytes(&data, below.as_ref(), &candidates).unwrap();
            // Earlier releases read a template here.
            let (_, read): (Value, Template) = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(read, below.clone().unwrap_or_else(|| template("Hallo")));
            let words = Stored::from_bytes(&bytes).unwrap().words(event).unwrap();
            assert_eq!(words.candidates(), candidates);
            let german = words.choice(&reader("de"));
            assert_eq!((german.level, german.version), (Level::Tenant, 7));
            let english = words.choice(&reader("en"));
            assert_eq!((english.level, english.button), (Level::BuiltIn, button), "{event}");
        }
    }
}
