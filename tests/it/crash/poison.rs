//! A message that kills its process again and again: it is parked if Slack's history does not have
//! it, and does not affect other messages (faults.md 22).

use std::collections::BTreeSet;

use herald::rpc::pb::{Delivery, DeliveryState as State};
use herald::sandbox::{Fault, FaultKind};

use super::{Site, deliveries, member_id, message, service, sites};
use crate::support::process::until;

const PEOPLE: usize = 4;
/// The number of workers that may die on one message.
const DEATHS: usize = 3;

/// Posts to this member get no answer, and are stored only if `stored` is set.
fn hang(site: &Site, member: usize, stored: bool) {
    let fault = Fault::new("chat.postMessage", FaultKind::Hang { seconds: 600.0 });
    let fault = Fault { channel: Some(member_id(member)), ..fault };
    site.sandbox.script(if stored { fault.after() } else { fault });
}

/// Members whose posts hang, in the log from `from` on.
fn hanging(site: &Site, from: usize) -> BTreeSet<String> {
    let log = site.sandbox.log();
    let hang = log[from..].iter().filter(|entry| entry.fault.is_some());
    hang.filter_map(|entry| entry.args["channel"].as_str().map(str::to_owned)).collect()
}

fn of(deliveries: &[Delivery], member: usize) -> &Delivery {
    deliveries.iter().find(|delivery| delivery.slack_target == member_id(member)).unwrap()
}

/// All messages are under way when the process dies for the first time. From then on only the
/// deadly one is under way at a death: the others are sent, and it is parked after the third death,
/// or found as sent if Slack stored it just then.
async fn die_three_times(site: &Site, stored: bool) {
    for member in 0..PEOPLE {
        hang(site, member, false);
    }
    let mut herald = site.start_connected().await;
    let answer = service(herald.channel()).notify(message(0, PEOPLE)).await.unwrap();
    let id = answer.into_inner().notification_id;
    until("all hang", async || (hanging(site, 0).len() == PEOPLE).then_some(())).await;
    for death in 1..=DEATHS {
        herald.kill();
        site.sandbox.clear_faults();
        let from = site.sandbox.log().len();
        if death < DEATHS {
            hang(site, 0, stored && death == DEATHS - 1);
        }
        herald = site.start().await;
        if death < DEATHS {
            until("the deadly one hangs again", async || {
                hanging(site, from).contains(&member_id(0)).then_some(())
            })
            .await;
        }
    }
    let ended = until("every message ends", async || {
        let deliveries = deliveries(herald.channel(), &id).await;
        let ended = |delivery: &Delivery| {
            ![State::Pending, State::Sending, State::Unknown].contains(&delivery.state())
        };
        deliveries.iter().all(ended).then_some(deliveries)
    })
    .await;
    for member in 1..PEOPLE {
        assert_eq!(of(&ended, member).state(), State::Sent, "{ended:?}");
    }
    let deadly = of(&ended, 0);
    let crashes = deadly.attempt_log.iter().filter(|attempt| attempt.outcome == "crashed").count();
    assert_eq!(crashes, DEATHS, "{deadly:?}");
    let wanted = if stored { (State::Sent, "") } else { (State::Parked, "crashed") };
    assert_eq!((deadly.state(), &*deadly.reason), wanted, "{deadly:?}");
    let messages = site.sandbox.messages();
    assert_eq!(messages.len(), PEOPLE - usize::from(!stored), "{messages:?}");
    let looks = site.calls("conversations.history");
    assert!(!looks.is_empty(), "history was not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kills_three_processes_is_set_aside_and_the_others_are_sent() {
    for site in sites(PEOPLE).await {
        die_three_times(&site, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_stored_as_the_third_process_died_is_sent() {
    for site in sites(PEOPLE).await {
        die_three_times(&site, true).await;
    }
}

/// A message that was under way beside the deadly one is not killed with it again: suspects are
/// sent one at a time.
#[tokio::test(flavor = "multi_thread")]
async fn suspects_go_one_at_a_time() {
    for site in sites(2).await {
        (0..2).for_each(|member| hang(&site, member, false));
        let mut herald = site.start_connected().await;
        let answer = service(herald.channel()).notify(message(0, 2)).await.unwrap();
        let id = answer.into_inner().notification_id;
        until("both hang", async || (hanging(&site, 0).len() == 2).then_some(())).await;
        herald.kill();
        let from = site.sandbox.log().len();
        herald = site.start().await;
        until("a suspect hangs", async || (!hanging(&site, from).is_empty()).then_some(())).await;
        let first = hanging(&site, from);
        // The other suspect had its turn, and was postponed, while the first one hung.
        let other = deliveries(herald.channel(), &id).await;
        until("the other suspect was postponed", async || {
            let now = deliveries(herald.channel(), &id).await;
            let waits = now.iter().flat_map(|one| &one.trace).flat_map(|trace| &trace.waits);
            let put_off = waits.filter(|wait| wait.cause() == herald::rpc::pb::WaitCause::Budget);
            (put_off.count() > 0).then_some(())
        })
        .await;
        assert_eq!(hanging(&site, from), first, "{other:?}");
        assert_eq!(first.len(), 1);
        site.sandbox.clear_faults();
    }
}
