//! People who are removed from a channel: those who go and those who stay if Slack refuses or if
//! two users have one account.

use herald::sandbox::{ChannelChange, Fault, FaultKind};

use super::support::{
    Channels, KEY, NAME, acts, by_id, calls_about, people_change, people_in, slack_until, wish,
};
use crate::support::client::person;
use crate::support::world::{TENANT, for_each_database};

/// Red without `is_shared` in `channels/members.rs`, `remove`: the account is removed with the
/// first of its users.
#[tokio::test]
async fn an_account_stays_until_its_last_user_is_removed() {
    for_each_database(async |world| {
        let people = vec![person("work", "ben@demo.example"), person("home", "ben@demo.example")];
        world.client.upsert(TENANT, people).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["work", "home"])).await;
        let id = made.channel_id.as_str();
        channels.remove_members(KEY, &["home"]).await;
        let settled = channels.settled(KEY).await;
        assert_eq!(settled.members.unwrap().members, 1);
        assert_eq!(people_in(world, id).into_iter().collect::<Vec<_>>(), ["U0DEMOBEN"]);
        assert!(acts(world, "kick").is_empty());
        channels.add_members(KEY, by_id(&["home"])).await;
        channels.settled(KEY).await;
        channels.remove_members(KEY, &["home", "work"]).await;
        slack_until(world, id, "the account is removed", |_| people_in(world, id).is_empty()).await;
        channels.settled(KEY).await;
        assert_eq!(acts(world, "kick").len(), 1);
    })
    .await;
}

/// The app was removed, and Slack did not report it: the refusal says nothing about the person. Red
/// if `domain::channels::members::is_removed` has `not_in_channel`.
#[tokio::test]
async fn a_person_is_removed_although_the_app_was_removed_first() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let id = made.channel_id.as_str();
        let removed = ChannelChange { leave: vec!["bot".into()], ..ChannelChange::default() };
        people_change(world, id, &removed);
        channels.remove_members(KEY, &["ben"]).await;
        channels.settled(KEY).await;
        assert_eq!(channels.members(KEY).await.keys().collect::<Vec<_>>(), ["clara"]);
        assert_eq!(people_in(world, id).into_iter().collect::<Vec<_>>(), ["U0DEMOCLA"]);
    })
    .await;
}

/// A person who left by themselves is removed, too: the list of members shows it.
#[tokio::test]
async fn a_person_who_left_before_the_removal_is_removed() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben"])).await;
        let left = ChannelChange { leave: vec!["U0DEMOBEN".into()], ..ChannelChange::default() };
        people_change(world, &made.channel_id, &left);
        channels.remove_members(KEY, &["ben"]).await;
        channels.settled(KEY).await;
        assert!(channels.members(KEY).await.is_empty());
        assert_eq!(world.calls("conversations.kick").len(), 1);
    })
    .await;
}

/// Red if an unknown code in `channels/members.rs`, `remove`, ends the turn: Ben is tried again
/// before Clara has her turn.
#[tokio::test]
async fn a_refused_removal_holds_up_no_other() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben", "clara"])).await;
        let id = made.channel_id.as_str();
        let unknown = FaultKind::Error { code: "brand_new_code".into() };
        world.sandbox.script(Fault::new("conversations.kick", unknown).times(1));
        channels.remove_members(KEY, &["ben", "clara"]).await;
        slack_until(world, id, "both are removed", |_| people_in(world, id).is_empty()).await;
        channels.settled(KEY).await;
        let calls = calls_about(world, "conversations.kick", id);
        let asked: Vec<_> = calls.iter().map(|entry| entry.args["user"].as_str()).collect();
        assert_eq!(asked, [Some("U0DEMOBEN"), Some("U0DEMOCLA"), Some("U0DEMOBEN")]);
    })
    .await;
}
