//! Brings the schema up to date under a lock.
//!
//! A new database gets the whole schema in one transaction, and so does a SQLite file: a migrator
//! that is killed leaves nothing half done. A PostgreSQL database that is in use gets one migration
//! after another, in short steps (`migrations::online`): if a migrator is killed, its current
//! migration is run again. Two migrators take turns, by an advisory lock on PostgreSQL and by the
//! write lock on SQLite; the second finds nothing to do.

use std::time::Duration;

use migrations::Migrator;
use migrations::online::{LOCK_TIMEOUT, is_contended};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, IsolationLevel,
    TransactionTrait as _,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait as _, SchemaManager};
use tokio::time::{Instant, sleep};

use super::pool::immediate;
use super::sql;
use crate::store::{Backend, Error, Store};

/// Any number that no other user of the database takes: "herald" in ASCII.
const LOCK: i64 = 0x6865_7261_6c64;
/// How long the second migrator waits for the first, which may be changing rows of large tables.
const LOCK_WAIT: Duration = Duration::from_secs(600);
/// How often it asks. A statement that waits would keep a snapshot, and building an index
/// concurrently waits for snapshots.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How long a migration is retried if its tables are locked by others.
const PATIENCE: Duration = Duration::from_secs(600);
const REST: Duration = Duration::from_millis(150);

/// The schema, compared with the migrations that this binary knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaStatus {
    /// This many migrations are missing; run [`Store::migrate`].
    Pending(usize),
    Current,
    /// The database has this many migrations that this binary does not know, but the binary still
    /// works: within one release of each other, old and new binaries run side by side.
    Newer(usize),
    /// Like `Newer`, but this many of them removed something that this binary uses: it must not
    /// run.
    TooNew(usize),
}

impl Store {
    /// Compares, without changing anything.
    pub async fn schema_status(&self) -> Result<SchemaStatus, Error> {
        let applied = applied(self.reader()).await?;
        compare(self.reader(), applied.as_deref().unwrap_or_default()).await
    }

    /// Applies the missing migrations, makes the store's own data key, and returns the status found
    /// at the start. A database that is newer than this binary is left unchanged: a pod of the
    /// previous release may start in the middle of a rolling update, and after a rollback.
    pub async fn migrate(&self) -> Result<SchemaStatus, Error> {
        let db = self.inner.connections.migrator().await?;
        let found = match self.backend() {
            Backend::Sqlite => {
                let found = migrate_at_once(&db).await?;
                super::tidy::once(&db).await?;
                found
            }
            Backend::Postgres => {
                let migrated = migrate_in_turn(&db).await;
                // Its changes are committed or rolled back.
                db.close_by_ref().await.ok();
                migrated?
            }
        };
        self.verify_key().await?;
        Ok(found)
    }
}

/// No other connection writes to a SQLite file meanwhile.
async fn migrate_at_once(db: &DatabaseConnection) -> Result<SchemaStatus, Error> {
    let tx = db.begin_with_options(immediate()).await?;
    let found = compare(&tx, applied(&tx).await?.as_deref().unwrap_or_default()).await?;
    if matches!(found, SchemaStatus::Pending(_)) {
        Migrator::up(&tx, None).await?;
    }
    tx.commit().await?;
    Ok(found)
}

/// Holds the lock in a separate transaction, and migrates over the pool's other connection.
async fn migrate_in_turn(pool: &DatabaseConnection) -> Result<SchemaStatus, Error> {
    let turn = take_turn(pool).await?;
    let applied = applied(&turn).await?;
    let found = compare(&turn, applied.as_deref().unwrap_or_default()).await?;
    if matches!(found, SchemaStatus::Pending(_)) {
        match applied {
            None => Migrator::up(&turn, None).await?,
            Some(applied) => {
                for migration in missing(&applied) {
                    // Proves that the lock is still held.
                    sql::one(&turn, "SELECT 1", Vec::new()).await?;
                    apply(pool, migration.as_ref()).await?;
                }
            }
        }
    }
    turn.commit().await?;
    Ok(found)
}

