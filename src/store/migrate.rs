//! The schema, brought up to date under a lock.
//!
//! All pending migrations run in one transaction, so a migrator that is killed leaves nothing
//! half-done. Two migrators take turns: by an advisory lock on PostgreSQL, by the write lock on
//! SQLite; the second finds nothing to do.

use migrations::Migrator;
use sea_orm_migration::MigratorTrait as _;

use super::{Backend, Error, Store, sql};

/// Any number that no other user of the database takes: "herald" in ASCII.
const LOCK: i64 = 0x6865_7261_6c64;
/// How long the second migrator waits for the first.
const LOCK_WAIT: &str = "60s";

/// The schema, compared with what this binary knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaStatus {
    /// So many migrations are missing; run [`Store::migrate`].
    Pending(usize),
    Current,
    /// So many migrations are there that this binary does not know. Within one release of each
    /// other, old and new binaries run side by side.
    Newer(usize),
}

impl Store {
    /// Compares, without changing anything.
    pub async fn schema_status(&self) -> Result<SchemaStatus, Error> {
        compare(self.reader()).await
    }

    /// Applies what is missing, makes the store's own data key, and says what it found. A database that
    /// is newer than this binary is left as it is: a pod of the release before may start in the middle
    /// of a rolling update, and after it was taken back.
    pub async fn migrate(&self) -> Result<SchemaStatus, Error> {
        let tx = self.write().await?;
        if self.backend() == Backend::Postgres {
            let wait = format!("SET LOCAL lock_timeout = '{LOCK_WAIT}'");
            sql::execute(&tx, &wait, Vec::new()).await?;
            sql::one(&tx, "SELECT 1 FROM pg_advisory_xact_lock($1)", sql::params![LOCK]).await?;
        }
        let found = compare(&tx).await?;
        if matches!(found, SchemaStatus::Pending(_)) {
            Migrator::up(&tx, None).await?;
        }
        tx.commit().await?;
        self.verify_key().await?;
        Ok(found)
    }
}

async fn compare(db: &impl sea_orm::ConnectionTrait) -> Result<SchemaStatus, Error> {
    let known: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    // Asked first: on PostgreSQL a failed statement would end the transaction.
    let exists = match db.get_database_backend() {
        sea_orm::DbBackend::Postgres => {
            "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL"
        }
        _ => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    let mut applied: Vec<String> = Vec::new();
    if sql::one(db, exists, Vec::new()).await?.is_some() {
        for row in sql::all(db, "SELECT version FROM seaql_migrations", Vec::new()).await? {
            applied.push(row.get(0)?);
        }
    }
    let unknown = applied.iter().filter(|name| !known.contains(name)).count();
    let missing = known.iter().filter(|name| !applied.contains(name)).count();
    Ok(match (unknown, missing) {
        (0, 0) => SchemaStatus::Current,
        (0, missing) => SchemaStatus::Pending(missing),
        (unknown, _) => SchemaStatus::Newer(unknown),
    })
}
