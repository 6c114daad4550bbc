//! Migrations of a database in use: writers do not wait, kills are survived, and the resulting
//! schema is that of a new database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::migrations::Migrator;
use herald::store::{Config, SchemaStatus, Store};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};
use sea_orm_migration::MigratorTrait as _;
use tempfile::TempDir;

use crate::support::process::{migrator, until};
use crate::support::store::test_configs;

/// The last migration before databases were in use; later ones are judged.
const OLD: u32 = 11;
/// How long a writer may wait for a lock.
const WAIT: &str = "SET lock_timeout = '200ms'";
const KILLS: usize = 6;

/// Rows in each table that a migration may have to process, as the eleventh migration left them.
const FILL: &str = "
ALTER TABLE deliveries DISABLE TRIGGER USER;
INSERT INTO lanes (installation, lane, next_at, tenant)
    SELECT 'one', 'U' || n, 2000, 'acme' FROM generate_series(1, {rows}) n;
INSERT INTO deliveries (id, tenant, notification, user_id, installation, lane, position, state,
    attempt, probes, crashes, due_at, expires_at, priority, kind, event_type, created_at,
    updated_at, action, permit_at)
    SELECT 'd' || n, 'acme', 'n' || n, 'p' || n % 1000, 'one', 'U' || n, n,
    CASE n % 5 WHEN 0 THEN 'sent' ELSE 'pending' END, 0, 0, 0, 1000,
    9000000000000000, 0, 'normal', 'task.assigned', 1, 1,
    CASE n % 10 WHEN 1 THEN 'done' WHEN 2 THEN 'retract' END,
    CASE n % 10 WHEN 1 THEN 2000 END FROM generate_series(1, {rows}) n;
INSERT INTO notifications (id, tenant, principal, request_id, fingerprint, event_type, data,
    answer, created_at, expires_at)
    SELECT 'n' || n, 'acme', 'platform', 'r' || n, '', 'task.assigned', '', '', 1, 2
    FROM generate_series(1, {rows}) n;
INSERT INTO delivery_changes (sequence, tenant, delivery, notification, user_id, event_type,
    state, at, sequenced_at)
    SELECT n, 'acme', 'd' || n, 'n' || n, 'p' || n % 1000, 'task.assigned', 'pending', 1, 1
    FROM generate_series(1, {rows}) n;
INSERT INTO people (tenant, user_id, record, slack_user_id, installation, updated_at)
    SELECT 'acme', 'p' || n, '', 'U' || n, 'one', 1 FROM generate_series(1, {rows}) n;
ALTER TABLE deliveries ENABLE TRIGGER USER;
";

