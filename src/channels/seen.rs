//! The conclusions from Slack's answers about a channel and its members. Pure.

use std::collections::HashSet;

use crate::domain::channels::progress::{Progress, SeenChannel};
use crate::domain::channels::stamp;
use crate::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use crate::domain::ids::{ManagedChannelId, SlackUserId};

/// Takes over what Slack reports about our channel. An error if its mark is another channel's.
pub(super) fn observe(
    progress: &mut Progress,
    id: ManagedChannelId,
    seen: &SeenChannel,
) -> Result<(), ChannelObstacle> {
    let mark = stamp::read(&seen.purpose);
    if mark.is_some_and(|mark| mark != id) {
        return Err(ChannelObstacle::OwnedByAnother);
    }
    progress.name = Some(seen.name.clone());
    progress.is_private = seen.is_private;
    progress.archived = seen.is_archived;
    progress.archived_by_us &= seen.is_archived;
    progress.app_removed = !seen.is_member;
    progress.deleted = false;
    progress.stamped = mark.is_some();
    if !progress.stamped {
        // Written again, with the mark.
        progress.purpose = None;
    }
    Ok(())
}

/// The state that shows an obstacle.
pub(super) fn state_of(obstacle: ChannelObstacle) -> ChannelState {
    match obstacle {
        ChannelObstacle::ArchivedInSlack => ChannelState::Archived,
        ChannelObstacle::DeletedInSlack => ChannelState::Deleted,
        _ => ChannelState::Blocked,
    }
}

/// Whether messages can go to the channel.
pub(super) fn is_usable(progress: &Progress) -> bool {
    !(progress.archived || progress.deleted || progress.app_removed)
}

/// What the list of a channel's members says about one of those wished for.
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

/// Whether the refused removal of a member is as good as done.
pub(super) fn is_out(code: &str) -> bool {
    ["not_in_channel", "user_not_found", "user_not_in_channel"].contains(&code)
}

/// Whether a refused removal is about the person: it stays refused, and is reported.
pub(super) fn stays(code: &str) -> bool {
    ["cant_kick_self", "cant_kick_from_general", "restricted_action", "no_permission"]
        .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ChannelId;
    use crate::domain::time::Timestamp;

    fn id(number: u128) -> ManagedChannelId {
        ManagedChannelId(uuid::Uuid::from_u128(number))
    }

    fn seen(purpose: &str) -> SeenChannel {
        SeenChannel {
            id: ChannelId::parse("C1").unwrap(),
            name: "course".into(),
            creator: None,
            created_at: Timestamp(0),
            is_private: false,
            is_archived: false,
            is_member: true,
            is_general: false,
            topic: String::new(),
            purpose: purpose.into(),
        }
    }

    #[test]
    fn a_mark_that_is_gone_is_written_again_and_one_of_another_stops() {
        let mut progress = Progress { purpose: Some("p".into()), ..Progress::default() };
        observe(&mut progress, id(1), &seen(&stamp::stamped("p", id(1)))).unwrap();
        assert!(progress.stamped && progress.purpose.is_some());
        observe(&mut progress, id(1), &seen("p")).unwrap();
        assert!(!progress.stamped && progress.purpose.is_none());
        let other = seen(&stamp::stamped("p", id(2)));
        assert_eq!(observe(&mut progress, id(1), &other), Err(ChannelObstacle::OwnedByAnother));
    }

    #[test]
    fn an_opened_channel_is_no_longer_archived_by_herald() {
        let mut progress = Progress { archived_by_us: true, ..Progress::default() };
        let archived = SeenChannel { is_archived: true, is_member: false, ..seen("") };
        observe(&mut progress, id(1), &archived).unwrap();
        assert!(progress.archived && progress.archived_by_us && progress.app_removed);
        assert!(!is_usable(&progress));
        observe(&mut progress, id(1), &seen("")).unwrap();
        assert!(!progress.archived && !progress.archived_by_us && is_usable(&progress));
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
