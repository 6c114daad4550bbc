//! The feed of delivery changes, at the store: gap-free and in order on every database.

mod all;
mod channels;
mod frozen;
mod wakes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, TenantId};
use herald::domain::reason::{Failure, Suppression};
use herald::store::{Backend, DeliveryChange, End, FeedExtent, Settle, Store, Target};

use crate::outbox::{
    LEASE, call, claim_lanes, delivered, delivery, head, intend_post, lane, post, sending, settled,
    tenant, uuid,
};
use crate::support::store::test_stores;

/// Numbers all waiting changes.
async fn number(store: &Store) {
    while store.feed().number(100).await.unwrap() > Some(0) {}
}

async fn all(store: &Store) -> Vec<DeliveryChange> {
    number(store).await;
    store.feed().changes(&tenant(), 0, 10_000).await.unwrap().changes
}

fn states(changes: &[DeliveryChange], id: DeliveryId) -> Vec<State> {
    changes.iter().filter(|change| change.delivery == id).map(|change| change.state).collect()
}

#[tokio::test]
async fn every_change_that_matters_is_told_once() {
    for store in test_stores().await {
        let sent = post(&store, "U1").await;
        let (claim, id) = sending(&store).await;
        let again = Settle::Retry { after: Duration::ZERO, code: "fatal_error".into() };
        assert!(settled(&store, &claim, id, &again).await);
        let (claim, id) = sending(&store).await;
        let probe = Settle::Probe { after: Duration::ZERO, code: "timeout".into() };
        assert!(settled(&store, &claim, id, &probe).await);
        let (claim, _) = head(&store).await;
        assert!(settled(&store, &claim, id, &delivered()).await);
        let failed = post(&store, "U2").await;
        let (claim, _) = head(&store).await;
        let fail = Settle::Failed { reason: Failure::Rejected, code: Some("is_archived".into()) };
        assert!(settled(&store, &claim, failed, &fail).await);
        let off = delivery(Target::Ended(End::Suppressed(Suppression::OptIn)));
        let suppressed = off.id;
        store.outbox().accept(call("off", vec![off])).await.unwrap();

        let changes = all(&store).await;
        let numbers: Vec<i64> = changes.iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, (1..=6).collect::<Vec<i64>>());
        assert_eq!(states(&changes, sent), [State::Pending, State::Unknown, State::Sent]);
        assert_eq!(states(&changes, failed), [State::Pending, State::Failed]);
        assert_eq!(states(&changes, suppressed), [State::Suppressed]);
        let last = changes.iter().find(|change| change.state == State::Sent).unwrap();
        assert_eq!(
            (last.channel.as_ref().unwrap().as_str(), last.ts.as_deref()),
            ("D0001", Some("1.000100"))
        );
        let last = changes.iter().find(|change| change.state == State::Failed).unwrap();
        assert_eq!(last.code.as_deref(), Some("is_archived"));
        assert_eq!(changes.last().unwrap().reason.as_deref(), Some("opt_in"));
    }
}