/// The previous release's writes during the migration; `{n}` grows.
const WRITES: [&str; 7] = [
    "UPDATE lanes SET claimed_at = claimed_at + 1 WHERE installation = 'one' AND lane = 'U{n}'",
    "INSERT INTO lanes (installation, lane) VALUES ('two', 'U{n}') ON CONFLICT DO NOTHING",
    "UPDATE deliveries SET updated_at = updated_at + 1 WHERE id = 'd{n}'",
    "INSERT INTO deliveries (id, tenant, notification, installation, lane, position, state,
        attempt, probes, crashes, due_at, expires_at, priority, kind, event_type, created_at,
        updated_at) VALUES ('{who}-{n}', 'acme', 'n{n}', 'two', 'U{n}', 1, 'pending', 0, 0, 0, 1,
        2, 0, 'normal', 'task.assigned', 1, 1)",
    "UPDATE notifications SET expires_at = expires_at + 1 WHERE id = 'n{n}'",
    "UPDATE delivery_changes SET at = at + 1 WHERE tenant = 'acme' AND sequence = {n}",
    "UPDATE people SET updated_at = updated_at + 1 WHERE tenant = 'acme' AND user_id = 'p{n}'",
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_migration() {
    nobody_waits(20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; tests/run --soak"]
async fn soak_nobody_waits_for_a_migration_of_a_million_rows() {
    nobody_waits(1_000_000).await;
}

async fn nobody_waits(rows: u32) {
    let Some((config, _dir)) = before(rows).await else { return };
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITES.len())
        .map(|who| tokio::spawn(write(raw(&config), who, Arc::clone(&over))))
        .collect();
    let store = Store::open(&config).await.unwrap();
    assert!(matches!(store.migrate().await.unwrap(), SchemaStatus::Pending(_)));
    over.store(true, Ordering::SeqCst);
    for (writer, statement) in writers.into_iter().zip(WRITES) {
        let (written, refused) = writer.await.unwrap();
        assert_eq!(refused, Vec::<String>::new(), "{statement}");
        assert!(written > 0, "{statement}");
    }
    // The twelfth migration must update all rows, whatever was written at the same time.
    let raw = raw(&config).await;
    let wrong = "SELECT count(*) FROM lanes l JOIN deliveries d USING (installation, lane)
        WHERE d.id LIKE 'd%' AND (l.budget <> CASE d.action WHEN 'done' THEN 1
        WHEN 'retract' THEN 2 ELSE 0 END OR d.permit_at IS NOT NULL
        OR (d.action = 'done' AND (l.next_at <> 0 OR d.due_at <> 1)))
        AND d.state = 'pending'";
    assert_eq!(number(&raw, wrong).await, 0);
}

/// Writes single rows until it is over; returns the number of writes, and the errors.
async fn write(
    raw: impl Future<Output = DatabaseConnection>,
    who: usize,
    over: Arc<AtomicBool>,
) -> (u64, Vec<String>) {
    let (raw, mut written, mut refused) = (raw.await, 0, Vec::new());
    raw.execute_unprepared(WAIT).await.unwrap();
    while !over.load(Ordering::SeqCst) {
        written += 1;
        let number = written * 37 % 50_000 + 1;
        let text = WRITES[who].replace("{n}", &number.to_string());
        let text = text.replace("{who}", &format!("{who}-{written}"));
        if let Err(error) = raw.execute_unprepared(&text).await {
            refused.push(error.to_string());
        }
    }
    (written, refused)
}

/// Killed at any step, with rows to process: the next migrator continues to the same schema.
#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_that_is_killed_is_followed_by_one_that_finishes() {
    let Some((config, dir)) = before(20_000).await else { return };
    let settings = [
        format!("store.data_dir={}", dir.path().display()),
        format!("store.url={}", config.url.as_ref().unwrap().expose()),
        format!("store.key={}", config.key.as_ref().unwrap().expose()),
    ];
    let database = raw(&config).await;
    for _ in 0..KILLS {
        let before = progress(&database).await;
        let mut dies = migrator(&settings);
        until("the migrator did another step, or ended", async || {
            let ended = dies.try_wait().unwrap().is_some();
            (ended || progress(&database).await != before).then_some(())
        })
        .await;
        // It may have ended already.
        dies.kill().ok();
        dies.wait().unwrap();
    }
    let mut lives = migrator(&settings);
    assert!(until("it ends", async || lives.try_wait().unwrap()).await.success());
    let store = Store::open(&config).await.unwrap();
    assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Current);
    let upgraded = schema(&raw(&config).await).await;
    let (fresh, _dir) = postgres().await.unwrap();
    Store::open(&fresh).await.unwrap().migrate().await.unwrap();
    let fresh = schema(&raw(&fresh).await).await;
    let differ: Vec<_> = upgraded.iter().filter(|line| !fresh.contains(line)).collect();
    assert!(differ.is_empty(), "not in a new database: {differ:#?}");
    assert_eq!(upgraded.len(), fresh.len());
}

/// The changes of each step of a migration: columns and indexes, valid or not, processed rows, and
/// the list of migrations.
async fn progress(raw: &DatabaseConnection) -> Vec<i64> {
    const COUNTS: [&str; 5] = [
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'lanes'::regclass
            OR attrelid = 'deliveries'::regclass",
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "SELECT count(*) FROM pg_index WHERE indisvalid",
        "SELECT count(*) FROM seaql_migrations",
        "SELECT count(*) FROM deliveries
            WHERE xmin::text <> (SELECT xmin::text FROM deliveries LIMIT 1)",
    ];
    let mut counts = Vec::new();
    for count in COUNTS {
        counts.push(number(raw, count).await);
    }
    counts
}

/// A database after the eleventh migration, with rows.
async fn before(rows: u32) -> Option<(Config, TempDir)> {
    let (config, dir) = postgres().await?;
    let raw = raw(&config).await;
    Migrator::up(&raw, Some(OLD)).await.unwrap();
    raw.execute_unprepared(&FILL.replace("{rows}", &rows.to_string())).await.unwrap();
    raw.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    Some((config, dir))
}

async fn postgres() -> Option<(Config, TempDir)> {
    test_configs().await.into_iter().find(|(config, _)| config.url.is_some())
}

fn raw(config: &Config) -> impl Future<Output = DatabaseConnection> + Send + use<> {
    let url = config.url.as_ref().unwrap().expose().to_owned();
    async move {
        let mut options = sea_orm::ConnectOptions::new(url);
        options.max_connections(1).connect_timeout(Duration::from_secs(60));
        Database::connect(options).await.unwrap()
    }
}

async fn number(raw: &DatabaseConnection, query: &str) -> i64 {
    let query = Statement::from_string(DbBackend::Postgres, query);
    raw.query_one_raw(query).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Columns, indexes and options of tables, in any order of the columns.
async fn schema(raw: &DatabaseConnection) -> Vec<String> {
    const SCHEMA: &str = "
        SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT concat_ws(' ', indexrelid::regclass, 'is invalid') FROM pg_index
        WHERE NOT indisvalid
        UNION ALL SELECT concat_ws(' ', relname, reloptions) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let rows = raw.query_all_raw(Statement::from_string(DbBackend::Postgres, SCHEMA)).await;
    rows.unwrap().iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}
