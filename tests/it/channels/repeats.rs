//! Refused steps: they are tried again after a time, or at once if a call says so, and the feed has
//! no entry for a try that changed nothing.

use herald::rpc::pb::{ChannelObstacle as Obstacle, ChannelState as State, NameTaken};
use herald::sandbox::{ChannelChange, NewChannel};

use super::feed::{is_state, of_channel, read_to};
use super::support::{Channels, KEY, LEGAL, NAME, people_change, people_make, wish_or};
use crate::support::world::{Plan, World, until};

fn moved() -> ChannelChange {
    ChannelChange { name: Some("moved".into()), ..ChannelChange::default() }
}

/// Otherwise it would be tried again after a day. Red without `try_again` in
/// `store/channels/wishes.rs` (`change`).
#[tokio::test]
async fn the_same_wish_again_is_tried_at_once() {
    let plan = Plan {
        adjust: |settings| settings.channels.blocked_retry_seconds = 86_400,
        ..Plan::default()
    };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let taken = people_make(world, LEGAL, &["U0DEMOADA"]);
        channels.ensure(KEY, wish_or(NAME, NameTaken::Fail), Vec::new()).await.unwrap();
        channels.stopped_by(KEY, Obstacle::NameTaken).await;
        people_change(world, &taken, &moved());
        channels.ensure(KEY, wish_or(NAME, NameTaken::Fail), Vec::new()).await.unwrap();
        assert_eq!(channels.settled(KEY).await.name, LEGAL);
    })
    .await;
}

/// Red without `repeated` in `channels/steps.rs` (`create`).
#[tokio::test]
async fn a_try_that_is_refused_again_is_no_change() {
    let plan =
        Plan { adjust: |settings| settings.channels.blocked_retry_seconds = 10, ..Plan::default() };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        for (key, policy, obstacle) in [
            ("fail", NameTaken::Fail, Obstacle::NameTaken),
            ("adopt", NameTaken::Adopt, Obstacle::NotAdoptable),
        ] {
            // The app cannot see it.
            let taken = world.sandbox.make_channel(&NewChannel {
                name: key.into(),
                is_private: true,
                members: vec!["U0DEMOADA".into()],
                ..NewChannel::default()
            });
            channels.ensure(key, wish_or(key, policy), Vec::new()).await.unwrap();
            channels.stopped_by(key, obstacle).await;
            let tries = || {
                let calls = world.calls("conversations.create");
                calls.iter().filter(|call| call.args["name"] == key).count()
            };
            until("it is tried again", async || (tries() >= 4).then_some(())).await;
            // Also by a call.
            channels.wish(key, wish_or(key, policy)).await;
            let before = tries();
            until("it is tried again", async || (tries() > before).then_some(())).await;
            people_change(
                world,
                &taken,
                &ChannelChange { name: Some(format!("moved-{key}")), ..moved() },
            );
            channels.settled(key).await;
            let mut stream = channels.watch(Some(0)).await.unwrap();
            let changes = read_to(&mut stream, |change| is_state(change, key, State::Ready)).await;
            let states = of_channel(&changes, key);
            assert_eq!(states, [State::Creating, State::Blocked, State::Ready]);
        }
    })
    .await;
}
