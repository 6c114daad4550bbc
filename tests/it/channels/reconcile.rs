//! The reconciler itself: leases that are lost in the middle of a request, requests that were not
//! made, and replicas that stop.

use herald::rpc::pb::{ChannelMemberState as MemberState, ChannelState as State};
use herald::sandbox::{Fault, FaultKind, LogEntry};

use super::support::{
    Channels, KEY, LEGAL, NAME, acts, assert_no_limit_exceeded, by_id, people_in, wish,
};
use crate::support::world::{Plan, TENANT, World, until};

/// Far longer than a lease of [`short_leases`] lasts here.
const HANGS: FaultKind = FaultKind::Hang { seconds: 10.0 };

/// A replica that waits for an answer loses its lease to the other one.
fn short_leases() -> Plan {
    Plan {
        replicas: 2,
        adjust: |settings| settings.channels.lease_seconds = 100,
        ..Plan::default()
    }
}

fn throttled(method: &str) -> Fault {
    let kind =
        FaultKind::Status { code: 429, body: String::new(), retry_after: Some("5".to_owned()) };
    Fault::new(method, kind).times(1)
}

/// The attempt is committed, Slack creates the channel, and the replica never learns of it. Red
/// without the commit of the attempt before the request (`channels/steps.rs`, `create`): the name
/// is taken then.
#[tokio::test]
async fn a_create_whose_holder_is_gone_is_found_by_looking() {
    let test = async |world: &mut World| {
        world.sandbox.script(Fault::new("conversations.create", HANGS).times(1).after());
        let channels = Channels::new(world);
        let channel = channels.made(wish(NAME), Vec::new()).await;
        assert_eq!(channel.state(), State::Ready, "{channel:?}");
        let named = world.sandbox.channels_named(LEGAL);
        assert_eq!(named.len(), 1, "{named:?}");
        assert_eq!(named[0]["id"], channel.channel_id);
        assert!(!world.calls("conversations.list").is_empty());
    };
    short_leases().run(test).await;
}

/// The same before Slack creates it: it is looked for, twice, and then created once.
#[tokio::test]
async fn a_create_that_was_never_made_is_made_after_looking() {
    let test = async |world: &mut World| {
        world.sandbox.script(Fault::new("conversations.create", HANGS).times(1));
        let channels = Channels::new(world);
        let channel = channels.made(wish(NAME), Vec::new()).await;
        assert_eq!(channel.state(), State::Ready, "{channel:?}");
        assert_eq!(world.sandbox.channels_named(LEGAL).len(), 1);
        assert_eq!(acts(world, "create").len(), 1);
        assert!(world.calls("conversations.list").len() >= 2);
    };
    short_leases().run(test).await;
}

/// The people are in, and the replica never learns of it. Red without the marks before the request
/// (`channels/members.rs`, `mark`) or without the look for them (`channels/steps.rs`, `begin`):
/// they are invited again.
#[tokio::test]
async fn an_invitation_whose_holder_is_gone_is_settled_by_reading_the_members() {
    let test = async |world: &mut World| {
        let people = ["ben", "clara"];
        world.client.load(&people).await;
        world.sandbox.script(Fault::new("conversations.invite", HANGS).times(1).after());
        let channels = Channels::new(world);
        channels.ensure(KEY, wish(NAME), by_id(&people)).await.unwrap();
        for user in people {
            channels.member_in(KEY, user, MemberState::Member).await;
        }
        let channel = channels.settled(KEY).await;
        assert_eq!(people_in(world, &channel.channel_id).len(), 2);
        let answered = |entry: &LogEntry| entry.fault.is_none();
        let again: Vec<_> =
            world.calls("conversations.invite").into_iter().filter(answered).collect();
        assert!(again.is_empty(), "{again:?}");
        assert!(!world.calls("conversations.members").is_empty());
    };
    short_leases().run(test).await;
}

/// A refusal with 429 is no attempt: nothing is looked for or read, and the request is made again
/// at the time that Slack gave. Red without `not_created` in `channels/steps.rs`, or without
/// `unmark` in `channels/members.rs`.
#[tokio::test]
async fn a_throttled_request_was_not_made_and_is_made_again() {
    Plan::default()
        .run(async |world: &mut World| {
            world.client.load(&["ben"]).await;
            for method in ["conversations.create", "conversations.invite"] {
                world.sandbox.script(throttled(method));
            }
            let channels = Channels::new(world);
            let channel = channels.made(wish(NAME), by_id(&["ben"])).await;
            channels.member_in(KEY, "ben", MemberState::Member).await;
            assert_eq!(people_in(world, &channel.channel_id).len(), 1);
            for method in ["conversations.create", "conversations.invite"] {
                assert_eq!(world.calls(method).len(), 2, "{method}");
            }
            assert!(world.calls("conversations.list").is_empty());
            assert!(world.calls("conversations.members").is_empty());
        })
        .await;
}

/// A channel that waits for one method does not keep another one from a method that is free. Red
/// if a full line (`channels/lines.rs`) kept its workers.
#[tokio::test]
async fn a_paused_method_holds_up_no_other() {
    const WAITING: usize = 40;
    Plan::default()
        .run(async |world: &mut World| {
            world.client.load(&["ben"]).await;
            let channels = Channels::new(world);
            let made = channels.made(wish(NAME), Vec::new()).await;
            // More channels than workers wait for a long time.
            let kind = FaultKind::Status {
                code: 429,
                body: String::new(),
                retry_after: Some("100000".to_owned()),
            };
            world.sandbox.script(Fault::new("conversations.create", kind));
            for number in 0..WAITING {
                let (key, name) = (format!("waits:{number}"), format!("Waits {number}"));
                channels.ensure(&key, wish(&name), Vec::new()).await.unwrap();
            }
            world.called("conversations.create", 2).await;
            channels.add_members(KEY, by_id(&["ben"])).await;
            channels.member_in(KEY, "ben", MemberState::Member).await;
            assert_eq!(people_in(world, &made.channel_id).len(), 1);
            assert_eq!(acts(world, "create").len(), 1);
        })
        .await;
}

/// The leases of this test outlast its patience: the other replica can only continue if they are
/// given back. Red without the end of the lease after `Interruption::Stopped`
/// (`channels/steps.rs`, `conclude`).
#[tokio::test]
async fn a_replica_that_stops_gives_its_channels_back() {
    const COUNT: usize = 12;
    let plan = Plan {
        replicas: 2,
        rate_limits: true,
        adjust: |settings| settings.channels.lease_seconds = 3600,
        ..Plan::default()
    };
    plan.run(async |world: &mut World| {
        world.client.load(&["ben"]).await;
        let other = Channels::of(world, 1, TENANT);
        let wishes = Channels::new(world);
        for number in 0..COUNT {
            let (key, name) = (format!("stops:{number}"), format!("Stops {number}"));
            wishes.ensure(&key, wish(&name), by_id(&["ben"])).await.unwrap();
        }
        world.called("conversations.create", 2).await;
        world.replicas.remove(0).stopped().await;
        for number in 0..COUNT {
            other.settled(&format!("stops:{number}")).await;
        }
        let all_in = async || {
            let all = other.list().await;
            let is_in = |channel: &herald::rpc::pb::Channel| {
                channel.members.as_ref().is_some_and(|counts| counts.members == 1)
            };
            all.iter().all(is_in).then_some(all.len())
        };
        assert_eq!(until("every channel has its member", all_in).await, COUNT);
        assert_eq!(acts(world, "create").len(), COUNT);
        assert_no_limit_exceeded(world);
    })
    .await;
}
