//! Bytes of what was deleted, on SQLite: PostgreSQL's are its operator's (SECURITY.md).
//!
//! `secure_delete` (see `connection`) overwrites what is deleted, but the write-ahead log keeps the
//! pages as they were, and where pages were balanced a copy may lie in the space between rows. So
//! after a person was deleted the log is emptied, and a small file is written anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::sql::{self, params};
use super::{Backend, Error, Store};

/// The largest file that is written anew while others wait for the writer: less than a second.
const SMALL: i64 = 64 << 20;
/// How often, at once, the log is asked to be empty: readers may be using it.
const TRIES: u32 = 20;
const REST: Duration = Duration::from_millis(25);
/// In the header of the file: since when nothing that is deleted stays.
const TIDY: i64 = 1;

/// Whether something was deleted that may still be in the file.
#[derive(Debug, Default)]
pub(in crate::store) struct Untidy(AtomicBool);

impl Store {
    /// After a person was deleted. Where it does not succeed in time, upkeep goes on.
    pub(in crate::store) async fn tidy_soon(&self) {
        if self.backend() != Backend::Sqlite {
            return;
        }
        self.inner.untidy.0.store(true, Ordering::Relaxed);
        if let Err(error) = self.tidy().await {
            tracing::warn!(%error, "deleted bytes were not removed from the file; retrying");
        }
    }

    /// Removes what is left of deleted rows, if there may be any; whether all is gone.
    pub async fn tidy(&self) -> Result<bool, Error> {
        if !self.inner.untidy.0.swap(false, Ordering::Relaxed) {
            return Ok(true);
        }
        let tidied = self.tidy_now().await;
        if !matches!(tidied, Ok(true)) {
            self.inner.untidy.0.store(true, Ordering::Relaxed);
        }
        tidied
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

/// Writes a file anew, once, that a release before `secure_delete` deleted rows from.
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
