//! The consequences of each outcome: attempts, waits, the log, crashes.

use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::reason::{Failure, NoMatch, Suppression};
use herald::store::{End, RecoverOutcome, Settle, WaitScope};

use super::{
    HOUR, LEASE, OVER, backlog_of, claim, claim_lanes, delivered, head, installation, intend_post,
    next_due, post, record, sending, settled, state,
};
use crate::support::store::test_stores;

#[tokio::test]
async fn sent_is_recorded_with_its_place_and_its_log() {
    for store in test_stores().await {
        let mut ended = store.outbox().ended();
        let id = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        assert!(settled(&store, &claim, id, &delivered()).await);
        let sent = record(&store, id).await;
        assert_eq!((sent.state, sent.attempt), (State::Sent, 1));
        assert_eq!(sent.channel.as_ref().unwrap().as_str(), "D0001");
        assert_eq!(sent.ts.as_deref(), Some("1.000100"));
        assert_eq!(sent.attempts.len(), 1);
        let attempt = &sent.attempts[0];
        assert_eq!((attempt.number, attempt.outcome.as_str()), (1, "sent"));
        assert!(attempt.started_at <= attempt.ended_at);
        assert_eq!(ended.recv().await.unwrap(), id);
    }
}

#[tokio::test]
async fn a_429_gives_the_attempt_back_and_holds_its_lane_in_full() {
    for store in test_stores().await {
        for (scope, name) in [(WaitScope::Lane, "U1"), (WaitScope::Nothing, "U2")] {
            let id = post(&store, name).await;
            let (claim, _) = sending(&store).await;
            assert_eq!(record(&store, id).await.attempt, 1);
            let wait = Settle::Wait { after: HOUR, scope };
            assert!(settled(&store, &claim, id, &wait).await);
            let waiting = record(&store, id).await;
            assert_eq!((waiting.state, waiting.attempt), (State::Pending, 0));
            assert_eq!(waiting.attempts[0].outcome, "throttled");
            assert_eq!(waiting.due_at.since(waiting.updated_at), HOUR);
            // A message that joins the lane does not shorten the wait.
            post(&store, name).await;
            let next = backlog_of(store.lanes(), name).await.next_at.unwrap();
            assert!(next >= waiting.due_at);
            assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());
        }
        assert_eq!(super::repair(&store).await, 0);
    }
}

#[tokio::test]
async fn a_retry_counts_and_keeps_its_place() {
    for store in test_stores().await {
        let first = post(&store, "U1").await;
        post(&store, "U1").await;
        for attempt in 1..=3 {
            let (claim, now) = head(&store).await;
            assert_eq!(now.delivery, first);
            assert_eq!(
                intend_post(store.outbox(), &claim, first, LEASE).await.unwrap(),
                Some(attempt)
            );
            let retry = Settle::Retry { after: Duration::ZERO, code: "connect".into() };
            assert!(settled(&store, &claim, first, &retry).await);
        }
        let retried = record(&store, first).await;
        assert_eq!((retried.state, retried.attempt), (State::Pending, 3));
        assert_eq!(retried.code.as_deref(), Some("connect"));
        assert_eq!(retried.attempts.len(), 3);
    }
}

#[tokio::test]
async fn a_request_that_was_never_written_costs_nothing() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        assert!(settled(&store, &claim, id, &Settle::NotWritten).await);
        let (claim, head) = head(&store).await;
        assert_eq!((head.state, head.attempt, head.sending_since), (State::Pending, 0, None));
        assert_eq!(intend_post(store.outbox(), &claim, id, LEASE).await.unwrap(), Some(1));
    }
}

#[tokio::test]
async fn unknown_blocks_its_lane_until_history_settles_it() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let next = post(&store, "U1").await;
        let (held, _) = sending(&store).await;
        let probe = |after| Settle::Probe { after, code: "time_out".into() };
        assert!(settled(&store, &held, id, &probe(Duration::ZERO)).await);
        for probes in 0..3 {
            let (held, head) = head(&store).await;
            assert_eq!((head.delivery, head.state), (id, State::Unknown));
            assert_eq!((head.probes, head.attempt), (probes, 1));
            assert!(head.sending_since.is_some());
            assert_eq!(intend_post(store.outbox(), &held, id, LEASE).await.unwrap(), None);
            let held = claim(&store, LEASE).await;
            assert!(settled(&store, &held, id, &probe(Duration::ZERO)).await);
        }
        let held = claim(&store, LEASE).await;
        assert!(settled(&store, &held, id, &delivered()).await);
        assert_eq!(head(&store).await.1.delivery, next);
        let outcomes: Vec<_> =
            record(&store, id).await.attempts.into_iter().map(|entry| entry.outcome).collect();
        let probes = ["probe_unknown"; 3];
        assert_eq!(outcomes, [&["unknown"], &probes[..], &["probe_sent"]].concat());
    }
}

#[tokio::test]
async fn a_dead_token_while_in_doubt_leaves_the_doubt() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let (held, _) = sending(&store).await;
        let probe = Settle::Probe { after: Duration::ZERO, code: "time_out".into() };
        settled(&store, &held, id, &probe).await;
        let held = claim(&store, LEASE).await;
        let paused = Settle::Paused { code: "token_revoked".into() };
        assert!(settled(&store, &held, id, &paused).await);
        let doubtful = record(&store, id).await;
        assert_eq!((doubtful.state, doubtful.attempt), (State::Unknown, 1));
    }
}

