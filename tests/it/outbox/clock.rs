//! The database's clock steps back: times stored before the step then lie too far ahead.

use std::time::Duration;

use herald::domain::capacity::budget::Budget;
use herald::domain::capacity::pacing::{Limit, Pace as Starts};
use herald::domain::capacity::priority::Class;
use herald::domain::delivery::State;
use herald::domain::delivery::subject::Action;
use herald::domain::ids::SubjectKey;
use herald::domain::reason::NoMatch;
use herald::domain::time::Timestamp;
use herald::store::{
    ClockPass, LaneClaim, LanePace, ListBookings, NewEvent, NotificationTerms, QueueKey, Settle,
    Target, Throttled, TimesMoved, WaitScope, lease_token,
};
use sea_orm::{ConnectionTrait as _, Statement};

use super::clock_of_lists::MOST;
use super::queues::key;
use super::{
    LEASE, backlog_of, claim, claim_lanes, delivered, installation, post, posting_of, record,
    sending, settled,
};
use crate::support::store::{TestStore, test_stores};

pub(super) const STEP: Duration = Duration::from_secs(600);
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// The longest time of a test; far less than the step.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Moves all stored times ahead by [`STEP`], as if the clock had stepped back by that.
pub(crate) async fn step_back(store: &TestStore) {
    let raw = store.raw().await;
    for (table, columns) in [
        ("lanes", &["next_at", "paced_until", "lease_until", "claimed_at", "ready_at"][..]),
        ("deliveries", &["due_at", "created_at", "updated_at", "expires_at", "sending_since"]),
        ("posting", &["spent_until", "paused_until", "window_at", "limited_at"]),
        ("budgets", &["next_at", "paused_until", "paused_at"]),
        ("held_sweeps", &["lease_until", "next_at"]),
        ("directory", &["lease_until", "next_refresh_at", "published_at"]),
        ("field_passes", &["lease_until", "due_at", "soon_at"]),
        ("seen_events", &["due_at", "seen_at"]),
    ] {
        for column in columns {
            let later = format!(
                "UPDATE {table} SET {column} = {column} + {} WHERE {column} > 0",
                STEP.as_micros()
            );
            raw.execute_unprepared(&later).await.unwrap();
        }
    }
}

/// Moves times back, as replicas do after a step, in one pass over all rows.
pub(super) async fn follow(store: &TestStore, longest: Duration) -> TimesMoved {
    let mut pass = ClockPass::default();
    let done = store.upkeep().follow_clock(longest, &mut pass).await.unwrap();
    assert!(pass.is_complete());
    done
}

/// The same for the work on member lists.
pub(super) async fn follow_lists(store: &TestStore, most: &ListBookings) -> TimesMoved {
    let mut pass = ClockPass::default();
    let done = store.upkeep().follow_clock_of_lists(most, &mut pass).await.unwrap();
    assert!(pass.is_complete());
    done
}

/// The time until a lane can be claimed.
pub(super) async fn wait(store: &TestStore, lane: &str) -> Duration {
    let next = backlog_of(store.lanes(), lane).await.next_at.unwrap();
    next.since(store.now().await.unwrap())
}

#[tokio::test]
async fn after_a_step_back_nothing_waits_for_longer_than_it_was_to() {
    let pace = LanePace { started_ago: Duration::ZERO, interval: SECOND };
    for store in test_stores().await {
        // Sent a moment ago, with another message behind it; throttled for five minutes; claimed by
        // a worker.
        post(&store, "U1").await;
        let (held, id) = sending(&store).await;
        let next = post(&store, "U1").await;
        assert!(store.outbox().settle(&held, id, &delivered(), Some(pace).into()).await.unwrap());
        post(&store, "U2").await;
        let (held, id) = sending(&store).await;
        let throttled = Settle::Wait { after: STEP / 2, scope: WaitScope::Lane };
        assert!(settled(&store, &held, id, &throttled).await);
        post(&store, "U3").await;
        let lost = claim(&store, SECOND * 2).await;
        post(&store, "U4").await;
        store.budgets().reserve(installation(), "chat.update", SECOND, SECOND).await.unwrap();
        step_back(&store).await;
        assert!(claim_lanes(store.lanes(), 10, LEASE).await.unwrap().is_empty());

        assert!(follow(&store, LEASE).await.moved > 0);
        let again = follow(&store, LEASE).await;
        assert_eq!(again, TimesMoved::default(), "once is enough");
        // Its second counts from the claim.
        assert!(wait(&store, "U1").await <= LONG);
        let throttled = wait(&store, "U2").await;
        // Longer at most by the time between the claim and the answer.
        assert!(throttled <= STEP / 2 + LONG, "{throttled:?}");
        assert!(throttled + LONG > STEP / 2, "{throttled:?}");
        assert!(wait(&store, "U3").await <= SECOND * 2, "the lease ends when it should");
        assert!(wait(&store, "U4").await.is_zero());
        let update =
            store.budgets().reserve(installation(), "chat.update", SECOND, SECOND).await.unwrap();
        assert!(update.taken);
        // Its holder still holds it.
        assert!(store.lanes().heartbeat(&lost, LEASE).await.unwrap());
        assert_eq!(record(&store, next).await.state, State::Pending);
    }
}

