//! The database's clock steps back: member lists and custom fields are still read on time, and held
//! messages are still checked on time.

use std::time::Duration;

use herald::domain::reason::NoMatch;
use herald::store::{CrawlLease, FieldsEnd, ListBookings, Resume, SeenList, Target, TimesMoved};
use sea_orm::ConnectionTrait as _;

use super::clock::{LONG, SECOND, STEP, follow, follow_lists, step_back};
use super::{LEASE, call, delivery, installation, tenant};
use crate::support::store::{TestStore, publish_list, test_stores};

/// The longest bookings of these tests, each of its own length.
pub(super) const MOST: ListBookings = ListBookings {
    lease: LEASE,
    reading: Duration::from_secs(300),
    fields: Duration::from_secs(400),
    fields_soon: Duration::from_secs(20),
    no_fields: Duration::from_secs(200),
};

async fn lists_follow(store: &TestStore) {
    assert!(follow_lists(store, &MOST).await.moved > 0);
    let again = follow_lists(store, &MOST).await;
    assert_eq!(again, TimesMoved::default(), "once is enough");
}

async fn reading(store: &TestStore) -> Option<CrawlLease> {
    store.member_lists().acquire_crawl(installation(), "one", LEASE).await.unwrap()
}

/// The time until the list is read again.
async fn until_read(store: &TestStore) -> Duration {
    let state = store.member_lists().state(installation()).await.unwrap().unwrap();
    state.next_refresh_at.since(state.as_of)
}

async fn publish(store: &TestStore, again_after: Duration) {
    publish_list(store, &reading(store).await.unwrap(), again_after).await;
}

#[tokio::test]
async fn after_a_step_back_a_list_that_was_requested_is_read_at_once() {
    for store in test_stores().await {
        // The workspace was connected a moment ago.
        store.member_lists().request_refresh(installation()).await.unwrap();
        step_back(&store).await;
        assert!(reading(&store).await.is_none());
        lists_follow(&store).await;
        assert!(reading(&store).await.is_some());
    }
}

#[tokio::test]
async fn after_a_step_back_the_next_reading_of_a_list_comes_when_it_was_to() {
    for store in test_stores().await {
        publish(&store, MOST.reading / 2).await;
        step_back(&store).await;
        lists_follow(&store).await;
        let wait = until_read(&store).await;
        assert!(wait <= MOST.reading / 2, "{wait:?}");
        assert!(wait + LONG > MOST.reading / 2, "{wait:?}");
    }
}

/// Nothing shows when that was, so the longest wait is the bound.
#[tokio::test]
async fn after_a_step_back_a_reading_that_failed_is_tried_again_in_time() {
    for store in test_stores().await {
        let lease = reading(&store).await.unwrap();
        let failed =
            store.member_lists().fail_crawl(&lease, "refused", MOST.reading, Resume::Start).await;
        assert!(failed.unwrap());
        assert_eq!(follow_lists(&store, &MOST).await.moved, 0, "it may wait so long");
        step_back(&store).await;
        lists_follow(&store).await;
        let wait = until_read(&store).await;
        assert!(wait <= MOST.reading && wait + LONG > MOST.reading, "{wait:?}");
    }
}

/// Moves the stored times of the pass into the past, as if that much time had passed.
async fn pass_ages(store: &TestStore, by: Duration) {
    let by = by.as_micros();
    let age = format!("UPDATE field_passes SET due_at = due_at - {by}, soon_at = soon_at - {by}");
    store.raw().await.execute_unprepared(&age).await.unwrap();
}

#[tokio::test]
async fn after_a_step_back_custom_fields_are_looked_for_in_time() {
    for store in test_stores().await {
        for (needed, due, soon) in
            [(true, MOST.fields, MOST.fields_soon), (false, MOST.no_fields, MOST.no_fields)]
        {
            let lease =
                store.custom_fields().acquire(installation(), LEASE).await.unwrap().unwrap();
            let end = FieldsEnd {
                due_after: due,
                soon_after: soon,
                seen: Some(SeenList { generation: 0, change_sequence: 0 }),
                needed,
                error: None,
            };
            assert!(store.custom_fields().end(&lease, &end).await.unwrap());
            assert_eq!(follow_lists(&store, &MOST).await.moved, 0, "as was booked");
            step_back(&store).await;
            lists_follow(&store).await;
            let progress = store.custom_fields().progress(installation()).await.unwrap().unwrap();
            let wait = progress.due_at.since(store.now().await.unwrap());
            assert!(wait <= due && wait + LONG > due, "{wait:?}");
            // The member list changes.
            publish(&store, Duration::ZERO).await;
            assert!(store.custom_fields().acquire(installation(), LEASE).await.unwrap().is_none());
            pass_ages(&store, soon).await;
            let lease = store.custom_fields().acquire(installation(), LEASE).await.unwrap();
            let now = FieldsEnd { due_after: Duration::ZERO, soon_after: Duration::ZERO, ..end };
            assert!(store.custom_fields().end(&lease.unwrap(), &now).await.unwrap());
        }
    }
}

async fn hold_one(store: &TestStore) {
    store.tenancy().ensure_tenant(&tenant()).await.unwrap();
    let target = Target::Held { reason: NoMatch::NoMember, look_after: LONG };
    store.outbox().accept(call("held", vec![delivery(target)])).await.unwrap();
}

/// The tenant's settings change, so another sweep is needed.
async fn sweep_is_needed(store: &TestStore) {
    let newer = "UPDATE tenants SET version = version + 1";
    store.raw().await.execute_unprepared(newer).await.unwrap();
}

#[tokio::test]
async fn after_a_step_back_a_sweep_comes_when_it_was_to() {
    for store in test_stores().await {
        hold_one(&store).await;
        let sweep = store.waiting().claim_held_sweep(LEASE).await.unwrap().unwrap();
        assert!(store.waiting().end_held_sweep(&sweep, STEP / 2).await.unwrap());
        sweep_is_needed(&store).await;
        step_back(&store).await;
        follow(&store, LEASE).await;
        let again = follow(&store, LEASE).await;
        assert_eq!(again, TimesMoved::default(), "once is enough");
        assert!(
            store.waiting().claim_held_sweep(LEASE).await.unwrap().is_none(),
            "the pause lasts"
        );
        let raw = store.raw().await;
        let age = format!("UPDATE held_sweeps SET next_at = next_at - {}", (STEP / 2).as_micros());
        raw.execute_unprepared(&age).await.unwrap();
        assert!(
            store.waiting().claim_held_sweep(LEASE).await.unwrap().is_some(),
            "no longer than it was to"
        );
    }
}

/// Its holder dies, after the clock stepped back.
#[tokio::test]
async fn after_a_step_back_a_sweep_that_was_claimed_is_due() {
    for store in test_stores().await {
        hold_one(&store).await;
        let sweep = store.waiting().claim_held_sweep(LEASE).await.unwrap().unwrap();
        assert!(store.waiting().end_held_sweep(&sweep, Duration::ZERO).await.unwrap());
        sweep_is_needed(&store).await;
        store.waiting().claim_held_sweep(SECOND).await.unwrap().unwrap();
        step_back(&store).await;
        follow(&store, SECOND).await;
        assert!(store.waiting().claim_held_sweep(LEASE).await.unwrap().is_some());
    }
}
