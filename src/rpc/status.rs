//! Errors -> `tonic::Status`: one `ErrorInfo` each with a stable reason, plus `BadRequest`,
//! `RetryInfo` or `PreconditionFailure` where they apply (google.rpc error model, AIP-193).
//!
//! The cause of an internal error is logged here, once; the caller sees none of it.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::app::{Error, Violation};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "herald";

fn details(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

fn with(code: Code, message: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}

/// A refusal because the caller is unknown.
pub(super) fn unauthenticated(reason: &str, sentence: &str) -> Status {
    with(Code::Unauthenticated, sentence, details(reason))
}

/// A call without a caller: only a defect could let such a call get this far.
pub(super) fn unknown_caller() -> Status {
    unauthenticated("CREDENTIALS_MISSING", "the caller is not known")
}

/// A call that ran out of time.
pub(super) fn deadline() -> Status {
    with(Code::DeadlineExceeded, "the call's deadline passed", details("DEADLINE_EXCEEDED"))
}

/// A call that is refused because too many are under way, or too many bytes; `limit` is the setting
/// of the limit, or the name of a fixed one.
pub(super) fn overloaded(limit: &'static str) -> Status {
    let sentence = format!("limit {limit} reached; try again in 1 s");
    exhausted("OVERLOADED", limit, sentence, Duration::from_secs(1))
}

/// A call beyond the rate limit; `limit` is the setting of the limit.
pub(super) fn quota(limit: &'static str, retry_after: Duration) -> Status {
    beyond("calls", limit, retry_after)
}

/// A call whose message is beyond the rate limit of bytes; `limit` is the setting of the limit.
pub(super) fn byte_quota(limit: &'static str, retry_after: Duration) -> Status {
    beyond("bytes", limit, retry_after)
}

fn beyond(what: &str, limit: &'static str, retry_after: Duration) -> Status {
    let wait = retry_after.as_millis().max(1);
    let sentence = format!("too many {what} a second ({limit}); try again in {wait} ms");
    exhausted("QUOTA_EXCEEDED", limit, sentence, retry_after)
}

/// The limit that caused the refusal of a call: its setting, or the name of a fixed one. A message
/// that is too large for its method counts as `rpc.max_request_bytes`, whatever its own limit is.
pub(super) fn limit(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    match info.reason.as_str() {
        "MESSAGE_TOO_LARGE" => Some("rpc.max_request_bytes".to_owned()),
        _ => info.metadata.get("limit").cloned(),
    }
}

/// A refusal because of load, with the name of the limit and the time to wait.
fn exhausted(
    reason: &str,
    limit: &str,
    sentence: impl Into<String>,
    retry_after: Duration,
) -> Status {
    let metadata = HashMap::from([("limit".to_owned(), limit.to_owned())]);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    details.set_retry_info(Some(retry_after));
    with(Code::ResourceExhausted, sentence, details)
}

/// A stream that ends because this replica is stopping: resume at another.
pub(super) fn draining() -> Status {
    let mut details = details("DRAINING");
    details.set_retry_info(Some(Duration::from_secs(1)));
    with(Code::Unavailable, "this replica is stopping; resume at another", details)
}

/// A stream that ends because its connection does: resume over another.
pub(super) fn old() -> Status {
    let mut details = details("DRAINING");
    details.set_retry_info(Some(Duration::from_secs(1)));
    with(Code::Unavailable, "this connection is old; resume over a new one", details)
}

/// Most bad fields in one answer, and most bytes of their texts. Details travel in a header, and
/// many clients accept no more than 8 KiB of headers; encoded, the details stay below that.
const NAMED: usize = 40;
const NAMED_BYTES: usize = 4 << 10;
/// Most characters of one problem: it may quote the caller's input.
const PROBLEM_CHARS: usize = 500;

fn invalid(mut violations: Vec<Violation>) -> Status {
    for violation in &mut violations {
        shorten(&mut violation.field);
        shorten(&mut violation.problem);
    }
    let (count, mut bytes, mut details) = (violations.len(), 0, details("INVALID_ARGUMENT"));
    let first = violations.first().map(|first| format!("{}: {}", first.field, first.problem));
    let mut named = 0;
    for Violation { field, problem } in violations {
        bytes += field.len() + problem.len();
        if named > 0 && (named == NAMED || bytes > NAMED_BYTES) {
            break;
        }
        details.add_bad_request_violation(field, problem);
        named += 1;
    }
    let first = first.unwrap_or_default();
    let message = match (count, named) {
        (1, _) => first,
        (count, named) if named < count => {
            format!("{count} invalid fields (showing {named}), first: {first}")
        }
        (count, _) => format!("{count} invalid fields, first: {first}"),
    };
    with(Code::InvalidArgument, message, details)
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(PROBLEM_CHARS) {
        text.truncate(end);
        text.push('…');
    }
}

/// A state of the caller, the tenant or a person in which the call is refused.
fn precondition(
    reason: &str,
    subject: &str,
    sentence: String,
    metadata: HashMap<String, String>,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    details.add_precondition_failure_violation(reason, subject, sentence.as_str());
    with(Code::FailedPrecondition, sentence, details)
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(violations) => invalid(violations),
            Error::Denied { reason, .. } => with(Code::PermissionDenied, message, details(reason)),
            Error::NotFound(_) => with(Code::NotFound, message, details("NOT_FOUND")),
            Error::RequestIdReused => {
                with(Code::AlreadyExists, message, details("REQUEST_ID_REUSED"))
            }
            Error::Changed(_) => with(Code::Aborted, message, details("CHANGED_MEANWHILE")),
            Error::Precondition { reason, .. } => {
                precondition(reason, "tenant", message, HashMap::new())
            }
            Error::NotReached { reason, .. } => {
                precondition(reason, "person", message, HashMap::new())
            }
            Error::MissingScopes { feature, scopes, connect_url } => {
                let metadata = HashMap::from([
                    ("feature".to_owned(), feature.to_owned()),
                    ("scopes".to_owned(), scopes.join(",")),
                    ("connect_url".to_owned(), connect_url),
                ]);
                precondition("MISSING_SCOPES", "tenant", message, metadata)
            }
            Error::KeyLimit(keys) => {
                let ids: Vec<String> = keys.iter().map(ToString::to_string).collect();
                let mut metadata = HashMap::new();
                if !ids.is_empty() {
                    metadata.insert("key_ids".to_owned(), ids.join(","));
                }
                precondition("API_KEY_LIMIT", "principal", message, metadata)
            }
            Error::OutOfRange { reason, detail: (key, value), .. } => {
                let metadata = HashMap::from([(key.to_owned(), value.to_string())]);
                let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
                with(Code::OutOfRange, message, details)
            }
            Error::Unavailable { retry_after, .. } => {
                let mut details = details("UNAVAILABLE");
                details.set_retry_info(Some(retry_after));
                with(Code::Unavailable, message, details)
            }
            Error::Exhausted { reason, limit, retry_after, .. } => {
                exhausted(reason, limit, message, retry_after)
            }
            Error::Internal(cause) => {
                let cause = Chain(cause.as_ref());
                tracing::error!(%cause, "a call failed for an internal reason");
                with(
                    Code::Internal,
                    "internal error; the log of the service says more",
                    details("INTERNAL"),
                )
            }
        }
    }
}

/// An error with its sources, in one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
