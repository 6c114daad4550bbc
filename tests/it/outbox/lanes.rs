//! Lanes: order, one request at a time, pace, and sleep (I4, I5).

use std::time::Duration;

use herald::domain::delivery::State;
use herald::store::{LanePace, Settle};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use super::{
    LEASE, backlog_of, call, claim, claim_lanes, delivered, delivery, head, installation, lane,
    next_due, post, record, settled,
};
use super::{sending, state, tenant};
use crate::support::store::{TestStore, test_stores};

#[tokio::test]
async fn a_lane_is_served_in_the_order_of_acceptance() {
    for store in test_stores().await {
        let mut accepted = Vec::new();
        for _ in 0..5 {
            accepted.push(post(&store, "U1").await);
        }
        let both = [delivery(lane("U1")), delivery(lane("U1"))];
        accepted.extend(both.iter().map(|new| new.id));
        store.outbox().accept(call("both", both.to_vec())).await.unwrap();
        let mut served = Vec::new();
        for _ in 0..accepted.len() {
            let (claim, id) = sending(&store).await;
            served.push(id);
            assert!(settled(&store, &claim, id, &delivered()).await);
        }
        assert_eq!(served, accepted);
        assert_eq!(next_due(store.lanes()).await, None);
    }
}

#[tokio::test]
async fn one_message_at_a_time_in_a_lane() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        post(&store, "U1").await;
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());
        post(&store, "U2").await;
        let other = claim(&store, LEASE).await;
        assert_eq!((held.lane.as_str(), other.lane.as_str()), ("U1", "U2"));
        let backlog = backlog_of(store.lanes(), "U1").await;
        assert_eq!(backlog.count, 2);
    }
}

#[tokio::test]
async fn claims_are_bounded_and_the_longest_due_come_first() {
    for store in test_stores().await {
        for number in 0..5 {
            post(&store, &format!("U{number}")).await;
            let sql = format!("UPDATE lanes SET next_at = {number} WHERE lane = 'U{number}'");
            store.raw().await.execute_unprepared(&sql).await.unwrap();
        }
        let mut lanes: Vec<_> = claim_lanes(store.lanes(), 2, LEASE).await.unwrap();
        lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
        assert_eq!(lanes.iter().map(|claim| &*claim.lane).collect::<Vec<_>>(), ["U0", "U1"]);
        assert_eq!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn the_next_turn_is_one_interval_after_the_start_of_the_request() {
    let pace =
        LanePace { started_ago: Duration::from_millis(300), interval: Duration::from_secs(100) };
    let gap = Duration::from_millis(99_700);
    for store in test_stores().await {
        post(&store, "U1").await;
        let (claim, id) = sending(&store).await;
        let before = store.now().await.unwrap();
        assert!(store.outbox().settle(&claim, id, &delivered(), Some(pace).into()).await.unwrap());
        let after = store.now().await.unwrap();
        // The lane is empty, but keeps its pace.
        assert_eq!(next_due(store.lanes()).await, None);
        post(&store, "U1").await;
        let next = backlog_of(store.lanes(), "U1").await.next_at.unwrap();
        assert!(before.plus(gap) <= next && next <= after.plus(gap), "{before:?} {next:?}");
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());
        assert_eq!(super::repair(&store).await, 0);
    }
}

#[tokio::test]
async fn a_request_that_took_longer_than_the_interval_delays_nothing() {
    let pace = LanePace { started_ago: Duration::from_secs(5), interval: Duration::from_secs(1) };
    for store in test_stores().await {
        post(&store, "U1").await;
        post(&store, "U1").await;
        let (claim, id) = sending(&store).await;
        assert!(store.outbox().settle(&claim, id, &delivered(), Some(pace).into()).await.unwrap());
        head(&store).await;
    }
}

#[tokio::test]
async fn a_dead_token_puts_lanes_to_sleep_until_the_reconnect() {
    let paused = Settle::Paused { code: "token_revoked".into() };
    for store in test_stores().await {
        dead(&store, true).await;
        let id = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        assert!(settled(&store, &claim, id, &paused).await);
        let paused = record(&store, id).await;
        assert_eq!((paused.state, paused.attempt), (State::Pending, 0));
        post(&store, "U1").await;
        assert_eq!(next_due(store.lanes()).await, None);
        assert_eq!(super::repair(&store).await, 0);
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());
        store.lanes().wake(installation()).await.unwrap();
        assert_eq!(head(&store).await.1.delivery, id);
    }
}

