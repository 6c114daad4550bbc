//! Marks whose row is gone: of a channel that was released, and of one that the database forgot.

use herald::rpc::pb::{ChannelObstacle as Obstacle, ChannelState as State, ChannelWish, NameTaken};
use herald::sandbox::ChannelChange;

use super::support::{
    Channels, KEY, LEGAL, NAME, acts, by_id, in_slack, people_change, people_in, wish, wish_or,
};
use crate::support::world::{World, for_each_database, until};

/// Releasing changes nothing in Slack; the tenant may adopt the channel again, and no other may.
/// Red if the release is not remembered (`store/channels/wishes.rs`, `forget`), or for every tenant
/// (`store/channels/releases.rs`, `released`).
#[tokio::test]
async fn a_released_channel_is_adopted_by_another_key_of_its_tenant() {
    for_each_database(async |world| {
        let other = "umbrella";
        assert_eq!(world.connect(other).await.status, 200);
        world.client.load(&["ben"]).await;
        let (ours, theirs) = (Channels::new(world), Channels::of(world, 0, other));
        let made = ours.made(wish(NAME), by_id(&["ben"])).await;
        let before = in_slack(world, &made.channel_id);
        ours.release(KEY).await.unwrap();
        let adopting = wish_or(NAME, NameTaken::Adopt);
        theirs.ensure("theirs", adopting.clone(), Vec::new()).await.unwrap();
        theirs.stopped_by("theirs", Obstacle::OwnedByAnother).await;
        assert_eq!(in_slack(world, &made.channel_id), before);

        let unsaid = ChannelWish { purpose: String::new(), ..adopting.clone() };
        ours.ensure("again", unsaid, by_id(&["ben"])).await.unwrap();
        let adopted = ours.settled("again").await;
        assert_eq!((&adopted.channel_id, adopted.adopted), (&made.channel_id, true));
        let purpose = in_slack(world, &made.channel_id)["purpose"].as_str().unwrap().to_owned();
        // The words stay, and the mark is another one.
        let words = wish(NAME).purpose;
        assert!(purpose.starts_with(&words), "{purpose}");
        assert_eq!(purpose.matches("herald-").count(), 1, "{purpose}");
        assert_ne!(before["purpose"], purpose);
        assert_eq!(people_in(world, &made.channel_id).len(), 1);
        assert_eq!(acts(world, "create").len(), 1);
        // It is owned again.
        ours.ensure("third", adopting, Vec::new()).await.unwrap();
        ours.stopped_by("third", Obstacle::OwnedByAnother).await;
    })
    .await;
}

/// Waits until no turn is under way.
async fn idle(world: &World) {
    let held = "SELECT COUNT(*) FROM channels WHERE lease_until > 0";
    until("no turn is under way", async || (world.count(held).await == 0).then_some(())).await;
}

/// The copy is from before the channel was created, and people gave it another name since. Red
/// without `recovered` in `channels/steps.rs` (`begin`), or without the mark in
/// `domain/channels/look.rs` (`settled_by_look`): a second channel is made.
#[tokio::test]
async fn a_channel_that_the_database_forgot_is_found_by_its_mark() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let next_year = world.now().await.0 / 1_000_000 + 365 * 86_400;
        let next_year = prost_types::Timestamp { seconds: next_year, nanos: 0 };
        let suffix = || wish_or(NAME, NameTaken::Suffix);
        let waits = ChannelWish { create_not_before: Some(next_year), ..suffix() };
        channels.ensure(KEY, waits, by_id(&["ben"])).await.unwrap();
        channels.in_state(KEY, State::Scheduled).await;
        idle(world).await;
        world.execute("CREATE TABLE copied AS SELECT wish, progress FROM channels").await.unwrap();
        channels.wish(KEY, suffix()).await;
        let made = channels.settled(KEY).await;
        let moved = ChannelChange { name: Some("moved".into()), ..ChannelChange::default() };
        people_change(world, &made.channel_id, &moved);
        idle(world).await;
        let restored = "UPDATE channels SET wish = (SELECT wish FROM copied), \
            progress = (SELECT progress FROM copied), state = 'scheduled', obstacle = NULL, \
            installation = NULL, slack_channel = NULL";
        assert_eq!(world.execute(restored).await.unwrap(), 1);
        world.execute("DROP TABLE copied").await.unwrap();
        world.recover().await;
        let found = channels.in_state(KEY, State::Ready).await;
        assert_eq!(found.channel_id, made.channel_id);
        channels.wish(KEY, suffix()).await;
        let again = channels.settled(KEY).await;
        assert_eq!((again.channel_id, again.name.as_str()), (made.channel_id.clone(), "moved"));
        assert_eq!(people_in(world, &made.channel_id).len(), 1);
        assert_eq!(acts(world, "create").len(), 1);
        assert!(world.sandbox.channels_named(LEGAL).is_empty());
    })
    .await;
}
