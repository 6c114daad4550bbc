//! Refusals of bytes before a method is reached, in this API's words: the gate's, and tonic's.
//!
//! For bytes that are not a message, tonic returns INTERNAL; for a message that is too large,
//! OUT_OF_RANGE or, if it was compressed, RESOURCE_EXHAUSTED. Both errors are the caller's to fix.
//! Herald's own statuses have details and tonic's have none: that distinguishes them, not their
//! wording.

use std::collections::HashMap;

use http::Response;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::status::DOMAIN;

/// The answer unchanged, or the refusal of a message, with a reason. `limit`: bytes of a message.
pub(super) fn explained(answer: Response<Body>, limit: usize) -> Response<Body> {
    // Only an answer that consists of a status has it in its headers.
    match Status::from_header_map(answer.headers()).and_then(|status| reworded(&status, limit)) {
        Some(status) => status.into_http(),
        None => answer,
    }
}

/// Bytes that are not a message of the method; `problem` says why.
pub(super) fn malformed(problem: &str) -> Status {
    let sentence = format!("the request is not a message of this method: {problem}");
    let details = ErrorDetails::with_error_info("MALFORMED_MESSAGE", DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, sentence, details)
}

/// A message of more bytes than the method accepts.
pub(super) fn too_large(limit: usize) -> Status {
    let sentence = format!("the request is larger than {limit} bytes");
    let metadata = HashMap::from([("limit_bytes".to_owned(), limit.to_string())]);
    let details = ErrorDetails::with_error_info("MESSAGE_TOO_LARGE", DOMAIN, metadata);
    Status::with_error_details(Code::ResourceExhausted, sentence, details)
}

fn reworded(status: &Status, limit: usize) -> Option<Status> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::Internal => Some(malformed(status.message())),
        Code::OutOfRange | Code::ResourceExhausted => Some(too_large(limit)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_ours_and_other_codes_stay() {
        let details = ErrorDetails::with_error_info("INTERNAL", DOMAIN, HashMap::new());
        let ours = Status::with_error_details(Code::Internal, "ours", details);
        assert!(reworded(&ours, 1).is_none());
        assert!(reworded(&Status::unimplemented("no such method"), 1).is_none());
        assert!(reworded(&Status::cancelled("late"), 1).is_none());
    }

    #[test]
    fn an_answer_with_a_body_stays() {
        let answer = explained(Response::new(Body::empty()), 1);
        assert!(answer.headers().is_empty());
    }
}
