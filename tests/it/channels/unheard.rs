//! Changes in Slack that no event reported: they are noticed all the same.

use herald::rpc::pb::{
    ChannelMemberState as MemberState, ChannelObstacle as Obstacle, ChannelState,
};
use herald::sandbox::{self, ChannelChange};
use serde_json::json;

use super::support::{
    Channels, KEY, NAME, assert_each_invited_once, by_id, calls_about, listen, people_change, wish,
};
use crate::support::world::{Plan, World};

fn leave(user: &str) -> ChannelChange {
    let leave = vec![user.to_owned()];
    ChannelChange { user: Some(user.to_owned()), leave, ..ChannelChange::default() }
}

fn archived(archived: bool) -> ChannelChange {
    ChannelChange { archived: Some(archived), ..ChannelChange::default() }
}

/// Red without the check in `channels/steps.rs` (`begin`), or without its time in `conclude`.
#[tokio::test]
async fn a_channel_without_events_is_read_again() {
    let plan = Plan { adjust: |settings| settings.channels.check_seconds = 60, ..Plan::default() };
    plan.run(async |world: &mut World| {
        world.client.load(&["ben", "clara"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let id = made.channel_id.as_str();
        people_change(world, id, &leave("U0DEMOBEN"));
        let left = channels.member_in(KEY, "ben", MemberState::Left).await;
        assert_eq!(left.code, "left");
        assert!(left.sentence.contains("AddChannelMembers"), "{left:?}");
        let renamed = ChannelChange { name: Some("moved".into()), ..ChannelChange::default() };
        people_change(world, id, &renamed);
        channels.until(KEY, "renamed", |channel| channel.name == "moved").await;
        people_change(world, id, &archived(true));
        channels.stopped_by(KEY, Obstacle::ArchivedInSlack).await;
        people_change(world, id, &archived(false));
        channels.in_state(KEY, ChannelState::Ready).await;
        assert_each_invited_once(world, id);
        assert!(world.sandbox.delete_channel(id));
        channels.stopped_by(KEY, Obstacle::DeletedInSlack).await;
        // A channel that is gone is not read any more: another one is, meanwhile.
        let about = || calls_about(world, "conversations.info", id).len();
        let asked = about();
        channels.ensure("other", wish("Other"), Vec::new()).await.unwrap();
        let other = channels.settled("other").await;
        people_change(world, &other.channel_id, &archived(true));
        channels.stopped_by("other", Obstacle::ArchivedInSlack).await;
        assert_eq!(about(), asked);
    })
    .await;
}

/// Slack says that it dropped events, not which ones. Red without `note_lost_events` of channels in
/// `directory/inbox.rs`.
#[tokio::test]
async fn after_lost_events_the_channels_of_the_workspace_are_read_again() {
    let plan =
        Plan { adjust: |settings| settings.directory.refresh_seconds = 60, ..Plan::default() };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let mut made = Vec::new();
        for key in ["one", "two"] {
            channels.ensure(key, wish(key), Vec::new()).await.unwrap();
            made.push(channels.settled(key).await.channel_id);
        }
        for id in &made {
            people_change(world, id, &archived(true));
        }
        listen(world);
        let slack = sandbox::Config::default();
        let minute = world.now().await.0 / 1_000_000;
        let limited = json!({
            "type": "app_rate_limited", "team_id": slack.team.id, "api_app_id": slack.app_id,
            "minute_rate_limited": minute,
        });
        world.sandbox.push_event(limited).unwrap();
        for key in ["one", "two"] {
            channels.stopped_by(key, Obstacle::ArchivedInSlack).await;
        }
    })
    .await;
}