#[tokio::test]
async fn after_a_step_back_posts_go_on_and_a_pause_lasts_as_long_as_slack_asked() {
    let limit = Limit::default();
    let pace = Starts::of(&limit, Duration::from_secs(60));
    for store in test_stores().await {
        store.budgets().begin_window(installation(), Timestamp(0), &limit).await.unwrap();
        post(&store, "U1").await;
        let claims = store
            .lanes()
            .claim_queue(&key(Class::Normal), lease_token(), 1, LEASE, Some(pace))
            .await;
        assert_eq!(claims.unwrap().len(), 1);
        step_back(&store).await;
        follow(&store, LEASE).await;
        let posting = posting_of(&store, installation()).await;
        let now = store.now().await.unwrap();
        assert!(posting.spent_until <= now && posting.window_at <= now, "{posting:?}");

        for lane in ["U7", "U8"] {
            let throttled = Throttled {
                installation: installation(),
                lane,
                after: STEP / 2,
                minute: Duration::from_secs(60),
                known: false,
            };
            store.budgets().note_throttled(&throttled).await.unwrap();
        }
        step_back(&store).await;
        follow(&store, LEASE).await;
        let posting = posting_of(&store, installation()).await;
        let left = posting.paused_until.since(store.now().await.unwrap());
        assert!(left <= STEP / 2 + LONG && left + LONG > STEP / 2, "{left:?}");
    }
}

/// Claims of two lanes: one with a message to post, and one with a message to take back.
async fn a_post_and_a_retraction(store: &TestStore, lanes: [&str; 2]) -> Vec<LaneClaim> {
    post(store, lanes[0]).await;
    let mut retract = super::call(lanes[1], vec![super::delivery(super::lane(lanes[1]))]);
    let subject = Some(SubjectKey::parse(format!("task:{}", lanes[1])).unwrap());
    retract.about = NotificationTerms { subject, action: Action::Retract, deliver_after: None };
    store.outbox().accept(retract).await.unwrap();
    let posts = key(Class::Normal);
    let deletions = QueueKey { budget: Budget::Deletions, ..posts.clone() };
    let (mut claims, pace) = (Vec::new(), Some(Starts::even(SECOND)));
    for queue in [posts, deletions] {
        claims.extend(
            store.lanes().claim_queue(&queue, lease_token(), 1, LEASE, pace).await.unwrap(),
        );
    }
    claims
}

/// Between the step and the moment when a replica notices it.
#[tokio::test]
async fn no_start_is_taken_from_an_account_by_the_clock_before_the_step() {
    const HISTORY: &str = "conversations.history";
    const REPLIES: &str = "conversations.replies";
    for store in test_stores().await {
        store
            .budgets()
            .begin_window(installation(), Timestamp(0), &Limit::default())
            .await
            .unwrap();
        store.budgets().open(installation(), Budget::Deletions).await.unwrap();
        assert_eq!(a_post_and_a_retraction(&store, ["U1", "U2"]).await.len(), 2);
        for method in [HISTORY, REPLIES] {
            store.budgets().reserve(installation(), method, SECOND, SECOND).await.unwrap();
        }
        store.budgets().pause(installation(), REPLIES, STEP / 2).await.unwrap();
        step_back(&store).await;

        let claims = a_post_and_a_retraction(&store, ["U3", "U4"]).await;
        assert_eq!(claims.len(), 2);
        for claim in claims {
            let start = claim.start.unwrap().at;
            assert!(start.since(claim.now) <= SECOND * 2, "{:?} {start:?}", claim.budget);
        }
        let history =
            store.budgets().reserve(installation(), HISTORY, SECOND, SECOND).await.unwrap();
        assert!(history.taken && history.wait <= SECOND * 2, "{history:?}");
        let replies =
            store.budgets().reserve(installation(), REPLIES, SECOND, SECOND).await.unwrap();
        assert!(!replies.taken && replies.wait <= STEP / 2, "{replies:?}");
        let left = store.budgets().pause_left(installation(), REPLIES).await.unwrap();
        assert!(left <= STEP / 2 && left + LONG > STEP / 2, "{left:?}");
    }
}

