//! JSON shapes that several methods share. Any key may be missing, null or empty.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::clean_scopes;

/// The JSON object of one member exactly as Slack sent it: mapping expressions may read any key, so
/// none is dropped here. Personal data, so `Debug` shows none of it.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct MemberJson(Box<RawValue>);

impl MemberJson {
    pub(super) fn from_raw(raw: Box<RawValue>) -> Self {
        Self(raw)
    }

    /// The JSON text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl fmt::Debug for MemberJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberJson({} bytes)", self.get().len())
    }
}

/// JSON that can be parsed: each `\u` escape of half a character, which Slack writes where it has
/// cut a name, becomes U+FFFD. One such escape would make all of the JSON around it unreadable.
pub(super) fn readable(json: &[u8]) -> Cow<'_, [u8]> {
    let mut json = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        at += match code_unit(&json[at..]) {
            // Any other escape, of two bytes.
            None => 2,
            Some(0xD800..=0xDBFF)
                if matches!(code_unit(&json[at + 6..]), Some(0xDC00..=0xDFFF)) =>
            {
                12
            }
            Some(0xD800..=0xDFFF) => {
                json.to_mut()[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            Some(_) => 6,
        };
        at = at.min(json.len());
    }
    json
}

/// The UTF-16 code unit that an initial `\uXXXX` stands for.
fn code_unit(json: &[u8]) -> Option<u16> {
    let digits = json.get(..6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A workspace or an Enterprise org, as named in answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NamedTeam {
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Paging {
    next_cursor: Option<String>,
}

/// The next page's cursor; on the last page Slack sends an empty one, null or nothing at all.
pub(super) fn next_cursor(paging: Option<Paging>) -> Option<String> {
    paging?.next_cursor.filter(|cursor| !cursor.is_empty())
}

/// For a key that Herald does not depend on: `None` if it has another type than documented, so that
/// it does not make the whole answer unreadable.
pub(super) fn lenient<'de, D, T>(source: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Option::<Value>::deserialize(source)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Parses a comma-separated list of scopes: sorted, each once.
pub(super) fn scopes(text: &str) -> Vec<String> {
    let mut scopes: Vec<String> = clean_scopes(text)
        .split(',')
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// The text, or `None` for `""`, which Slack writes for a missing one.
pub(super) fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_character_becomes_a_replacement() {
        for (sent, read) in [
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\\ud83d \u00e9\n""#, "\\ud83d \u{e9}\n"),
        ] {
            let text: String = serde_json::from_slice(&readable(sent.as_bytes())).unwrap();
            assert_eq!(text, read, "{sent}");
        }
        assert!(matches!(readable(br#"{"name":"\ud83d\ude00"}"#), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn what_can_be_read_is_left_as_it_is(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            let json = serde_json::to_vec(&text).unwrap();
            prop_assert_eq!(&*readable(&json), &*json);
            prop_assert_eq!(readable(&bytes).len(), bytes.len());
        }
    }
}
