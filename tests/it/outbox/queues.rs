//! Claims from queues: budgets of posts, lost answers, workers that panic.

use std::collections::BTreeSet;
use std::time::Duration;

use herald::domain::capacity::budget::Budget;
use herald::domain::capacity::pacing::{Limit, Pace};
use herald::domain::capacity::priority::{Class, Priority};
use herald::domain::delivery::State;
use herald::domain::delivery::subject::{Action, SlackRequestKind};
use herald::domain::ids::SubjectKey;
use herald::domain::reason::Failure;
use herald::domain::time::Timestamp;
use herald::store::{
    BudgetStart, NewDelivery, NotificationTerms, QueueKey, RecoverOutcome, SchemaStatus, Settle,
    Store, Throttled, lease_token,
};
use sea_orm::ConnectionTrait as _;

use super::{
    LEASE, call, claim, claim_lanes, delivered, delivery, head, installation, intend_post, lane,
    post, posting_of, record, settled,
};
use super::{sending, state, tenant};
use crate::support::store::test_stores;

pub(super) fn key(class: Class) -> QueueKey {
    QueueKey { installation: installation(), tenant: tenant(), class, budget: Budget::Posts }
}

async fn classes(store: &Store) -> Vec<Class> {
    let found = store.lanes().queues(None, 100).await.unwrap();
    found.queues.into_iter().map(|queue| queue.key.class).collect()
}

#[tokio::test]
async fn ten_thousand_waiting_lanes_are_one_queue() {
    for store in test_stores().await {
        for from in 0..10 {
            let lanes = (0..1000).map(|number| delivery(lane(&format!("U{from}x{number}"))));
            store.outbox().accept(call(&format!("r{from}"), lanes.collect())).await.unwrap();
        }
        let mut urgent = delivery(lane("U9URGENT"));
        urgent.priority = Priority::Urgent;
        store.outbox().accept(call("urgent", vec![urgent])).await.unwrap();
        assert_eq!(classes(&store).await, [Class::Urgent, Class::Normal]);
        let first = claim_lanes(store.lanes(), 1, LEASE).await.unwrap().remove(0);
        assert_eq!(first.lane, "U9URGENT");
    }
}

#[tokio::test]
async fn a_lane_is_urgent_until_its_last_urgent_message_left() {
    for store in test_stores().await {
        let mut ids = Vec::new();
        for priority in [Priority::Bulk, Priority::Urgent, Priority::Normal, Priority::Bulk] {
            let mut new = delivery(lane("U1"));
            new.priority = priority;
            ids.push(new.id);
            store.outbox().accept(call(&new.id.to_string(), vec![new])).await.unwrap();
        }
        for class in [Class::Urgent, Class::Urgent, Class::Normal, Class::Bulk] {
            assert_eq!(classes(&store).await, [class]);
            let (claim, id) = sending(&store).await;
            assert!(settled(&store, &claim, id, &delivered()).await);
        }
        // A message in doubt is looked up, whatever delays posts.
        let id = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        let probe = Settle::Probe { after: Duration::ZERO, code: "time_out".into() };
        assert!(settled(&store, &claim, id, &probe).await);
        assert_eq!(classes(&store).await, [Class::InDoubt]);
    }
}

#[tokio::test]
async fn what_joins_together_is_as_urgent_as_the_most_urgent_of_it() {
    for store in test_stores().await {
        let of = |priority| NewDelivery { priority, ..delivery(lane("U1")) };
        let together = [Priority::Bulk, Priority::Urgent].map(of).to_vec();
        store.outbox().accept(call("together", together)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(classes(&store).await, [Class::Urgent]);
            let (claim, id) = sending(&store).await;
            assert!(settled(&store, &claim, id, &delivered()).await);
        }
    }
}

async fn budgets(store: &Store) -> Vec<Budget> {
    let found = store.lanes().queues(None, 100).await.unwrap();
    found.queues.into_iter().map(|queue| queue.key.budget).collect()
}

