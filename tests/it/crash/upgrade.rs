//! Migrators race, and one is killed (faults.md 25).

use std::time::Duration;

use herald::store::{SchemaStatus, Store};
use sea_orm::{
    ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait as _,
};

use crate::support::process::{Dice, migrator, until};
use crate::support::store::test_configs;

/// Migrators that are killed on one database, one after the other.
const KILLS: usize = 8;

async fn raw(url: &str) -> DatabaseConnection {
    Database::connect(url).await.unwrap()
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

/// All of it or nothing, wherever it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_that_is_killed_leaves_nothing_half_done() {
    let mut dice = Dice::new();
    for (config, dir) in test_configs().await {
        let settings = settings(&config, dir.path());
        let mut whole = None;
        for _ in 0..KILLS {
            let mut dies = migrator(&settings);
            tokio::time::sleep(Duration::from_millis(dice.below(400) as u64)).await;
            // It may have ended already.
            dies.kill().ok();
            dies.wait().unwrap();
            let store = Store::open(&config).await.unwrap();
            let status = store.schema_status().await.unwrap();
            match status {
                SchemaStatus::Current => {}
                SchemaStatus::Pending(missing) => {
                    assert_eq!(*whole.get_or_insert(missing), missing, "half of it is there");
                }
                SchemaStatus::Newer(_) => panic!("{status:?}"),
            }
        }
        let mut lives = migrator(&settings);
        assert!(until("it ends", async || lives.try_wait().unwrap()).await.success());
        let store = Store::open(&config).await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Current);
    }
}

/// Killed for sure in the middle: its first tables are made, and it waits for the name of a later one.
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
    until("it waits in the middle", async || asked(&database, waits).await).await;
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
