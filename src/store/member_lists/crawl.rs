//! A crawl of a member list: a lease, and a checkpoint after every page. How it ends is in
//! `publish`.
//!
//! Every holder of the lease gets its own epoch, and every write names it: a holder that was frozen
//! while another took over can no longer change anything (invariants I6, I10). Pages go to the
//! generation that the crawl will become, so readers see all of them at once or none (I9).

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::state::{PAGE_BYTES, PAGE_TABLE, page_row};
use crate::domain::directory::crawl::PageSize;
use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{Error, MemberLists, Store};

/// zstd's own default: at higher levels, time grows faster than size falls.
const LEVEL: i32 = 3;

/// The right to crawl one installation, until the lease has lapsed and another replica takes it
/// over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrawlLease {
    pub installation: InstallationId,
    /// Fences: writes that name an older epoch change nothing.
    pub epoch: i64,
    /// The generation that this crawl becomes.
    pub generation: i64,
    pub checkpoint: Checkpoint,
}

/// Where to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Slack's cursor of the next page; `None` at the start, or once all pages are stored
    /// (`complete`).
    pub cursor: Option<String>,
    /// The number of the next page, from 0.
    pub next_page: i32,
    /// Members on the pages so far.
    pub members: i64,
    pub page_size: PageSize,
    /// When the crawl started. Slack's cursors do not last for ever.
    pub started_at: Timestamp,
    /// All pages are stored: only publishing is left.
    pub complete: bool,
    /// How often this crawl started over.
    pub restarts: i32,
    /// Failed attempts since the last page.
    pub failures: u32,
}

/// One page from Slack.
#[derive(Debug, Clone)]
pub struct CrawledPage {
    /// Must be the checkpoint's next.
    pub number: i32,
    /// Stored compressed and encrypted. At most 64 MiB.
    pub body: Vec<u8>,
    /// Members on it.
    pub members: i64,
    /// `None` ends the list.
    pub next_cursor: Option<String>,
    /// For the next page; kept for a replica that resumes.
    pub page_size: PageSize,
}

/// The outcome of saving a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The page and the checkpoint after it are stored.
    Stored,
    /// The lease was lost, or the page is not the next one; nothing was stored.
    Lost,
    /// Its cursor already followed an earlier page: the list would not end. Nothing was stored.
    CursorRepeats,
}

