//! Names that are taken: by people, by archived channels, by channels that the app cannot see, and
//! by other keys and tenants. Herald never takes a channel that is not its to take.

use herald::rpc::pb::{ChannelObstacle as Obstacle, ChannelState as State, ChannelWish, NameTaken};
use herald::sandbox::{ChannelChange, NewChannel};

use super::support::{
    Channels, KEY, LEGAL, NAME, acts, by_id, in_slack, people_change, people_in, people_make,
    wish_or,
};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

fn private(wish: ChannelWish) -> ChannelWish {
    ChannelWish { is_private: true, ..wish }
}

/// People make a channel of the wished name that the app is not in.
fn without_the_app(world: &World, is_private: bool, archived: bool) -> String {
    world.sandbox.make_channel(&NewChannel {
        name: LEGAL.into(),
        is_private,
        archived,
        members: vec!["U0DEMOADA".into()],
        ..NewChannel::default()
    })
}

/// Of the two policies that take no channel of others, each does what it says; `ADOPT` is stopped
/// by this obstacle. No channel but Herald's own is changed.
async fn taken_and_not_adoptable(world: &World, taken: &str, obstacle: Obstacle) {
    let channels = Channels::new(world);
    let before = in_slack(world, taken);
    channels.ensure("fail", wish_or(NAME, NameTaken::Fail), Vec::new()).await.unwrap();
    channels.ensure("adopt", wish_or(NAME, NameTaken::Adopt), Vec::new()).await.unwrap();
    let stopped = channels.stopped_by("fail", Obstacle::NameTaken).await;
    assert_eq!((stopped.state(), stopped.channel_id.as_str()), (State::Blocked, ""));
    assert_eq!(channels.stopped_by("adopt", obstacle).await.state(), State::Blocked);
    channels.ensure("suffix", wish_or(NAME, NameTaken::Suffix), Vec::new()).await.unwrap();
    let made = channels.settled("suffix").await;
    assert_eq!((made.name, made.adopted), (format!("{LEGAL}-2"), false));
    assert_eq!(in_slack(world, taken), before);
    assert_eq!(acts(world, "create").len(), 1);
}

#[tokio::test]
async fn an_archived_channel_keeps_its_name_and_is_not_adopted() {
    for_each_database(async |world| {
        let taken = without_the_app(world, false, true);
        taken_and_not_adoptable(world, &taken, Obstacle::NotAdoptable).await;
    })
    .await;
}

#[tokio::test]
async fn a_private_channel_that_the_app_cannot_see_is_not_adopted() {
    for_each_database(async |world| {
        let taken = without_the_app(world, true, false);
        taken_and_not_adoptable(world, &taken, Obstacle::NotAdoptable).await;
    })
    .await;
}

#[tokio::test]
async fn a_private_channel_that_the_app_is_in_is_adopted_by_a_private_wish() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let taken = world.sandbox.make_channel(&NewChannel {
            name: LEGAL.into(),
            is_private: true,
            members: vec!["U0DEMOADA".into(), "bot".into()],
            ..NewChannel::default()
        });
        let wish = private(wish_or(NAME, NameTaken::Adopt));
        let found = channels.made(wish, by_id(&["ben"])).await;
        assert_eq!((found.channel_id.as_str(), found.adopted), (taken.as_str(), true));
        assert_eq!(people_in(world, &taken).len(), 2);
        assert!(acts(world, "create").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_private_wish_makes_a_private_channel() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let made = channels.made(private(wish_or(NAME, NameTaken::Fail)), Vec::new()).await;
        assert_eq!(in_slack(world, &made.channel_id)["is_private"], true);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_becomes_free_is_used() {
    let plan =
        Plan { adjust: |settings| settings.channels.blocked_retry_seconds = 10, ..Plan::default() };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let taken = people_make(world, LEGAL, &["U0DEMOADA"]);
        let wish = wish_or(NAME, NameTaken::Fail);
        channels.ensure(KEY, wish, Vec::new()).await.unwrap();
        channels.stopped_by(KEY, Obstacle::NameTaken).await;
        let moved = ChannelChange { name: Some("moved".into()), ..ChannelChange::default() };
        people_change(world, &taken, &moved);
        // Slack does not report names that become free: Herald tries again.
        let made = channels.settled(KEY).await;
        assert_eq!((made.name.as_str(), made.adopted), (LEGAL, false));
        assert_ne!(made.channel_id, taken);
    })
    .await;
}