/// The installation of these tests with a dead token; the tenant may have left it.
async fn dead(store: &TestStore, linked: bool) {
    let (id, raw) = (installation(), store.raw().await);
    store.tenancy().ensure_tenant(&tenant()).await.unwrap();
    let sql = format!(
        "INSERT INTO installations (id, app_id, enterprise_id, team_id, org_wide, team_name, \
         bot_user_id, bot_name, scopes, state, state_changed_at, installed_at, token_version, \
         token) VALUES ('{id}', 'A1', '', 'T1', FALSE, '', '', '', '', 'dead', 0, 0, 1, '')"
    );
    raw.execute_unprepared(&sql).await.unwrap();
    if linked {
        let sql = format!(
            "INSERT INTO tenant_links (tenant, installation, linked_at) VALUES ('{}', '{id}', 0)",
            tenant()
        );
        raw.execute_unprepared(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn a_lane_that_sleeps_without_a_cause_is_woken() {
    let paused = Settle::Paused { code: "token_revoked".into() };
    for linked in [true, false] {
        for store in test_stores().await {
            dead(&store, linked).await;
            let id = post(&store, "U1").await;
            let (claim, _) = sending(&store).await;
            assert!(settled(&store, &claim, id, &paused).await);
            assert_eq!(next_due(store.lanes()).await, None);
            if linked {
                // Revived by a process that died before it woke the lanes.
                assert_eq!(super::repair(&store).await, 0);
                let revive = "UPDATE installations SET state = 'active'";
                store.raw().await.execute_unprepared(revive).await.unwrap();
            }
            assert_eq!(super::repair(&store).await, 1);
            assert_eq!(head(&store).await.1.delivery, id);
        }
    }
}

#[tokio::test]
async fn a_reconnect_while_the_old_token_fails_is_not_slept_through() {
    let paused = Settle::Paused { code: "token_revoked".into() };
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        store.lanes().wake(installation()).await.unwrap();
        assert!(settled(&store, &claim, id, &paused).await);
        assert_eq!(head(&store).await.1.delivery, id);
    }
}

#[tokio::test]
async fn a_lane_that_lost_its_wake_up_is_repaired() {
    for store in test_stores().await {
        post(&store, "U1").await;
        post(&store, "U2").await;
        assert_eq!(super::repair(&store).await, 0);
        let raw = store.raw().await;
        for lost in ["NULL", "9999999999999999"] {
            let sql = format!("UPDATE lanes SET next_at = {lost} WHERE lane = 'U1'");
            raw.execute_unprepared(&sql).await.unwrap();
            assert_eq!(super::repair(&store).await, 1);
            assert_eq!(super::repair(&store).await, 0);
        }
        assert_eq!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn lanes_are_looked_at_for_repair_a_few_at_a_time() {
    for store in test_stores().await {
        for number in 0..5 {
            post(&store, &format!("U{number}")).await;
        }
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE lanes SET next_at = NULL").await.unwrap();
        let (mut after, mut steps) = (None, Vec::new());
        loop {
            let step = store.lanes().repair(after.as_ref(), 2).await.unwrap();
            steps.push(step.repaired);
            after = step.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(steps, [2, 2, 1]);
        assert_eq!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().len(), 5);
    }
}

/// PostgreSQL only: SQLite has one writer.
#[tokio::test]
async fn a_locked_lane_does_not_hold_up_the_repair_of_others() {
    for store in test_stores().await.into_iter().filter(|store| store.config.url.is_some()) {
        post(&store, "U1").await;
        post(&store, "U2").await;
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE lanes SET next_at = NULL").await.unwrap();
        let held = raw.begin().await.unwrap();
        held.execute_unprepared("SELECT 1 FROM lanes WHERE lane = 'U1' FOR UPDATE").await.unwrap();
        let step = store.lanes().repair(None, 10).await.unwrap();
        assert_eq!((step.repaired, step.skipped), (1, 1));
        held.rollback().await.unwrap();
        assert_eq!(super::repair(&store).await, 1);
    }
}

#[tokio::test]
async fn a_released_lane_comes_up_when_it_was_told() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        assert!(store.lanes().release(&held, super::HOUR).await.unwrap());
        let due = next_due(store.lanes()).await.unwrap();
        assert!(due > super::HOUR / 2 && due <= super::HOUR, "{due:?}");
        assert_eq!(super::repair(&store).await, 0);
    }
}

#[tokio::test]
async fn a_claim_without_work_gives_the_lane_back() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        let sql = format!("UPDATE deliveries SET due_at = due_at + 3600000000 WHERE id = '{id}'");
        store.raw().await.execute_unprepared(&sql).await.unwrap();
        assert_eq!(store.lanes().head(&held).await.unwrap(), None);
        assert!(next_due(store.lanes()).await.unwrap() > super::HOUR / 2);
        assert!(!store.lanes().heartbeat(&held, LEASE).await.unwrap());
    }
}

#[tokio::test]
async fn the_conversation_is_remembered() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let (first, _) = sending(&store).await;
        assert_eq!(first.channel, None);
        assert!(settled(&store, &first, id, &delivered()).await);
        assert_eq!(state(&store, id).await, State::Sent);
        post(&store, "U1").await;
        assert_eq!(claim(&store, LEASE).await.channel.unwrap().as_str(), "D0001");
    }
}
