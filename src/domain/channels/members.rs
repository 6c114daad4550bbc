//! People in a channel, and the meaning of Slack's answers about each of them.

use std::time::Duration;

use super::state::ChannelMemberState;
use crate::domain::slack_codes::{Meaning, meaning};

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
        // They say nothing about the person, but about the channel or the call.
        Some("not_in_channel" | "is_archived" | "channel_not_found") => InviteFate::Retry,
        Some(code) => match meaning(code) {
            Meaning::Throttle | Meaning::Transient | Meaning::Ambiguous => InviteFate::Retry,
            Meaning::Reject(_) | Meaning::Reconnect | Meaning::Scope => InviteFate::Never,
        },
    }
}

/// The wait after the latest of `attempts` invitations that failed, from 1.
#[must_use]
pub fn retry_after(attempts: u32) -> Duration {
    FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LONGEST)
}

/// The presence of a member wished for, by the list of the channel's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// As it was known.
    AsKnown,
    Is(ChannelMemberState),
    /// The removal is done: the row goes.
    Gone,
}

/// Compares a member with the list; `is_in`: it has the member. An invitation under way is settled
/// here, because the list is read after it ended.
#[must_use]
pub fn presence(state: ChannelMemberState, is_in: bool) -> Presence {
    use ChannelMemberState as State;
    if is_in {
        return match state {
            State::Removing | State::Member => Presence::AsKnown,
            _ => Presence::Is(State::Member),
        };
    }
    match state {
        State::Removing => Presence::Gone,
        State::Member => Presence::Is(State::Left),
        State::Inviting => Presence::Is(State::Queued),
        _ => Presence::AsKnown,
    }
}

/// Whether the code of a refused invitation is about a person and not about the channel: then a
/// smaller batch finds out which person.
#[must_use]
pub fn is_about_a_person(code: &str) -> bool {
    const CODES: &[&str] = &[
        "already_in_channel",
        "app_cannot_join_channel",
        "cant_invite",
        "cant_invite_self",
        "invitee_cant_see_channel",
        "no_external_invite_permission",
        "no_user",
        "org_user_not_in_team",
        "ura_max_channels",
        "user_disabled",
        "user_is_restricted",
        "user_not_found",
        "user_not_visible",
    ];
    CODES.contains(&code)
}

/// Whether the refused removal of a member is as good as done. `not_in_channel` is not: it may be
/// about the app.
#[must_use]
pub fn is_removed(code: &str) -> bool {
    ["user_not_found", "user_not_in_channel"].contains(&code)
}

/// Whether the code of a refused removal is about the channel or the call: others would be refused
/// too.
#[must_use]
pub fn is_about_the_channel(code: &str) -> bool {
    const CODES: &[&str] = &["missing_scope", "method_not_supported_for_channel_type"];
    CODES.contains(&code) || invite_fate(Some(code)) == InviteFate::Retry
}

/// Whether a refused removal is about the person: it stays refused, and is reported.
#[must_use]
pub fn cannot_be_removed(code: &str) -> bool {
    ["cant_kick_self", "cant_kick_from_general", "restricted_action", "no_permission"]
        .contains(&code)
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

    #[test]
    fn a_refused_removal_is_about_the_person_unless_it_is_known_to_be_about_the_channel() {
        for code in ["is_archived", "channel_not_found", "missing_scope", "internal_error"] {
            let is_of_person = is_removed(code) || cannot_be_removed(code);
            assert!(is_about_the_channel(code) && !is_of_person, "{code}");
        }
        for code in ["restricted_action", "user_not_found", "brand_new_code"] {
            assert!(!is_about_the_channel(code), "{code}");
        }
        assert!(!is_removed("not_in_channel"), "perhaps the app is not in it");
    }

    #[test]
    fn the_list_of_members_settles_invitations_and_departures() {
        use ChannelMemberState as State;
        for (state, is_in, expected) in [
            (State::Inviting, true, Presence::Is(State::Member)),
            (State::Inviting, false, Presence::Is(State::Queued)),
            (State::Member, true, Presence::AsKnown),
            (State::Member, false, Presence::Is(State::Left)),
            (State::Left, true, Presence::Is(State::Member)),
            (State::Left, false, Presence::AsKnown),
            (State::Removing, true, Presence::AsKnown),
            (State::Removing, false, Presence::Gone),
            (State::Queued, false, Presence::AsKnown),
            (State::Failed, true, Presence::Is(State::Member)),
        ] {
            assert_eq!(presence(state, is_in), expected, "{state:?} {is_in}");
        }
    }
}
