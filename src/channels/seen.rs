//! The conclusions from Slack's answers about the members of a channel. Pure.

use std::collections::HashSet;

use crate::domain::channels::members::{InviteFate, invite_fate};
use crate::domain::channels::state::ChannelMemberState;
use crate::domain::ids::SlackUserId;

/// The presence of a member wished for, by the list of the channel's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// As it was known.
    AsKnown,
    Is(ChannelMemberState),
    /// The removal is done: the row goes.
    Gone,
}

/// Compares a member with the people who are in the channel. An invitation under way is settled
/// here, because the list is read after it ended.
pub(super) fn presence(
    state: ChannelMemberState,
    member: Option<&SlackUserId>,
    present: &HashSet<SlackUserId>,
) -> Presence {
    use ChannelMemberState as State;
    let is_in = member.is_some_and(|member| present.contains(member));
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
pub(super) fn is_about_a_person(code: &str) -> bool {
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
pub(super) fn is_out(code: &str) -> bool {
    ["user_not_found", "user_not_in_channel"].contains(&code)
}

/// Whether the code of a refused removal is about the channel or the call: others would be refused
/// too.
pub(super) fn is_about_the_channel(code: &str) -> bool {
    const CODES: &[&str] = &["missing_scope", "method_not_supported_for_channel_type"];
    CODES.contains(&code) || invite_fate(Some(code)) == InviteFate::Retry
}

/// Whether a refused removal is about the person: it stays refused, and is reported.
pub(super) fn stays(code: &str) -> bool {
    ["cant_kick_self", "cant_kick_from_general", "restricted_action", "no_permission"]
        .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_removal_is_about_the_person_unless_it_is_known_to_be_about_the_channel() {
        for code in ["is_archived", "channel_not_found", "missing_scope", "internal_error"] {
            assert!(is_about_the_channel(code) && !is_out(code) && !stays(code), "{code}");
        }
        for code in ["restricted_action", "user_not_found", "brand_new_code"] {
            assert!(!is_about_the_channel(code), "{code}");
        }
        assert!(!is_out("not_in_channel"), "perhaps the app is not in it");
    }

    #[test]
    fn the_list_of_members_settles_invitations_and_departures() {
        use ChannelMemberState as State;
        let (one, two) = (SlackUserId::parse("U1").unwrap(), SlackUserId::parse("U2").unwrap());
        let present = HashSet::from([one.clone()]);
        for (state, member, expected) in [
            (State::Inviting, Some(&one), Presence::Is(State::Member)),
            (State::Inviting, Some(&two), Presence::Is(State::Queued)),
            (State::Member, Some(&one), Presence::AsKnown),
            (State::Member, Some(&two), Presence::Is(State::Left)),
            (State::Left, Some(&one), Presence::Is(State::Member)),
            (State::Left, Some(&two), Presence::AsKnown),
            (State::Removing, Some(&one), Presence::AsKnown),
            (State::Removing, Some(&two), Presence::Gone),
            (State::Queued, None, Presence::AsKnown),
            (State::Failed, Some(&one), Presence::Is(State::Member)),
        ] {
            assert_eq!(presence(state, member, &present), expected, "{state:?} {member:?}");
        }
    }
}
