//! Upkeep: only old rows are removed; a lost wake-up is repaired; figures for metrics.

use std::time::Duration;

use herald::domain::ids::{NotificationId, TenantId};
use herald::store::{Accepted, Backend, End, Store, Target};
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};

use super::{
    HOUR, call, claim_lanes, delivered, delivery, intend_post, lane, next_due, post, sending,
    settled, tenant,
};
use crate::support::gate::Gate;
use crate::support::store::{TestStore, test_stores};

async fn rows(store: &TestStore, table: &str) -> i64 {
    let raw = store.raw().await;
    let query = format!("SELECT COUNT(*) FROM {table}");
    let query = Statement::from_string(raw.get_database_backend(), query);
    raw.query_one_raw(query).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn is_there(store: &Store, id: NotificationId) -> bool {
    store.records().notification(&tenant(), id).await.unwrap().is_some()
}

#[tokio::test]
async fn what_is_old_and_ended_goes_with_all_that_belongs_to_it() {
    for store in test_stores().await {
        let ended = || delivery(Target::Ended(End::Expired));
        let sent = call("sent", vec![delivery(lane("U1")), ended()]);
        store.outbox().accept(sent.clone()).await.unwrap();
        let (claim, id) = sending(&store).await;
        assert!(settled(&store, &claim, id, &delivered()).await);
        let half = call("half", vec![delivery(lane("U2")), ended()]);
        store.outbox().accept(half.clone()).await.unwrap();
        while store.ends().archive(Duration::ZERO, 10).await.unwrap() > 0 {}

        assert_eq!(store.ends().forget_notifications(HOUR, 10).await.unwrap(), 0, "too young");
        assert_eq!(store.ends().forget_notifications(Duration::ZERO, 10).await.unwrap(), 1);
        assert!(!is_there(&store, sent.id).await);
        assert!(is_there(&store, half.id).await, "one of its messages waits");
        assert_eq!(rows(&store, "deliveries_history").await, 1);
        assert_eq!(rows(&store, "attempts").await, 0);
        // The request id is free again.
        assert!(matches!(store.outbox().accept(sent).await.unwrap(), Accepted::New { .. }));
    }
}

#[tokio::test]
async fn forgetting_is_bounded_and_shared() {
    for store in test_stores().await {
        for number in 0..10 {
            let ended = delivery(Target::Ended(End::Expired));
            store.outbox().accept(call(&format!("r{number}"), vec![ended])).await.unwrap();
        }
        while store.ends().archive(Duration::ZERO, 100).await.unwrap() > 0 {}
        assert_eq!(store.ends().forget_notifications(Duration::ZERO, 4).await.unwrap(), 4);
        let (one, two) = tokio::join!(
            store.ends().forget_notifications(Duration::ZERO, 100),
            store.ends().forget_notifications(Duration::ZERO, 100)
        );
        let rest = store.ends().forget_notifications(Duration::ZERO, 100).await.unwrap();
        assert_eq!(one.unwrap() + two.unwrap() + rest, 6);
        assert_eq!(rows(&store, "deliveries_history").await, 0);
    }
}

#[tokio::test]
async fn a_lost_wake_up_is_made_good() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let lose = "UPDATE lanes SET next_at = NULL";
        store.raw().await.execute_unprepared(lose).await.unwrap();
        assert_eq!(next_due(store.lanes()).await, None, "the lane sleeps with work");
        assert_eq!(super::repair(&store).await, 1);
        assert_eq!(sending(&store).await.1, id);
        assert_eq!(super::repair(&store).await, 0);
    }
}

