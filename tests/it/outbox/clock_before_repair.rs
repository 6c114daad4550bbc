//! The steps of messages between a step of the database's clock backwards and the moving back of
//! all stored times, and while another transaction holds some of the rows.

use std::time::Duration;

use herald::domain::capacity::pacing::{Limit, Pace as Starts};
use herald::domain::capacity::priority::Class;
use herald::domain::ids::{InstallationId, TenantId};
use herald::domain::time::Timestamp;
use herald::store::{Accept, LanePace, QueueKey, Target, lease_token};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use super::clock::{LONG, follow, step_back, wait};
use super::queues::key;
use super::{LEASE, call, claim, delivered, delivery, installation, post, posting_of, sending};
use crate::support::store::{TestStore, test_stores};

/// Another tenant's workspace.
fn other() -> InstallationId {
    InstallationId::parse("018f0000-0000-7000-8000-000000000002").unwrap()
}

/// The queue of the other tenant.
fn other_key() -> QueueKey {
    let tenant = TenantId::parse("beta").unwrap();
    QueueKey { installation: other(), tenant, ..key(Class::Normal) }
}

/// A message of the other tenant.
async fn post_other(store: &TestStore) {
    let target = Target::Lane { installation: other(), lane: "U9".into() };
    let call = call("of another", vec![delivery(target)]);
    store.outbox().accept(Accept { tenant: other_key().tenant, ..call }).await.unwrap();
}

#[tokio::test]
async fn a_locked_row_of_one_tenant_does_not_hold_up_the_repair_of_others() {
    let stores = test_stores().await;
    let Some(store) = stores.into_iter().find(|store| store.config.url.is_some()) else { return };
    let limit = Limit::default();
    let pace = Some(Starts::of(&limit, Duration::from_secs(60)));
    for id in [installation(), other()] {
        store.budgets().begin_window(id, Timestamp(0), &limit).await.unwrap();
    }
    post(&store, "U1").await;
    post_other(&store).await;
    step_back(&store).await;
    let raw = store.raw().await;
    let held = raw.begin().await.unwrap();
    for table in ["posting", "lanes", "deliveries"] {
        let lock =
            format!("SELECT 1 FROM {table} WHERE installation = '{}' FOR UPDATE", installation());
        held.execute_unprepared(&lock).await.unwrap();
    }
    let done = follow(&store, LEASE).await;
    assert!(done.moved > 0 && done.left > 0, "{done:?}");
    let claims = store.lanes().claim_queue(&other_key(), lease_token(), 1, LEASE, pace).await;
    assert_eq!(claims.unwrap().len(), 1);
    let posting = posting_of(&store, other()).await;
    assert!(posting.window_at <= store.now().await.unwrap(), "{posting:?}");

    held.rollback().await.unwrap();
    assert!(follow(&store, LEASE).await.moved > 0);
    let claims =
        store.lanes().claim_queue(&key(Class::Normal), lease_token(), 1, LEASE, pace).await;
    assert_eq!(claims.unwrap().len(), 1);
    let done = follow(&store, LEASE).await;
    assert_eq!((done.moved, done.left), (0, 0));
}

#[tokio::test]
async fn before_the_repair_no_account_is_believed_to_be_far_ahead() {
    let limit = Limit::default();
    let pace = Some(Starts::of(&limit, Duration::from_secs(60)));
    for store in test_stores().await {
        store.budgets().begin_window(installation(), Timestamp(0), &limit).await.unwrap();
        for lane in ["U1", "U2"] {
            post(&store, lane).await;
        }
        let queue = key(Class::Normal);
        let claims = store.lanes().claim_queue(&queue, lease_token(), 1, LEASE, pace).await;
        assert_eq!(claims.unwrap().len(), 1);
        step_back(&store).await;
        let found = store.lanes().queues(None, 10).await.unwrap();
        let account = found.queues[0].posting.clone().unwrap();
        assert!(account.spent_until.since(found.now) <= LONG, "{account:?}");
        let backlog = store.lanes().workspace_backlog(installation()).await.unwrap();
        let account = backlog.posting.unwrap();
        assert!(account.spent_until.since(backlog.now) <= LONG, "{account:?}");
    }
}

#[tokio::test]
async fn before_the_repair_the_end_of_a_turn_leaves_its_lane_due() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        step_back(&store).await;
        assert!(store.lanes().release(&held, Duration::ZERO).await.unwrap());
        assert!(wait(&store, "U1").await.is_zero());
        // The intent is written too: the next worker finds out what happened to the message.
        let (held, _) = sending(&store).await;
        assert!(store.lanes().release(&held, Duration::ZERO).await.unwrap());
        assert!(wait(&store, "U1").await.is_zero());
    }
}

#[tokio::test]
async fn before_the_repair_a_message_waits_for_the_rest_of_the_pace_only() {
    let pace = LanePace { started_ago: Duration::ZERO, interval: LONG };
    for store in test_stores().await {
        post(&store, "U1").await;
        let (held, id) = sending(&store).await;
        assert!(store.outbox().settle(&held, id, &delivered(), Some(pace).into()).await.unwrap());
        step_back(&store).await;
        post(&store, "U1").await;
        assert!(wait(&store, "U1").await <= LONG);
        // A claim moves the pace back: later nothing would show that it is ahead.
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE lanes SET next_at = 0").await.unwrap();
        let held = claim(&store, LEASE).await;
        assert!(store.lanes().head(&held).await.unwrap().is_none(), "the pace lasts");
        assert!(wait(&store, "U1").await <= LONG);
    }
}
