//! A replica that freezes locks nothing that the feed, or the claims of a workspace, need.
//! PostgreSQL only: SQLite has one writer.

use std::pin::pin;
use std::time::Duration;

use futures_util::poll;
use herald::domain::identity::person::Person;
use herald::domain::ids::{TenantId, UserId};
use herald::store::{Accept, Backend, Redacted, Throttled};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, TransactionTrait as _};

use super::number;
use crate::outbox::{call, delivery, installation, lane, post, tenant};
use crate::support::process::until;
use crate::support::store::{TestStore, test_stores};

async fn postgres() -> Option<TestStore> {
    test_stores().await.into_iter().find(|store| store.backend() == Backend::Postgres)
}

/// The number of Herald's sessions in that state.
async fn sessions(raw: &DatabaseConnection, state: &str) -> i64 {
    let text = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name LIKE 'herald%' AND state LIKE '{state}%'"
    );
    let statement = Statement::from_string(raw.get_database_backend(), text);
    raw.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Runs the work step by step. After each step the server finishes its statements, and then no
/// transaction may be open: a replica that freezes here holds no locks.
async fn holds_nothing_between_its_statements<T>(
    raw: &DatabaseConnection,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        if let std::task::Poll::Ready(done) = poll!(&mut work) {
            return done;
        }
        let mut look = tokio::time::interval(Duration::from_millis(2));
        while sessions(raw, "active").await > 0 {
            look.tick().await;
        }
        assert_eq!(sessions(raw, "idle in transaction").await, 0, "a transaction was left open");
    }
}

#[tokio::test]
async fn a_replica_that_freezes_while_it_numbers_or_prunes_holds_nothing() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    for _ in 0..3 {
        post(&store, "U1").await;
    }
    let numbered = holds_nothing_between_its_statements(&raw, store.feed().number(100)).await;
    assert_eq!(numbered, Ok(Some(3)));
    let pruned = store.feed().prune(Duration::ZERO, 2);
    assert_eq!(holds_nothing_between_its_statements(&raw, pruned).await, Ok(2));
    let left = store.feed().changes(&tenant(), 2, 10).await.unwrap().changes;
    assert_eq!(left.iter().map(|change| change.sequence).collect::<Vec<_>>(), [3]);
}

/// The row is that of the workspace's account, which every claim needs.
#[tokio::test]
async fn a_replica_that_freezes_while_it_judges_a_429_holds_nothing() {
    let Some(store) = postgres().await else { return };
    let raw = store.raw().await;
    // The first one creates the row and is about its lane; the second one is about the workspace.
    for (lane, whole) in [("U1", false), ("U2", true)] {
        let throttled = Throttled {
            installation: installation(),
            lane,
            after: Duration::from_secs(30),
            minute: Duration::from_secs(60),
            known: false,
        };
        let judged =
            holds_nothing_between_its_statements(&raw, store.budgets().note_throttled(&throttled))
                .await;
        assert_eq!(judged, Ok(whole), "{lane}");
    }
}

#[tokio::test]
async fn a_sequencer_waits_neither_for_the_turn_nor_for_a_locked_head() {
    let Some(store) = postgres().await else { return };
    post(&store, "U1").await;
    number(&store).await;
    post(&store, "U1").await;
    let raw = store.raw().await;
    let turn = raw.begin().await.unwrap();
    turn.execute_unprepared("SELECT 1 FROM feed_sequencer FOR UPDATE").await.unwrap();
    assert_eq!(store.feed().number(100).await, Ok(None));
    turn.rollback().await.unwrap();
    let head = raw.begin().await.unwrap();
    head.execute_unprepared("SELECT 1 FROM feed_heads FOR UPDATE").await.unwrap();
    let numbered = store.feed().number(100).await;
    assert!(matches!(numbered, Err(herald::store::Error::Locked(_))), "{numbered:?}");
    head.rollback().await.unwrap();
    // The error is reported a moment before the turn is released.
    let numbered = async || store.feed().number(100).await.unwrap();
    assert_eq!(until("the turn is free", numbered).await, 1);
    assert_eq!(store.feed().extent(&tenant()).await.unwrap().head, 2);
}

/// A person is deleted by transactions, the last of which has to wait for one of their rows.
#[tokio::test]
async fn who_forgets_a_person_holds_up_no_numbers() {
    let Some(store) = postgres().await else { return };
    for _ in 0..3 {
        post(&store, "U1").await;
    }
    let user = UserId::parse("someone").unwrap();
    store.people().upsert(&tenant(), &[Person::bare(user.clone())]).await.unwrap();
    let raw = store.raw().await;
    let held = raw.begin().await.unwrap();
    held.execute_unprepared("SELECT 1 FROM people FOR UPDATE").await.unwrap();
    let forgetful = store.store.clone();
    let forgets = tokio::spawn(async move {
        let redact =
            |answer: &[u8], _: &UserId| Redacted { answer: answer.to_vec(), names_others: false };
        forgetful.ends().erase_person(&tenant(), &user, redact).await
    });
    let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM people%'";
    until("it waits for the record", async || {
        let waits = Statement::from_string(raw.get_database_backend(), waits);
        raw.query_one_raw(waits).await.unwrap().map(drop)
    })
    .await;
    let other = TenantId::parse("other").unwrap();
    let free = Accept { tenant: other, ..call("free", vec![delivery(lane("U2"))]) };
    store.outbox().accept(free).await.unwrap();
    // The messages were canceled by a transaction before.
    assert_eq!(store.feed().number(100).await, Ok(Some(7)));
    held.rollback().await.unwrap();
    assert_eq!(forgets.await.unwrap().unwrap().canceled.canceled, 3);
    assert_eq!(store.feed().number(100).await, Ok(Some(0)));
    let changes = store.feed().changes(&tenant(), 0, 10).await.unwrap().changes;
    assert_eq!(changes.len(), 6);
    assert!(changes.iter().all(|change| change.user.is_none()), "{changes:?}");
}
