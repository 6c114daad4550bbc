//! The sandbox's clock.

use std::time::UNIX_EPOCH;

/// Now, by this machine's clock: Slack has its own clock.
#[expect(clippy::disallowed_methods, reason = "the sandbox plays Slack, which has its own clock")]
pub(in crate::sandbox) fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
