//! The database's connections are killed under load: no accepted message is lost, nothing is
//! settled twice, everything ends (I1, I3, I6, I14; faults.md 8 and 9). PostgreSQL only.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::poll;
use herald::domain::delivery::State;
use herald::store::{
    Accepted, Backend, Config, Error, LaneClaim, NotificationFilter, SettleContext, Store,
};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use super::{call, claim_lanes, delivered, delivery, intend_post, lane, tenant, total};
use crate::support::proxy::Proxy;
use crate::support::store::{TestStore, counts, test_stores};

const CALLS: usize = 60;
const LANES: usize = 4;
const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid()";
/// Short, so that claims whose settle failed can be claimed again soon.
const SHORT: Duration = Duration::from_millis(200);

/// A worker that ignores its errors: the next claim finds its unfinished work.
async fn serve(store: &Store, claim: &LaneClaim) -> Result<(), Error> {
    let Some(head) = store.lanes().head(claim).await? else { return Ok(()) };
    if head.state == State::Sending {
        store.outbox().recover(claim, head.delivery).await?;
    }
    let intends = head.state == State::Pending;
    if intends && intend_post(store.outbox(), claim, head.delivery, SHORT).await?.is_none() {
        return Ok(());
    }
    store
        .outbox()
        .settle(claim, head.delivery, &delivered(), SettleContext::default())
        .await
        .map(drop)
}

