//! Tenants that no fault is aimed at: the witness, whose calls show how faults affect bystanders,
//! and tenants with a slow Slack, which keep workers busy.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{Accepted, Client};
use crate::nemesis::Kind;

/// The pause between two calls of the witness at one replica.
const PERIOD: Duration = Duration::from_millis(500);
/// Calls that one witness may have under way at once, so that it does not make an outage worse.
const AT_ONCE: usize = 8;
/// The pause between two broadcasts of one slow tenant, in milliseconds, from and to.
const REST: (usize, usize) = (6_000, 12_000);

/// Calls this replica at a steady rate, even if some earlier calls are still under way. A call that
/// fails there is repeated at the other replicas.
pub(crate) async fn witness(client: Client, home: usize, stop: CancellationToken) -> Vec<Accepted> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut calls, replicas) = (JoinSet::new(), client.replicas.len());
    let mut accepted = Vec::new();
    for number in 0.. {
        tokio::select! { _ = ticks.tick() => {}, () = stop.cancelled() => break }
        while let Some(done) = calls.try_join_next() {
            // A panic in a caller is a fault of the checker.
            accepted
                .push(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
        }
        if calls.len() >= AT_ONCE {
            continue;
        }
        let mut caller = client.clone();
        // The replicas call different people, so that no two of them share a lane.
        let person = (number * replicas + home) % client.audience.people;
        let id = format!("{}-{number}", client.number);
        caller.dice = client.dice.of(&id);
        calls.spawn(async move { caller.notify(id, &[person], home).await });
    }
    accepted.extend(calls.join_all().await);
    accepted
}

/// Broadcasts to all people of a slow tenant, again and again.
pub(crate) async fn slow(mut client: Client, stop: CancellationToken) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    let people: Vec<usize> = (0..client.audience.people).collect();
    for number in 0.. {
        let rest = sleep(client.dice.millis(REST.0, REST.1));
        tokio::select! { () = rest => {}, () = stop.cancelled() => break }
        let (id, at) = (format!("{}-{number}", client.number), client.dice.below(usize::MAX));
        let what = format!("{} to {} people", client.audience.tenant.name(), people.len());
        let blow = client.book.clone().strike(Kind::Tenants.name(), None, what);
        accepted.push(client.notify(id, &people, at % client.replicas.len()).await);
        blow.over();
    }
    accepted
}
