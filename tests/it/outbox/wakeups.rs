//! The lost wake-up, step by step: both sides must lock the lane's row and check afterwards.
//! PostgreSQL only; on SQLite there is one writer at a time. `races` has many at once, on both.

use herald::domain::ids::DeliveryId;
use herald::store::Backend;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, TransactionTrait as _};

use super::{
    LEASE, backlog_of, claim, delivered, head, intend_post, next_due, post, sending, settled, uuid,
};
use crate::support::store::{TestStore, test_stores};
use crate::support::world::until;

async fn postgres() -> Option<TestStore> {
    test_stores().await.into_iter().find(|store| store.backend() == Backend::Postgres)
}

/// Returns once some session of this database waits for a row lock.
async fn somebody_waits(raw: &DatabaseConnection) {
    const SQL: &str = "SELECT 1 FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let query = || Statement::from_string(raw.get_database_backend(), SQL);
    while raw.query_one_raw(query()).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

/// The statements of an acceptance up to its commit: a copy of `like` in the lane, and the lane
/// locked.
fn joins(like: DeliveryId, id: DeliveryId) -> [String; 2] {
    const COPIED: &str = "tenant, notification, installation, lane, position, state, attempt, \
        probes, crashes, due_at, expires_at, priority, kind, event_type, created_at, updated_at";
    [
        format!(
            "INSERT INTO deliveries (id, {COPIED}) SELECT '{id}', {COPIED} FROM deliveries \
             WHERE id = '{like}'"
        ),
        "UPDATE lanes SET channel = channel WHERE lane = 'U1'".into(),
    ]
}

/// By a settle of its own, and by one that it shares with other turns.
#[tokio::test(flavor = "multi_thread")]
async fn who_empties_a_lane_sees_what_joined_while_it_waited() {
    for end in [herald::store::Settle::Ended(herald::store::End::Expired), delivered()] {
        let Some(store) = postgres().await else { return };
        let raw = store.raw().await;
        let first = post(&store, "U1").await;
        let joining = DeliveryId(uuid());
        let held = claim(&store, LEASE).await;
        let acceptance = raw.begin().await.unwrap();
        let [copied, locked] = joins(first, joining);
        acceptance.execute_unprepared(&copied).await.unwrap();
        if end == delivered() {
            assert_eq!(intend_post(store.outbox(), &held, first, LEASE).await.unwrap(), Some(1));
        }
        acceptance.execute_unprepared(&locked).await.unwrap();
        let settling = store.store.clone();
        let settle = tokio::spawn(async move { settled(&settling, &held, first, &end).await });
        somebody_waits(&raw).await;
        acceptance.commit().await.unwrap();
        assert!(settle.await.unwrap());
        assert_eq!(head(&store).await.1.delivery, joining);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_waits_for_who_joins_its_lane_and_is_committed() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    let first = post(&store, "U1").await;
    let held = claim(&store, LEASE).await;
    let acceptance = raw.begin().await.unwrap();
    for sql in joins(first, DeliveryId(uuid())) {
        acceptance.execute_unprepared(&sql).await.unwrap();
    }
    let intending = store.store.clone();
    let intent =
        tokio::spawn(
            async move { intend_post(intending.outbox(), &held, first, LEASE).await.unwrap() },
        );
    somebody_waits(&raw).await;
    acceptance.commit().await.unwrap();
    assert_eq!(intent.await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_found_a_lane_empty_looks_again() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    let first = post(&store, "U1").await;
    let (held, _) = sending(&store).await;
    assert!(settled(&store, &held, first, &delivered()).await);
    raw.execute_unprepared("UPDATE lanes SET next_at = 0").await.unwrap();
    let held = claim(&store, LEASE).await;
    let joining = DeliveryId(uuid());
    let acceptance = raw.begin().await.unwrap();
    for sql in joins(first, joining) {
        acceptance.execute_unprepared(&sql).await.unwrap();
    }
    let pending = format!("UPDATE deliveries SET state = 'pending' WHERE id = '{joining}'");
    acceptance.execute_unprepared(&pending).await.unwrap();
    let looking = store.store.clone();
    let look = tokio::spawn(async move { looking.lanes().head(&held).await.unwrap() });
    somebody_waits(&raw).await;
    acceptance.commit().await.unwrap();
    assert_eq!(look.await.unwrap(), None);
    assert_eq!(head(&store).await.1.delivery, joining);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_lane_waits_for_who_empties_it() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    post(&store, "U1").await;
    let emptying = raw.begin().await.unwrap();
    emptying.execute_unprepared("UPDATE lanes SET next_at = NULL").await.unwrap();
    let accepting = store.store.clone();
    let accept = tokio::spawn(async move { post(&accepting, "U1").await });
    somebody_waits(&raw).await;
    emptying.commit().await.unwrap();
    accept.await.unwrap();
    let backlog = backlog_of(store.lanes(), "U1").await;
    assert!(backlog.next_at.is_some());
    assert_eq!(next_due(store.lanes()).await, Some(std::time::Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_busy_lane_holds_it_until_the_commit() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    // Two lanes with work: a call for both locks the first, then waits for the second.
    post(&store, "U1").await;
    post(&store, "U2").await;
    let second = raw.begin().await.unwrap();
    second
        .execute_unprepared("UPDATE lanes SET channel = channel WHERE lane = 'U2'")
        .await
        .unwrap();
    let accepting = store.store.clone();
    let both = vec![super::delivery(super::lane("U2")), super::delivery(super::lane("U1"))];
    let accept =
        tokio::spawn(async move { accepting.outbox().accept(super::call("both", both)).await });
    somebody_waits(&raw).await;
    let probe = Statement::from_string(
        raw.get_database_backend(),
        "SELECT 1 FROM lanes WHERE lane = 'U1' FOR UPDATE SKIP LOCKED",
    );
    // If the call was retried meanwhile, it locks the lane again.
    until("the first lane is locked", async || {
        raw.query_one_raw(probe.clone()).await.unwrap().is_none().then_some(())
    })
    .await;
    second.commit().await.unwrap();
    accept.await.unwrap().unwrap();
}

/// Otherwise it would overtake the message being sent, and history is only searched behind that
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_a_lane_stands_behind_who_joined_it_meanwhile() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    let like = post(&store, "U1").await;
    let earlier = DeliveryId(uuid());
    let acceptance = raw.begin().await.unwrap();
    let [copied, locked] = joins(like, earlier);
    acceptance.execute_unprepared(&locked).await.unwrap();
    let accepting = store.store.clone();
    let later = tokio::spawn(async move { post(&accepting, "U1").await });
    somebody_waits(&raw).await;
    // Its position is drawn while the other call waits, so it is the larger one unless the other
    // draws its position after the wait.
    acceptance.execute_unprepared(&copied).await.unwrap();
    let drawn = format!(
        "UPDATE deliveries SET position = nextval('delivery_positions') WHERE id = '{earlier}'"
    );
    acceptance.execute_unprepared(&drawn).await.unwrap();
    acceptance.commit().await.unwrap();
    let later = later.await.unwrap();
    let sql = format!(
        "SELECT 1 FROM deliveries one, deliveries other WHERE one.id = '{earlier}' \
         AND other.id = '{later}' AND one.position < other.position"
    );
    let query = Statement::from_string(raw.get_database_backend(), sql);
    assert!(raw.query_one_raw(query).await.unwrap().is_some(), "the later message went ahead");
}
