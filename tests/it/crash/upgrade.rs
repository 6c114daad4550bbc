//! The schema changes under running replicas: a newer release migrates during traffic, migrators
//! race, and one is killed (faults.md 25).

use std::collections::HashSet;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use herald::store::{SchemaStatus, Store};
use sea_orm::{
    ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait as _,
};

use tokio::sync::watch;

use super::rolling::notify;
use super::{all_sent, message, site_on};
use crate::support::process::{migrate, migrator, until};
use crate::support::store::test_configs;

const PEOPLE: usize = 5;
/// Messages that are sent before the next step.
const SOME: u64 = 20;
/// Calls whose messages may wait: this is traffic, not a backlog that grows while the machine is
/// slow.
const WAITING: usize = 10;
/// Migrators that are killed on one database, one after the other, each this many steps later.
const KILLS: i64 = 8;
const STEPS: i64 = 12;

async fn raw(url: &str) -> DatabaseConnection {
    Database::connect(url).await.unwrap()
}

/// Changes that the next release may make to a schema while this release still uses it: columns,
/// indexes, tables, a row in the list of migrations; in one transaction.
const NEXT: &str = "
SET LOCAL lock_timeout = '50ms';
DO $$ DECLARE every TEXT; BEGIN
    FOR every IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN of_the_future BIGINT NOT NULL DEFAULT 7', every);
    END LOOP;
END $$;
CREATE INDEX of_the_future ON deliveries (tenant, of_the_future);
CREATE TABLE what_is_new (id TEXT PRIMARY KEY);
INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_future', 0);
";

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_release_migrates_during_traffic_and_this_one_goes_on() {
    let Some(site) = site_on(true, PEOPLE).await else { return };
    let [mut first, second] = [site.start_connected().await, site.start().await];
    let (serving, seen) = watch::channel(vec![first.rpc, second.rpc]);
    let over = Arc::new(AtomicBool::new(false));
    let callers = (0..2).map(|caller| {
        let (seen, over, mut stored) = (seen.clone(), Arc::clone(&over), site.sandbox.stored());
        tokio::spawn(async move {
            let mut ids = Vec::new();
            while !over.load(Ordering::SeqCst) {
                ids.push(notify(&seen, message(ids.len() * 2 + caller, PEOPLE)).await);
                // The other caller has made about as many calls.
                let wanted = ((2 * ids.len()).saturating_sub(WAITING) * PEOPLE) as u64;
                stored.wait_for(|count| *count >= wanted).await.unwrap();
            }
            ids
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut stored = site.sandbox.stored();
    stored.wait_for(|count| *count >= SOME).await.unwrap();
    let database = raw(site.store.url.as_ref().unwrap().expose()).await;
    // If a lock times out, it is tried again, as in migrations.
    until("the next release has migrated", async || {
        let next = database.begin().await.unwrap();
        next.execute_unprepared(NEXT).await.ok()?;
        next.commit().await.ok()
    })
    .await;
    let before = *stored.borrow();
    stored.wait_for(|count| *count >= before + SOME).await.unwrap();
    // A pod of this release that starts on the newer schema: its init container, then the server.
    migrate(&site.settings());
    let third = site.start().await;
    serving.send_replace(vec![second.rpc, third.rpc]);
    first.signal("TERM");
    assert_eq!(first.ended().await.code(), Some(0));
    let before = *stored.borrow();
    stored.wait_for(|count| *count >= before + SOME).await.unwrap();
    over.store(true, Ordering::SeqCst);
    let mut ids = Vec::new();
    for caller in callers {
        ids.extend(caller.await.unwrap());
    }
    all_sent(&third.channel(), &ids).await;
    let messages = site.sandbox.messages();
    let ids_stored =
        messages.iter().map(|message| message.metadata["event_payload"]["delivery_id"].to_string());
    let deliveries: HashSet<_> = ids_stored.collect();
    assert_eq!((messages.len(), deliveries.len()), (ids.len() * PEOPLE, ids.len() * PEOPLE));
    for replica in [&second, &third] {
        assert!(!replica.log().contains("panic"), "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrators_that_race_all_succeed() {
    for (config, dir) in test_configs().await {
        let settings = settings(&config, dir.path());
        let mut racing: Vec<_> = (0..5).map(|_| migrator(&settings)).collect();
        for migrator in &mut racing {
            let code = until("it ends", async || migrator.try_wait().unwrap()).await;
            assert!(code.success(), "{code}");
        }
        let store = Store::open(&config).await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Current);
    }
}

/// Waits until the migrator has done this many steps of its transaction, or has ended. A file shows
/// only that a transaction is open.
async fn in_the_middle(migrator: &mut Child, database: Option<&DatabaseConnection>, steps: i64) {
    let made = format!(
        "SELECT 1 WHERE (SELECT count(*) FROM pg_locks WHERE granted \
         AND mode = 'AccessExclusiveLock' AND pid <> pg_backend_pid() AND database = \
         (SELECT oid FROM pg_database WHERE datname = current_database())) > {steps}"
    );
    until("the migrator is in the middle", async || {
        if migrator.try_wait().unwrap().is_some() {
            return Some(());
        }
        match database {
            Some(database) => asked(database, &made).await,
            None => writes_a_file(migrator.id()).then_some(()),
        }
    })
    .await;
}

/// Whether the process holds the lock of SQLite's one writer: this byte of the file beside the log.
/// <https://www.sqlite.org/walformat.html#the_wal_index_file_format>
fn writes_a_file(process: u32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let (process, byte) = (process.to_string(), "120");
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [.., "WRITE", pid, _, from, to]
            if pid == process && from == byte && to == byte)
    })
}

/// The schema is complete or untouched, wherever the migrator is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_that_is_killed_leaves_nothing_half_done() {
    for (config, dir) in test_configs().await {
        let settings = settings(&config, dir.path());
        let database = match &config.url {
            Some(url) => Some(raw(url.expose()).await),
            None => None,
        };
        let mut whole = None;
        for kill in 0..KILLS {
            let mut dies = migrator(&settings);
            in_the_middle(&mut dies, database.as_ref(), kill * STEPS).await;
            // It may have ended already.
            dies.kill().ok();
            dies.wait().unwrap();
            let store = Store::open(&config).await.unwrap();
            let status = store.schema_status().await.unwrap();
            match status {
                SchemaStatus::Current => {}
                SchemaStatus::Pending(missing) => {
                    assert_eq!(
                        *whole.get_or_insert(missing),
                        missing,
                        "only a part of the schema is there"
                    );
                }
                SchemaStatus::Newer(_) | SchemaStatus::TooNew(_) => panic!("{status:?}"),
            }
        }
        let mut lives = migrator(&settings);
        assert!(until("it ends", async || lives.try_wait().unwrap()).await.success());
        let store = Store::open(&config).await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Current);
    }
}

