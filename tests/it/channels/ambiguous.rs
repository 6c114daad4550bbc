//! Answers that are lost, and calls that race: one channel, and each person invited once.

use herald::rpc::pb::{self, ChannelObstacle as Obstacle};
use herald::sandbox::{Fault, FaultKind};

use super::support::{
    Channels, KEY, LEGAL, NAME, acts, assert_each_invited_once, by_id, in_slack, people_in,
    people_make, wish,
};
use crate::support::world::{Plan, World, for_each_database};

const PEOPLE: [&str; 3] = ["ben", "clara", "daichi"];
const ROUNDS: usize = 50;

fn on(method: &str, kind: FaultKind) -> Fault {
    Fault::new(method, kind).times(1)
}

fn status_500() -> FaultKind {
    FaultKind::Status { code: 500, body: "oops".into(), retry_after: None }
}

fn internal_error() -> FaultKind {
    FaultKind::Error { code: "internal_error".into() }
}

/// The fault of this round, if any. Those of creating strike the channel of the round; those of
/// invitations strike whichever comes first.
fn fault(round: usize, name: &str) -> Option<Fault> {
    let create = |fault: Fault| Some(Fault { channel: Some(name.into()), ..fault });
    match round % 8 {
        1 => create(on("conversations.create", FaultKind::Reset).after()),
        2 => create(on("conversations.create", status_500()).after()),
        3 => create(on("conversations.create", internal_error()).after()),
        4 => create(on("conversations.create", FaultKind::Reset)),
        5 => create(on("conversations.create", status_500())),
        6 => Some(on("conversations.invite", FaultKind::InvitePart { joined: 1 })),
        7 => Some(on("conversations.invite", FaultKind::Reset).after()),
        _ => None,
    }
}

#[tokio::test]
async fn raced_wishes_with_unclear_answers_make_one_channel_each() {
    let plan = Plan { replicas: 2, ..Plan::default() };
    plan.run(async |world: &mut World| {
        world.client.load(&PEOPLE).await;
        let here = Channels::new(world);
        let there = Channels::of(world, 1, crate::support::world::TENANT);
        for round in 0..ROUNDS {
            let (key, name) = (format!("race:{round}"), format!("race-{round}"));
            if let Some(fault) = fault(round, &name) {
                world.sandbox.script(fault);
            }
            let (one, other) = tokio::join!(
                here.ensure(&key, wish(&name), by_id(&PEOPLE)),
                there.ensure(&key, wish(&name), by_id(&PEOPLE)),
            );
            assert_eq!((one.unwrap().name, other.unwrap().name), (name.clone(), name));
        }
        for round in 0..ROUNDS {
            let channel = here.settled(&format!("race:{round}")).await;
            let named = world.sandbox.channels_named(&format!("race-{round}"));
            assert_eq!(named.len(), 1, "{named:?}");
            assert_eq!(named[0]["id"], channel.channel_id);
            assert_eq!(people_in(world, &channel.channel_id).len(), PEOPLE.len());
            assert_each_invited_once(world, &channel.channel_id);
        }
        assert_eq!(acts(world, "create").len(), ROUNDS);
        assert_eq!(acts(world, "archive"), []);
        assert_eq!(here.list().await.len(), ROUNDS);
    })
    .await;
}

/// Makes the wish for [`KEY`]; Slack creates the channel, but the answer is lost, and Herald cannot
/// look for it until faults are cleared.
async fn made_unseen(world: &World, channels: &Channels) -> pb::Channel {
    world.sandbox.script(on("conversations.create", FaultKind::Reset).after());
    world.sandbox.script(Fault::new("conversations.list", internal_error()));
    let channel = channels.ensure(KEY, wish(NAME), Vec::new()).await.unwrap();
    world.called("conversations.list", 1).await;
    channel
}

