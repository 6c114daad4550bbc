//! The feed of channels: every change once and in order, for one tenant only.

use std::collections::BTreeMap;

use herald::rpc::pb::{
    self, ChannelMemberState as MemberState, ChannelState as State, channel_change::Change,
};
use tonic::{Code, Streaming};

use super::support::{Channels, KEY, NAME, by_id, listen, people_change, wish};
use crate::support::client::reason;
use crate::support::world::{PATIENCE, Plan, TENANT, World, for_each_database};

/// Reads the feed until this change has come; checks the numbers.
pub(super) async fn read_to(
    stream: &mut Streaming<pb::WatchChannelsResponse>,
    wanted: impl Fn(&pb::ChannelChange) -> bool,
) -> Vec<pb::ChannelChange> {
    let mut changes: Vec<pb::ChannelChange> = Vec::new();
    while !changes.iter().any(&wanted) {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
        let next = next.unwrap().unwrap();
        assert!(next.changes.len() <= 100);
        let last = next.changes.last().map(|change| change.sequence);
        assert!(last.is_none_or(|last| last == next.last_sequence), "{next:?}");
        changes.extend(next.changes);
    }
    changes
}

pub(super) fn is_state(change: &pb::ChannelChange, key: &str, state: State) -> bool {
    change.channel_key == key
        && matches!(&change.change, Some(Change::Channel(it)) if it.state() == state)
}

fn is_member(change: &pb::ChannelChange, user: &str, state: MemberState) -> bool {
    matches!(&change.change,
        Some(Change::Member(it)) if it.user_id == user && it.state() == state)
}

/// The states of each member, in the order of the feed.
fn of_members(changes: &[pb::ChannelChange]) -> BTreeMap<String, Vec<MemberState>> {
    let mut states: BTreeMap<String, Vec<MemberState>> = BTreeMap::new();
    for change in changes {
        if let Some(Change::Member(it)) = &change.change {
            states.entry(it.user_id.clone()).or_default().push(it.state());
        }
    }
    states
}

pub(super) fn of_channel(changes: &[pb::ChannelChange], key: &str) -> Vec<State> {
    let mine = changes.iter().filter(|change| change.channel_key == key);
    let states = mine.filter_map(|change| match &change.change {
        Some(Change::Channel(it)) => Some(it.state()),
        _ => None,
    });
    states.collect()
}

#[tokio::test]
async fn every_change_comes_once_and_in_order_at_any_replica() {
    let plan = Plan { replicas: 2, ..Plan::default() };
    plan.run(async |world: &mut World| {
        listen(world);
        world.client.load(&["ben", "clara"]).await;
        let (here, there) = (Channels::new(world), Channels::of(world, 1, TENANT));
        let mut stream = here.watch(Some(0)).await.unwrap();
        let made = there.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let in_it = |change: &pb::ChannelChange| is_member(change, "clara", MemberState::Member);
        let mut all = read_to(&mut stream, in_it).await;
        drop(stream);
        // While no one reads, more happens; a reader resumes at another replica.
        let left = herald::sandbox::ChannelChange {
            user: Some("U0DEMOBEN".into()),
            leave: vec!["U0DEMOBEN".into()],
            ..herald::sandbox::ChannelChange::default()
        };
        people_change(world, &made.channel_id, &left);
        here.member_in(KEY, "ben", MemberState::Left).await;
        here.archive(KEY).await;
        here.in_state(KEY, State::Archived).await;
        let last = all.last().unwrap().sequence;
        let mut stream = there.watch(Some(last)).await.unwrap();
        let archived = |change: &pb::ChannelChange| is_state(change, KEY, State::Archived);
        all.extend(read_to(&mut stream, archived).await);
        // An open stream gets what happens at the other replica.
        here.release(KEY).await.unwrap();
        let released =
            |change: &pb::ChannelChange| matches!(change.change, Some(Change::Released(_)));
        all.extend(read_to(&mut stream, released).await);

        let numbers: Vec<i64> = all.iter().map(|change| change.sequence).collect();
        let count = i64::try_from(all.len()).unwrap();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
        assert!(all.iter().all(|change| change.channel_key == KEY && change.changed_at.is_some()));
        let mut states = of_channel(&all, KEY);
        states.dedup();
        assert_eq!(states, [State::Creating, State::Ready, State::Archived]);
        let members = of_members(&all);
        // The begin of an invitation is no change that a caller can act on.
        assert_eq!(members["clara"], [MemberState::Queued, MemberState::Member]);
        let ben = [MemberState::Queued, MemberState::Member, MemberState::Left];
        assert_eq!(members["ben"], ben);
        // The channel's id is in its change.
        let ready = all.iter().find(|change| is_state(change, KEY, State::Ready)).unwrap();
        let Some(Change::Channel(ready)) = &ready.change else { panic!("{ready:?}") };
        assert_eq!(ready.channel_id, made.channel_id);
    })
    .await;
}

/// Two tenants of one workspace use one key, and neither sees the other's changes.
#[tokio::test]
async fn tenants_have_feeds_of_their_own() {
    for_each_database(async |world| {
        let other = "umbrella";
        assert_eq!(world.connect(other).await.status, 200);
        world.client.load(&["ben"]).await;
        let (ours, theirs) = (Channels::new(world), Channels::of(world, 0, other));
        theirs.ensure("theirs", wish("Umbrella"), Vec::new()).await.unwrap();
        theirs.settled("theirs").await;
        ours.made(wish(NAME), by_id(&["ben"])).await;
        let mut stream = ours.watch(Some(0)).await.unwrap();
        let in_it = |change: &pb::ChannelChange| is_member(change, "ben", MemberState::Member);
        let changes = read_to(&mut stream, in_it).await;
        assert_eq!(changes[0].sequence, 1);
        assert!(changes.iter().all(|change| change.channel_key == KEY), "{changes:?}");
        let mut stream = theirs.watch(Some(0)).await.unwrap();
        let ready = |change: &pb::ChannelChange| is_state(change, "theirs", State::Ready);
        let changes = read_to(&mut stream, ready).await;
        assert_eq!(changes[0].sequence, 1);
        assert!(changes.iter().all(|change| change.channel_key == "theirs"), "{changes:?}");
        assert!(of_members(&changes).is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_position_that_is_not_there_is_refused() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        channels.made(wish(NAME), Vec::new()).await;
        let status = channels.watch(Some(1_000_000)).await.unwrap_err();
        let known = world.client.watch_deliveries(TENANT, Some(1_000_000)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (known.code(), reason(&known)));
        assert_ne!(status.code(), Code::Internal);
        let status = channels.watch(Some(-1)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    })
    .await;
}

/// The names and topics of channels are in no change, and in no column in the clear.
#[tokio::test]
async fn the_database_has_no_name_in_the_clear() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        channels.made(wish("Zebra crossing"), Vec::new()).await;
        let rows = "SELECT COUNT(*) FROM channels WHERE wish IS NOT NULL AND progress IS NOT NULL";
        assert_eq!(world.count(rows).await, 1);
        let (hex, text) = if world.is_postgres() {
            ("encode(wish, 'hex') || encode(progress, 'hex')", "7a656272612d63726f7373696e67")
        } else {
            ("hex(wish) || hex(progress)", "7A656272612D63726F7373696E67")
        };
        let found = format!("SELECT COUNT(*) FROM channels WHERE {hex} LIKE '%{text}%'");
        assert_eq!(world.count(&found).await, 0);
    })
    .await;
}
