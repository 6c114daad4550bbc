//! The life of a channel: changes that follow the wish, changes that people make, and its end.

use herald::rpc::pb::{self, ChannelObstacle as Obstacle, ChannelState as State, ChannelWish};
use herald::sandbox::ChannelChange;
use serde_json::Value;

use super::support::{
    Channels, KEY, LEGAL, NAME, acts, by_id, in_slack, listen, people_change, people_in,
    slack_until, wish,
};
use crate::support::world::{TENANT, World, for_each_database, until};

/// A time by the database's clock.
async fn in_seconds(world: &World, seconds: i64) -> prost_types::Timestamp {
    let now = world.now().await.0 / 1_000_000;
    prost_types::Timestamp { seconds: now + seconds, nanos: 0 }
}

/// Changes the topic and waits for it: the wishes before it are done.
async fn another_turn(world: &World, channels: &Channels, wish: ChannelWish) -> pb::Channel {
    let topic = wish.topic.clone();
    channels.wish(KEY, wish).await;
    let channel = channels.settled(KEY).await;
    assert_eq!(in_slack(world, &channel.channel_id)["topic"], topic);
    channel
}

fn is(key: &'static str, value: &'static str) -> impl Fn(&Value) -> bool {
    move |channel| channel[key] == value
}

#[tokio::test]
async fn topic_purpose_and_name_follow_the_wish() {
    for_each_database(async |world| {
        // Herald's own changes come back as events and change nothing.
        listen(world);
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), Vec::new()).await;
        let id = made.channel_id.as_str();
        let changed = ChannelWish {
            topic: "Q&A <today>".into(),
            purpose: "Ask & answer".into(),
            ..wish("Another name")
        };
        let channel = another_turn(world, &channels, changed.clone()).await;
        assert_eq!(channel.name, LEGAL);
        let slack = in_slack(world, id);
        assert_eq!(slack["name"], LEGAL);
        let purpose = slack["purpose"].as_str().unwrap();
        assert!(purpose.starts_with("Ask & answer "), "{purpose}");
        let following =
            ChannelWish { follow_name: true, topic: "Follows".into(), ..changed.clone() };
        assert_eq!(another_turn(world, &channels, following).await.name, "another-name");
        slack_until(world, id, "renamed", is("name", "another-name")).await;
        channels.rename(KEY, "Third: name").await;
        slack_until(world, id, "renamed", is("name", "third-name")).await;
        assert_eq!(channels.settled(KEY).await.name, "third-name");
        let topics: Vec<_> =
            acts(world, "set_topic").into_iter().filter_map(|act| act.value).collect();
        assert_eq!(topics, ["Starts on 5 October", "Q&A <today>", "Follows"]);
        assert_eq!(acts(world, "set_purpose").len(), 2);
        assert_eq!(acts(world, "rename").len(), 2);
    })
    .await;
}

/// Returns the notice once it is sent, and books it: Herald sends it without a call.
async fn noticed(world: &World) -> pb::Delivery {
    let request = pb::ListNotificationsRequest {
        tenant_id: TENANT.into(),
        event_type: "channel.archiving".into(),
        ..pb::ListNotificationsRequest::default()
    };
    let id = until("a notice is accepted", async || {
        let page = world.client.list_notifications(request.clone()).await.unwrap();
        page.notifications.first().map(|notice| notice.notification_id.clone())
    })
    .await;
    let mut deliveries = world.client.ended(TENANT, &id).await;
    assert_eq!(deliveries.len(), 1);
    let notice = deliveries.remove(0);
    world.replayed(&notice.delivery_id);
    notice
}

