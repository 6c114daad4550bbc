//! Removes the bytes of deleted data from SQLite's file; on PostgreSQL that is the operator's task
//! (SECURITY.md).
//!
//! `secure_delete` (see `connection`) overwrites deleted data, but the write-ahead log keeps the
//! old pages, and rebalancing pages may leave a copy in the space between rows. So after a person
//! was deleted, the log is emptied, and a small file is rewritten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::sql::{self, params};
use crate::store::{Backend, Error, Store, Upkeep};

/// The largest file that is rewritten while others wait for the writer: less than a second.
const SMALL: i64 = 64 << 20;
/// How often in a row the log is asked to be emptied: readers may be using it.
const TRIES: u32 = 20;
const REST: Duration = Duration::from_millis(25);
/// The value in the file's header once deleted data no longer stays in the file.
const TIDY: i64 = 1;

/// Whether deleted data may still be in the file.
#[derive(Debug, Default)]
pub(in crate::store) struct Untidy(AtomicBool);

impl Upkeep<'_> {
    /// Removes remains of deleted rows, if there may be any; returns whether all are gone.
    pub async fn tidy(self) -> Result<bool, Error> {
        if !self.store.inner.untidy.0.swap(false, Ordering::Relaxed) {
            return Ok(true);
        }
        let tidied = self.store.tidy_now().await;
        if !matches!(tidied, Ok(true)) {
            self.store.inner.untidy.0.store(true, Ordering::Relaxed);
        }
        tidied
    }
}

impl Store {
    /// After a person was deleted. If it does not succeed in time, upkeep continues it.
    pub(in crate::store) async fn tidy_soon(&self) {
        if self.backend() != Backend::Sqlite {
            return;
        }
        self.inner.untidy.0.store(true, Ordering::Relaxed);
        if let Err(error) = self.upkeep().tidy().await {
            tracing::warn!(%error, "deleted bytes were not removed from the file; retrying");
        }
    }

    async fn tidy_now(&self) -> Result<bool, Error> {
        const SIZE: &str =
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
        let writer = self.writer();
        let size: i64 = match sql::one(writer, SIZE, params![]).await? {
            Some(row) => row.get(0)?,
            None => i64::MAX,
        };
        if size <= SMALL {
            writer.execute_unprepared("VACUUM").await?;
        }
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(REST).await;
            }
            // Busy: a reader still uses the log.
            let row = sql::one(writer, "PRAGMA wal_checkpoint(TRUNCATE)", params![]).await?;
            if row.is_none_or(|row| row.get::<i64>(0).is_ok_and(|busy| busy == 0)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Rewrites, once, a file from which a release without `secure_delete` deleted rows.
pub(in crate::store) async fn once(db: &DatabaseConnection) -> Result<(), Error> {
    const VERSION: &str = "SELECT user_version FROM pragma_user_version()";
    let version = sql::one(db, VERSION, params![]).await?.map(|row| row.get::<i64>(0));
    if version.transpose()?.is_some_and(|version| version >= TIDY) {
        return Ok(());
    }
    db.execute_unprepared("VACUUM").await?;
    db.execute_unprepared(&format!("PRAGMA user_version = {TIDY}")).await?;
    Ok(())
}