async fn storm(store: &TestStore) {
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (store, over) = (store.replica().await, over.clone());
        workers.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                for claim in claim_lanes(store.lanes(), 2, SHORT).await.unwrap_or_default() {
                    serve(&store, &claim).await.ok();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let raw = store.raw().await;
    for number in 0..CALLS {
        let recipients = (0..LANES).map(|to| delivery(lane(&format!("U{to}")))).collect();
        let call = call(&format!("r{number}"), recipients);
        if number % 5 == 0 {
            raw.execute_unprepared(KILL).await.unwrap();
        }
        // As a caller would: repeats the same call after any error until there is an answer.
        loop {
            match store.outbox().accept(call.clone()).await {
                Ok(Accepted::New { .. } | Accepted::Replayed { .. }) => break,
                Ok(Accepted::Mismatch) => panic!("the same call, another payload"),
                Err(Error::Unavailable(_) | Error::Contended(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    let in_progress = ["pending", "sending", "unknown"];
    loop {
        let counts = counts(&raw, &tenant()).await;
        if !counts.is_empty() && !in_progress.iter().any(|state| counts.contains_key(state)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::SeqCst);
    workers.join_all().await;
    assert_eq!(total(store).await, i64::try_from(CALLS * LANES).unwrap());
    assert_eq!(super::repair(store).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_connections_lose_nothing() {
    for store in test_stores().await {
        if store.backend() == Backend::Postgres {
            tokio::time::timeout(Duration::from_secs(120), storm(&store)).await.unwrap();
        }
    }
}

/// A call that had not committed is repeated on another connection, without an error for the
/// caller.
#[tokio::test]
async fn a_connection_that_breaks_before_the_commit_costs_the_caller_nothing() {
    // A sequence keeps its value when its transaction is rolled back.
    const BREAK: &str = "CREATE SEQUENCE broken;
        CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('broken') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER break BEFORE INSERT ON notifications FOR EACH ROW EXECUTE FUNCTION break()";
    for store in test_stores().await {
        if store.backend() == Backend::Postgres {
            store.raw().await.execute_unprepared(BREAK).await.unwrap();
            let accepted = store.outbox().accept(call("once", vec![delivery(lane("U1"))])).await;
            assert!(matches!(accepted, Ok(Accepted::New { .. })), "{accepted:?}");
            assert_eq!(total(&store).await, 1);
        }
    }
}

/// After a restart of the database, every connection of the pool is useless, and no call fails
/// because of that.
#[tokio::test]
async fn connections_that_died_unused_fail_no_call() {
    for store in test_stores().await {
        if store.backend() == Backend::Postgres {
            let accept = async |number: usize| {
                let call = call(&format!("r{number}"), vec![delivery(lane(&format!("U{number}")))]);
                store.outbox().accept(call).await
            };
            // Enough at once to make the pool grow.
            let calls = (0..8).map(&accept);
            for accepted in futures_util::future::join_all(calls).await {
                assert!(matches!(accepted, Ok(Accepted::New { .. })), "{accepted:?}");
            }
            let raw = store.raw().await;
            raw.execute_unprepared(KILL).await.unwrap();
            let filter = NotificationFilter::default();
            let page = store.records().list_notifications(&tenant(), &filter, None, 10).await;
            assert_eq!(page.unwrap().notifications.len(), 8);
            assert_eq!(total(&store).await, 8);
            raw.execute_unprepared(KILL).await.unwrap();
            let accepted = accept(8).await;
            assert!(matches!(accepted, Ok(Accepted::New { .. })), "{accepted:?}");
        }
    }
}

/// How long the database may take to answer.
const PATIENT: Duration = Duration::from_secs(2);

/// Whether the database answers while `others` use the connections.
async fn answers_beside(store: &Store, others: impl Future) -> bool {
    let others = async {
        others.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answers = store.answers(PATIENT) => answers,
        () = others => unreachable!("they never end"),
    }
}

/// No connection is free, and none answers. Connections that wait for a row are in use; dark ones
/// are useless, and new ones could be made.
#[tokio::test]
async fn busy_is_told_from_dark() {
    for store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue;
        }
        let proxy = Proxy::start(&store.config).await;
        let config = Config { max_connections: 2, ..proxy.config.clone() };
        let raw = store.raw().await;
        let store = Store::open(&config).await.unwrap();
        // Both connections exist, and both are in use from the first poll of this future.
        let asked = async || {
            let tenant = tenant();
            let ask = || store.records().count_waiting(&tenant, 1);
            tokio::join!(ask(), ask())
        };
        let (one, other) = asked().await;
        assert_eq!((one, other), (Ok(0), Ok(0)));
        let lock = raw.begin().await.unwrap();
        lock.execute_unprepared("LOCK TABLE deliveries").await.unwrap();
        let mut waiting = pin!(asked());
        assert!(poll!(&mut waiting).is_pending());
        assert!(answers_beside(&store, &mut waiting).await, "a busy database counts as dark");
        lock.rollback().await.unwrap();
        let (one, other) = waiting.await;
        assert_eq!((one, other), (Ok(0), Ok(0)));
        proxy.darken();
        let mut lost = pin!(asked());
        assert!(poll!(&mut lost).is_pending());
        assert!(!answers_beside(&store, &mut lost).await, "dark connections count as busy");
        drop(lost.await);
        assert!(store.answers(PATIENT).await, "dark connections were not replaced");
    }
}

/// All connections of one replica are dark, and those of another wait for rows: behind a pooler,
/// both have the same address.
#[tokio::test]
async fn the_work_of_another_replica_does_not_make_dark_connections_busy() {
    for test in test_stores().await {
        if test.backend() == Backend::Sqlite {
            continue;
        }
        let proxy = Proxy::start(&test.config).await;
        let config = Config { max_connections: 2, ..proxy.config.clone() };
        let (raw, other) = (test.raw().await, test.replica().await);
        let store = Store::open(&config).await.unwrap();
        let tenant = tenant();
        let ask = |store| Store::records(store).count_waiting(&tenant, 1);
        let (one, two) = tokio::join!(ask(&store), ask(&store));
        assert_eq!((one, two), (Ok(0), Ok(0)));
        let lock = raw.begin().await.unwrap();
        lock.execute_unprepared("LOCK TABLE deliveries").await.unwrap();
        proxy.darken();
        let others = async { tokio::join!(ask(&other), ask(&store), ask(&store)) };
        let mut others = pin!(others);
        assert!(poll!(&mut others).is_pending());
        assert!(!answers_beside(&store, &mut others).await, "another replica is at work");
        lock.rollback().await.unwrap();
        let (at_work, ..) = others.await;
        assert_eq!(at_work, Ok(0));
    }
}

/// Callers' deadlines pass while their connections are dark: the places of these connections are
/// free again, for new ones.
#[tokio::test]
async fn connections_that_are_given_back_dark_are_replaced() {
    const CONNECTIONS: u32 = 3;
    for store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue;
        }
        let proxy = Proxy::start(&store.config).await;
        let acquire_timeout = Duration::from_secs(20);
        let config =
            Config { max_connections: CONNECTIONS, acquire_timeout, ..proxy.config.clone() };
        let store = Store::open(&config).await.unwrap();
        let ask = || async { store.now().await };
        for asked in futures_util::future::join_all((0..CONNECTIONS).map(|_| ask())).await {
            asked.unwrap();
        }
        proxy.darken();
        let impatient = (0..CONNECTIONS).map(|_| tokio::time::timeout(SHORT, ask()));
        for asked in futures_util::future::join_all(impatient).await {
            assert!(asked.is_err(), "it was dark: {asked:?}");
        }
        store.now().await.unwrap();
    }
}
