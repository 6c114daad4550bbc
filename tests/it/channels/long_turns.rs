//! Turns that take long because of the members: whatever becomes due meanwhile is not forgotten.

use herald::rpc::pb::{
    self, ChannelMemberState as MemberState, ChannelState as State, ChannelWish,
};
use herald::sandbox::{ChannelChange, Fault, FaultKind, fixture};
use serde_json::Value;

use super::support::{
    Channels, KEY, NAME, acts, by_id, counts, in_slack, listen, people_change, wish, with_records,
};
use crate::held::newcomer;
use crate::support::client::person;
use crate::support::world::{Plan, World, for_each_database};

/// One more than one invitation takes.
const PEOPLE: usize = 101;

/// The answer to a request comes late, although Slack carried it out.
fn late(method: &str, seconds: f64) -> Fault {
    Fault::new(method, FaultKind::Delay { seconds }).times(1).after()
}

fn member(number: usize) -> Value {
    newcomer(&format!("U0P{number:03}"), &format!("p{number:03}@firm.example"))
}

fn everyone() -> Vec<pb::ChannelMember> {
    let users = (0..PEOPLE).map(|number| format!("p{number:03}"));
    with_records(users.map(|user| person(&user, &format!("{user}@firm.example"))).collect())
}

/// The time of the next attempt passes while others are invited. Red if
/// `store/channels/progress.rs`, `next_member`, considers only times to come.
#[tokio::test]
async fn a_person_whose_time_comes_during_the_turn_is_invited_again() {
    let members = fixture::demo_members().into_iter().chain((0..PEOPLE).map(member)).collect();
    let plan = Plan { members: Some(members), ..Plan::default() };
    plan.run(async |world: &mut World| {
        let errors = [("U0P000".to_owned(), "internal_error".to_owned())].into();
        let refused = Fault::new("conversations.invite", FaultKind::InviteErrors { errors });
        world.sandbox.script(refused.times(1));
        // The first attempt is repeated after 0.6 seconds.
        let slow = late("conversations.invite", 1.5);
        world.sandbox.script(Fault { after_calls: 1, ..slow });
        let channels = Channels::new(world);
        channels.ensure(KEY, wish(NAME), everyone()).await.unwrap();
        channels.member_in(KEY, "p000", MemberState::Member).await;
        let made = channels.settled(KEY).await;
        assert_eq!(usize::try_from(counts(&made).members), Ok(PEOPLE));
    })
    .await;
}

/// The end of the channel comes while people are invited. Red if neither `still_wished` nor the
/// look at the next step (both in `channels/members.rs`) notices it: the channel rests, and no time
/// wakes it.
#[tokio::test]
async fn a_channel_whose_end_comes_during_the_turn_is_archived() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.sandbox.script(late("conversations.invite", 4.0));
        let channels = Channels::new(world);
        let end = world.now().await.0 / 1_000_000 + 3;
        let ending = ChannelWish {
            archive_after: Some(prost_types::Timestamp { seconds: end, nanos: 0 }),
            archive_notice: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
            ..wish(NAME)
        };
        channels.ensure(KEY, ending, by_id(&["ben"])).await.unwrap();
        let archived = channels.in_state(KEY, State::Archived).await;
        assert_eq!(in_slack(world, &archived.channel_id)["is_archived"], true);
        assert_eq!(acts(world, "archive").len(), 1);
    })
    .await;
}

/// Red if `channels/members.rs`, `remove_all`, reads many people at once: Daichi is thrown out
/// although the call that adds him returned before.
#[tokio::test]
async fn a_person_who_is_added_again_while_others_are_removed_stays() {
    for_each_database(async |world| {
        let users = ["ben", "clara", "daichi"];
        world.client.load(&users).await;
        let channels = Channels::new(world);
        channels.made(wish(NAME), by_id(&users)).await;
        world.sandbox.script(late("conversations.kick", 5.0));
        channels.remove_members(KEY, &users).await;
        world.called("conversations.kick", 1).await;
        channels.add_members(KEY, by_id(&["daichi"])).await;
        channels.until(KEY, "two are removed", |channel| channel.settled).await;
        assert_eq!(channels.members(KEY).await.keys().collect::<Vec<_>>(), ["daichi"]);
        let left = acts(world, "kick").into_iter().flat_map(|act| act.left);
        assert_eq!(left.collect::<Vec<_>>(), ["U0DEMOBEN", "U0DEMOCLA"]);
    })
    .await;
}

/// The channel gets another id in the turn that made it. Red if `channels/turn.rs`, `settle`, does
/// not note what it stored: the next save of the turn restores the old id, which leads nowhere.
#[tokio::test]
async fn an_id_that_changes_in_the_turn_that_made_the_channel_is_kept() {
    for_each_database(async |world| {
        listen(world);
        world.sandbox.script(late("conversations.setPurpose", 3.0));
        let channels = Channels::new(world);
        channels.ensure(KEY, wish(NAME), Vec::new()).await.unwrap();
        world.called("conversations.setPurpose", 1).await;
        let made = channels.get(KEY).await.unwrap();
        let moved = ChannelChange { id: Some("C0MOVED".into()), ..ChannelChange::default() };
        people_change(world, &made.channel_id, &moved);
        channels.until(KEY, "moved", |channel| channel.channel_id == "C0MOVED").await;
        let settled = channels.settled(KEY).await;
        assert_eq!((settled.state(), settled.channel_id.as_str()), (State::Ready, "C0MOVED"));
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}
