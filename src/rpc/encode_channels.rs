//! Domain -> protobuf for channels, their members and their feed.

use std::time::Duration;

use super::encode::time;
use super::pb;
use crate::app::channels::ShownChannel;
use crate::app::records::{ChannelChange, ChannelChangeKind, MemberCounts, MemberRecord};
use crate::domain::channels::state::{
    ChannelMemberState, ChannelObstacle, ChannelState, member_sentence,
};
use crate::domain::channels::wish::{ChannelWish, NameTaken};

pub(super) fn channel(shown: ShownChannel) -> pb::Channel {
    let ShownChannel { channel, state, obstacle, sentence, missing_scopes, name, is_settled } =
        shown;
    let (workspace_id, channel_id) = match channel.place {
        Some(place) => (place.installation.to_string(), place.channel.into()),
        None => (String::new(), String::new()),
    };
    pb::Channel {
        channel_key: channel.key.into(),
        wish: Some(wish(channel.wish)),
        state: channel_state(state).into(),
        obstacle: channel_obstacle(obstacle).into(),
        obstacle_sentence: sentence,
        missing_scopes: missing_scopes.into_iter().map(Into::into).collect(),
        workspace_id,
        channel_id,
        name,
        adopted: channel.progress.adopted,
        members: Some(counts(channel.counts)),
        created_at: Some(time(channel.created_at)),
        changed_at: Some(time(channel.changed_at)),
        settled: is_settled,
    }
}

fn wish(wish: ChannelWish) -> pb::ChannelWish {
    let name_taken = match wish.name_taken {
        NameTaken::Fail => pb::NameTaken::Fail,
        NameTaken::Suffix => pb::NameTaken::Suffix,
        NameTaken::Adopt => pb::NameTaken::Adopt,
    };
    pb::ChannelWish {
        name: wish.name,
        is_private: wish.is_private,
        topic: wish.topic,
        purpose: wish.purpose,
        name_taken: name_taken.into(),
        follow_name: wish.follow_name,
        remove_unlisted: wish.remove_unlisted,
        create_not_before: wish.create_not_before.map(time),
        archive_after: wish.archive_after.map(time),
        archive_notice: Some(duration(wish.archive_notice)),
    }
}

/// A notice has at most 30 days.
fn duration(given: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(given.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(given.subsec_nanos()).unwrap_or(0),
    }
}

fn counts(counts: MemberCounts) -> pb::ChannelMemberCounts {
    let MemberCounts { queued, not_in_slack, members, left, failed, removing } = counts;
    let number = |count| i32::try_from(count).unwrap_or(i32::MAX);
    pb::ChannelMemberCounts {
        queued: number(queued),
        not_in_slack: number(not_in_slack),
        members: number(members),
        left: number(left),
        failed: number(failed),
        removing: number(removing),
    }
}

fn channel_state(state: ChannelState) -> pb::ChannelState {
    match state {
        ChannelState::Scheduled => pb::ChannelState::Scheduled,
        ChannelState::Creating => pb::ChannelState::Creating,
        ChannelState::Ready => pb::ChannelState::Ready,
        ChannelState::Blocked => pb::ChannelState::Blocked,
        ChannelState::Archived => pb::ChannelState::Archived,
        ChannelState::Deleted => pb::ChannelState::Deleted,
        ChannelState::Newer => pb::ChannelState::Unspecified,
    }
}

fn channel_obstacle(obstacle: Option<ChannelObstacle>) -> pb::ChannelObstacle {
    match obstacle {
        None => pb::ChannelObstacle::Unspecified,
        Some(ChannelObstacle::NotConnected) => pb::ChannelObstacle::NotConnected,
        Some(ChannelObstacle::Reconnect) => pb::ChannelObstacle::Reconnect,
        Some(ChannelObstacle::MissingScopes) => pb::ChannelObstacle::MissingScopes,
        Some(ChannelObstacle::NameTaken) => pb::ChannelObstacle::NameTaken,
        Some(ChannelObstacle::NotAdoptable) => pb::ChannelObstacle::NotAdoptable,
        Some(ChannelObstacle::OwnedByAnother) => pb::ChannelObstacle::OwnedByAnother,
        Some(ChannelObstacle::RefusedBySlack) => pb::ChannelObstacle::RefusedBySlack,
        Some(ChannelObstacle::ArchivedInSlack) => pb::ChannelObstacle::ArchivedInSlack,
        Some(ChannelObstacle::DeletedInSlack) => pb::ChannelObstacle::DeletedInSlack,
        Some(ChannelObstacle::AppRemoved) => pb::ChannelObstacle::AppRemoved,
        Some(ChannelObstacle::OtherWorkspace) => pb::ChannelObstacle::OtherWorkspace,
    }
}

fn member_state(state: ChannelMemberState) -> pb::ChannelMemberState {
    match state {
        ChannelMemberState::Queued => pb::ChannelMemberState::Queued,
        ChannelMemberState::NotInSlack => pb::ChannelMemberState::NotInSlack,
        ChannelMemberState::Inviting => pb::ChannelMemberState::Inviting,
        ChannelMemberState::Member => pb::ChannelMemberState::Member,
        ChannelMemberState::Left => pb::ChannelMemberState::Left,
        ChannelMemberState::Failed => pb::ChannelMemberState::Failed,
        ChannelMemberState::Removing => pb::ChannelMemberState::Removing,
    }
}

pub(super) fn member(record: MemberRecord) -> pb::ChannelMemberStatus {
    let code = record.code.unwrap_or_default();
    let sentence = if code.is_empty() { String::new() } else { member_sentence(&code) };
    pb::ChannelMemberStatus {
        user_id: record.user.into(),
        roles: record.roles,
        state: member_state(record.state).into(),
        slack_user_id: record.slack_user_id.map(Into::into).unwrap_or_default(),
        code,
        sentence,
        retry_at: record.retry_at.map(time),
        changed_at: Some(time(record.changed_at)),
    }
}

pub(super) fn change(change: ChannelChange) -> pb::ChannelChange {
    use pb::channel_change::Change as Sent;
    let ChannelChange { sequence, key, at, what } = change;
    let sent = match what {
        ChannelChangeKind::Channel { state, obstacle, slack_channel } => {
            Sent::Channel(pb::ChannelStateChange {
                state: channel_state(state).into(),
                obstacle: channel_obstacle(obstacle).into(),
                channel_id: slack_channel.map(Into::into).unwrap_or_default(),
            })
        }
        ChannelChangeKind::Member { user, state, code } => {
            let state = state.map_or(pb::ChannelMemberState::Unspecified, member_state);
            Sent::Member(pb::ChannelMemberChange {
                user_id: user.map(Into::into).unwrap_or_default(),
                state: state.into(),
                code: code.unwrap_or_default(),
            })
        }
        ChannelChangeKind::Released => Sent::Released(pb::ChannelReleased {}),
    };
    pb::ChannelChange {
        sequence,
        channel_key: key.into(),
        changed_at: Some(time(at)),
        change: Some(sent),
    }
}
