//! Slack's explanation of a refusal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Slack's explanation of a refusal, such as the name of a block that is too long. It may quote the
/// message: show it to the tenant's administrator, never log it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Detail(String);

/// The most characters of a detail.
const CHARS: usize = 500;

impl Detail {
    /// Slack's messages, one a line, without control characters, cut to [`CHARS`].
    pub fn from_messages<'a>(messages: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut text = String::new();
        for (at, message) in messages.enumerate() {
            if at > 0 {
                text.push('\n');
            }
            text.extend(message.chars().filter(|c| !c.is_control()).take(CHARS));
            if text.len() > CHARS {
                break;
            }
        }
        let text: String = text.chars().take(CHARS).collect();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text, for the tenant's administrator.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detail(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_bounded(text in any::<String>(), times in 0usize..50) {
            let long = text.repeat(times);
            if let Some(detail) = Detail::from_messages([long.as_str(), &text].into_iter()) {
                prop_assert!(detail.expose().chars().count() <= CHARS);
                prop_assert!(detail.expose().chars().all(|c| c == '\n' || !c.is_control()));
            }
        }
    }
}