#[tokio::test]
async fn a_lane_waits_for_the_budget_of_its_first_message() {
    for store in test_stores().await {
        for (number, action) in
            [Action::Post, Action::Retract, Action::Done].into_iter().enumerate()
        {
            // Each has a subject of its own, so that none overtakes another.
            let subject = Some(SubjectKey::parse(format!("task:{number}")).unwrap());
            let mut accept = call(&format!("r{number}"), vec![delivery(lane("U1"))]);
            accept.about = NotificationTerms { subject, action, deliver_after: None };
            store.outbox().accept(accept).await.unwrap();
        }
        for budget in [Budget::Posts, Budget::Deletions, Budget::Updates] {
            assert_eq!(budgets(&store).await, [budget]);
            let (claim, id) = sending(&store).await;
            assert_eq!(claim.budget, budget);
            assert!(settled(&store, &claim, id, &delivered()).await);
        }
        // The first message of an empty lane; its turn can correct the expected budget.
        let mut accept = call("replace", vec![delivery(lane("U1"))]);
        let subject = Some(SubjectKey::parse("task:9").unwrap());
        accept.about = NotificationTerms { subject, action: Action::Replace, deliver_after: None };
        store.outbox().accept(accept).await.unwrap();
        assert_eq!(budgets(&store).await, [Budget::Updates]);
        let (claim, first) = head(&store).await;
        let replanned = Settle::Replanned { request_kind: SlackRequestKind::Post };
        assert!(settled(&store, &claim, first.delivery, &replanned).await);
        assert_eq!(budgets(&store).await, [Budget::Posts]);
        assert_eq!(record(&store, first.delivery).await.attempt, 0);
    }
}

#[tokio::test]
async fn each_start_of_a_change_is_given_once_to_all_replicas_together() {
    let interval = Duration::from_millis(1200);
    let pace = Pace::even(interval);
    let queue = QueueKey { budget: Budget::Deletions, ..key(Class::Normal) };
    for store in test_stores().await {
        let replica = store.replica().await;
        store.budgets().open(installation(), Budget::Deletions).await.unwrap();
        let mut accept = call("r", (0..20).map(|n| delivery(lane(&format!("U{n}")))).collect());
        let subject = Some(SubjectKey::parse("task:1").unwrap());
        accept.about = NotificationTerms { subject, action: Action::Retract, deliver_after: None };
        store.outbox().accept(accept).await.unwrap();
        let (mut starts, mut last) = (BTreeSet::new(), None);
        for round in 0..10 {
            let claimer = if round % 2 == 0 { &store.store } else { &replica };
            let claims =
                claimer.lanes().claim_queue(&queue, lease_token(), 2, LEASE, Some(pace)).await;
            for claim in claims.unwrap() {
                starts.insert(claim.start.unwrap().at);
                last = claim.start;
            }
        }
        let starts: Vec<Timestamp> = starts.into_iter().collect();
        assert_eq!(starts.len(), 20);
        assert!(starts.windows(2).all(|two| two[1].since(two[0]) >= interval), "{starts:?}");
        // The last start can be returned; one with later starts cannot.
        let booked =
            async || store.lanes().queues(None, 1).await.unwrap().queues[0].booked.unwrap().next_at;
        let end = booked().await;
        let first = Some(BudgetStart { at: starts[0], interval });
        for (start, left) in [(first, end), (last, end.minus(interval))] {
            store
                .budgets()
                .return_method_slot(installation(), Budget::Deletions, start.unwrap())
                .await
                .unwrap();
            assert_eq!(booked().await, left);
        }
    }
}

#[tokio::test]
async fn each_start_is_given_once_to_all_replicas_together() {
    let limit = Limit { current: 600.0, ..Limit::default() };
    let pace = Pace::of(&limit, Duration::from_secs(60));
    for store in test_stores().await {
        let replica = store.replica().await;
        store.budgets().begin_window(installation(), Timestamp(0), &limit).await.unwrap();
        for number in 0..40 {
            post(&store, &format!("U{number}")).await;
        }
        let now = store.now().await.unwrap();
        let mut starts = BTreeSet::new();
        for round in 0..10 {
            let claimer = if round % 2 == 0 { &store.store } else { &replica };
            let queue = key(Class::Normal);
            let claims =
                claimer.lanes().claim_queue(&queue, lease_token(), 4, LEASE, Some(pace)).await;
            starts.extend(claims.unwrap().iter().map(|claim| claim.start.unwrap().at));
        }
        assert_eq!(starts.len(), 40);
        let (first, last) = (*starts.first().unwrap(), *starts.last().unwrap());
        // The store keeps whole microseconds.
        let least = (pace.interval.saturating_sub(Duration::from_micros(1))) * 39;
        assert!(last.since(first) >= least, "{first:?} {last:?}");
        // The first ones may go at once; the time that the test takes does not count against it.
        assert!(first <= store.now().await.unwrap().plus(pace.interval));
        let posting = posting_of(&store, installation()).await;
        assert_eq!((posting.window_posts, posting.spent_until), (40, last));
        store.budgets().return_post_slot(installation(), pace.interval).await.unwrap();
        let posting = posting_of(&store, installation()).await;
        assert_eq!(posting.spent_until, last.minus(pace.interval));
        assert!(last > now);
    }
}

