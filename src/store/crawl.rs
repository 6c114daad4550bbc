//! A crawl of a member list: a lease, checkpoints, and publishing at the end.
//!
//! Every holder of the lease gets an epoch of its own, and every write names it: a holder that was
//! frozen while another took over changes nothing any more (invariants I6, I10). Pages go to the
//! generation that the crawl will become, so readers see them all at once or not at all (I9).

use std::time::Duration;

use super::directory::{PAGE_BYTES, PAGE_TABLE, page_row};
use super::seal::{Place, Scope};
use super::sql::{self, params};
use super::transaction::scoped;
use super::{Error, Store};
use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};

/// zstd's own default: beyond it, time grows faster than size falls.
const LEVEL: i32 = 3;
/// The most characters kept of an error.
const ERROR_CHARS: usize = 500;

/// The right to crawl one installation, until somebody takes it over after it has lapsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrawlLease {
    pub installation: InstallationId,
    /// Fences: writes that name an older epoch change nothing.
    pub epoch: i64,
    /// The generation that this crawl becomes.
    pub generation: i64,
    pub checkpoint: Checkpoint,
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Slack's cursor of the next page; None at the start, or where all pages are there
    /// (`complete`).
    pub cursor: Option<String>,
    /// The number of the next page, from 0.
    pub next_page: i32,
    /// Members on the pages so far.
    pub members: i64,
    /// The page size that worked last; None where none was chosen yet.
    pub page_size: Option<i32>,
    /// When the crawl started. Slack's cursors do not last for ever.
    pub started_at: Timestamp,
    /// All pages are stored: only publishing is left.
    pub complete: bool,
}

/// One page from Slack.
#[derive(Debug, Clone)]
pub struct CrawledPage {
    /// Must be the checkpoint's next.
    pub number: i32,
    /// Stored compressed and sealed. At most 64 MiB.
    pub body: Vec<u8>,
    /// Members on it.
    pub members: i64,
    /// None ends the list.
    pub next_cursor: Option<String>,
    /// What was asked for; kept for who resumes.
    pub page_size: i32,
}

/// What to do with the pages of a crawl that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The next holder goes on from the checkpoint.
    Checkpoint,
    /// The next holder starts over, such as after an expired cursor.
    Start,
}

impl Store {
    /// Takes the lease where a crawl is due and nobody holds it.
    pub async fn acquire_crawl(
        &self,
        installation: InstallationId,
        lease: Duration,
    ) -> Result<Option<CrawlLease>, Error> {
        const SQL: &str = "UPDATE directory SET epoch = epoch + 1, lease_until = {now} + $2,
                crawl_changes = CASE WHEN crawl_started_at IS NULL
                    THEN change_sequence ELSE crawl_changes END,
                crawl_started_at = COALESCE(crawl_started_at, {now})
            WHERE installation = $1 AND lease_until <= {now} AND next_refresh_at <= {now}
            RETURNING epoch, generation, crawl_cursor, crawl_pages, crawl_members,
                crawl_page_size, crawl_started_at";
        self.ensure_directory(installation).await?;
        let values = params![installation.to_string(), micros(lease)];
        let Some(row) = sql::one(self.writer(), SQL, values).await? else {
            return Ok(None);
        };
        let (cursor, next_page): (Option<String>, i32) = (row.get(2)?, row.get(3)?);
        let page_size: i32 = row.get(5)?;
        Ok(Some(CrawlLease {
            installation,
            epoch: row.get(0)?,
            generation: row.get::<i64>(1)? + 1,
            checkpoint: Checkpoint {
                complete: cursor.is_none() && next_page > 0,
                cursor,
                next_page,
                members: row.get(4)?,
                page_size: (page_size > 0).then_some(page_size),
                started_at: Timestamp(row.get(6)?),
            },
        }))
    }

    /// Lengthens the lease to `lease` from now, such as before a long wait. False: it was lost.
    pub async fn extend_crawl(&self, lease: &CrawlLease, by: Duration) -> Result<bool, Error> {
        const SQL: &str = "UPDATE directory SET lease_until = {now} + $3
            WHERE installation = $1 AND epoch = $2";
        let values = params![lease.installation.to_string(), lease.epoch, micros(by)];
        Ok(sql::execute(self.writer(), SQL, values).await? > 0)
    }

