//! Killed at random points while 500 messages are sent: each is stored once, in order (I1, I4, I6,
//! I7; faults.md 1 and 2).

use std::net::SocketAddr;

use herald::rpc::pb;
use herald::sandbox::{Fault, FaultKind};
use tokio::sync::watch;

use super::{Site, all_sent, before_repeating, judge, member_id, message, service, site_on};
use crate::support::process::{Dice, channel, until};

const PEOPLE: usize = 25;
/// Calls before the first kill; the others come while processes are killed.
const FIRST: usize = 8;
const ROUNDS: usize = 6;
/// Calls of each further round.
const MORE: usize = 2;

/// Where the process is when it is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// Requests are at Slack, which has not stored them and will not.
    BeforeStored,
    /// Slack has stored them, but has not answered.
    AfterStored,
    /// Anywhere.
    Anywhere,
}

/// Repeats the call until it is answered, as a platform does.
async fn notify(address: watch::Receiver<SocketAddr>, request: pb::NotifyRequest) -> String {
    loop {
        let at = *address.borrow();
        match service(channel(at)).notify(request.clone()).await {
            Ok(answer) => return answer.into_inner().notification_id,
            Err(status) => before_repeating(&status).await,
        }
    }
}

async fn notify_all(
    address: watch::Receiver<SocketAddr>,
    numbers: std::ops::Range<usize>,
) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        ids.push(notify(address.clone(), message(number, PEOPLE)).await);
    }
    ids
}

/// Lets the process work up to that point.
async fn reach(site: &Site, point: Point, dice: &mut Dice) {
    let before = site.sandbox.log().len();
    match point {
        Point::BeforeStored | Point::AfterStored => {
            let hang = FaultKind::Hang { seconds: 600.0 };
            let mut fault = Fault::new("chat.postMessage", hang);
            fault.after_calls = u32::try_from(dice.below(20)).unwrap();
            if matches!(point, Point::AfterStored) {
                fault = fault.after();
            }
            site.sandbox.script(fault);
            let wanted = 1 + dice.below(8);
            until("requests hang at Slack", async || {
                let log = site.sandbox.log();
                let hanging = log[before..].iter().filter(|entry| entry.fault.is_some()).count();
                (hanging >= wanted).then_some(())
            })
            .await;
        }
        Point::Anywhere => {
            let wanted = site.sandbox.messages().len() + 1 + dice.below(30);
            let wanted = u64::try_from(wanted).unwrap();
            until("messages are stored", async || {
                (*site.sandbox.stored().borrow() >= wanted).then_some(())
            })
            .await;
        }
    }
}

/// Waits until every conversation has progressed, so that all messages in doubt after a kill are
/// settled. Otherwise a message could be killed three times, and would rightly be parked.
async fn go_on(site: &Site, before: &std::collections::HashMap<String, usize>, accepted: usize) {
    until("every conversation progresses", async || {
        let now = site.stored();
        let on = |user: String| {
            let before = before.get(&user).copied().unwrap_or_default();
            before >= accepted || now.get(&user).is_some_and(|now| *now > before)
        };
        (0..PEOPLE).all(|number| on(member_id(number))).then_some(())
    })
    .await;
}

async fn storm(site: Site, rounds: usize) {
    let calls = FIRST + MORE * rounds;
    let mut dice = Dice::new();
    let mut herald = site.start_connected().await;
    let (moved, address) = watch::channel(herald.rpc);
    let mut ids = Vec::new();
    let (mut called, first) = (0, dice.below(3));
    for round in 0..rounds {
        let point = [Point::BeforeStored, Point::AfterStored, Point::Anywhere];
        let point = point[(first + round) % 3];
        let more = if round == 0 { FIRST } else { MORE };
        let calling = tokio::spawn(notify_all(address.clone(), called..called + more));
        called += more;
        reach(&site, point, &mut dice).await;
        herald.kill();
        let before = site.stored();
        println!("killed {point:?} with {} stored", before.values().sum::<usize>());
        site.sandbox.clear_faults();
        herald = site.start().await;
        moved.send_replace(herald.rpc);
        ids.extend(calling.await.unwrap());
        go_on(&site, &before, called).await;
    }
    ids.extend(notify_all(address, called..calls).await);
    all_sent(&herald.channel(), &ids).await;
    assert_eq!(judge::verdict(&site.sandbox.messages(), PEOPLE, calls), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_500_messages_is_stored_once_and_in_order_on_sqlite() {
    storm(site_on(false, PEOPLE).await.unwrap(), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_500_messages_is_stored_once_and_in_order_on_postgres() {
    if let Some(site) = site_on(true, PEOPLE).await {
        storm(site, ROUNDS).await;
    }
}

/// faults.md 1 in full.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "half an hour; tests/run --soak"]
async fn soak_two_hundred_kills() {
    for site in super::sites(PEOPLE).await {
        storm(site, 200).await;
    }
}