/// The feed's promise: a reader that stops, misses a thousand changes and resumes from its last
/// number sees each change once and in order, while three writers commit concurrently.
#[tokio::test]
async fn a_reader_that_stops_and_resumes_misses_nothing() {
    const WRITERS: usize = 3;
    const CALLS: usize = 100;
    const PER_CALL: usize = 5;
    for store in test_stores().await {
        // A SQLite file belongs to one process, so there all share its one writer.
        let (first, second) = match store.backend() {
            Backend::Sqlite => (store.store.clone(), store.store.clone()),
            Backend::Postgres => (store.replica().await, store.replica().await),
        };
        let done = Arc::new(AtomicBool::new(false));
        // Two replicas number at the same time.
        let sequencers = [first.clone(), second].map(|replica| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                while !done.load(Ordering::Acquire) {
                    replica.feed().number(64).await.unwrap();
                    tokio::task::yield_now().await;
                }
                number(&replica).await;
            })
        });
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let store = store.store.clone();
            writers.push(tokio::spawn(async move {
                let mut written = Vec::new();
                for _ in 0..CALLS {
                    let fresh: Vec<_> =
                        (0..PER_CALL).map(|_| delivery(lane(&format!("U{writer}")))).collect();
                    let call = call(&uuid().to_string(), fresh);
                    let notification = call.id;
                    written.extend(call.deliveries.iter().map(|delivery| delivery.id));
                    store.outbox().accept(call).await.unwrap();
                    store
                        .ends()
                        .cancel_notification(&tenant(), notification)
                        .await
                        .unwrap()
                        .unwrap();
                }
                written
            }));
        }
        // Reads a little, stops while the writers go on, and resumes at the end.
        let mut seen: Vec<DeliveryChange> = Vec::new();
        while seen.len() < 50 {
            let after = seen.last().map_or(0, |change| change.sequence);
            seen.extend(first.feed().changes(&tenant(), after, 20).await.unwrap().changes);
            tokio::task::yield_now().await;
        }
        let mut written = Vec::new();
        for writer in writers {
            written.extend(writer.await.unwrap());
        }
        done.store(true, Ordering::Release);
        for sequencer in sequencers {
            sequencer.await.unwrap();
        }
        assert!(2 * WRITERS * CALLS * PER_CALL - seen.len() > 1000);
        loop {
            let after = seen.last().map_or(0, |change| change.sequence);
            let more = first.feed().changes(&tenant(), after, 333).await.unwrap().changes;
            if more.is_empty() {
                break;
            }
            seen.extend(more);
        }
        let numbers: Vec<i64> = seen.iter().map(|change| change.sequence).collect();
        let count = i64::try_from(2 * written.len()).unwrap();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
        let mut told: HashMap<DeliveryId, Vec<State>> = HashMap::new();
        for change in seen {
            told.entry(change.delivery).or_default().push(change.state);
        }
        for id in written {
            assert_eq!(told.remove(&id).unwrap(), [State::Pending, State::Canceled]);
        }
        assert!(told.is_empty());
    }
}

/// A change whose transaction commits late gets a number that no reader has passed yet.
#[tokio::test]
async fn a_late_commit_is_not_skipped() {
    use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
    for store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue; // It has one writer: nobody can commit meanwhile.
        }
        let early = post(&store, "U1").await;
        let raw = store.raw().await;
        let tx = raw.begin().await.unwrap();
        tx.execute_unprepared(&format!(
            "UPDATE deliveries SET state = 'failed' WHERE id = '{early}'"
        ))
        .await
        .unwrap();
        let later = post(&store, "U2").await;
        let before = all(&store).await;
        assert_eq!((states(&before, early).len(), states(&before, later).len()), (1, 1));
        tx.commit().await.unwrap();
        number(&store).await;
        let after = before.last().unwrap().sequence;
        let rest = store.feed().changes(&tenant(), after, 10).await.unwrap().changes;
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].sequence, rest[0].state), (after + 1, State::Failed));
    }
}