    /// Stores a page and the checkpoint behind it, and lengthens the lease to `extend` from now.
    /// False: the lease was lost, or the page is not the next one; nothing was stored.
    pub async fn save_page(
        &self,
        lease: &CrawlLease,
        page: CrawledPage,
        extend: Duration,
    ) -> Result<bool, Error> {
        const CHECKPOINT: &str = "UPDATE directory SET crawl_cursor = $4,
                crawl_pages = crawl_pages + 1, crawl_members = crawl_members + $5,
                crawl_page_size = $6, lease_until = {now} + $7
            WHERE installation = $1 AND epoch = $2 AND crawl_pages = $3
                AND (crawl_pages = 0 OR crawl_cursor IS NOT NULL)";
        const INSERT: &str = "INSERT INTO directory_pages (installation, generation, page, body)
            VALUES ($1, $2, $3, $4)";
        if page.body.len() > PAGE_BYTES {
            return Err(Error::Bug("a directory page is longer than 64 MiB".into()));
        }
        let id = &lease.installation.to_string();
        let (number, generation) = (page.number, lease.generation);
        let values = params![
            id.as_str(),
            lease.epoch,
            number,
            page.next_cursor.filter(|cursor| !cursor.is_empty()),
            page.members,
            page.page_size,
            micros(extend),
        ];
        let body = &self.pack(lease, number, page.body).await?;
        let values = &values;
        self.transaction(|tx| {
            scoped(async move {
                if sql::execute(tx, CHECKPOINT, values.clone()).await? == 0 {
                    return Ok(false);
                }
                let row = params![id.as_str(), generation, number, body.clone()];
                sql::execute(tx, INSERT, row).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Makes the crawl's pages the directory, drops the older ones and the changes that they
    /// contain, and ends the lease; the next crawl is due after `refresh_after`. The directory is as
    /// old as its first page, which may be far older than the last where a crawl was resumed. Answers the new
    /// generation; None: the lease was lost, or pages are missing.
    pub async fn publish(
        &self,
        lease: &CrawlLease,
        refresh_after: Duration,
    ) -> Result<Option<i64>, Error> {
        const SWITCH: &str = "UPDATE directory SET generation = generation + 1,
                pages = crawl_pages, members = crawl_members, refreshed_at = crawl_started_at,
                next_refresh_at = {now} + $3, last_error = NULL, lease_until = 0,
                crawl_started_at = NULL, crawl_pages = 0, crawl_members = 0
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0
                AND crawl_pages > 0 AND crawl_cursor IS NULL
            RETURNING generation, crawl_changes";
        const PAGES: &str =
            "DELETE FROM directory_pages WHERE installation = $1 AND generation < $2";
        const CHANGES: &str =
            "DELETE FROM directory_changes WHERE installation = $1 AND sequence <= $2";
        let (id, after) = (&lease.installation.to_string(), micros(refresh_after));
        let epoch = lease.epoch;
        self.transaction(|tx| {
            scoped(async move {
                let row = sql::one(tx, SWITCH, params![id.as_str(), epoch, after]).await?;
                let Some(row) = row else { return Ok(None) };
                let (generation, changes): (i64, i64) = (row.get(0)?, row.get(1)?);
                sql::execute(tx, PAGES, params![id.as_str(), generation]).await?;
                sql::execute(tx, CHANGES, params![id.as_str(), changes]).await?;
                Ok(Some(generation))
            })
        })
        .await
    }

    /// Ends the lease with an error; the next try is due after `retry_after`. False: the lease was
    /// lost already.
    pub async fn fail_crawl(
        &self,
        lease: &CrawlLease,
        error: &str,
        retry_after: Duration,
        resume: Resume,
    ) -> Result<bool, Error> {
        const FAIL: &str = "UPDATE directory SET lease_until = 0, last_error = $3,
                next_refresh_at = {now} + $4
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        const FORGET: &str = "UPDATE directory SET crawl_started_at = NULL, crawl_cursor = NULL,
                crawl_pages = 0, crawl_members = 0
            WHERE installation = $1";
        const PAGES: &str =
            "DELETE FROM directory_pages WHERE installation = $1 AND generation >= $2";
        let error = &error.chars().take(ERROR_CHARS).collect::<String>();
        let (id, after) = (&lease.installation.to_string(), micros(retry_after));
        let (epoch, generation) = (lease.epoch, lease.generation);
        self.transaction(|tx| {
            scoped(async move {
                let values = params![id.as_str(), epoch, error.as_str(), after];
                if sql::execute(tx, FAIL, values).await? == 0 {
                    return Ok(false);
                }
                if resume == Resume::Start {
                    sql::execute(tx, FORGET, params![id.as_str()]).await?;
                    sql::execute(tx, PAGES, params![id.as_str(), generation]).await?;
                }
                Ok(true)
            })
        })
        .await
    }

    /// Compresses and seals: milliseconds for a large page, so not on the runtime's threads.
    async fn pack(&self, lease: &CrawlLease, page: i32, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let keys = self.keys(&Scope::Installation(lease.installation)).await?;
        let key = page_row(lease.generation, page);
        let work = move || {
            let packed = zstd::bulk::compress(&body, LEVEL)
                .map_err(|_| Error::Bug("a directory page does not compress".into()))?;
            keys.seal(&Place { table: PAGE_TABLE, row: &key, column: "body" }, &packed)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Error::Bug("compression stopped".into()))?
    }
}
