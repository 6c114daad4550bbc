//! People who are invited to a channel: the fate of each by Slack's code for them.

use std::time::Duration;

/// The most people in one conversations.invite: Slack's page says 100 in one place and 1,000 in
/// another.
pub const INVITE_BATCH: usize = 100;

/// Invitations after which a person who is refused with a temporary code counts as refused for
/// good.
pub const LAST_INVITE: u32 = 20;

/// The wait after the first invitation that failed; doubles each time.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The fate of a person who was invited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteFate {
    /// In the channel.
    In,
    /// Not a member of the workspace (any more): look for the person again.
    Gone,
    /// Invite again after [`retry_after`], at most [`LAST_INVITE`] times.
    Retry,
    /// A repetition would be refused too.
    Never,
}

/// The fate of one person by Slack's code for them (`None`: no error). Slack says that its lists of
/// codes are not complete: an unknown code is refused for good, as everywhere.
#[must_use]
pub fn invite_fate(code: Option<&str>) -> InviteFate {
    match code {
        None | Some("already_in_channel") => InviteFate::In,
        Some("user_not_found" | "users_not_found" | "no_user" | "user_not_visible") => {
            InviteFate::Gone
        }
        // They say nothing about the person, but about the call or the channel.
        Some(
            "internal_error"
            | "fatal_error"
            | "request_timeout"
            | "service_unavailable"
            | "ratelimited"
            | "rate_limited"
            | "team_added_to_org"
            | "org_login_required"
            | "not_in_channel"
            | "is_archived"
            | "channel_not_found",
        ) => InviteFate::Retry,
        Some(_) => InviteFate::Never,
    }
}

/// The wait after the latest of `attempts` invitations that failed, from 1.
#[must_use]
pub fn retry_after(attempts: u32) -> Duration {
    FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_is_in_looked_for_again_invited_again_or_refused() {
        for (code, fate) in [
            (None, InviteFate::In),
            (Some("already_in_channel"), InviteFate::In),
            (Some("user_not_found"), InviteFate::Gone),
            (Some("internal_error"), InviteFate::Retry),
            (Some("user_disabled"), InviteFate::Never),
            (Some("ura_max_channels"), InviteFate::Never),
            (Some("brand_new_code"), InviteFate::Never),
        ] {
            assert_eq!(invite_fate(code), fate, "{code:?}");
        }
    }

    #[test]
    fn the_wait_doubles_up_to_six_hours() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 10, 11, u32::MAX]
            .into_iter()
            .map(|attempts| retry_after(attempts).as_secs())
            .collect();
        assert_eq!(seconds, [30, 30, 60, 120, 15_360, 21_600, 21_600]);
    }
}
