//! Many channels of one workspace within Slack's rate limits, beside messages.

use herald::rpc::pb::{self, Priority};
use herald::sandbox::{Fault, FaultKind};
use serde_json::Value;
use tokio::time::Instant;

use super::support::{
    Channels, acts, assert_no_limit_exceeded, calls_about, counts, in_slack, with_records,
};
use crate::held::newcomer;
use crate::support::client::{demo_person, person, task};
use crate::support::world::{Plan, TENANT, World, until};

/// The length of one of Slack's seconds in the long test, in seconds.
const SLOWER: f64 = 0.05;
/// Calls of `conversations.create` that Slack allows in a minute.
const CREATES: f64 = 20.0;

fn user(number: usize) -> String {
    format!("p{number:04}")
}

fn members(people: usize) -> Vec<Value> {
    let member = |number: usize| {
        newcomer(&format!("U0P{number:04}"), &format!("{}@firm.example", user(number)))
    };
    let demo = herald::sandbox::fixture::demo_members();
    demo.into_iter().chain((0..people).map(member)).collect()
}

/// States a wish for each of these channels, with people of its own.
async fn wish_for(channels: &Channels, count: usize, each: usize) {
    for number in 0..count {
        let people = (0..each).map(|index| {
            let user = user(number * each + index);
            person(&user, &format!("{user}@firm.example"))
        });
        let wish = super::support::wish(&format!("Cohort {number}"));
        let members = with_records(people.collect());
        channels.ensure(&format!("cohort:{number}"), wish, members).await.unwrap();
    }
}

/// Waits until all channels are as wished, as long as more keep becoming so.
async fn all_settled(channels: &Channels, count: usize) -> Vec<pb::Channel> {
    let mut settled = 0;
    while settled < count {
        settled = until("more channels are as wished", async || {
            let all = channels.list().await;
            let now = all.iter().filter(|channel| channel.settled).count();
            (now > settled).then_some(now)
        })
        .await;
    }
    channels.list().await
}

fn check(world: &World, made: &[pb::Channel], each: usize) {
    for channel in made {
        assert_eq!(usize::try_from(counts(channel).members).unwrap(), each, "{channel:?}");
        let inside = in_slack(world, &channel.channel_id)["member_count"].as_u64().unwrap();
        assert_eq!(inside, each as u64 + 1);
        let invited = calls_about(world, "conversations.invite", &channel.channel_id);
        assert_eq!(invited.len(), 1, "{invited:?}");
    }
    assert_eq!(acts(world, "create").len(), made.len());
    assert_no_limit_exceeded(world);
}

/// Sends an urgent message, and waits until it is in Slack.
async fn urgent(world: &World) {
    world.client.upsert(TENANT, vec![demo_person("ben")]).await;
    let urgent =
        pb::NotifyRequest { priority: Priority::Urgent.into(), ..task("urgent", &["ben"]) };
    let id = world.client.notify(urgent).await.unwrap().notification_id;
    let sent = world.client.ended(TENANT, &id).await;
    assert_eq!(sent[0].state(), pb::DeliveryState::Sent, "{sent:?}");
}

/// An urgent message does not wait behind channels, even while Slack lets no channel be created.
#[tokio::test]
async fn a_message_goes_out_while_channels_wait_and_no_limit_is_exceeded() {
    const COUNT: usize = 12;
    const EACH: usize = 20;
    let plan = Plan { rate_limits: true, members: Some(members(COUNT * EACH)), ..Plan::default() };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let later =
            FaultKind::Status { code: 429, body: String::new(), retry_after: Some("5".to_owned()) };
        let after_three = Fault { after_calls: 3, ..Fault::new("conversations.create", later) };
        world.sandbox.script(after_three);
        wish_for(&channels, COUNT, EACH).await;
        world.called("conversations.create", 4).await;
        urgent(world).await;
        assert_eq!(acts(world, "create").len(), 3);
        world.sandbox.clear_faults();
        let made = all_settled(&channels, COUNT).await;
        assert_eq!(made.len(), COUNT);
        check(world, &made, EACH);
        let last = world.calls("conversations.create").pop().unwrap();
        assert!(world.calls("chat.postMessage")[0].seq < last.seq);
    })
    .await;
}

/// Prints how long it took, as a multiple of the time that the slowest method's limit needs.
#[tokio::test]
#[ignore = "minutes; tests/run --soak"]
async fn soak_three_hundred_channels() {
    const COUNT: usize = 300;
    const EACH: usize = 100;
    let plan = Plan {
        rate_limits: true,
        scale: SLOWER,
        members: Some(members(COUNT * EACH)),
        ..Plan::default()
    };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let began = Instant::now();
        wish_for(&channels, COUNT, EACH).await;
        urgent(world).await;
        assert!(acts(world, "create").len() < COUNT, "the message waited for the channels");
        let made = all_settled(&channels, COUNT).await;
        let took = began.elapsed().as_secs_f64();
        check(world, &made, EACH);
        // Slack's minute, scaled, for every twenty channels.
        let count = f64::from(u32::try_from(COUNT).unwrap());
        let allowed = count / CREATES * 60.0 * SLOWER;
        println!("{COUNT} channels of {EACH} people: {took:.1} s, {:.3} of", took / allowed);
        println!("the {allowed:.1} s that the limit of conversations.create takes");
    })
    .await;
}
