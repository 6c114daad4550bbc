//! Verifies the signatures of the requests that Slack sends to Herald.
//!
//! HMAC-SHA256, keyed with the signing secret as text, over `v0:<timestamp>:<raw body>`, sent as
//! `v0=<hex>` in `X-Slack-Signature` beside `X-Slack-Request-Timestamp` (Slack's documentation:
//! Verifying requests from Slack). Verify the bytes as received: a body that was parsed and
//! serialized again has another signature.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::secret::Secret;

/// Largest difference between the timestamp and now, in seconds, in either direction. Slack's
/// figure.
pub const TOLERANCE_SECONDS: u64 = 300;

/// Why a request is not from Slack. Answer 401 to each; the reason is only for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no signing secret is configured")]
    NoSecret,
    #[error("the timestamp is not a number of seconds")]
    Timestamp,
    #[error("the timestamp is more than {TOLERANCE_SECONDS} seconds from now")]
    Stale,
    #[error("the signature does not match")]
    Mismatch,
}

/// Checks one request. `timestamp` and `signature` are the header values (empty if absent),
/// `now_unix` the current time in Unix seconds. The comparison takes constant time, wherever the
/// first difference is. A replay within the tolerance passes: the caller remembers event ids.
pub fn verify(
    secret: &Secret,
    timestamp: &str,
    body: &[u8],
    signature: &str,
    now_unix: i64,
) -> Result<(), SignatureError> {
    let at = authentic(secret, timestamp, body, signature)?;
    fresh(at, now_unix)
}

/// The first half of [`verify`]: only the signature. For a caller that takes the time from the
/// database and does not query it for unauthenticated requests. Returns the timestamp, in Unix
/// seconds.
pub fn authentic(
    secret: &Secret,
    timestamp: &str,
    body: &[u8],
    signature: &str,
) -> Result<i64, SignatureError> {
    // An empty key would let anyone sign.
    if secret.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    if timestamp.is_empty() || !timestamp.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SignatureError::Timestamp);
    }
    let at: i64 = timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
    let expected = sign(secret, timestamp, body);
    if bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
        Ok(at)
    } else {
        Err(SignatureError::Mismatch)
    }
}

/// The second half of [`verify`]: whether the timestamp is close enough to now.
pub fn fresh(at: i64, now_unix: i64) -> Result<(), SignatureError> {
    if at.abs_diff(now_unix) > TOLERANCE_SECONDS { Err(SignatureError::Stale) } else { Ok(()) }
}

/// The value of `X-Slack-Signature` for a body, as Slack computes it. For code that plays Slack.
#[must_use]
pub fn sign(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("any key length");
    for part in [b"v0:", timestamp.as_bytes(), b":", body] {
        mac.update(part);
    }
    let mut text = String::with_capacity(67);
    text.push_str("v0=");
    for byte in mac.finalize().into_bytes() {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The worked example of Slack's page "Verifying requests from Slack".
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const AT: i64 = 1_531_420_618;
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

    fn check(
        timestamp: &str,
        body: &[u8],
        signature: &str,
        now: i64,
    ) -> Result<(), SignatureError> {
        verify(&Secret::new(SECRET), timestamp, body, signature, now)
    }

    #[test]
    fn slacks_own_example_verifies() {
        assert_eq!(check("1531420618", BODY, SIGNATURE, AT), Ok(()));
        assert_eq!(sign(&Secret::new(SECRET), "1531420618", BODY), SIGNATURE);
    }

    #[test]
    fn the_tolerance_is_300_seconds_both_ways() {
        for (now, expected) in [
            (AT + 300, Ok(())),
            (AT - 300, Ok(())),
            (AT + 301, Err(SignatureError::Stale)),
            (AT - 301, Err(SignatureError::Stale)),
            (i64::MIN, Err(SignatureError::Stale)),
        ] {
            assert_eq!(check("1531420618", BODY, SIGNATURE, now), expected, "{now}");
        }
    }

    #[test]
    fn a_timestamp_that_is_no_number_is_refused() {
        for text in ["", " 1531420618", "+1531420618", "-5", "1e9", "99999999999999999999", "١"] {
            assert_eq!(check(text, BODY, SIGNATURE, AT), Err(SignatureError::Timestamp), "{text}");
        }
    }

    #[test]
    fn an_empty_secret_never_verifies() {
        let none = Secret::new("");
        let forged = sign(&none, "1531420618", BODY);
        assert_eq!(verify(&none, "1531420618", BODY, &forged, AT), Err(SignatureError::NoSecret));
    }

    #[test]
    fn what_is_not_the_exact_signature_is_refused() {
        let bare = &SIGNATURE[3..];
        let upper = SIGNATURE.to_uppercase();
        for signature in ["", "v0=", bare, upper.as_str(), &SIGNATURE[..40]] {
            assert_eq!(check("1531420618", BODY, signature, AT), Err(SignatureError::Mismatch));
        }
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_refused(
            mut body in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let signature = sign(&Secret::new(SECRET), "1531420618", &body);
            prop_assert_eq!(check("1531420618", &body, &signature, AT), Ok(()));
            let at = at.index(body.len());
            body[at] ^= flip;
            prop_assert_eq!(
                check("1531420618", &body, &signature, AT),
                Err(SignatureError::Mismatch)
            );
        }
    }
}