async fn take_turn(pool: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    const TAKE: &str = "SELECT 1 WHERE pg_try_advisory_xact_lock($1)";
    let since = Instant::now();
    // At this isolation level, a transaction keeps no snapshot between its statements.
    let turn = pool.begin_with_config(Some(IsolationLevel::ReadCommitted), None).await?;
    sql::execute(&turn, "SET LOCAL idle_in_transaction_session_timeout = 0", Vec::new()).await?;
    while sql::one(&turn, TAKE, sql::params![LOCK]).await?.is_none() {
        if since.elapsed() > LOCK_WAIT {
            return Err(Error::Contended("another process is migrating the schema".into()));
        }
        sleep(LOCK_POLL).await;
    }
    Ok(turn)
}

/// Applies one migration to a database that is in use. If others hold its tables, it gives back its
/// locks and tries again, so that no statement waits behind it for long.
async fn apply(pool: &DatabaseConnection, migration: &dyn MigrationTrait) -> Result<(), Error> {
    if migration.use_transaction() == Some(false) {
        migration.up(&SchemaManager::new(pool)).await?;
        return record(pool, migration.name()).await;
    }
    let since = Instant::now();
    loop {
        match apply_whole(pool, migration).await {
            Err(error) if is_contended(&error) && since.elapsed() < PATIENCE => {}
            applied => return Ok(applied?),
        }
        sleep(REST).await;
    }
}

async fn apply_whole(
    pool: &DatabaseConnection,
    migration: &dyn MigrationTrait,
) -> Result<(), DbErr> {
    let tx = pool.begin().await?;
    let wait = format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    tx.execute_unprepared(&wait).await?;
    migration.up(&SchemaManager::new(&tx)).await?;
    tx.execute_raw(recorded(migration.name())).await?;
    tx.commit().await
}

async fn record(pool: &DatabaseConnection, name: &str) -> Result<(), Error> {
    pool.execute_raw(recorded(name)).await?;
    Ok(())
}

/// Written as `sea-orm-migration` writes it.
fn recorded(name: &str) -> sea_orm::Statement {
    const SQL: &str = "INSERT INTO seaql_migrations (version, applied_at)
        VALUES ($1, CAST(extract(epoch FROM now()) AS bigint))
        ON CONFLICT DO NOTHING";
    sea_orm::Statement::from_sql_and_values(sea_orm::DbBackend::Postgres, SQL, [name.into()])
}

/// The migrations that the database has; `None`: the database is new.
async fn applied(db: &impl ConnectionTrait) -> Result<Option<Vec<String>>, Error> {
    names(db, "seaql_migrations", "version").await
}

/// A column of a table; `None`: there is no such table.
async fn names(
    db: &impl ConnectionTrait,
    table: &str,
    column: &str,
) -> Result<Option<Vec<String>>, Error> {
    // Checked first: on PostgreSQL a failed statement would end the transaction.
    let exists = match db.get_database_backend() {
        sea_orm::DbBackend::Postgres => "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
        _ => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
    };
    if sql::one(db, exists, sql::params![table]).await?.is_none() {
        return Ok(None);
    }
    let rows = sql::all(db, &format!("SELECT {column} FROM {table}"), Vec::new()).await?;
    rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>().map(Some)
}

fn missing(applied: &[String]) -> Vec<Box<dyn MigrationTrait>> {
    let mut all = Migrator::migrations();
    all.retain(|migration| applied.iter().all(|name| name != migration.name()));
    all
}

async fn compare(db: &impl ConnectionTrait, applied: &[String]) -> Result<SchemaStatus, Error> {
    let known: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let unknown = |names: &[String]| names.iter().filter(|name| !known.contains(name)).count();
    let newer = unknown(applied);
    if newer == 0 {
        let missing = missing(applied).len();
        let current = missing == 0;
        return Ok(if current { SchemaStatus::Current } else { SchemaStatus::Pending(missing) });
    }
    let floor = names(db, "schema_floor", "migration").await?.unwrap_or_default();
    Ok(match unknown(&floor) {
        0 => SchemaStatus::Newer(newer),
        above => SchemaStatus::TooNew(above),
    })
}
