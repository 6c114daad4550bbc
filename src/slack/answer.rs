//! Interprets an HTTP answer. Pure: status, headers and bytes in, a verdict out.
//!
//! The question behind it is whether Slack may have executed the call. A clear refusal means no. If
//! Slack may have (5xx, an unreadable body, codes that Slack documents as partly successful), a
//! call that is not repeatable is [`Error::Unknown`] and never retried blindly; a repeatable one is
//! only [`Error::Transient`].

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::error::{Error, clean_code, clean_scopes};
use super::retry_after::retry_after;
use super::wire;
use crate::domain::capacity::slack_method::Method;
use crate::domain::delivery::detail::Detail;
use crate::domain::slack_codes::{ErrorClass, Meaning, meaning};

/// The effect of making a call twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The same as once: reads, and `conversations.open`.
    Repeatable,
    /// A second message, or a spent code or refresh token.
    Once,
}

impl Effect {
    /// The error for a call that may have been executed.
    pub(super) fn ambiguous(self, code: impl Into<String>) -> Error {
        let code = code.into();
        match self {
            Self::Repeatable => Error::Transient { code },
            Self::Once => Error::Unknown { code },
        }
    }
}

/// The fields common to all answers. All others are skipped without being kept.
#[derive(Deserialize)]
struct Envelope {
    ok: Option<bool>,
    error: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    needed: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    provided: Option<String>,
    response_metadata: Option<Value>,
}

/// The error for HTTP 429, whatever the body says: decided before the body is read. `scale`
/// multiplies the wait.
pub(super) fn throttled(status: StatusCode, headers: &HeaderMap, scale: f64) -> Option<Error> {
    (status == StatusCode::TOO_MANY_REQUESTS).then(|| wait(headers, scale))
}

/// `Ok` if the answer says that the call worked; otherwise the error.
pub(super) fn judge(
    effect: Effect,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    scale: f64,
) -> Result<(), Error> {
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    let said = envelope.as_ref().and_then(|e| e.error.as_deref()).map(clean_code);

    // A server error may come after the work was done, whatever its body says.
    if status.is_server_error() {
        return Err(effect.ambiguous(said.unwrap_or_else(|| http_code(status))));
    }
    match envelope {
        Some(Envelope { ok: Some(true), .. }) if status.is_success() => Ok(()),
        Some(Envelope { ok: Some(false), error: Some(_), needed, provided, response_metadata }) => {
            let code = said.unwrap_or_default();
            Err(refusal(effect, code, headers, scale, needed, provided, response_metadata.as_ref()))
        }
        _ => Err(unreadable(effect, status, "unreadable_answer")),
    }
}

/// Whether this refusal is the answer that the call was made for. `blocks.validate` reports faults
/// of the blocks so, `apps.manifest.*` those of the manifest, and `conversations.invite` the people
/// who cannot be added (Slack's documentation of these methods). A refusal that names no one is
/// none.
pub(super) fn is_finding(method: Method, error: &Error, body: &[u8]) -> bool {
    const FINDINGS: [&str; 3] = ["invalid_blocks", "invalid_message", "invalid_view"];
    const OF_MANIFESTS: [&str; 2] = ["invalid_app", "invalid_manifest"];
    let Error::Rejected { code, .. } = error else { return false };
    match method {
        Method::BlocksValidate => FINDINGS.contains(&code.as_str()),
        Method::AppsManifestCreate
        | Method::AppsManifestExport
        | Method::AppsManifestUpdate
        | Method::AppsManifestValidate => OF_MANIFESTS.contains(&code.as_str()),
        Method::ConversationsInvite => {
            let invited: Result<wire::Invited, _> = serde_json::from_slice(body);
            invited.is_ok_and(|invited| !invited.errors.0.is_empty())
        }
        _ => false,
    }
}

/// The verdict if the body is not Slack's JSON, or could not be read completely.
pub(super) fn unreadable(effect: Effect, status: StatusCode, fault: &'static str) -> Error {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            Error::Rejected { code: http_code(status), class: ErrorClass::Payload, detail: None }
        }
        StatusCode::REQUEST_TIMEOUT => effect.ambiguous(http_code(status)),
        // A component between Herald and Slack refused the request before it was executed.
        _ if status.is_client_error() => Error::Transient { code: http_code(status) },
        _ if status.is_success() => effect.ambiguous(fault),
        _ => effect.ambiguous(http_code(status)),
    }
}