#[tokio::test]
async fn lanes_whose_claim_got_no_answer_are_given_back() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let (queue, lost) = (key(Class::Normal), lease_token());
        assert_eq!(
            store.lanes().claim_queue(&queue, lost, 10, LEASE, None).await.unwrap().len(),
            1
        );
        post(&store, "U2").await;
        let other = claim(&store, LEASE).await;
        store.lanes().disclaim(&queue, lost).await.unwrap();
        assert_eq!(claim(&store, LEASE).await.lane, "U1");
        assert!(store.lanes().heartbeat(&other, LEASE).await.unwrap(), "another's claim stays");
        store.lanes().disclaim(&queue, lost).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_whose_worker_panics_before_it_is_sent_is_parked_after_three() {
    for store in test_stores().await {
        let deadly = post(&store, "U1").await;
        let next = post(&store, "U1").await;
        for outcome in [RecoverOutcome::Waits, RecoverOutcome::Waits, RecoverOutcome::Parked] {
            let (claim, _) = head(&store).await;
            let crashed = store.outbox().note_crash(&claim, Duration::ZERO).await.unwrap();
            assert_eq!(crashed, Some((deadly, outcome)));
            assert_eq!(
                store.outbox().note_crash(&claim, Duration::ZERO).await.unwrap(),
                None,
                "fenced"
            );
        }
        let parked = record(&store, deadly).await;
        assert_eq!(parked.state, State::Parked);
        assert_eq!(parked.reason.as_deref(), Some(Failure::Crashed.code()));
        assert_eq!(head(&store).await.1.delivery, next);
    }
}

#[tokio::test]
async fn nothing_is_sent_while_the_workspace_is_paused() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let (claim, _) = head(&store).await;
        let throttled = |lane| Throttled {
            installation: installation(),
            lane,
            after: LEASE,
            minute: Duration::from_secs(60),
            known: false,
        };
        assert!(
            !store.budgets().note_throttled(&throttled("U7")).await.unwrap(),
            "one lane is not the workspace"
        );
        assert!(!store.budgets().note_throttled(&throttled("U7")).await.unwrap(), "the same again");
        assert!(store.budgets().note_throttled(&throttled("U8")).await.unwrap(), "another one");
        assert_eq!(intend_post(store.outbox(), &claim, id, LEASE).await.unwrap(), None);
        assert_eq!(state(&store, id).await, State::Pending);
        // The limit was lowered once, however many reports there are.
        assert!(store.budgets().note_throttled(&throttled("U9")).await.unwrap());
        let posting = posting_of(&store, installation()).await;
        assert_eq!(posting.limit, Limit::default().after_429());
    }
}

/// As the previous release left it: changes had their starts reserved hours ahead.
#[tokio::test]
async fn an_upgrade_gives_far_starts_back() {
    const BEFORE: &str = "
        DROP INDEX lanes_queued;
        CREATE INDEX lanes_queued ON lanes (installation, tenant, class, next_at)
            WHERE next_at IS NOT NULL;
        ALTER TABLE lanes DROP COLUMN budget;
        ALTER TABLE lanes DROP COLUMN ready_at;
        DELETE FROM seaql_migrations WHERE version LIKE '%_changes';
        UPDATE deliveries SET due_at = due_at + 36000000000, permit_at = due_at + 36000000000;
        UPDATE lanes SET next_at = next_at + 36000000000;";
    for store in test_stores().await {
        let mut accept = call("r", vec![delivery(lane("U1")), delivery(lane("U2"))]);
        let subject = Some(SubjectKey::parse("task:1").unwrap());
        accept.about = NotificationTerms { subject, action: Action::Retract, deliver_after: None };
        store.outbox().accept(accept).await.unwrap();
        let hour = Duration::from_secs(3600);
        let far = store
            .budgets()
            .reserve(installation(), "chat.delete", hour, Duration::MAX)
            .await
            .unwrap();
        assert!(far.taken);
        store.raw().await.execute_unprepared(BEFORE).await.unwrap();
        assert_eq!(store.migrate().await.unwrap(), SchemaStatus::Pending(1));
        let found = store.lanes().queues(None, 10).await.unwrap();
        let [queue] = &found.queues[..] else { panic!("{found:?}") };
        assert_eq!(queue.key.budget, Budget::Deletions);
        assert!(queue.next_at <= found.now && queue.booked.unwrap().next_at <= found.now);
        for claim in claim_lanes(store.lanes(), 10, LEASE).await.unwrap() {
            assert!(store.lanes().head(&claim).await.unwrap().is_some(), "{} is due", claim.lane);
        }
    }
}