/// Killed in the middle for certain: its first tables are made, and it waits for the name of a
/// later one.
#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_that_is_killed_in_the_middle_leaves_no_table() {
    let mut configs = test_configs().await.into_iter();
    let Some((config, dir)) = configs.find(|(config, _)| config.url.is_some()) else { return };
    let settings = settings(&config, dir.path());
    let database = raw(config.url.as_ref().unwrap().expose()).await;
    let gate = database.begin().await.unwrap();
    gate.execute_unprepared("CREATE TABLE lanes (gate BIGINT)").await.unwrap();
    let mut dies = migrator(&settings);
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    until("the migrator waits in the middle", async || asked(&database, waits).await).await;
    dies.kill().unwrap();
    dies.wait().unwrap();
    gate.rollback().await.unwrap();
    let tables = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'public') \
        AND NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory')";
    until("its session has ended and left nothing", async || asked(&database, tables).await).await;
    let mut lives = migrator(&settings);
    assert!(until("it ends", async || lives.try_wait().unwrap()).await.success());
}

async fn asked(database: &DatabaseConnection, query: &str) -> Option<()> {
    let query = Statement::from_string(DbBackend::Postgres, query);
    database.query_one_raw(query).await.unwrap().map(drop)
}

fn settings(config: &herald::store::Config, dir: &std::path::Path) -> Vec<String> {
    let mut settings = vec![format!("store.data_dir={}", dir.display())];
    if let (Some(url), Some(key)) = (&config.url, &config.key) {
        settings.push(format!("store.url={}", url.expose()));
        settings.push(format!("store.key={}", key.expose()));
    }
    settings
}
