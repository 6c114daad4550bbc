//! Many workers and calls at once: no lane sleeps while it has work, a lane has one delivery in
//! flight, and each is sent once, in order (I1, I4, I6; faults.md 12).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::ids::DeliveryId;
use herald::store::{LaneClaim, Settle, Store};

use super::{
    LEASE, call, claim_lanes, delivered, delivery, intend_post, lane, next_due, settled, tenant,
    total, uuid,
};
use crate::support::store::{TestStore, counts, test_stores};

const LANES: usize = 3;
const CALLERS: usize = 4;
const CALLS: usize = 30;

/// The workers' observations, checked as they are made.
#[derive(Default)]
struct Seen {
    in_flight: Mutex<HashMap<String, DeliveryId>>,
    sent: Mutex<Vec<(String, DeliveryId)>>,
    done: AtomicUsize,
}

impl Seen {
    async fn serve(&self, store: &Store, claim: &LaneClaim, dice: usize) {
        let Some(head) = store.lanes().head(claim).await.unwrap() else { return };
        let id = head.delivery;
        if head.state == State::Pending
            && intend_post(store.outbox(), claim, id, LEASE).await.unwrap().is_none()
        {
            return;
        }
        let before = self.in_flight.lock().unwrap().insert(claim.lane.clone(), id);
        assert_eq!(before, None, "two under way in one lane");
        let now = Duration::ZERO;
        let settle = match dice % 7 {
            0 => Settle::Retry { after: now, code: "connect".into() },
            1 => Settle::Probe { after: now, code: "time_out".into() },
            _ => delivered(),
        };
        self.in_flight.lock().unwrap().remove(&claim.lane);
        let sends = matches!(settle, Settle::Delivered { .. });
        if sends {
            self.sent.lock().unwrap().push((claim.lane.clone(), id));
        }
        assert!(settled(store, claim, id, &settle).await);
        self.done.fetch_add(usize::from(sends), Ordering::SeqCst);
    }
}

async fn work(store: Store, seen: Arc<Seen>, total: usize) {
    let mut dice = 0;
    while seen.done.load(Ordering::SeqCst) < total {
        for claim in claim_lanes(store.lanes(), 2, LEASE).await.unwrap() {
            dice += 1;
            seen.serve(&store, &claim, dice).await;
        }
        tokio::task::yield_now().await;
    }
}

async fn race(store: &TestStore) {
    let seen = Arc::new(Seen::default());
    let total_sent = CALLERS * CALLS * LANES;
    let mut tasks = tokio::task::JoinSet::new();
    let replicas = [store.store.clone(), store.replica().await];
    let order = Arc::new(Mutex::new(Vec::new()));
    for caller in 0..CALLERS {
        let (store, order) = (replicas[caller % 2].clone(), order.clone());
        tasks.spawn(async move {
            for _ in 0..CALLS {
                // A different order of lanes for each caller: the store must not deadlock on it.
                let lanes =
                    (0..LANES).map(|to| delivery(lane(&format!("U{}", (to + caller) % LANES))));
                let call = call(&uuid().to_string(), lanes.collect());
                let ids: Vec<_> = call.deliveries.iter().map(|new| new.id).collect();
                store.outbox().accept(call).await.unwrap();
                order.lock().unwrap().push((caller, ids));
            }
        });
    }
    for worker in 0..4 {
        tasks.spawn(work(replicas[worker % 2].clone(), seen.clone(), total_sent));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    // No lane sleeps with work, without any help from the sweep.
    assert_eq!(super::repair(store).await, 0);
    assert_eq!(next_due(store.lanes()).await, None);
    let counts = store.counts(&tenant()).await;
    assert_eq!(counts, [("sent", i64::try_from(total_sent).unwrap())].into());
    let sent = seen.sent.lock().unwrap();
    let place: HashMap<DeliveryId, usize> =
        sent.iter().enumerate().map(|(place, (_, id))| (*id, place)).collect();
    assert_eq!(place.len(), total_sent, "each is sent once");
    // Each caller's calls followed each other, so their messages must do so in each lane.
    let lane_of: HashMap<DeliveryId, &str> =
        sent.iter().map(|(lane, id)| (*id, lane.as_str())).collect();
    let mut last: HashMap<(usize, &str), usize> = HashMap::new();
    for (caller, ids) in order.lock().unwrap().iter() {
        for id in ids {
            let before = last.insert((*caller, lane_of[id]), place[id]);
            assert!(before.is_none_or(|before| before < place[id]), "out of order");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_and_workers_race_and_no_wake_up_is_lost() {
    for store in test_stores().await {
        // A lost wake-up would leave the workers without work forever.
        tokio::time::timeout(Duration::from_secs(120), race(&store)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_always_add_up() {
    const ROUNDS: i64 = 40;
    for store in test_stores().await {
        let writer = store.replica().await;
        let accepted = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let known = accepted.clone();
        let writing = tokio::spawn(async move {
            for _ in 0..ROUNDS {
                super::post(&writer, "U1").await;
                known.fetch_add(1, Ordering::SeqCst);
                for claim in claim_lanes(writer.lanes(), 1, LEASE).await.unwrap() {
                    let head = writer.lanes().head(&claim).await.unwrap().unwrap();
                    intend_post(writer.outbox(), &claim, head.delivery, LEASE)
                        .await
                        .unwrap()
                        .unwrap();
                    settled(&writer, &claim, head.delivery, &delivered()).await;
                }
                writer.ends().archive(Duration::ZERO, 100).await.unwrap();
            }
        });
        let raw = store.raw().await;
        while !writing.is_finished() {
            let before = accepted.load(Ordering::SeqCst);
            let counted: i64 = counts(&raw, &tenant()).await.values().sum();
            let after = accepted.load(Ordering::SeqCst);
            assert!(before <= counted && counted <= after + 1, "{before} {counted} {after}");
            tokio::task::yield_now().await;
        }
        writing.await.unwrap();
        assert_eq!(total(&store).await, ROUNDS);
    }
}