#[tokio::test]
async fn what_waits_is_counted_up_to_a_bound_and_by_tenant() {
    for store in test_stores().await {
        let mut many: Vec<_> = (0..20).map(|_| delivery(lane("U1"))).collect();
        many.extend((0..5).map(|_| delivery(Target::Resolving)));
        many.push(delivery(Target::Ended(End::Expired)));
        store.outbox().accept(call("r1", many)).await.unwrap();
        assert_eq!(store.records().count_waiting(&tenant(), 100).await.unwrap(), 25);
        assert_eq!(store.records().count_waiting(&tenant(), 10).await.unwrap(), 11);
        let other = TenantId::parse("umbrella").unwrap();
        assert_eq!(store.records().count_waiting(&other, 10).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn the_tables_health_is_told() {
    for store in test_stores().await {
        assert_eq!(store.upkeep().health().await.unwrap().ready_age, Duration::ZERO);
        post(&store, "U1").await;
        let late = "UPDATE lanes SET next_at = next_at - 60000000";
        store.raw().await.execute_unprepared(late).await.unwrap();
        let health = store.upkeep().health().await.unwrap();
        assert!(health.ready_age >= Duration::from_secs(60), "{health:?}");
        match store.backend() {
            Backend::Sqlite => assert_eq!((health.rows, health.dead_rows), (1, None)),
            Backend::Postgres => {
                assert!(health.dead_rows.is_some() && health.oldest_snapshot_age.is_some());
            }
        }
    }
}

#[tokio::test]
async fn lanes_that_are_not_used_any_more_go_and_come_back() {
    for store in test_stores().await {
        for name in ["U1", "U2", "U3"] {
            post(&store, name).await;
        }
        // One lane is done, a worker holds one, and one waits.
        let (done, id) = first_of(claim_lanes(store.lanes(), 1, HOUR).await.unwrap(), &store).await;
        assert!(settled(&store, &done, id, &delivered()).await);
        first_of(claim_lanes(store.lanes(), 1, HOUR).await.unwrap(), &store).await;
        assert_eq!(
            store.ends().forget_lanes(None, HOUR, 10).await.unwrap(),
            (0, None),
            "too young"
        );
        let (removed, next) = store.ends().forget_lanes(None, Duration::ZERO, 2).await.unwrap();
        let next = next.unwrap();
        let (more, end) = store.ends().forget_lanes(Some(&next), Duration::ZERO, 2).await.unwrap();
        assert_eq!((removed + more, end), (1, None));
        assert_eq!(rows(&store, "lanes").await, 2);
        // The next message creates the lane again.
        post(&store, &done.lane).await;
        assert_eq!(rows(&store, "lanes").await, 3);
        let due = claim_lanes(store.lanes(), 10, HOUR).await.unwrap();
        assert!(due.iter().any(|claim| claim.lane == done.lane), "{due:?}");
    }
}

/// The first claim, with its head being sent.
async fn first_of(
    mut claims: Vec<herald::store::LaneClaim>,
    store: &Store,
) -> (herald::store::LaneClaim, herald::domain::ids::DeliveryId) {
    let claim = claims.remove(0);
    let head = store.lanes().head(&claim).await.unwrap().unwrap();
    assert!(intend_post(store.outbox(), &claim, head.delivery, HOUR).await.unwrap().is_some());
    (claim, head.delivery)
}

/// A transaction that adds a message locks the lane until the commit, and upkeep skips it.
#[tokio::test]
async fn a_lane_that_somebody_joins_is_not_removed() {
    for store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue;
        }
        post(&store, "U1").await;
        let (claim, id) = sending(&store).await;
        assert!(settled(&store, &claim, id, &delivered()).await);
        let raw = store.raw().await;
        let joins = raw.begin().await.unwrap();
        joins.execute_unprepared("UPDATE lanes SET next_at = 1").await.unwrap();
        assert_eq!(store.ends().forget_lanes(None, Duration::ZERO, 10).await.unwrap(), (0, None));
        joins.commit().await.unwrap();
        assert_eq!(store.ends().forget_lanes(None, Duration::ZERO, 10).await.unwrap(), (0, None));
    }
}

/// A message arrives between the check of the lanes and the lock.
#[tokio::test]
async fn a_lane_that_was_joined_since_the_look_is_not_removed() {
    for mut store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue;
        }
        post(&store, "U1").await;
        let (claim, id) = sending(&store).await;
        assert!(settled(&store, &claim, id, &delivered()).await);
        let gate = Gate::before(&mut store, "SELECT installation, lane, CASE WHEN%").await;
        let forgetful = store.store.clone();
        let forgets =
            tokio::spawn(
                async move { forgetful.ends().forget_lanes(None, Duration::ZERO, 10).await },
            );
        gate.reached().await;
        let new = post(&store, "U1").await;
        gate.open().await;
        assert_eq!(forgets.await.unwrap().unwrap(), (0, None));
        assert_eq!(sending(&store).await.1, new);
    }
}

/// Its wake-up was lost and will be repaired.
#[tokio::test]
async fn a_lane_that_sleeps_with_work_is_not_removed() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let lose = "UPDATE lanes SET next_at = NULL";
        store.raw().await.execute_unprepared(lose).await.unwrap();
        assert_eq!(store.ends().forget_lanes(None, Duration::ZERO, 10).await.unwrap(), (0, None));
        assert_eq!(rows(&store, "lanes").await, 1);
    }
}

/// A message is held between the check of the sweeps and the lock.
#[tokio::test]
async fn a_sweep_that_was_needed_again_since_the_look_is_not_removed() {
    for mut store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue;
        }
        let held = |request: &str| {
            let reason = herald::domain::reason::NoMatch::NoMember;
            call(request, vec![delivery(Target::Held { reason, look_after: HOUR })])
        };
        let first = held("r1");
        store.outbox().accept(first.clone()).await.unwrap();
        store.ends().cancel_notification(&tenant(), first.id).await.unwrap();
        let gate = Gate::before(&mut store, "SELECT tenant%FROM held_sweeps%").await;
        let forgetful = store.store.clone();
        let forgets =
            tokio::spawn(async move { forgetful.ends().forget_sweeps(Duration::ZERO, 10).await });
        gate.reached().await;
        store.outbox().accept(held("r2")).await.unwrap();
        gate.open().await;
        assert_eq!(forgets.await.unwrap().unwrap(), 0);
        assert_eq!(rows(&store, "held_sweeps").await, 1);
    }
}

#[tokio::test]
async fn sweeps_that_nothing_is_held_for_go() {
    for store in test_stores().await {
        let reason = herald::domain::reason::NoMatch::NoMember;
        let held = Target::Held { reason, look_after: HOUR };
        let accept = call("r1", vec![delivery(held)]);
        store.outbox().accept(accept.clone()).await.unwrap();
        assert_eq!(
            store.ends().forget_sweeps(Duration::ZERO, 10).await.unwrap(),
            0,
            "the sweep is still needed"
        );
        store.ends().cancel_notification(&tenant(), accept.id).await.unwrap();
        assert_eq!(store.ends().forget_sweeps(Duration::ZERO, 10).await.unwrap(), 1);
        assert_eq!(rows(&store, "held_sweeps").await, 0);
    }
}

#[tokio::test]
async fn large_notifications_are_forgotten_a_few_at_a_time() {
    for store in test_stores().await {
        for number in 0..3 {
            let ended = (0..1500).map(|_| delivery(Target::Ended(End::Expired)));
            store.outbox().accept(call(&format!("r{number}"), ended.collect())).await.unwrap();
        }
        while store.ends().archive(Duration::ZERO, 1000).await.unwrap() > 0 {}
        for left in [2, 1, 0] {
            assert_eq!(store.ends().forget_notifications(Duration::ZERO, 200).await.unwrap(), 1);
            assert_eq!(rows(&store, "deliveries_history").await, left * 1500);
        }
    }
}
