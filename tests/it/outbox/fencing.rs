//! Fencing: a stale lease changes nothing, and nothing is settled twice (I6).

use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::delivery::subject::SlackRequestKind;
use herald::domain::ids::{DeliveryId, LeaseToken};
use herald::domain::reason::{Failure, NoMatch, Suppression};
use herald::store::{
    End, LaneClaim, RecoverOutcome, ResolveOutcome, Settle, Store, Target, WaitScope,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::{
    LEASE, OVER, call, claim, delivered, delivery, installation, intend_post, post, record,
    settled, state,
};
use crate::support::store::test_stores;

/// Every way in which a claim can end.
fn every_settle() -> Vec<Settle> {
    let code = || "any".to_owned();
    let after = Duration::from_secs(1);
    vec![
        delivered(),
        Settle::Failed { reason: Failure::Rejected, code: Some(code()) },
        Settle::Parked { reason: Failure::Unconfirmed, code: None },
        Settle::Retry { after, code: code() },
        Settle::Wait { after, scope: WaitScope::Lane },
        Settle::Paused { code: code() },
        Settle::Probe { after, code: code() },
        Settle::NotWritten,
        Settle::Ended(End::Suppressed(Suppression::SendingOff)),
        Settle::Deferred { after },
        Settle::Replanned { request_kind: SlackRequestKind::Delete },
        Settle::Resolve,
        Settle::Moved { installation: installation(), lane: "U9".into() },
    ]
}

/// Everything that a worker may change, as text.
async fn dump(raw: &DatabaseConnection) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, columns) in [
        ("lanes", "lane, channel, next_at, paced_until, asleep, lease_token, lease_until"),
        (
            "deliveries",
            "id, lane, position, state, attempt, probes, crashes, lease_token, due_at, \
             sending_since, slack_ts, reason, code, updated_at",
        ),
        ("attempts", "sequence, number, outcome"),
    ] {
        let texts: Vec<_> = columns
            .split(", ")
            .map(|column| format!("COALESCE(CAST({column} AS TEXT), '-')"))
            .collect();
        let sql = format!("SELECT {} AS line FROM {table} ORDER BY 1", texts.join(" || ' ' || "));
        let query = Statement::from_string(raw.get_database_backend(), sql);
        for row in raw.query_all_raw(query).await.unwrap() {
            lines.push(row.try_get::<String>("", "line").unwrap());
        }
    }
    lines
}

async fn assert_fenced(store: &Store, raw: &DatabaseConnection, stale: &LaneClaim, id: DeliveryId) {
    let before = dump(raw).await;
    assert!(!store.lanes().heartbeat(stale, LEASE).await.unwrap());
    assert!(!store.lanes().release(stale, LEASE).await.unwrap());
    assert_eq!(store.lanes().head(stale).await.unwrap(), None);
    assert_eq!(intend_post(store.outbox(), stale, id, LEASE).await.unwrap(), None);
    for request_kind in [SlackRequestKind::Post, SlackRequestKind::Update, SlackRequestKind::Delete]
    {
        assert_eq!(
            store.outbox().intend(stale, id, LEASE, request_kind, None).await.unwrap(),
            None
        );
    }
    assert_eq!(store.outbox().recover(stale, id).await.unwrap(), RecoverOutcome::Fenced);
    assert_eq!(store.outbox().note_crash(stale, LEASE).await.unwrap(), None);
    for settle in every_settle() {
        assert!(!settled(store, stale, id, &settle).await, "{settle:?}");
    }
    assert_eq!(dump(raw).await, before);
}

#[tokio::test]
async fn a_claim_that_was_taken_over_changes_nothing() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let id = post(&store, "U1").await;
        let stale = claim(&store, OVER).await;
        let holder = claim(&store, LEASE).await;
        assert_fenced(&store, &raw, &stale, id).await;
        intend_post(store.outbox(), &holder, id, LEASE).await.unwrap().unwrap();
        assert_fenced(&store, &raw, &stale, id).await;
        let probe = Settle::Probe { after: Duration::ZERO, code: "time_out".into() };
        assert!(settled(&store, &holder, id, &probe).await);
        for gone in [&stale, &holder] {
            assert_fenced(&store, &raw, gone, id).await;
        }
        let next = claim(&store, LEASE).await;
        for gone in [&stale, &holder] {
            assert_fenced(&store, &raw, gone, id).await;
        }
        assert!(settled(&store, &next, id, &delivered()).await);
        for gone in [&stale, &holder, &next] {
            assert_fenced(&store, &raw, gone, id).await;
        }
        assert_eq!(state(&store, id).await, State::Sent);
    }
}

#[tokio::test]
async fn a_frozen_sender_that_comes_back_cannot_settle() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let frozen = claim(&store, LEASE).await;
        intend_post(store.outbox(), &frozen, id, OVER).await.unwrap().unwrap();
        let rescuer = claim(&store, LEASE).await;
        assert!(!settled(&store, &frozen, id, &delivered()).await);
        assert_eq!(store.lanes().head(&rescuer).await.unwrap().unwrap().state, State::Sending);
        assert_eq!(store.outbox().recover(&rescuer, id).await.unwrap(), RecoverOutcome::Unknown);
        assert!(!settled(&store, &frozen, id, &delivered()).await);
        assert!(settled(&store, &rescuer, id, &delivered()).await);
        assert!(!settled(&store, &rescuer, id, &delivered()).await);
        assert_eq!(record(&store, id).await.attempts.len(), 2);
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_is_good_while_nobody_took_it() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let late = claim(&store, OVER).await;
        intend_post(store.outbox(), &late, id, OVER).await.unwrap().unwrap();
        assert!(store.lanes().heartbeat(&late, OVER).await.unwrap());
        assert!(settled(&store, &late, id, &delivered()).await);
    }
}

