//! Rows that a newer release wrote, and damaged ones: they are skipped, and parked only if no
//! release can read them.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, TenantId};
use herald::domain::reason::Failure;
use herald::store::{Accept, ChangeSpan, NewDelivery, Store, Target};
use herald::telemetry::{Exposition, OtlpConfig};
use sea_orm::ConnectionTrait as _;
use tracing::instrument::WithSubscriber as _;

use super::{
    LEASE, call, claim, claim_lanes, delivered, delivery, head, lane, post, record, resolving_due,
    sending, settled, tenant,
};
use crate::support::store::{TestStore, test_stores};

pub(super) async fn run(store: &TestStore, text: &str) {
    store.raw().await.execute_unprepared(text).await.unwrap();
}

fn newer() -> TenantId {
    TenantId::parse("newer").unwrap()
}

async fn post_as(store: &Store, who: TenantId, new: NewDelivery) -> DeliveryId {
    let id = new.id;
    store
        .outbox()
        .accept(Accept { tenant: who, ..call(&id.to_string(), vec![new]) })
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn a_lane_of_another_class_or_budget_is_left_to_who_knows_it() {
    for store in test_stores().await {
        for name in ["C1", "C2"] {
            post_as(&store, newer(), delivery(lane(name))).await;
        }
        run(&store, "UPDATE lanes SET class = 9 WHERE lane = 'C1'").await;
        run(&store, "UPDATE lanes SET budget = 9 WHERE lane = 'C2'").await;
        post(&store, "U1").await;
        // Even if it is the last of a page.
        let (mut after, mut found) = (None, Vec::new());
        for _ in 0..3 {
            let page = store.lanes().queues(after.as_ref(), 1).await.unwrap();
            found.extend(page.queues.into_iter().map(|queue| queue.key.tenant));
            after = page.more_after;
        }
        assert_eq!(found, [tenant()]);
        assert_eq!(claim(&store, LEASE).await.lane, "U1");
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());
        run(&store, "UPDATE lanes SET class = 2, budget = 0").await;
        assert_eq!(
            claim_lanes(store.lanes(), 10, LEASE).await.unwrap().len(),
            2,
            "nothing was changed"
        );
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn rows_that_are_skipped_are_counted_each_time_and_logged_once_for_each_kind() {
    for store in test_stores().await {
        let exposition = Exposition::new(&OtlpConfig::default()).unwrap();
        store.observe(exposition.metrics());
        for name in ["C1", "C2"] {
            post_as(&store, newer(), delivery(lane(name))).await;
        }
        run(&store, "UPDATE lanes SET class = CASE lane WHEN 'C1' THEN 9 ELSE 8 END").await;
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("off,herald=error")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        async {
            for _ in 0..3 {
                assert!(store.lanes().queues(None, 10).await.unwrap().queues.is_empty());
            }
        }
        .with_subscriber(subscriber)
        .await;
        let printed = exposition.text().unwrap();
        let counted = printed.lines().find(|line| {
            line.starts_with("herald_unreadable_rows_total{") && line.contains(r#"kind="lane""#)
        });
        let count = counted.unwrap_or(&printed).rsplit(' ').next();
        assert_eq!(count, Some("6"), "{counted:?}");
        let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let sentence = "rows cannot be read and are skipped";
        assert_eq!(logged.matches(sentence).count(), 1, "{logged}");
        assert!(logged.contains(r#"kind="lane""#), "{logged}");
    }
}

/// Makes the head of each lane due now, and its last update older by this many seconds.
async fn later(store: &TestStore, seconds: u32) {
    let micros = u64::from(seconds) * 1_000_000;
    run(store, &format!("UPDATE deliveries SET due_at = 0, updated_at = updated_at - {micros}"))
        .await;
    run(store, "UPDATE lanes SET next_at = 0 WHERE next_at IS NOT NULL").await;
}

#[tokio::test]
async fn a_head_that_a_newer_release_may_know_rests_and_is_parked_in_the_end() {
    for column in ["kind", "action", "deed"] {
        for store in test_stores().await {
            let (unread, next) = (post(&store, "U1").await, post(&store, "U1").await);
            let set = format!("UPDATE deliveries SET {column} = 'hologram' WHERE id = '{unread}'");
            run(&store, &set).await;
            for _ in 0..3 {
                let held = claim(&store, LEASE).await;
                assert_eq!(store.lanes().head(&held).await.unwrap(), None);
                assert!(
                    claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty(),
                    "it rests"
                );
                assert_eq!(record(&store, unread).await.state, State::Pending);
                later(&store, 60).await;
            }
            // A replica of the newer release, which knows the value, can process it at any time.
            run(
                &store,
                &set.replace("hologram", "post").replace("kind = 'post'", "kind = 'normal'"),
            )
            .await;
            assert_eq!(head(&store).await.1.delivery, unread);
            run(&store, "UPDATE lanes SET lease_token = NULL, lease_until = 0, next_at = 0").await;
            run(&store, &set).await;
            later(&store, 16 * 60).await;
            let held = claim(&store, LEASE).await;
            assert_eq!(store.lanes().head(&held).await.unwrap(), None);
            let parked = record(&store, unread).await;
            assert_eq!(parked.state, State::Parked);
            assert_eq!(parked.reason.as_deref(), Some(Failure::Damaged.code()));
            let (held, id) = sending(&store).await;
            assert_eq!(id, next, "the lane continues");
            assert!(settled(&store, &held, id, &delivered()).await);
        }
    }
}

#[tokio::test]
async fn a_damaged_head_is_parked_at_once_and_alone() {
    for store in test_stores().await {
        let damaged = post(&store, "U1").await;
        let other = post(&store, "U2").await;
        let set = format!("UPDATE deliveries SET crashes = -1 WHERE id = '{damaged}'");
        run(&store, &set).await;
        let claims = claim_lanes(store.lanes(), 10, LEASE).await.unwrap();
        // Read together in one statement.
        let heads = claims.iter().map(|claim| store.lanes().head(claim));
        let heads = futures_util::future::try_join_all(heads).await.unwrap();
        let read: Vec<_> = heads.into_iter().flatten().map(|head| head.delivery).collect();
        assert_eq!(read, [other]);
        assert_eq!(record(&store, damaged).await.state, State::Parked);
    }
}

#[tokio::test]
async fn what_waits_outside_of_lanes_is_left_alone() {
    for store in test_stores().await {
        let resolving = post_as(&store, newer(), delivery(Target::Resolving)).await;
        let mut deferred = call("later", vec![delivery(lane("U2"))]);
        deferred.about.deliver_after =
            Some(store.now().await.unwrap().plus(Duration::from_secs(60)));
        let id = deferred.deliveries[0].id;
        store.outbox().accept(Accept { tenant: newer(), ..deferred }).await.unwrap();
        for (id, column) in [(resolving, "kind"), (id, "action")] {
            let set = format!(
                "UPDATE deliveries SET {column} = 'hologram', due_at = 0 WHERE id = '{id}'"
            );
            run(&store, &set).await;
        }
        let known = post_as(&store, tenant(), delivery(Target::Resolving)).await;
        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
        assert_eq!(claimed.iter().map(|one| one.delivery).collect::<Vec<_>>(), [known]);
        assert!(store.waiting().claim_resolving(10, LEASE).await.unwrap().is_empty());
        let due = resolving_due(&store.raw().await, &tenant()).await.unwrap();
        assert!(due > store.now().await.unwrap(), "the lease of the claimed one");
        assert_eq!(store.waiting().join_due(10).await.unwrap(), 0);
        assert_eq!(store.waiting().next_deferred().await.unwrap(), None, "nothing spins");
        store.upkeep().count_unread().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_read_is_passed_over() {
    for store in test_stores().await {
        let (first, id) = (post(&store, "U1").await, post(&store, "U2").await);
        let last = post(&store, "U3").await;
        store.feed().number(100).await.unwrap();
        run(&store, &format!("UPDATE delivery_changes SET delivery = 'x' WHERE delivery = '{id}'"))
            .await;
        let page = store.feed().changes(&tenant(), 0, 10).await.unwrap();
        let told: Vec<_> = page.changes.iter().map(|one| (one.sequence, one.delivery)).collect();
        assert_eq!(told, [(1, first), (3, last)]);
        assert_eq!((page.span, page.full), (Some(ChangeSpan { first: 1, last: 3 }), false));
        // A reader gets past it, even if the page has no other change.
        let page = store.feed().changes(&tenant(), 1, 1).await.unwrap();
        assert_eq!(
            (page.changes.len(), page.span, page.full),
            (0, Some(ChangeSpan { first: 2, last: 2 }), true)
        );
    }
}

#[tokio::test]
async fn a_state_of_a_newer_release_is_shown_as_unknown_to_this_one() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let other = post(&store, "U2").await;
        store.feed().number(100).await.unwrap();
        for table in ["deliveries", "delivery_changes"] {
            let column = if table == "deliveries" { "id" } else { "delivery" };
            let set = format!("UPDATE {table} SET state = 'hologram' WHERE {column} = '{id}'");
            run(&store, &set).await;
        }
        assert_eq!(record(&store, id).await.state, State::Newer);
        let changes = store.feed().changes(&tenant(), 0, 10).await.unwrap().changes;
        let states: Vec<_> = changes.iter().map(|change| (change.delivery, change.state)).collect();
        assert_eq!(states, [(id, State::Newer), (other, State::Pending)]);
        let filter = herald::store::NotificationFilter::default();
        let page = store.records().list_notifications(&tenant(), &filter, None, 10).await.unwrap();
        assert_eq!(page.notifications.len(), 2);
    }
}
