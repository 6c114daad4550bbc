//! Transactions on a PostgreSQL server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use tokio::time::timeout;

use super::Error;
use super::database::sql::{self, params};
use super::database::transaction::{Patience, scoped};
use super::plans::fresh;

const INSERT: &str = "INSERT INTO tenants (tenant, version, created_at, updated_at)
    VALUES ($1, 0, {now}, {now})";

/// A step of the server's clock ends transactions like this.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_server_ended_before_its_commit_runs_again() {
    let Some((store, raw)) = fresh("ended").await else {
        println!("skipped: HERALD_TEST_POSTGRES is not set");
        return;
    };
    let (runs, raw) = (&AtomicU32::new(0), &raw);
    let work = store.transaction(|tx| {
        scoped(async move {
            sql::execute(tx, INSERT, params!["acme"]).await?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                let pid = sql::one(tx, "SELECT pg_backend_pid()", Vec::new()).await?;
                let pid: i32 = pid.expect("a row").get(0)?;
                let idle = "SET LOCAL idle_in_transaction_session_timeout = '1ms'";
                tx.execute_unprepared(idle).await?;
                ended(raw, pid).await;
            }
            Ok(())
        })
    });
    work.await.expect("the second run");
    let count = sql::one(store.reader(), "SELECT count(*) FROM tenants", Vec::new()).await;
    let count: i64 = count.unwrap().unwrap().get(0).unwrap();
    assert_eq!((runs.load(Ordering::Relaxed), count), (2, 1));
}

/// After a step of its clock the server's own timers end nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_brief_wait_for_a_row_ends_although_the_servers_timers_do_not() {
    const UPDATE: &str = "UPDATE tenants SET version = version + 1 WHERE tenant = $1";
    let Some((store, raw)) = fresh("waits").await else {
        println!("skipped: HERALD_TEST_POSTGRES is not set");
        return;
    };
    sql::execute(store.writer(), INSERT, params!["acme"]).await.unwrap();
    let holder = raw.begin().await.unwrap();
    sql::execute(&holder, UPDATE, params!["acme"]).await.unwrap();
    let work = store.transaction(|tx| {
        scoped(async move {
            let clock = Patience::Shared.clock(tx.get_database_backend());
            sql::one(tx, &format!("SELECT now FROM {clock}"), Vec::new()).await?;
            let timers = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
            tx.execute_unprepared(timers).await?;
            sql::execute(tx, UPDATE, params!["acme"]).await
        })
    });
    let ended = work.await;
    assert!(matches!(ended, Err(Error::Locked(_))), "{ended:?}");
    holder.rollback().await.unwrap();
}

/// Returns once the server has ended this session.
async fn ended(raw: &impl sea_orm::ConnectionTrait, pid: i32) {
    const LIVES: &str = "SELECT 1 FROM pg_stat_activity WHERE pid = $1";
    let gone = async { while sql::one(raw, LIVES, params![pid]).await.unwrap().is_some() {} };
    timeout(Duration::from_secs(60), gone).await.expect("the session ends");
}
