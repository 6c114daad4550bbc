//! Shapes that several methods' JSON shares. Any key may be missing, null or empty.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::clean_scopes;

/// The JSON object of one member exactly as Slack sent it: mapping expressions may read any key,
/// so none is dropped here. Personal data: `Debug` shows none of it.
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

/// A workspace or an Enterprise org, as answers name it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Named {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Paging {
    next_cursor: Option<String>,
}

/// The next page's cursor; Slack ends with an empty one, a null or nothing at all.
pub(super) fn next_cursor(paging: Option<Paging>) -> Option<String> {
    paging?.next_cursor.filter(|cursor| !cursor.is_empty())
}

/// A comma list of scopes, sorted, each once.
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

/// A text that says something: `""` is what Slack writes for none.
pub(super) fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