#[tokio::test]
async fn steps_are_refused_from_states_they_do_not_follow() {
    for store in test_stores().await {
        for settle in every_settle() {
            let pending_allows = matches!(
                settle,
                Settle::Failed { .. }
                    | Settle::Parked { .. }
                    | Settle::Paused { .. }
                    | Settle::Ended(_)
                    | Settle::Deferred { .. }
                    | Settle::Replanned { .. }
                    | Settle::Resolve
                    | Settle::Moved { .. }
            );
            let lane = format!("U{}", uuid::Uuid::now_v7().simple());
            let id = post(&store, &lane).await;
            let held = claim(&store, LEASE).await;
            let before = record(&store, id).await;
            let settled = settled(&store, &held, id, &settle).await;
            assert_eq!(settled, pending_allows, "{settle:?}");
            if !settled {
                assert_eq!(record(&store, id).await, before);
            }
            store.raw().await.execute_unprepared("DELETE FROM deliveries").await.unwrap();
            store.raw().await.execute_unprepared("DELETE FROM lanes").await.unwrap();
        }
    }
}

#[tokio::test]
async fn only_the_head_may_be_sent() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let second = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        assert_eq!(intend_post(store.outbox(), &held, second, LEASE).await.unwrap(), None);
        assert_eq!(state(&store, second).await, State::Pending);
        // The lane was given back at once.
        claim(&store, LEASE).await;
    }
}

/// A worker that did not look a message in doubt up cannot send it again.
#[tokio::test]
async fn what_is_in_doubt_may_not_be_sent() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        intend_post(store.outbox(), &held, id, LEASE).await.unwrap().unwrap();
        let probe = Settle::Probe { after: Duration::ZERO, code: "time_out".into() };
        assert!(settled(&store, &held, id, &probe).await);
        let held = claim(&store, LEASE).await;
        assert_eq!(intend_post(store.outbox(), &held, id, LEASE).await.unwrap(), None);
        assert_eq!(state(&store, id).await, State::Unknown);
    }
}

#[tokio::test]
async fn resolving_is_fenced_too() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let new = delivery(Target::Resolving);
        store.outbox().accept(call("r1", vec![new.clone()])).await.unwrap();
        let stale = store.waiting().claim_resolving(10, OVER).await.unwrap().remove(0);
        let holder = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0);
        let end = ResolveOutcome::End(End::Expired);
        let lane = ResolveOutcome::Lane {
            installation: installation(),
            lane: "U1".into(),
            content: Some(b"new".to_vec()),
            identity: None,
        };
        let before = dump(&raw).await;
        for token in [stale.token, LeaseToken(super::uuid())] {
            for resolved in [&end, &lane, &ResolveOutcome::Again { after: LEASE }] {
                let settled = store.waiting().settle_resolving(token, new.id, resolved, None).await;
                assert_eq!(settled.unwrap(), None);
            }
        }
        assert_eq!(dump(&raw).await, before);
        let settle = || store.waiting().settle_resolving(holder.token, new.id, &lane, None);
        assert_eq!(settle().await.unwrap(), Some(State::Pending));
        assert_eq!(settle().await.unwrap(), None);
        assert_eq!(state(&store, new.id).await, State::Pending);
    }
}

/// Two replicas sweep the same people; the first one's lease ran out.
#[tokio::test]
async fn a_sweep_that_was_taken_over_notes_nothing() {
    for store in test_stores().await {
        let raw = store.raw().await;
        let held = Target::Held { reason: NoMatch::NoMember, look_after: LEASE };
        store.tenancy().ensure_tenant(&super::tenant()).await.unwrap();
        store.outbox().accept(call("r1", vec![delivery(held)])).await.unwrap();
        let stale = store.waiting().claim_held_sweep(OVER).await.unwrap().unwrap();
        let holder = store.waiting().claim_held_sweep(LEASE).await.unwrap().unwrap();
        let sweeps = async || {
            let sql =
                "SELECT seen || ' ' || next_at || ' ' || lease_until AS line FROM held_sweeps";
            let query = Statement::from_string(raw.get_database_backend(), sql);
            raw.query_one_raw(query).await.unwrap().unwrap().try_get::<String>("", "line").unwrap()
        };
        let before = sweeps().await;
        assert!(!store.waiting().extend_held_sweep(&stale, OVER).await.unwrap());
        assert!(!store.waiting().end_held_sweep(&stale, LEASE).await.unwrap());
        assert_eq!(sweeps().await, before);
        assert!(store.waiting().extend_held_sweep(&holder, LEASE).await.unwrap());
        assert!(store.waiting().end_held_sweep(&holder, Duration::ZERO).await.unwrap());
        assert!(!store.waiting().end_held_sweep(&holder, Duration::ZERO).await.unwrap());
    }
}
