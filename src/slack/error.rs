//! Why a call to Slack failed, classified by the action that the caller should take.
//!
//! Texts from Slack are not trusted: codes and scopes are cut to a length and an alphabet before
//! they are stored here, and [`Detail`], which may quote a message, is never printed by `Debug` or
//! `Display`.

use std::time::Duration;

use crate::domain::delivery::Outcome;
use crate::domain::delivery::detail::Detail;
use crate::domain::slack_codes::ErrorClass;

/// Why a call failed. `code` is Slack's (`channel_not_found`) or, if Slack gave none, one of
/// Herald's: `http_502`, `timeout`, `connect_failed`; always lower-case letters, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// HTTP 429: the call was not executed. No replica may call this method (for posts: this
    /// channel) of this workspace before `after` has passed.
    #[error("Slack asks to wait {} s", after.as_secs_f64())]
    Throttled { after: Duration },
    /// The token is invalid: refresh it if the code is `token_expired`, otherwise stop until
    /// reconnected.
    #[error("Slack refuses the token: {code}")]
    Unauthorized { code: String },
    /// The token lacks a scope: stop using the method until reconnected with that scope. Both are
    /// comma-separated lists.
    #[error("the token lacks the scope {needed:?}; it has {provided:?}")]
    MissingScope { needed: String, provided: String },
    /// Refused; a repetition would be refused too.
    #[error("Slack refused: {code}")]
    Rejected { code: String, class: ErrorClass, detail: Option<Detail> },
    /// The call was certainly not executed, or repeating it is harmless: try again later.
    #[error("Slack did not answer properly: {code}")]
    Transient { code: String },
    /// The call may or may not have been executed, and repeating it could execute it twice: find
    /// out first.
    #[error("Slack may or may not have executed the call: {code}")]
    Unknown { code: String },
}

/// Longest code, in bytes. The longest known one has 44.
const CODE_BYTES: usize = 64;
/// Longest list of scopes, in bytes.
const SCOPES_BYTES: usize = 1024;

impl Error {
    /// The code as the API and the store show it.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Throttled { .. } => "ratelimited",
            Self::MissingScope { .. } => "missing_scope",
            Self::Unauthorized { code }
            | Self::Rejected { code, .. }
            | Self::Transient { code }
            | Self::Unknown { code } => code,
        }
    }

    /// The value of the label `outcome` of `herald_slack_requests_total`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Unauthorized { .. } => "unauthorized",
            Self::MissingScope { .. } => "missing_scope",
            Self::Rejected { .. } => "rejected",
            Self::Transient { .. } => "transient",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// The meaning of a failed post for its delivery. Correct only for calls that are not repeatable:
/// for those, `Transient` means that nothing was stored.
impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        match error {
            Error::Throttled { after } => Self::Throttled { after },
            Error::Unauthorized { code } => Self::Unauthorized { code },
            Error::MissingScope { .. } => Self::Unauthorized { code: "missing_scope".to_owned() },
            Error::Rejected { code, detail, .. } => Self::Rejected { code, detail },
            Error::Transient { code } => Self::NotSent { code },
            Error::Unknown { code } => Self::Unknown { code },
        }
    }
}

/// Slack's code, or `unreadable_code` if it does not have the form of a code.
pub(super) fn clean_code(text: &str) -> String {
    let shape = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !text.is_empty() && text.len() <= CODE_BYTES && text.bytes().all(shape) {
        text.to_owned()
    } else {
        "unreadable_code".to_owned()
    }
}

/// A comma-separated list of scopes, without characters that no scope contains.
pub(super) fn clean_scopes(text: &str) -> String {
    let shape = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b',' | b'_' | b'-');
    text.bytes().filter(shape).take(SCOPES_BYTES).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_detail_is_not_printed_but_can_be_shown() {
        let message =
            "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]";
        let error = Error::Rejected {
            code: "invalid_blocks".to_owned(),
            class: ErrorClass::Payload,
            detail: Detail::from_messages([message].into_iter()),
        };
        for printed in [format!("{error}"), format!("{error:?}")] {
            assert!(!printed.contains("3001"), "{printed}");
        }
        let Error::Rejected { detail: Some(detail), .. } = error else { panic!("has a detail") };
        assert_eq!(detail.expose(), message);
    }

    #[test]
    fn a_failed_post_becomes_the_outcome_of_its_delivery() {
        let code = || "x".to_owned();
        let detail = || Detail::from_messages(["[ERROR] too long"].into_iter());
        let after = Duration::from_secs(7);
        for (error, outcome) in [
            (Error::Throttled { after }, Outcome::Throttled { after }),
            (Error::Transient { code: code() }, Outcome::NotSent { code: code() }),
            (Error::Unknown { code: code() }, Outcome::Unknown { code: code() }),
            (Error::Unauthorized { code: code() }, Outcome::Unauthorized { code: code() }),
            (
                Error::Rejected { code: code(), class: ErrorClass::Other, detail: detail() },
                Outcome::Rejected { code: code(), detail: detail() },
            ),
            (
                Error::MissingScope { needed: code(), provided: code() },
                Outcome::Unauthorized { code: "missing_scope".to_owned() },
            ),
        ] {
            assert_eq!(Outcome::from(error), outcome);
        }
    }

    #[test]
    fn metrics_know_every_verdict() {
        let table = crate::telemetry::INSTRUMENTS;
        let requests = table.iter().find(|of| of.name == "herald_slack_requests_total").unwrap();
        let outcomes = requests.labels.iter().find(|label| label.name == "outcome").unwrap();
        let code = String::new;
        let labels = [
            "ok",
            Error::Throttled { after: Duration::ZERO }.label(),
            Error::Unauthorized { code: code() }.label(),
            Error::MissingScope { needed: code(), provided: code() }.label(),
            Error::Rejected { code: code(), class: ErrorClass::Other, detail: None }.label(),
            Error::Transient { code: code() }.label(),
            Error::Unknown { code: code() }.label(),
        ];
        assert_eq!(outcomes.values, labels);
    }

    #[test]
    fn what_is_not_written_like_a_code_is_not_taken_for_one() {
        assert_eq!(clean_code("channel_not_found"), "channel_not_found");
        for text in ["", "xoxb-1-2", "a@example.com", "Not Found", "a\nb", &"a".repeat(65)] {
            assert_eq!(clean_code(text), "unreadable_code", "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_of_slacks_are_bounded(text in any::<String>(), times in 0usize..50) {
            let long = text.repeat(times);
            prop_assert!(clean_code(&long).len() <= CODE_BYTES);
            prop_assert!(clean_scopes(&long).len() <= SCOPES_BYTES);
        }
    }
}