#[tokio::test]
async fn ends_before_any_request_say_why() {
    for store in test_stores().await {
        let ends = [
            (
                End::Suppressed(Suppression::PreferenceAll),
                State::Suppressed,
                Some("preference_all_off"),
            ),
            (
                End::Unreachable(NoMatch::Deactivated),
                State::Unreachable,
                Some("member_deactivated"),
            ),
            (End::Expired, State::Expired, None),
        ];
        for (end, expected, reason) in ends {
            let id = post(&store, "U1").await;
            let held = claim(&store, LEASE).await;
            assert!(settled(&store, &held, id, &Settle::Ended(end)).await);
            let ended = record(&store, id).await;
            assert_eq!((ended.state, ended.reason.as_deref()), (expected, reason));
            assert!(ended.attempts.is_empty());
        }
        assert_eq!(next_due(store.lanes()).await, None);
    }
}

#[tokio::test]
async fn a_poisoned_message_ends_and_the_next_goes_on() {
    for store in test_stores().await {
        let poisoned = post(&store, "U1").await;
        let next = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        let failed = Settle::Failed { reason: Failure::Template, code: Some("render".into()) };
        assert!(settled(&store, &held, poisoned, &failed).await);
        assert_eq!(record(&store, poisoned).await.reason.as_deref(), Some("template"));
        assert_eq!(head(&store).await.1.delivery, next);
    }
}

#[tokio::test]
async fn deferred_spends_nothing() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        let now = store.now().await.unwrap();
        let deferred = Settle::Deferred { after: HOUR };
        assert!(settled(&store, &held, id, &deferred).await);
        let deferred = record(&store, id).await;
        assert_eq!((deferred.state, deferred.attempt), (State::Pending, 0));
        assert!(deferred.due_at >= now.plus(HOUR));
        assert!(deferred.attempts.is_empty());
        assert!(next_due(store.lanes()).await.unwrap() > HOUR / 2);
    }
}

#[tokio::test]
async fn who_is_another_member_joins_the_tail_of_that_lane() {
    for store in test_stores().await {
        let moved = post(&store, "U1").await;
        let stays = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        let there = post(&store, "U2").await;
        let settle = Settle::Moved { installation: installation(), lane: "U2".into() };
        assert!(settled(&store, &held, moved, &settle).await);
        let later = post(&store, "U2").await;
        let mut order = Vec::new();
        for claim in claim_lanes(store.lanes(), 10, OVER).await.unwrap() {
            if claim.lane == "U1" {
                assert_eq!(store.lanes().head(&claim).await.unwrap().unwrap().delivery, stays);
                store.lanes().release(&claim, HOUR).await.unwrap();
            }
        }
        for _ in 0..3 {
            let (held, id) = sending(&store).await;
            assert_eq!(held.lane, "U2");
            order.push(id);
            assert!(settled(&store, &held, id, &delivered()).await);
        }
        assert_eq!(order, [there, moved, later]);
    }
}

#[tokio::test]
async fn a_message_that_kills_its_workers_is_in_doubt_each_time() {
    for store in test_stores().await {
        let deadly = post(&store, "U1").await;
        for crashes in 0..4 {
            let (dies, seen) = head(&store).await;
            assert_eq!((seen.delivery, seen.crashes), (deadly, crashes));
            intend_post(store.outbox(), &dies, deadly, OVER).await.unwrap().unwrap();
            let (rescuer, found) = head(&store).await;
            assert_eq!((found.delivery, found.state), (deadly, State::Sending));
            // Never parked unchecked: history shows whether Slack has it.
            assert_eq!(
                store.outbox().recover(&rescuer, deadly).await.unwrap(),
                RecoverOutcome::Unknown
            );
            assert_eq!(store.lanes().head(&rescuer).await.unwrap().unwrap().state, State::Unknown);
            let retry = Settle::Retry { after: Duration::ZERO, code: "absent".into() };
            assert!(settled(&store, &rescuer, deadly, &retry).await);
        }
    }
}

/// A message that cannot even be looked up, because the lookup kills its worker, is not retried
/// forever.
#[tokio::test]
async fn a_message_whose_look_up_panics_is_parked_after_the_fourth_death() {
    for store in test_stores().await {
        let deadly = post(&store, "U1").await;
        let next = post(&store, "U1").await;
        let (dies, id) = sending(&store).await;
        let probe = Settle::Probe { after: Duration::ZERO, code: "time_out".into() };
        assert!(settled(&store, &dies, id, &probe).await);
        for death in 1..=4 {
            let (claim, seen) = head(&store).await;
            assert_eq!((seen.delivery, seen.state), (deadly, State::Unknown));
            let (_, outcome) =
                store.outbox().note_crash(&claim, Duration::ZERO).await.unwrap().unwrap();
            let wanted = if death < 4 { RecoverOutcome::Waits } else { RecoverOutcome::Parked };
            assert_eq!(outcome, wanted);
        }
        let parked = record(&store, deadly).await;
        assert_eq!((parked.state, parked.reason.as_deref()), (State::Parked, Some("crashed")));
        assert_eq!(head(&store).await.1.delivery, next);
    }
}

#[tokio::test]
async fn what_expired_is_not_sent() {
    for store in test_stores().await {
        let mut call = super::call("r1", vec![super::delivery(super::lane("U1"))]);
        call.expires_in = Duration::ZERO;
        let id = call.deliveries[0].id;
        store.outbox().accept(call).await.unwrap();
        let held = claim(&store, LEASE).await;
        assert_eq!(intend_post(store.outbox(), &held, id, LEASE).await.unwrap(), None);
        assert_eq!(store.ends().expire_overdue(10).await.unwrap(), 1);
        assert_eq!(state(&store, id).await, State::Expired);
        let held = claim(&store, LEASE).await;
        assert_eq!(store.lanes().head(&held).await.unwrap(), None);
        assert_eq!(next_due(store.lanes()).await, None);
    }
}