fn refusal(
    effect: Effect,
    code: String,
    headers: &HeaderMap,
    scale: f64,
    needed: Option<String>,
    provided: Option<String>,
    metadata: Option<&Value>,
) -> Error {
    match meaning(&code) {
        Meaning::Reject(class) => Error::Rejected { code, class, detail: detail(metadata) },
        Meaning::Reconnect => Error::Unauthorized { code },
        Meaning::Scope => Error::MissingScope {
            needed: clean_scopes(&needed.unwrap_or_default()),
            provided: clean_scopes(&provided.unwrap_or_default()),
        },
        Meaning::Throttle => wait(headers, scale),
        Meaning::Transient => Error::Transient { code },
        Meaning::Ambiguous => effect.ambiguous(code),
    }
}

fn wait(headers: &HeaderMap, scale: f64) -> Error {
    Error::Throttled { after: retry_after(headers).mul_f64(scale) }
}

fn detail(metadata: Option<&Value>) -> Option<Detail> {
    let messages = metadata?.get("messages")?.as_array()?;
    Detail::from_messages(messages.iter().filter_map(Value::as_str))
}

fn http_code(status: StatusCode) -> String {
    format!("http_{}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn verdict(effect: Effect, status: u16, body: &str) -> Result<(), Error> {
        let status = StatusCode::from_u16(status).unwrap();
        judge(effect, status, &HeaderMap::new(), body.as_bytes(), 1.0)
    }

    fn refused(body: &str) -> Error {
        verdict(Effect::Once, 200, body).unwrap_err()
    }

    #[test]
    fn ok_is_ok() {
        assert_eq!(
            verdict(Effect::Once, 200, r#"{"ok":true,"warning":"missing_charset"}"#),
            Ok(())
        );
    }

    #[test]
    fn refusals_follow_the_table_of_codes() {
        let code = |text: &str| text.to_owned();
        assert_eq!(
            refused(r#"{"ok":false,"error":"channel_not_found"}"#),
            Error::Rejected {
                code: code("channel_not_found"),
                class: ErrorClass::Target,
                detail: None
            }
        );
        assert_eq!(
            refused(r#"{"ok":false,"error":"token_revoked"}"#),
            Error::Unauthorized { code: code("token_revoked") }
        );
        assert_eq!(
            refused(r#"{"ok":false,"error":"missing_scope","needed":"im:write","provided":"a,b"}"#),
            Error::MissingScope { needed: code("im:write"), provided: code("a,b") }
        );
        assert_eq!(
            refused(r#"{"ok":false,"error":"ratelimited"}"#),
            Error::Throttled { after: Duration::from_secs(30) }
        );
        assert_eq!(
            refused(r#"{"ok":false,"error":"service_unavailable"}"#),
            Error::Transient { code: code("service_unavailable") }
        );
        assert_eq!(
            refused(r#"{"ok":false,"error":"fatal_error"}"#),
            Error::Unknown { code: code("fatal_error") }
        );
        // A malformed explanation does not make a clear refusal unclear.
        assert_eq!(
            refused(r#"{"ok":false,"error":"missing_scope","needed":["im:write"],"provided":7}"#),
            Error::MissingScope { needed: code(""), provided: code("") }
        );
        let with_detail = refused(
            r#"{"ok":false,"error":"invalid_blocks",
                "response_metadata":{"messages":["[ERROR] x"]}}"#,
        );
        let Error::Rejected { detail: Some(detail), .. } = with_detail else { panic!("a detail") };
        assert_eq!(detail.expose(), "[ERROR] x");
    }

    #[test]
    fn a_server_error_may_have_stored_whatever_it_says() {
        for (body, code) in [
            ("<html>", "http_503"),
            ("", "http_503"),
            (r#"{"ok":false,"error":"service_unavailable"}"#, "service_unavailable"),
            (r#"{"ok":true}"#, "http_503"),
        ] {
            let code = code.to_owned();
            assert_eq!(
                verdict(Effect::Once, 503, body),
                Err(Error::Unknown { code: code.clone() })
            );
            assert_eq!(verdict(Effect::Repeatable, 503, body), Err(Error::Transient { code }));
        }
    }

    #[test]
    fn what_is_no_answer_of_slacks_is_not_taken_for_success() {
        let deep = "[".repeat(100_000);
        let bodies = [
            "<html>",
            "",
            "[]",
            "null",
            "{}",
            r#"{"ok":"yes"}"#,
            r#"{"ok":false}"#,
            &deep,
            "\u{0}",
        ];
        for body in bodies {
            assert_eq!(
                verdict(Effect::Once, 200, body),
                Err(Error::Unknown { code: "unreadable_answer".to_owned() })
            );
        }
        // Text that is not UTF-8 matters only in fields that are read.
        let body = b"{\"ok\":false,\"error\":\"\xff\"}";
        let verdict = judge(Effect::Once, StatusCode::OK, &HeaderMap::new(), body, 1.0);
        assert_eq!(verdict, Err(Error::Unknown { code: "unreadable_answer".to_owned() }));
    }

    #[test]
    fn a_refusal_that_names_people_is_the_answer_of_an_invitation() {
        let finding = |method, body: &str| is_finding(method, &refused(body), body.as_bytes());
        let people = r#"{"ok":false,"error":"cant_invite",
            "errors":[{"user":"U1","ok":false,"error":"cant_invite"}]}"#;
        assert!(finding(Method::ConversationsInvite, people));
        assert!(!finding(Method::ConversationsKick, people));
        for body in [
            r#"{"ok":false,"error":"is_archived"}"#,
            r#"{"ok":false,"error":"is_archived","errors":[]}"#,
            r#"{"ok":false,"error":"is_archived","errors":{"U1":"cant_invite"}}"#,
            // Not a clear refusal, so it may have been done.
            r#"{"ok":false,"error":"internal_error","errors":[{"user":"U1","error":"x"}]}"#,
            r#"{"ok":false,"error":"ratelimited","errors":[{"user":"U1","error":"x"}]}"#,
        ] {
            assert!(!finding(Method::ConversationsInvite, body), "{body}");
        }
    }

    #[test]
    fn other_statuses() {
        let code = |text: &str| text.to_owned();
        let of = |status| verdict(Effect::Once, status, "<html>").unwrap_err();
        assert_eq!(of(403), Error::Transient { code: code("http_403") });
        assert_eq!(of(408), Error::Unknown { code: code("http_408") });
        assert_eq!(of(302), Error::Unknown { code: code("http_302") });
        assert!(matches!(of(413), Error::Rejected { class: ErrorClass::Payload, .. }));
        let spoken = verdict(Effect::Once, 404, r#"{"ok":false,"error":"unknown_method"}"#);
        assert!(matches!(spoken, Err(Error::Rejected { class: ErrorClass::Payload, .. })));
    }

    #[test]
    fn status_429_throttles_and_the_wait_is_scaled() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", http::HeaderValue::from_static("120"));
        let status = StatusCode::TOO_MANY_REQUESTS;
        let scaled = Error::Throttled { after: Duration::from_millis(1200) };
        assert_eq!(throttled(status, &headers, 0.01), Some(scaled));
        assert_eq!(throttled(StatusCode::OK, &headers, 1.0), None);
    }

    proptest! {
        #[test]
        fn only_a_clear_ok_is_success(
            status in 100u16..600,
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            prop_assert!(judge(Effect::Once, status, &HeaderMap::new(), &body, 1.0).is_err());
        }

        #[test]
        fn a_repeatable_call_is_never_unknown(
            status in 200u16..600,
            code in prop::sample::select(
                vec!["internal_error", "is_archived", "new", "token_revoked"]
            ),
            ok in any::<bool>(),
        ) {
            let body = format!(r#"{{"ok":{ok},"error":"{code}"}}"#);
            let verdict = verdict(Effect::Repeatable, status, &body);
            let unknown = matches!(verdict, Err(Error::Unknown { .. }));
            prop_assert!(!unknown);
        }
    }
}