/// A turn that began before the step ends after it, but before stored times were corrected.
#[tokio::test]
async fn a_turn_that_ends_after_the_step_leaves_no_time_ahead() {
    for store in test_stores().await {
        let id = post(&store, "U1").await;
        let held = claim(&store, LEASE).await;
        step_back(&store).await;
        let released = store.now().await.unwrap();
        assert!(store.lanes().release(&held, SECOND).await.unwrap());
        follow(&store, LEASE).await;
        let due = record(&store, id).await.due_at;
        assert!(due.since(store.now().await.unwrap()) <= SECOND, "{due:?}");
        assert!(due >= released.plus(SECOND), "it is due too early: {due:?}");
        assert!(wait(&store, "U1").await <= LONG);
    }
}

/// The lane was claimed before the clock stepped ahead: only later writes show the step.
async fn claimed_before(store: &TestStore) {
    let earlier = format!(
        "UPDATE lanes SET claimed_at = claimed_at - {} WHERE lease_token IS NOT NULL",
        STEP.as_micros()
    );
    store.raw().await.execute_unprepared(&earlier).await.unwrap();
}

/// The clock steps ahead and then, while turns are still under way, back.
#[tokio::test]
async fn what_is_written_while_the_clock_is_ahead_is_moved_back() {
    let pace = LanePace { started_ago: Duration::ZERO, interval: SECOND };
    for store in test_stores().await {
        // Sent meanwhile; the next message comes later.
        post(&store, "U1").await;
        let (held, id) = sending(&store).await;
        claimed_before(&store).await;
        assert!(store.outbox().settle(&held, id, &delivered(), Some(pace).into()).await.unwrap());
        // The worker with this lane sends a heartbeat, and dies.
        post(&store, "U2").await;
        let held = claim(&store, LEASE).await;
        claimed_before(&store).await;
        assert!(store.lanes().heartbeat(&held, LEASE).await.unwrap());
        step_back(&store).await;
        follow(&store, LEASE).await;
        post(&store, "U1").await;
        assert!(wait(&store, "U1").await <= SECOND * 2);
        assert!(wait(&store, "U2").await <= LEASE);
    }
}

/// Its worker stops without settling it, and the lane is free at once: the next worker finds out
/// what happened to the message.
#[tokio::test]
async fn what_was_being_sent_waits_for_no_time_by_the_clock_before() {
    for store in test_stores().await {
        post(&store, "U1").await;
        let (held, _) = sending(&store).await;
        step_back(&store).await;
        follow(&store, LEASE).await;
        assert!(store.lanes().release(&held, Duration::ZERO).await.unwrap());
        assert!(wait(&store, "U1").await.is_zero());
    }
}

#[tokio::test]
async fn the_end_of_a_turn_after_the_step_keeps_no_pace_by_the_clock_before() {
    let pace = LanePace { started_ago: Duration::ZERO, interval: SECOND };
    for store in test_stores().await {
        post(&store, "U1").await;
        let (held, id) = sending(&store).await;
        assert!(store.outbox().settle(&held, id, &delivered(), Some(pace).into()).await.unwrap());
        post(&store, "U1").await;
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE lanes SET next_at = 0").await.unwrap();
        let held = claim(&store, LEASE).await;
        step_back(&store).await;
        assert!(store.lanes().release(&held, Duration::ZERO).await.unwrap());
        follow(&store, LEASE).await;
        assert!(wait(&store, "U1").await <= SECOND * 2);
    }
}

#[tokio::test]
async fn a_pause_of_a_method_lasts_as_long_as_slack_asked() {
    const HISTORY: &str = "conversations.history";
    for store in test_stores().await {
        store.budgets().pause(installation(), HISTORY, STEP / 2).await.unwrap();
        step_back(&store).await;
        follow(&store, LEASE).await;
        let left = store.budgets().pause_left(installation(), HISTORY).await.unwrap();
        assert!(left <= STEP / 2 && left + LONG > STEP / 2, "{left:?}");
    }
}