#[tokio::test]
async fn a_channel_is_archived_after_a_notice_unless_a_wish_stops_it() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let ending = |archive_after: prost_types::Timestamp, topic: &str| ChannelWish {
            archive_after: Some(archive_after),
            topic: topic.into(),
            ..wish(NAME)
        };
        // The notice is due three days before.
        let made = channels.made(ending(in_seconds(world, 3600).await, "Ends"), Vec::new()).await;
        let notice = noticed(world).await;
        assert_eq!(notice.state(), pb::DeliveryState::Sent, "{notice:?}");
        let messages = world.messages(1).await;
        assert_eq!(messages[0].conversation, made.channel_id);

        // A new wish without an end stops it: the time passes, and the channel stays.
        let none = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        let soon = in_seconds(world, 2).await;
        let passed = (soon.seconds + 1) * 1_000_000;
        let ends_soon = ChannelWish { archive_notice: none, ..ending(soon, "Ends soon") };
        channels.wish(KEY, ends_soon).await;
        channels.wish(KEY, wish(NAME)).await;
        until("the time has passed", async || (world.now().await.0 > passed).then_some(())).await;
        let on = another_turn(world, &channels, ChannelWish { topic: "On".into(), ..wish(NAME) });
        assert_eq!(on.await.state(), State::Ready);
        assert!(acts(world, "archive").is_empty());

        let end = ending(in_seconds(world, 1).await, "The end");
        channels.wish(KEY, ChannelWish { archive_notice: none, ..end }).await;
        let archived = channels.in_state(KEY, State::Archived).await;
        assert_eq!(archived.obstacle(), Obstacle::Unspecified);
        assert_eq!(in_slack(world, &made.channel_id)["is_archived"], true);
        // A notice of zero length is none.
        world.messages(1).await;
    })
    .await;
}

/// Channels whose notices cannot be sent do not hold back those of others.
#[tokio::test]
async fn a_notice_is_sent_behind_many_that_cannot_be() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), Vec::new()).await;
        let end = in_seconds(world, 3600).await;
        // More than are read at once, all of them due for longer. Made without Herald: a copy
        // cannot be read, because its row is another one.
        let copies = format!(
            "INSERT INTO channels (id, tenant, channel_key, wish, progress, state, seen, \
             archive_after, notice_due, touched_at, created_at, changed_at) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450) \
             SELECT 'row' || n.i, tenant, 'copy:' || n.i, wish, progress, state, seen, \
             {}, 1, touched_at, created_at, changed_at FROM channels, n \
             WHERE channel_key = '{KEY}'",
            end.seconds * 1_000_000
        );
        assert_eq!(world.execute(&copies).await.unwrap(), 450);
        channels.wish(KEY, ChannelWish { archive_after: Some(end), ..wish(NAME) }).await;
        assert_eq!(noticed(world).await.state(), pb::DeliveryState::Sent);
        assert_eq!(world.messages(1).await[0].conversation, made.channel_id);
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_archived_by_the_call_once() {
    for_each_database(async |world| {
        listen(world);
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben"])).await;
        channels.archive(KEY).await;
        let archived = channels.in_state(KEY, State::Archived).await;
        assert_eq!(archived.obstacle(), Obstacle::Unspecified);
        channels.archive(KEY).await;
        let settled = channels.settled(KEY).await;
        assert_eq!(settled.state(), State::Archived);
        assert_eq!(in_slack(world, &made.channel_id)["is_archived"], true);
        assert_eq!(people_in(world, &made.channel_id).len(), 1);
        assert_eq!(acts(world, "archive").len(), 1);
    })
    .await;
}