#[tokio::test]
async fn a_channel_of_another_key_is_not_adopted() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let made = channels.made(wish_or(NAME, NameTaken::Adopt), Vec::new()).await;
        assert!(!made.adopted);
        channels.ensure("other", wish_or(NAME, NameTaken::Adopt), Vec::new()).await.unwrap();
        let stopped = channels.stopped_by("other", Obstacle::OwnedByAnother).await;
        assert_eq!(stopped.channel_id, "");
        assert_eq!(channels.settled(KEY).await.channel_id, made.channel_id);
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}

/// Two tenants of one workspace see each other's channels in Slack, and take none of them.
#[tokio::test]
async fn a_channel_of_another_tenant_is_not_adopted() {
    for_each_database(async |world| {
        let other = "umbrella";
        assert_eq!(world.connect(other).await.status, 200);
        let (ours, theirs) = (Channels::new(world), Channels::of(world, 0, other));
        let made = ours.made(wish_or(NAME, NameTaken::Fail), Vec::new()).await;
        let before = in_slack(world, &made.channel_id);
        theirs.ensure(KEY, wish_or(NAME, NameTaken::Adopt), Vec::new()).await.unwrap();
        theirs.stopped_by(KEY, Obstacle::OwnedByAnother).await;
        // The obstacle names nothing of the other tenant's.
        let stopped = theirs.get(KEY).await.unwrap();
        for theirs in [&stopped.obstacle_sentence, &stopped.channel_id, &stopped.workspace_id] {
            assert!(!theirs.contains(TENANT) && !theirs.contains(&made.channel_id), "{theirs}");
        }
        assert_eq!(in_slack(world, &made.channel_id), before);
        theirs.ensure(KEY, wish_or(NAME, NameTaken::Suffix), Vec::new()).await.unwrap();
        assert_eq!(theirs.settled(KEY).await.name, format!("{LEGAL}-2"));
    })
    .await;
}

/// If Slack lets bots unarchive channels again, an archived channel is adopted and opened.
#[tokio::test]
async fn an_archived_channel_is_adopted_if_the_app_can_open_it() {
    for_each_database(async |world| {
        world.sandbox.configure(|options| options.bot_unarchive = true);
        let channels = Channels::new(world);
        let archived = without_the_app(world, false, true);
        let found = channels.made(wish_or(NAME, NameTaken::Adopt), Vec::new()).await;
        assert_eq!((found.channel_id.as_str(), found.adopted), (archived.as_str(), true));
        assert_eq!(in_slack(world, &archived)["is_archived"], false);
        assert!(acts(world, "create").is_empty());
    })
    .await;
}

/// The database is restored from a copy of the time before the channel was made. Red if
/// `domain/channels/outcome.rs`, `create_refused`, does not look at the channel that has the name:
/// a second one is made.
#[tokio::test]
async fn a_channel_that_a_copy_of_the_database_does_not_know_is_found_by_its_mark() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let suffix = || wish_or(NAME, NameTaken::Suffix);
        let seconds = world.now().await.0 / 1_000_000 + 3600;
        let start = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let later = ChannelWish { create_not_before: start, ..suffix() };
        channels.ensure(KEY, later, by_id(&["ben"])).await.unwrap();
        at_rest(world).await;
        world.execute("CREATE TABLE copied AS SELECT * FROM channels").await.unwrap();
        let made = channels.made(suffix(), by_id(&["ben"])).await;
        at_rest(world).await;
        for text in [
            "DELETE FROM channels",
            "INSERT INTO channels SELECT * FROM copied",
            "DROP TABLE copied",
            "UPDATE channel_members SET state = 'queued', wish_version = 1, due_at = 1",
            // As `herald recover` does.
            "UPDATE channels SET recheck = recheck + 1, due_at = 1",
        ] {
            world.execute(text).await.unwrap();
        }
        let found = channels.made(suffix(), by_id(&["ben"])).await;
        assert_eq!(found.channel_id, made.channel_id);
        assert_eq!(acts(world, "create").len(), 1);
        assert_eq!(people_in(world, &found.channel_id).len(), 1);
    })
    .await;
}

/// Waits until no replica works on a channel.
async fn at_rest(world: &World) {
    const BUSY: &str = "SELECT COUNT(*) FROM channels WHERE lease_until > 0 OR due_at < 2";
    const SOON: &str = "SELECT COUNT(*) FROM channels WHERE due_at < touched_at + 1000000";
    until("no channel is worked on", async || {
        (world.count(BUSY).await == 0 && world.count(SOON).await == 0).then_some(())
    })
    .await;
}