/// More lanes than one call looks at; of those ahead, more than one statement looks at or moves.
#[tokio::test]
async fn every_row_of_large_tables_is_moved_back() {
    const IDLE: u32 = 100_000;
    const AHEAD: u32 = 4_500;
    for store in test_stores().await {
        let raw = store.raw().await;
        let ahead = store.now().await.unwrap().plus(STEP).0;
        let (idle, busy) = (numbers(IDLE), numbers(AHEAD));
        let who = installation();
        for rows in [
            format!(
                "{idle} INSERT INTO lanes (installation, lane, tenant, class, budget) \
                 SELECT '{who}', 'A' || n, 'acme', 2, 0 FROM n"
            ),
            format!(
                "{busy} INSERT INTO lanes (installation, lane, tenant, class, budget, next_at, \
                 claimed_at) SELECT '{who}', 'C' || n, 'acme', 2, 0, {ahead}, {ahead} FROM n"
            ),
            format!(
                "{busy} INSERT INTO deliveries (id, tenant, notification, installation, lane, \
                 position, state, attempt, probes, crashes, due_at, expires_at, priority, kind, \
                 event_type, created_at, updated_at) \
                 SELECT 'd' || n, 'acme', 'n' || n, '{who}', 'C' || n, n, 'pending', 0, 0, 0, \
                 {ahead}, {ahead}, 0, 'normal', 'task.assigned', {ahead}, {ahead} FROM n"
            ),
        ] {
            raw.execute_unprepared(&rows).await.unwrap();
        }
        let (mut pass, mut done) = (ClockPass::default(), TimesMoved::default());
        done.include(store.upkeep().follow_clock(LEASE, &mut pass).await.unwrap());
        assert!(!pass.is_complete(), "the next call continues");
        while !pass.is_complete() {
            done.include(store.upkeep().follow_clock(LEASE, &mut pass).await.unwrap());
        }
        assert_eq!(done, TimesMoved { moved: u64::from(2 * AHEAD), left: 0 });
        for late in ["lanes WHERE claimed_at", "deliveries WHERE due_at"] {
            let late = format!("SELECT 1 FROM {late} >= {ahead} LIMIT 1");
            let late = Statement::from_string(raw.get_database_backend(), late);
            assert!(raw.query_one_raw(late).await.unwrap().is_none());
        }
    }
}

/// A table `n` of the numbers from 1 to `last`, as the beginning of a statement.
fn numbers(last: u32) -> String {
    format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {last})")
}

#[tokio::test]
async fn what_waits_for_a_named_time_is_not_moved() {
    for store in test_stores().await {
        let at = store.now().await.unwrap().plus(STEP * 4);
        let mut later = super::call("later", vec![super::delivery(super::lane("U1"))]);
        later.about.deliver_after = Some(at);
        let id = later.deliveries[0].id;
        store.outbox().accept(later).await.unwrap();
        let mut later = super::call("resolving", vec![super::delivery(Target::Resolving)]);
        later.about.deliver_after = Some(at);
        let resolving = later.deliveries[0].id;
        store.outbox().accept(later).await.unwrap();
        step_back(&store).await;
        follow(&store, LEASE).await;
        for id in [id, resolving] {
            assert_eq!(record(&store, id).await.due_at, at.plus(STEP));
        }
    }
}

/// Their holders died; the next holders wait only until the leases should have ended.
#[tokio::test]
async fn after_a_step_back_leases_do_not_last_for_longer_than_they_may() {
    for store in test_stores().await {
        store.tenancy().ensure_tenant(&super::tenant()).await.unwrap();
        let target = Target::Held { reason: NoMatch::NoMember, look_after: LONG };
        store.outbox().accept(super::call("held", vec![super::delivery(target)])).await.unwrap();
        store.waiting().claim_held_sweep(SECOND).await.unwrap().unwrap();
        store.member_lists().acquire_crawl(installation(), "one", SECOND).await.unwrap().unwrap();
        store.custom_fields().acquire(installation(), SECOND).await.unwrap().unwrap();
        let event = NewEvent {
            installation: installation(),
            event_id: "Ev1".into(),
            kind: "user_change",
            happened_at: Timestamp(7),
            body: b"who it is about".to_vec(),
        };
        assert!(store.slack_events().take(&event).await.unwrap());
        step_back(&store).await;
        assert!(store.waiting().claim_held_sweep(LEASE).await.unwrap().is_none());
        assert!(
            store
                .member_lists()
                .acquire_crawl(installation(), "two", LEASE)
                .await
                .unwrap()
                .is_none()
        );
        assert!(store.custom_fields().acquire(installation(), LEASE).await.unwrap().is_none());
        assert!(store.slack_events().claim(LEASE).await.unwrap().is_empty());

        follow(&store, SECOND).await;
        let most = ListBookings { lease: SECOND, ..MOST };
        follow_lists(&store, &most).await;
        assert!(store.waiting().claim_held_sweep(LEASE).await.unwrap().is_some(), "the sweep");
        let crawl = store.member_lists().acquire_crawl(installation(), "two", LEASE).await.unwrap();
        assert!(crawl.is_some(), "the crawl's lease lasts too long");
        let fields = store.custom_fields().acquire(installation(), LEASE).await.unwrap();
        assert!(fields.is_some(), "the field pass's lease lasts too long");
        assert_eq!(store.slack_events().claim(LEASE).await.unwrap().len(), 1, "the event");
    }
}