/// Bot tokens cannot unarchive at present: a person has to, and Herald continues then.
#[tokio::test]
async fn a_channel_that_was_archived_in_slack_is_shown_and_opened_again_by_people() {
    for_each_database(async |world| {
        listen(world);
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), Vec::new()).await;
        let id = made.channel_id.as_str();
        let archived =
            |archived| ChannelChange { archived: Some(archived), ..ChannelChange::default() };
        people_change(world, id, &archived(true));
        let stopped = channels.stopped_by(KEY, Obstacle::ArchivedInSlack).await;
        assert_eq!(stopped.state(), State::Archived);
        channels.unarchive(KEY).await;
        let refused = channels.stopped_by(KEY, Obstacle::RefusedBySlack).await;
        assert_eq!(refused.state(), State::Archived);
        let sentence = &refused.obstacle_sentence;
        assert!(sentence.contains("not_in_channel"), "{sentence}");
        people_change(world, id, &archived(false));
        let open = channels.settled(KEY).await;
        assert_eq!((open.state(), open.channel_id.as_str()), (State::Ready, id));

        // If Slack lets bots do it again, the call is enough.
        people_change(world, id, &archived(true));
        channels.stopped_by(KEY, Obstacle::ArchivedInSlack).await;
        world.sandbox.configure(|options| options.bot_unarchive = true);
        channels.unarchive(KEY).await;
        assert_eq!(channels.settled(KEY).await.state(), State::Ready);
        assert_eq!(in_slack(world, id)["is_archived"], false);
        assert_eq!(acts(world, "unarchive").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_channel_is_shown_and_made_again_after_its_release_only() {
    for_each_database(async |world| {
        listen(world);
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), Vec::new()).await;
        assert!(world.sandbox.delete_channel(&made.channel_id));
        let gone = channels.stopped_by(KEY, Obstacle::DeletedInSlack).await;
        assert_eq!(gone.state(), State::Deleted);
        channels.wish(KEY, wish(NAME)).await;
        channels.ensure("other", wish("Other"), Vec::new()).await.unwrap();
        channels.settled("other").await;
        channels.stopped_by(KEY, Obstacle::DeletedInSlack).await;
        assert_eq!(acts(world, "create").len(), 2);
        channels.release(KEY).await.unwrap();
        let again = channels.made(wish(NAME), Vec::new()).await;
        assert_ne!(again.channel_id, made.channel_id);
        assert_eq!(in_slack(world, &again.channel_id)["name"], LEGAL);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_people_gave_is_shown_and_stays() {
    for_each_database(async |world| {
        listen(world);
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), Vec::new()).await;
        let id = made.channel_id.as_str();
        let renamed = ChannelChange { name: Some("our-track".into()), ..ChannelChange::default() };
        people_change(world, id, &renamed);
        channels.until(KEY, "renamed", |channel| channel.name == "our-track").await;
        let following =
            ChannelWish { follow_name: true, topic: "The same name".into(), ..wish(NAME) };
        assert_eq!(another_turn(world, &channels, following).await.name, "our-track");
        assert_eq!(in_slack(world, id)["name"], "our-track");
        assert!(acts(world, "rename").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_changed_id_is_followed() {
    for_each_database(async |world| {
        listen(world);
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), Vec::new()).await;
        let moved = ChannelChange { id: Some("C0MOVED".into()), ..ChannelChange::default() };
        people_change(world, &made.channel_id, &moved);
        channels.until(KEY, "moved", |channel| channel.channel_id == "C0MOVED").await;
        channels.add_members(KEY, by_id(&["ben"])).await;
        channels.until(KEY, "Ben is in", |it| super::support::counts(it).members == 1).await;
        assert_eq!(people_in(world, "C0MOVED").len(), 1);
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_app_comes_back_to_public_channels_and_asks_to_be_invited_to_private_ones() {
    for_each_database(async |world| {
        listen(world);
        let channels = Channels::new(world);
        let bot = world.sandbox.bot_user_id();
        let has_bot = |channel: &Value| {
            channel["members"].as_array().unwrap().iter().any(|member| member["id"] == bot.as_str())
        };
        let removed = ChannelChange { leave: vec!["bot".into()], ..ChannelChange::default() };
        let made = channels.made(wish(NAME), Vec::new()).await;
        people_change(world, &made.channel_id, &removed);
        slack_until(world, &made.channel_id, "the app is back", has_bot).await;
        assert_eq!(channels.settled(KEY).await.state(), State::Ready);

        let private = ChannelWish { is_private: true, ..wish("Board") };
        channels.ensure("board", private, Vec::new()).await.unwrap();
        let made = channels.settled("board").await;
        people_change(world, &made.channel_id, &removed);
        channels.stopped_by("board", Obstacle::AppRemoved).await;
        let invited = ChannelChange { join: vec!["bot".into()], ..ChannelChange::default() };
        people_change(world, &made.channel_id, &invited);
        assert_eq!(channels.settled("board").await.state(), State::Ready);
        assert_eq!(acts(world, "create").len(), 2);
    })
    .await;
}