#[tokio::test]
async fn a_channel_that_a_person_made_meanwhile_is_not_taken_for_the_lost_one() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let told = made_unseen(world, &channels).await;
        assert!(told.channel_id.is_empty());
        let theirs = people_make(world, LEGAL, &["U0DEMOADA", "bot"]);
        world.sandbox.clear_faults();
        let channel = channels.settled(KEY).await;
        assert_ne!(channel.channel_id, theirs);
        assert_eq!(acts(world, "create").len(), 1);
        assert_eq!(in_slack(world, &theirs)["purpose"], "");
        assert_eq!(in_slack(world, &theirs)["is_archived"], false);
    })
    .await;
}

/// The request was never carried out, and a person took the name meanwhile: their channel is not
/// taken for the app's.
#[tokio::test]
async fn a_channel_of_a_person_is_not_taken_for_one_that_was_never_made() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        world.sandbox.script(on("conversations.create", FaultKind::Reset));
        world.sandbox.script(Fault::new("conversations.list", internal_error()));
        channels.ensure(KEY, wish(NAME), Vec::new()).await.unwrap();
        world.called("conversations.list", 1).await;
        let theirs = people_make(world, LEGAL, &["U0DEMOADA", "bot"]);
        let before = in_slack(world, &theirs);
        world.sandbox.clear_faults();
        let stopped = channels.stopped_by(KEY, Obstacle::NameTaken).await;
        assert_eq!(stopped.channel_id, "");
        assert_eq!(in_slack(world, &theirs), before);
    })
    .await;
}

/// A request that seemed lost is carried out late, after the second one: Slack can let two calls of
/// one name succeed. One channel is kept, and the other one is archived.
#[tokio::test]
async fn of_two_channels_of_one_wish_one_is_kept() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        // The first request seems to be lost: it is looked for twice.
        world.sandbox.script(on("conversations.create", FaultKind::Reset));
        world.sandbox.script(on("conversations.create", FaultKind::Reset).after());
        let third = Fault::new("conversations.list", internal_error());
        world.sandbox.script(Fault { after_calls: 2, ..third });
        channels.ensure(KEY, wish(NAME), Vec::new()).await.unwrap();
        world.called("conversations.list", 3).await;
        let bot = world.sandbox.bot_user_id();
        world.sandbox.create_channel(LEGAL, false, &[&bot]);
        world.sandbox.clear_faults();
        let channel = channels.settled(KEY).await;
        assert_eq!(channel.obstacle(), Obstacle::Unspecified);
        let named = world.sandbox.channels_named(LEGAL);
        let used: Vec<_> = named.iter().filter(|it| it["is_archived"] == false).collect();
        assert_eq!((named.len(), used.len()), (2, 1), "{named:?}");
        assert_eq!(used[0]["id"], channel.channel_id);
    })
    .await;
}

/// The mark is read back before a channel counts as Herald's.
#[tokio::test]
async fn a_mark_whose_answer_is_lost_is_written_once() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        world.sandbox.script(on("conversations.setPurpose", FaultKind::Reset).after());
        world.sandbox.script(on("conversations.setTopic", FaultKind::Reset));
        let channel = channels.made(wish(NAME), Vec::new()).await;
        let slack = in_slack(world, &channel.channel_id);
        assert_eq!(slack["topic"], wish(NAME).topic);
        let purpose = slack["purpose"].as_str().unwrap();
        assert!(purpose.starts_with(&wish(NAME).purpose), "{purpose}");
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}

/// Slack did not name the app's user when the workspace was connected. Red if `channels/turn.rs`,
/// `bot`, knows only the stored id.
#[tokio::test]
async fn an_app_without_a_stored_id_finds_its_channel() {
    for_each_database(async |world| {
        let changed = world.execute("UPDATE installations SET bot_user_id = ''").await;
        assert_eq!(changed.unwrap(), 1);
        world.sandbox.script(on("conversations.create", FaultKind::Reset).after());
        let channels = Channels::new(world);
        let channel = channels.made(wish(NAME), Vec::new()).await;
        assert_eq!(world.sandbox.channels_named(LEGAL)[0]["id"], channel.channel_id);
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}
