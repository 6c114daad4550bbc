//! A store that was recovered from a copy: messages accepted before are looked up before they are
//! sent.

use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::delivery::subject::SlackRequestKind;
use herald::store::{Backend, Settle, Store};
use sea_orm::ConnectionTrait as _;

use super::{LEASE, head, intend_post, post, settled, state, tenant};
use crate::support::gate::Gate;
use crate::support::store::test_stores;

/// Waits until the store's clock is past a recovery: SQLite counts milliseconds.
async fn past(store: &Store, epoch: i64) {
    while store.now().await.unwrap().0 <= epoch {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_is_in_doubt_until_it_was_looked_up() {
    for store in test_stores().await {
        let old = post(&store, "U1").await;
        // A turn that began before the recovery may not send any longer.
        let (claim, before) = head(&store).await;
        assert_eq!(before.in_doubt, None);
        let recovery = store.upkeep().begin_epoch().await.unwrap();
        assert_eq!(recovery.in_doubt, [(State::Pending, 1)]);
        assert_eq!(intend_post(store.outbox(), &claim, old, LEASE).await.unwrap(), None);
        let (claim, doubted) = head(&store).await;
        assert_eq!(doubted.in_doubt.map(|at| at.0), Some(recovery.epoch));
        let thread_ts = Some("1.000200".to_owned());
        let doubt = Settle::Doubted {
            request_kind: SlackRequestKind::Thread,
            thread_ts: thread_ts.clone(),
        };
        assert!(settled(&store, &claim, old, &doubt).await);
        let (claim, unknown) = head(&store).await;
        assert_eq!((unknown.state, unknown.attempt), (State::Unknown, 0));
        assert_eq!(
            (unknown.request_kind, unknown.thread_ts),
            (SlackRequestKind::Thread, thread_ts)
        );
        let absent = Settle::Retry { after: Duration::ZERO, code: "unconfirmed".into() };
        assert!(settled(&store, &claim, old, &absent).await);
        let (claim, sure) = head(&store).await;
        assert_eq!((sure.state, sure.in_doubt), (State::Pending, None));
        assert_eq!(intend_post(store.outbox(), &claim, old, LEASE).await.unwrap(), Some(1));
        let wait = Settle::Wait { after: Duration::ZERO, scope: herald::store::WaitScope::Nothing };
        assert!(settled(&store, &claim, old, &wait).await);
        // A second recovery puts it in doubt again.
        let again = store.upkeep().begin_epoch().await.unwrap();
        assert!(again.epoch > recovery.epoch);
        assert_eq!(head(&store).await.1.in_doubt.map(|at| at.0), Some(again.epoch));
        past(&store, again.epoch).await;
        let new = post(&store, "U2").await;
        let (claim, fresh) = head(&store).await;
        assert_eq!((fresh.delivery, fresh.in_doubt), (new, None));
        assert_eq!(intend_post(store.outbox(), &claim, new, LEASE).await.unwrap(), Some(1));
        assert_eq!(state(&store, new).await, State::Sending);
    }
}

#[tokio::test]
async fn what_was_accepted_while_the_clock_was_ahead_is_in_doubt_and_nothing_later() {
    for store in test_stores().await {
        let ahead = post(&store, "U1").await;
        let later = "UPDATE deliveries SET created_at = created_at + 600000000";
        store.raw().await.execute_unprepared(later).await.unwrap();
        let recovery = store.upkeep().begin_epoch().await.unwrap();
        assert_eq!(recovery.in_doubt, [(State::Pending, 1)]);
        past(&store, recovery.epoch).await;
        let (claim, doubted) = head(&store).await;
        assert_eq!(doubted.in_doubt.map(|at| at.0), Some(recovery.epoch));
        assert_eq!(intend_post(store.outbox(), &claim, ahead, LEASE).await.unwrap(), None);
        let (claim, _) = head(&store).await;
        let doubt = Settle::Doubted { request_kind: SlackRequestKind::Post, thread_ts: None };
        assert!(settled(&store, &claim, ahead, &doubt).await);
        let (claim, _) = head(&store).await;
        let absent = Settle::Retry { after: Duration::ZERO, code: "unconfirmed".into() };
        assert!(settled(&store, &claim, ahead, &absent).await);
        assert_eq!(head(&store).await.1.in_doubt, None);
        // Minutes before the clock reaches its earlier time.
        let new = post(&store, "U2").await;
        let (claim, fresh) = head(&store).await;
        assert_eq!((fresh.delivery, fresh.in_doubt), (new, None));
        assert_eq!(intend_post(store.outbox(), &claim, new, LEASE).await.unwrap(), Some(1));
    }
}

#[tokio::test]
async fn the_feeds_numbers_go_on_after_the_recovery() {
    for store in test_stores().await {
        post(&store, "U1").await;
        while store.feed().number(100).await.unwrap() > Some(0) {}
        // Written before the recovery, numbered after it.
        post(&store, "U1").await;
        let epoch = store.upkeep().begin_epoch().await.unwrap().epoch;
        let extent = store.feed().extent(&tenant()).await.unwrap();
        assert_eq!((extent.epoch, extent.head), (epoch, epoch));
        let other = herald::domain::ids::TenantId::parse("other").unwrap();
        assert_eq!(store.feed().extent(&other).await.unwrap().head, epoch);
        let mut call = super::call("first", vec![super::delivery(super::lane("U1"))]);
        call.tenant = other.clone();
        store.outbox().accept(call).await.unwrap();
        while store.feed().number(100).await.unwrap() > Some(0) {}
        for tenant in [tenant(), other] {
            let changes = store.feed().changes(&tenant, epoch, 10).await.unwrap().changes;
            assert_eq!(
                changes.iter().map(|change| change.sequence).collect::<Vec<_>>(),
                [epoch + 1]
            );
        }
        let again = store.upkeep().begin_epoch().await.unwrap().epoch;
        assert!(again > epoch + 1);
    }
}

/// The sequencer began before the recovery and continues after it.
#[tokio::test]
async fn a_sequencer_that_read_the_epoch_before_gives_no_number() {
    for mut store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue;
        }
        // A tenant without a number so far.
        post(&store, "U1").await;
        let gate = Gate::before(&mut store, "WITH turn AS MATERIALIZED%").await;
        let slow = store.store.clone();
        let numbers = tokio::spawn(async move { slow.feed().number(100).await });
        gate.reached().await;
        let epoch = store.upkeep().begin_epoch().await.unwrap().epoch;
        gate.open().await;
        assert_eq!(numbers.await.unwrap(), Ok(None));
        assert_eq!(store.feed().number(100).await, Ok(Some(1)));
        let changes = store.feed().changes(&tenant(), epoch, 10).await.unwrap().changes;
        assert_eq!(changes.iter().map(|one| one.sequence).collect::<Vec<_>>(), [epoch + 1]);
    }
}
