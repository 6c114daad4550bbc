//! The life of a token that expires: when it is exchanged for the next one, and the consequence if
//! Slack does not give one.
//!
//! A refresh token works once, and for a short time after its first use (Slack's documentation:
//! Using token rotation). So an exchange whose answer was lost is repeated soon, with the same
//! refresh token. A refusal does not stop a workspace while its token still works: a person may
//! repair what is wrong before it expires.

use std::time::Duration;

use crate::domain::backoff::backoff;

/// The wait after the first failure; it doubles each time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a failure without a refusal.
const LONGEST: Duration = Duration::from_secs(60);
/// The wait after a refusal that a person must repair, such as a wrong client secret.
const REFUSED: Duration = Duration::from_secs(300);

/// How a token is exchanged for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalKind {
    /// With its refresh token.
    Refresh,
    /// A token that does not expire is exchanged for one that does, because the app's tokens expire
    /// from now on.
    Exchange,
}

/// Why Slack did not give the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalFailure<'a> {
    /// Slack did not execute the request.
    Unsent,
    /// Slack may have executed the request: its refresh token may be used up soon.
    Unclear,
    /// Slack's code of the refusal.
    Refused(&'a str),
}

/// The consequence of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalStep {
    /// Try again after this time.
    Again(Duration),
    /// The same, but not while the request may still be carried out.
    AfterLease(Duration),
    /// The token cannot be exchanged any more, and has expired: the workspace must be connected
    /// again.
    Dead,
    /// There is nothing to exchange: the token works without an end, or its end will be noticed by
    /// the next request that uses it.
    Leave,
}

/// The time from the issue of a token to its exchange. Two thirds of its life: Slack keeps the
/// previous token until it expires, so what remains is time for repeated attempts.
#[must_use]
pub fn due_after(life: Duration) -> Duration {
    life / 3 * 2
}

/// The consequence of a failure. `failures`: those in a row before this one. `has_expired`: whether
/// the present token no longer works.
#[must_use]
pub fn after_failure(
    kind: RenewalKind,
    failure: RenewalFailure<'_>,
    failures: u32,
    has_expired: bool,
) -> RenewalStep {
    let wait = backoff(failures.saturating_add(1), 1.0, FIRST, LONGEST);
    match failure {
        RenewalFailure::Unsent => RenewalStep::Again(wait),
        RenewalFailure::Unclear => RenewalStep::AfterLease(wait),
        RenewalFailure::Refused(code) => match kind {
            // Slack refuses the client id or the client secret: an operator can correct them.
            _ if is_of_app(code) => RenewalStep::Again(REFUSED),
            RenewalKind::Exchange => RenewalStep::Leave,
            RenewalKind::Refresh if has_expired => RenewalStep::Dead,
            RenewalKind::Refresh => RenewalStep::Again(REFUSED),
        },
    }
}

/// Whether a refusal is about the app's credentials or settings, and not about the token.
fn is_of_app(code: &str) -> bool {
    const CODES: [&str; 4] =
        ["bad_client_secret", "invalid_client_id", "invalid_grant_type", "unknown_method"];
    CODES.contains(&code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWELVE_HOURS: Duration = Duration::from_secs(43_200);

    #[test]
    fn a_token_is_exchanged_hours_before_its_end() {
        assert_eq!(due_after(TWELVE_HOURS), Duration::from_secs(28_800));
        assert_eq!(due_after(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_refusal_ends_only_a_token_that_no_longer_works() {
        use RenewalFailure::Refused;
        use RenewalKind::{Exchange, Refresh};
        let again = RenewalStep::Again(REFUSED);
        for (kind, code, has_expired, step) in [
            (Refresh, "invalid_refresh_token", false, again),
            (Refresh, "invalid_refresh_token", true, RenewalStep::Dead),
            (Refresh, "account_inactive", true, RenewalStep::Dead),
            (Refresh, "bad_client_secret", true, again),
            (Exchange, "invalid_client_id", false, again),
            (Exchange, "token_rotation_not_enabled", false, RenewalStep::Leave),
            (Exchange, "token_already_exchanged", false, RenewalStep::Leave),
        ] {
            assert_eq!(after_failure(kind, Refused(code), 3, has_expired), step, "{code}");
        }
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_soon_but_not_at_the_same_time() {
        let step = |failure, failures| after_failure(RenewalKind::Refresh, failure, failures, true);
        let seconds = Duration::from_secs;
        assert_eq!(step(RenewalFailure::Unclear, 0), RenewalStep::AfterLease(seconds(1)));
        assert_eq!(step(RenewalFailure::Unsent, 0), RenewalStep::Again(seconds(1)));
        assert_eq!(step(RenewalFailure::Unsent, 3), RenewalStep::Again(seconds(8)));
    }

    proptest! {
        #[test]
        fn the_next_token_comes_before_the_end_of_this_one(seconds in 1u64..100_000_000) {
            let life = Duration::from_secs(seconds);
            let due = due_after(life);
            prop_assert!(due < life && due >= life / 2);
        }

        #[test]
        fn failures_never_wait_for_long_and_never_end_a_workspace(failures in any::<u32>()) {
            for failure in [RenewalFailure::Unsent, RenewalFailure::Unclear] {
                match after_failure(RenewalKind::Refresh, failure, failures, true) {
                    RenewalStep::Again(wait) | RenewalStep::AfterLease(wait) => {
                        prop_assert!(wait >= FIRST && wait <= LONGEST);
                    }
                    step => prop_assert!(false, "{step:?}"),
                }
            }
        }
    }
}
