//! What the mapping makes of one member: shared by the packed list and the overlay, so that both keep
//! the same.

use serde::Deserializer;

use super::super::key::{KeyHash, canonical_text};
use super::super::limits::SHORT_TEXT_BYTES;
use super::super::mapping::{Event, Expression, Mapping};
use super::super::member::Member;

/// A mapping's Slack attribute, ready to be evaluated on members.
pub(super) struct Evaluator {
    expression: Expression,
    /// The default mapping: the value is among the facts that are read anyway.
    by_email: bool,
}

impl Evaluator {
    pub(super) fn new(mapping: &Mapping) -> Self {
        Self {
            expression: mapping.slack.clone(),
            by_email: mapping.slack.is_path(&["profile", "email"]),
        }
    }

    /// Evaluates the expression into `keys`, each once; whether it failed. Members that never match are
    /// evaluated too, for the sealed index.
    pub(super) fn evaluate<'de, D: Deserializer<'de>>(
        &self,
        member: &Member<'_>,
        json: D,
        keys: &mut Vec<KeyHash>,
    ) -> bool {
        keys.clear();
        if self.by_email {
            let email = member.email.as_deref().and_then(canonical_text);
            keys.extend(email.map(|text| KeyHash::of(&text)));
            return false;
        }
        let read = self.expression.read(json, &mut |event| match event {
            Event::Restart => keys.clear(),
            Event::Text(text) => keys.push(KeyHash::of(text)),
        });
        if read.is_err() {
            keys.clear();
        }
        keys.sort_unstable();
        keys.dedup();
        read.is_err()
    }
}

/// The name as it is kept: cut to [`SHORT_TEXT_BYTES`].
pub(super) fn shown_name<'a>(member: &'a Member<'_>) -> &'a str {
    let name = &*member.display_name;
    &name[..name.floor_char_boundary(SHORT_TEXT_BYTES)]
}
