//! Members converge: some are removed, some stay as they are, and some are invited again.

use std::collections::BTreeSet;

use herald::rpc::pb::{self, ChannelMemberState as MemberState, ChannelWish};
use herald::sandbox::ChannelChange;

use super::support::{
    Channels, KEY, NAME, acts, assert_each_invited_once, by_id, counts, listen, people_change,
    people_in, slack_until, wish,
};
use crate::held::{arrive, newcomer};
use crate::support::client::person;
use crate::support::world::{TENANT, World, for_each_database};

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// Waits until exactly these people are in the channel.
async fn inside(world: &World, id: &str, people: &[&str]) {
    let wanted = ids(people);
    slack_until(world, id, "these people are in", |_| people_in(world, id) == wanted).await;
}

/// Changes the topic and waits for it: whatever the wish before it did is done.
async fn another_turn(world: &World, channels: &Channels, id: &str, topic: &str) {
    let changed =
        ChannelWish { topic: topic.into(), ..channels.get(KEY).await.unwrap().wish.unwrap() };
    channels.wish(KEY, changed).await;
    slack_until(world, id, topic, |channel| channel["topic"] == topic).await;
    channels.settled(KEY).await;
}

fn join(user: &str) -> ChannelChange {
    let user = Some(user.to_owned());
    ChannelChange { join: user.iter().cloned().collect(), user, ..ChannelChange::default() }
}

fn leave(user: &str) -> ChannelChange {
    let user = Some(user.to_owned());
    ChannelChange { leave: user.iter().cloned().collect(), user, ..ChannelChange::default() }
}

#[tokio::test]
async fn people_are_removed_as_the_wish_says_and_strangers_never() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara", "daichi"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "clara", "daichi"])).await;
        let id = made.channel_id.as_str();
        people_change(world, id, &join("U0DEMOADA"));
        // Without the option, a person who is no longer wished for stays in the channel.
        channels.set_members(KEY, by_id(&["ben", "clara"])).await;
        another_turn(world, &channels, id, "Daichi stays").await;
        assert!(!channels.members(KEY).await.contains_key("daichi"));
        inside(world, id, &["U0DEMOADA", "U0DEMOBEN", "U0DEMOCLA", "U0DEMODAI"]).await;
        // With it, Herald removes the people that it invited, and no others.
        let removing = ChannelWish { remove_unlisted: true, ..wish(NAME) };
        channels.wish(KEY, removing).await;
        channels.set_members(KEY, by_id(&["ben"])).await;
        inside(world, id, &["U0DEMOADA", "U0DEMOBEN", "U0DEMODAI"]).await;
        let gone = |channel: &pb::Channel| channel.settled && counts(channel).removing == 0;
        channels.until(KEY, "Clara is removed", gone).await;
        assert_eq!(channels.members(KEY).await.len(), 1);
        // Removing by name needs no option.
        channels.wish(KEY, wish(NAME)).await;
        channels.remove_members(KEY, &["ben", "no one"]).await;
        inside(world, id, &["U0DEMOADA", "U0DEMODAI"]).await;
        let left = acts(world, "kick").into_iter().flat_map(|act| act.left);
        assert_eq!(left.collect::<Vec<_>>(), ["U0DEMOCLA", "U0DEMOBEN"]);
    })
    .await;
}

/// The database's clock was set back since the wish for the channel, so the channel's row seems to
/// be made in the future.
#[tokio::test]
async fn people_are_invited_although_the_clock_was_set_back_since_the_wish() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&[])).await;
        let later = "UPDATE channels SET created_at = created_at + 86400000000";
        assert_eq!(world.execute(later).await.unwrap(), 1);
        channels.set_members(KEY, by_id(&["ben"])).await;
        inside(world, &made.channel_id, &["U0DEMOBEN"]).await;
        channels.settled(KEY).await;
    })
    .await;
}

#[tokio::test]
async fn a_removal_whose_answer_is_lost_is_done_once() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let reset = herald::sandbox::FaultKind::Reset;
        world
            .sandbox
            .script(herald::sandbox::Fault::new("conversations.kick", reset).times(1).after());
        channels.remove_members(KEY, &["ben"]).await;
        let gone = |channel: &pb::Channel| channel.settled && counts(channel).removing == 0;
        channels.until(KEY, "Ben is removed", gone).await;
        assert_eq!(channels.members(KEY).await.len(), 1);
        inside(world, &made.channel_id, &["U0DEMOCLA"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_person_who_left_is_invited_again_only_by_name() {
    for_each_database(async |world| {
        listen(world);
        world.client.load(&["ben", "clara"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let id = made.channel_id.as_str();
        people_change(world, id, &leave("U0DEMOBEN"));
        channels.member_in(KEY, "ben", MemberState::Left).await;
        // The same wish and the same members invite no one who left.
        channels.ensure(KEY, wish(NAME), by_id(&["ben", "clara"])).await.unwrap();
        channels.set_members(KEY, by_id(&["ben", "clara"])).await;
        another_turn(world, &channels, id, "Ben stays away").await;
        channels.member_in(KEY, "ben", MemberState::Left).await;
        inside(world, id, &["U0DEMOCLA"]).await;
        assert_each_invited_once(world, id);
        channels.add_members(KEY, by_id(&["ben"])).await;
        inside(world, id, &["U0DEMOBEN", "U0DEMOCLA"]).await;
        channels.member_in(KEY, "ben", MemberState::Member).await;
        // A person who comes back by themselves counts as a member.
        people_change(world, id, &leave("U0DEMOCLA"));
        channels.member_in(KEY, "clara", MemberState::Left).await;
        people_change(world, id, &join("U0DEMOCLA"));
        channels.member_in(KEY, "clara", MemberState::Member).await;
    })
    .await;
}

#[tokio::test]
async fn a_person_is_invited_when_the_directory_sees_them() {
    for_each_database(async |world| {
        let nia = person("nia", "nia@firm.example");
        world.client.upsert(TENANT, vec![nia]).await;
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "nia"])).await;
        let waiting = channels.member_in(KEY, "nia", MemberState::NotInSlack).await;
        assert_eq!(waiting.code, "no_member");
        arrive(world, [newcomer("UOTHER", "other@firm.example")]).await;
        channels.member_in(KEY, "nia", MemberState::NotInSlack).await;
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        let member = channels.member_in(KEY, "nia", MemberState::Member).await;
        assert_eq!(member.slack_user_id, "UNIA");
        assert_each_invited_once(world, &made.channel_id);
    })
    .await;
}

/// Deleting a person removes them from the wish; what Slack has is Slack's.
#[tokio::test]
async fn a_deleted_person_is_in_no_list() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        let channels = Channels::new(world);
        channels.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let request = pb::DeletePersonRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            actor: None,
        };
        world.client.delete_person(request).await.unwrap();
        let members = channels.members(KEY).await;
        assert_eq!(members.keys().collect::<Vec<_>>(), ["clara"]);
        let rows = "SELECT COUNT(*) FROM channel_members WHERE user_id = 'ben'";
        assert_eq!(world.count(rows).await, 0);
        let rows = "SELECT COUNT(*) FROM channel_changes WHERE user_id = 'ben'";
        assert_eq!(world.count(rows).await, 0);
    })
    .await;
}
