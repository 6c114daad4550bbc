//! The content of a notification in its stored form: messages whose member is found later are
//! written from it.
//!
//! The data of a built-in type is stored as the object that it is; earlier releases store and read
//! that form. Of a tenant's own type, the words are stored too, as a list of both: the messages
//! keep the words that were in force when the notification was accepted, whatever happens to the
//! type.

use serde_json::Value;

use super::event::words::ReadyWords;
use super::render::Template;
use super::wording;
use crate::domain::ids::EventType;

/// The content of a notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// An object.
    pub data: Value,
    words: Option<Template>,
}

/// The stored form. `words`: of a tenant's own type.
pub fn to_bytes(data: &Value, words: Option<&Template>) -> Result<Vec<u8>, serde_json::Error> {
    match words {
        None => serde_json::to_vec(data),
        Some(words) => serde_json::to_vec(&(data, words)),
    }
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
        match &self.words {
            Some(words) => Some(ReadyWords::own(words)),
            None => wording::of(event.as_str()).map(ReadyWords::BuiltIn),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::message::render::Language;

    #[test]
    fn own_words_are_stored_with_the_data_and_built_in_ones_are_not() {
        let data = json!({"task": {"name": "x"}});
        let (own, due) = ("training.cancelled", "task.due");
        let [own, due] = [own, due].map(|name| EventType::parse(name).unwrap());
        let bytes = to_bytes(&data, None).unwrap();
        assert_eq!(bytes, serde_json::to_vec(&data).unwrap(), "earlier releases read this form");
        let stored = Stored::from_bytes(&bytes).unwrap();
        assert_eq!(stored.data, data);
        let built_in = stored.words(&due).unwrap();
        assert_eq!(built_in.button(Language::German), "Aufgabe öffnen");
        assert!(stored.words(&own).is_none());
        let words = Template { text: "Hello".into(), blocks: "[]".into() };
        let bytes = to_bytes(&data, Some(&words)).unwrap();
        let stored = Stored::from_bytes(&bytes).unwrap();
        assert_eq!((&stored.data, &stored.words), (&data, &Some(words)));
        for event in [&own, &due] {
            assert!(matches!(stored.words(event), Some(ReadyWords::Own(_))), "{event}");
        }
        assert_eq!(Stored::from_bytes(b"[1"), None);
    }
}