#[tokio::test]
async fn tenants_have_numbers_of_their_own() {
    for store in test_stores().await {
        let other = TenantId::parse("other").unwrap();
        for _ in 0..3 {
            post(&store, "U1").await;
            let mut call = call(&uuid().to_string(), vec![delivery(lane("U1"))]);
            call.tenant = other.clone();
            store.outbox().accept(call).await.unwrap();
        }
        let mine: Vec<_> = all(&store).await.iter().map(|change| change.sequence).collect();
        let theirs = store.feed().changes(&other, 0, 10).await.unwrap().changes;
        assert_eq!(mine, [1, 2, 3]);
        assert_eq!(theirs.iter().map(|change| change.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        let both: std::collections::HashSet<_> =
            all(&store).await.iter().chain(&theirs).map(|change| change.delivery).collect();
        assert_eq!(both.len(), 6);
    }
}

#[tokio::test]
async fn retention_removes_the_oldest_and_says_so() {
    for store in test_stores().await {
        for _ in 0..5 {
            post(&store, "U1").await;
        }
        number(&store).await;
        let kept = Duration::from_secs(3600);
        assert_eq!(store.feed().prune(kept, 100).await.unwrap(), 0);
        assert_eq!(store.feed().prune(Duration::ZERO, 2).await.unwrap(), 2);
        let extent = store.feed().extent(&tenant()).await.unwrap();
        assert_eq!(extent, FeedExtent { epoch: 0, head: 5, pruned: 2 });
        let left = store.feed().changes(&tenant(), 0, 10).await.unwrap().changes;
        assert_eq!(left.iter().map(|change| change.sequence).collect::<Vec<_>>(), [3, 4, 5]);
        while store.feed().prune(Duration::ZERO, 100).await.unwrap() > 0 {}
        post(&store, "U1").await;
        number(&store).await;
        let left = store.feed().changes(&tenant(), 5, 10).await.unwrap().changes;
        assert_eq!(left.iter().map(|change| change.sequence).collect::<Vec<_>>(), [6]);
    }
}

#[tokio::test]
async fn a_cancel_meets_a_delivery_wherever_it_is() {
    for store in test_stores().await {
        let one = call("one", vec![delivery(lane("U1")), delivery(lane("U2"))]);
        let (notification, ids) = (one.id, [one.deliveries[0].id, one.deliveries[1].id]);
        store.outbox().accept(one).await.unwrap();
        // One of the two is being sent.
        let claim = claim_lanes(store.lanes(), 1, LEASE).await.unwrap().remove(0);
        let flying = store.lanes().head(&claim).await.unwrap().unwrap().delivery;
        assert!(intend_post(store.outbox(), &claim, flying, LEASE).await.unwrap().is_some());
        let waiting = if ids[0] == flying { ids[1] } else { ids[0] };
        let met = store.ends().cancel_notification(&tenant(), notification).await.unwrap().unwrap();
        assert_eq!((met.canceled, met.in_flight), (1, 1));
        // Slack throttled it, so it was not stored, and it is not sent again.
        let wait = Settle::Wait { after: Duration::ZERO, scope: herald::store::WaitScope::Nothing };
        assert!(settled(&store, &claim, flying, &wait).await);
        let met = store.ends().cancel_notification(&tenant(), notification).await.unwrap().unwrap();
        assert_eq!((met.canceled, met.in_flight), (0, 0));
        let changes = all(&store).await;
        assert_eq!(states(&changes, waiting), [State::Pending, State::Canceled]);
        assert_eq!(states(&changes, flying), [State::Pending, State::Canceled]);
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().len() <= 1);
        let other = TenantId::parse("other").unwrap();
        assert_eq!(store.ends().cancel_notification(&other, notification).await.unwrap(), None);
    }
}

/// Senders and a canceler compete for the same deliveries: each one is sent or canceled, and a
/// canceled one is never sent afterwards.
#[tokio::test]
async fn a_cancel_races_with_sending() {
    for store in test_stores().await {
        let mut notifications = Vec::new();
        for number in 0..40 {
            let call = call(&uuid().to_string(), vec![delivery(lane(&format!("U{number}")))]);
            notifications.push((call.id, call.deliveries[0].id));
            store.outbox().accept(call).await.unwrap();
        }
        let canceler = {
            let (store, notifications) = (store.store.clone(), notifications.clone());
            tokio::spawn(async move {
                let mut sum = (0, 0);
                for (notification, _) in notifications {
                    let met = store
                        .ends()
                        .cancel_notification(&tenant(), notification)
                        .await
                        .unwrap()
                        .unwrap();
                    sum = (sum.0 + met.canceled, sum.1 + met.in_flight);
                    tokio::task::yield_now().await;
                }
                sum
            })
        };
        for claim in claim_lanes(store.lanes(), 100, LEASE).await.unwrap() {
            let Some(head) = store.lanes().head(&claim).await.unwrap() else { continue };
            if intend_post(store.outbox(), &claim, head.delivery, LEASE).await.unwrap().is_some() {
                assert!(settled(&store, &claim, head.delivery, &delivered()).await);
            }
        }
        let (canceled, _) = canceler.await.unwrap();
        let counts = store.counts(&tenant()).await;
        let sent = counts.get("sent").copied().unwrap_or_default();
        assert_eq!(counts.get("canceled").copied().unwrap_or_default(), i64::from(canceled));
        assert_eq!(sent + i64::from(canceled), 40);
        let changes = all(&store).await;
        for (_, id) in notifications {
            let told = states(&changes, id);
            assert!(
                matches!(told[..], [State::Pending, State::Sent | State::Canceled]),
                "{told:?}"
            );
        }
    }
}
