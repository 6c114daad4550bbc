//! JSON shapes that several methods share. Any key may be missing, null or empty.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{clean_code, clean_scopes};
use crate::domain::ids::SlackUserId;
use crate::domain::time::Timestamp;

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

/// The people who are refused by an answer of `conversations.invite`, whether it says ok or not
/// (Slack's documentation: conversations.invite). Other keys are not kept.
#[derive(Deserialize)]
pub(super) struct Invited {
    #[serde(default)]
    pub(super) errors: RefusedPeople,
}

/// Most people that are kept of one answer: as many as one call may invite.
const PEOPLE: usize = 100;

/// People, each with Slack's code for them. An entry without a person is ignored, and anything that
/// is no list counts as an empty one.
#[derive(Default, Deserialize)]
#[serde(from = "Value")]
pub(super) struct RefusedPeople(pub(super) Vec<(SlackUserId, String)>);

impl From<Value> for RefusedPeople {
    fn from(errors: Value) -> Self {
        let errors = errors.as_array().map(Vec::as_slice).unwrap_or_default();
        Self(errors.iter().filter_map(refused).take(PEOPLE).collect())
    }
}

fn refused(error: &Value) -> Option<(SlackUserId, String)> {
    let user = SlackUserId::parse(error.get("user")?.as_str()?).ok()?;
    let is_ok = error.get("ok").and_then(Value::as_bool).unwrap_or(false);
    let code = error.get("error").and_then(Value::as_str).unwrap_or_default();
    (!is_ok).then(|| (user, clean_code(code)))
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

/// A time in Unix seconds, which Slack writes as a string or as a number.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => micros(text),
        Value::Number(number) => micros(&number.to_string()),
        _ => None,
    }
}

/// `1360782804.083113`.
fn micros(ts: &str) -> Option<Timestamp> {
    let (whole, part) = ts.split_once('.').unwrap_or((ts, ""));
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let (whole, part): (i64, i64) = (whole.parse().ok()?, part.parse().ok()?);
    Some(Timestamp(whole.checked_mul(1_000_000)?.checked_add(part)?))
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
    use serde_json::json;

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

    #[test]
    fn people_are_refused_by_entries_that_name_them() {
        let of = |errors: Value| RefusedPeople::from(errors).0;
        let user = |id: &str| SlackUserId::parse(id).unwrap();
        let mixed = json!([
            {"user": "U1", "ok": false, "error": "cant_invite"},
            {"user": "U2", "error": "Ada <a@b.c>"},
            {"user": "U3", "ok": false},
            {"user": "U4", "ok": true},
            {"user": "", "error": "cant_invite"},
            {"user": {"id": "U5"}, "error": "cant_invite"},
            {"error": "cant_invite"}, "U6", null,
        ]);
        let unreadable = || "unreadable_code".to_owned();
        assert_eq!(
            of(mixed),
            [
                (user("U1"), "cant_invite".to_owned()),
                (user("U2"), unreadable()),
                (user("U3"), unreadable())
            ]
        );
        for other in [json!({}), json!({"U1": "cant_invite"}), json!(null), json!("U1")] {
            assert!(of(other.clone()).is_empty(), "{other}");
        }
        let many = vec![json!({"user": "U1", "error": "x"}); 1000];
        assert_eq!(of(Value::from(many)).len(), PEOPLE);
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
