//! Wishes that follow each other, end early, or are only tried.

use herald::rpc::pb::{
    self, ChannelMemberState as MemberState, ChannelState as State, ChannelWish, NameTaken,
};
use herald::sandbox::{Fault, FaultKind};
use tonic::Code;

use super::support::{
    Channels, KEY, LEGAL, NAME, acts, by_id, counts, in_slack, people_in, wish, wish_or,
};
use crate::support::client::{bad_fields, reason};
use crate::support::world::{World, for_each_database};

/// The channel is created, but Herald does not learn it until faults are cleared.
async fn being_created(world: &World, channels: &Channels, members: Vec<pb::ChannelMember>) {
    world.sandbox.script(Fault::new("conversations.create", FaultKind::Reset).times(1).after());
    let internal = FaultKind::Error { code: "internal_error".into() };
    world.sandbox.script(Fault::new("conversations.list", internal));
    channels.ensure(KEY, wish(NAME), members).await.unwrap();
    world.called("conversations.list", 1).await;
}

#[tokio::test]
async fn a_second_wish_while_the_first_is_carried_out_wins() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara", "daichi"]).await;
        let channels = Channels::new(world);
        being_created(world, &channels, by_id(&["ben", "clara"])).await;
        let second = ChannelWish { topic: "Moved to November".into(), ..wish(NAME) };
        channels.ensure(KEY, second, by_id(&["clara", "daichi"])).await.unwrap();
        world.sandbox.clear_faults();
        let made = channels.settled(KEY).await;
        assert_eq!(counts(&made).members, 2);
        let id = &made.channel_id;
        assert_eq!(in_slack(world, id)["topic"], "Moved to November");
        let members = channels.members(KEY).await;
        assert_eq!(members.keys().collect::<Vec<_>>(), ["clara", "daichi"]);
        let inside: Vec<String> = people_in(world, id).into_iter().collect();
        assert_eq!(inside, ["U0DEMOCLA", "U0DEMODAI"]);
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}

/// A wish that is released while its channel is being created is not carried out any further, and
/// the key can be used again.
#[tokio::test]
async fn a_wish_that_is_released_while_it_is_carried_out_ends() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        being_created(world, &channels, by_id(&["ben"])).await;
        let released = channels.release(KEY).await.unwrap();
        assert_eq!((released.channel_id.as_str(), released.messages_ended), ("", 0));
        let status = channels.get(KEY).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::NotFound, "NOT_FOUND".into()));
        assert_eq!(channels.release(KEY).await.unwrap_err().code(), Code::NotFound);
        world.sandbox.clear_faults();
        channels.ensure(KEY, wish_or(NAME, NameTaken::Suffix), by_id(&["ben"])).await.unwrap();
        let made = channels.settled(KEY).await;
        assert_eq!(made.name, format!("{LEGAL}-2"));
        assert_eq!(people_in(world, &made.channel_id).len(), 1);
        let first = &world.sandbox.channels_named(LEGAL)[0];
        assert!(people_in(world, first["id"].as_str().unwrap()).is_empty());
        assert_eq!(first["purpose"], "");
    })
    .await;
}

/// Releasing leaves the channel in Slack as it is, and its members in it.
#[tokio::test]
async fn a_released_channel_stays_in_slack() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben"])).await;
        let before = in_slack(world, &made.channel_id);
        let released = channels.release(KEY).await.unwrap();
        assert_eq!(released.channel_id, made.channel_id);
        assert!(channels.list().await.is_empty());
        // Another wish is carried out meanwhile.
        channels.ensure("other", wish("Other"), Vec::new()).await.unwrap();
        channels.settled("other").await;
        assert_eq!(in_slack(world, &made.channel_id), before);
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_shows_the_name_and_leaves_nothing_behind() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let asked = world.sandbox.log().len();
        let request = channels.ensuring(KEY, wish("  Über-Track: №7!  "), Some(by_id(&["ben"])));
        let dry = pb::EnsureChannelRequest { dry_run: true, ..request.clone() };
        let shown = channels.ensure_as(dry.clone()).await.unwrap();
        assert!(!shown.name.is_empty() && shown.channel_id.is_empty(), "{shown:?}");
        assert_eq!(channels.get(KEY).await.unwrap_err().code(), Code::NotFound);
        assert!(channels.list().await.is_empty());
        for table in ["channels", "channel_members", "channel_changes", "channel_feed_inbox"] {
            assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        assert_eq!(world.sandbox.log().len(), asked);
        // The real call takes the name that was shown.
        channels.ensure_as(request).await.unwrap();
        assert_eq!(channels.settled(KEY).await.name, shown.name);
        // A dry run on an existing channel changes nothing either.
        let before = channels.get(KEY).await.unwrap();
        channels.ensure_as(dry).await.unwrap();
        assert_eq!(channels.get(KEY).await.unwrap(), before);
    })
    .await;
}

#[tokio::test]
async fn a_wish_that_cannot_be_is_refused_with_all_its_fields() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let bad = ChannelWish { topic: "x".repeat(251), purpose: "x".repeat(221), ..wish("!!!") };
        let twice = by_id(&["ben", "ben"]);
        let status = channels.ensure(KEY, bad, twice).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let fields = bad_fields(&status);
        for field in ["wish.name", "wish.topic", "wish.purpose"] {
            assert!(fields.iter().any(|it| it == field), "{field}: {fields:?}");
        }
        assert!(fields.iter().any(|it| it.starts_with("members")), "{fields:?}");
        assert!(channels.list().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_not_created_before_its_time() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let next_year = world.now().await.0 / 1_000_000 + 365 * 86_400;
        let next_year = prost_types::Timestamp { seconds: next_year, nanos: 0 };
        let waiting = ChannelWish { create_not_before: Some(next_year), ..wish(NAME) };
        channels.ensure(KEY, waiting, by_id(&["ben"])).await.unwrap();
        channels.in_state(KEY, State::Scheduled).await;
        // Another channel is made meanwhile.
        channels.ensure("other", wish("Other"), Vec::new()).await.unwrap();
        channels.settled("other").await;
        assert_eq!(channels.get(KEY).await.unwrap().state(), State::Scheduled);
        assert_eq!(acts(world, "create").len(), 1);
        channels.wish(KEY, wish(NAME)).await;
        let made = channels.settled(KEY).await;
        assert_eq!(made.state(), State::Ready);
        channels.member_in(KEY, "ben", MemberState::Member).await;
    })
    .await;
}

/// The same wish again asks Slack to change nothing.
#[tokio::test]
async fn a_repeated_wish_changes_nothing() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let first = channels.made(wish(NAME), by_id(&["ben"])).await;
        let acted = || world.sandbox.log().into_iter().filter(|it| it.act.is_some()).count();
        let before = acted();
        for _ in 0..3 {
            channels.ensure(KEY, wish(NAME), by_id(&["ben"])).await.unwrap();
        }
        let again = channels.settled(KEY).await;
        assert_eq!((again.channel_id, acted()), (first.channel_id, before));
    })
    .await;
}