impl MemberLists<'_> {
    /// Takes the lease if a crawl is due and no replica holds it. `holder` is shown to
    /// administrators: it must distinguish replicas and must not be a machine's name.
    pub async fn acquire_crawl(
        self,
        installation: InstallationId,
        holder: &str,
        lease: Duration,
    ) -> Result<Option<CrawlLease>, Error> {
        const SQL: &str = "UPDATE directory
            SET epoch = epoch + 1,
                lease_until = {now} + $2,
                holder = $3,
                crawl_changes = CASE
                    WHEN crawl_started_at IS NULL THEN change_sequence
                    ELSE crawl_changes END,
                crawl_started_at = COALESCE(crawl_started_at, {now})
            WHERE installation = $1 AND lease_until <= {now} AND next_refresh_at <= {now}
            RETURNING epoch, generation, crawl_cursor, crawl_pages, crawl_members,
                crawl_started_at, crawl_restarts, crawl_failures,
                crawl_page_size, crawl_came, crawl_setbacks";
        self.store.ensure_directory(installation).await?;
        let values = params![installation.to_string(), micros(lease), holder];
        let Some(row) = sql::one(self.store.writer(), SQL, values).await? else {
            return Ok(None);
        };
        let (cursor, next_page): (Option<String>, i32) = (row.get(2)?, row.get(3)?);
        Ok(Some(CrawlLease {
            installation,
            epoch: row.get(0)?,
            generation: row.get::<i64>(1)? + 1,
            checkpoint: Checkpoint {
                complete: cursor.is_none() && next_page > 0,
                cursor,
                next_page,
                members: row.get(4)?,
                started_at: Timestamp(row.get(5)?),
                restarts: row.get(6)?,
                failures: u32::try_from(row.get::<i32>(7)?).unwrap_or(0),
                page_size: PageSize::kept(row.get(8)?, row.get(9)?, row.get(10)?),
            },
        }))
    }

    /// Extends the lease to `by` from now and stores the page size, while waiting for a page.
    /// `false`: the lease was lost.
    pub async fn extend_crawl(self, lease: &CrawlLease, by: Duration) -> Result<bool, Error> {
        const SQL: &str = "UPDATE directory
            SET lease_until = {now} + $3,
                crawl_page_size = $4, crawl_came = $5, crawl_setbacks = $6
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        let mut values = params![lease.installation.to_string(), lease.epoch, micros(by)];
        values.extend(size_values(lease.checkpoint.page_size));
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Stores a page and the checkpoint after it, and extends the lease to `extend` from now.
    pub async fn save_page(
        self,
        lease: &CrawlLease,
        page: CrawledPage,
        extend: Duration,
    ) -> Result<Saved, Error> {
        const CHECKPOINT: &str = "UPDATE directory
            SET crawl_cursor = $4,
                crawl_pages = crawl_pages + 1, crawl_members = crawl_members + $5,
                crawl_failures = 0, lease_until = {now} + $6,
                crawl_page_size = $7, crawl_came = $8, crawl_setbacks = $9
            WHERE installation = $1 AND epoch = $2 AND crawl_pages = $3 AND lease_until > 0
                AND (crawl_pages = 0 OR crawl_cursor IS NOT NULL)";
        const SEEN: &str = "SELECT 1 FROM directory_pages
            WHERE installation = $1 AND generation = $2 AND cursor_hash = $3";
        const INSERT: &str = "INSERT INTO directory_pages
                (installation, generation, page, body, cursor_hash)
            VALUES ($1, $2, $3, $4, $5)";
        if page.body.len() > PAGE_BYTES {
            return Err(Error::Bug("a directory page is longer than 64 MiB".into()));
        }
        let cursor = page.next_cursor.filter(|cursor| !cursor.is_empty());
        let hash = cursor.as_ref().map(|cursor| Sha256::digest(cursor.as_bytes()).to_vec());
        let id = &lease.installation.to_string();
        let (number, generation) = (page.number, lease.generation);
        let mut values =
            params![id.as_str(), lease.epoch, number, cursor, page.members, micros(extend)];
        values.extend(size_values(page.page_size));
        let body = &self.store.pack(lease, number, page.body).await?;
        let (values, hash) = (&values, &hash);
        self.store
            .transaction(|tx| {
                scoped(async move {
                    if let Some(hash) = hash {
                        let row = params![id.as_str(), generation, hash.clone()];
                        if sql::one(tx, SEEN, row).await?.is_some() {
                            return Ok(Saved::CursorRepeats);
                        }
                    }
                    if sql::execute(tx, CHECKPOINT, values.clone()).await? == 0 {
                        return Ok(Saved::Lost);
                    }
                    let row = params![id.as_str(), generation, number, body.clone(), hash.clone()];
                    sql::execute(tx, INSERT, row).await?;
                    Ok(Saved::Stored)
                })
            })
            .await
    }
}

impl Store {
    /// Compresses and encrypts: milliseconds for a large page, so not on the runtime's threads.
    async fn pack(&self, lease: &CrawlLease, page: i32, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let keys = self.keys(&KeyScope::Installation(lease.installation)).await?;
        let key = page_row(lease.generation, page);
        let work = move || {
            let packed = zstd::bulk::compress(&body, LEVEL)
                .map_err(|_| Error::Bug("a directory page does not compress".into()))?;
            keys.seal(&SealedCell { table: PAGE_TABLE, row: &key, column: "body" }, &packed)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Error::Bug("compression stopped".into()))?
    }
}

/// `crawl_page_size`, `crawl_came`, `crawl_setbacks`.
pub(in crate::store) fn size_values(size: PageSize) -> Vec<sea_orm::Value> {
    params![i32::from(size.members()), i32::from(size.came()), i32::from(size.setbacks())]
}
