//! How a crawl ends: it is published as the next generation, refused because it lost too many
//! members, failed, or restarted. Also removes old generations.
//!
//! The previous generation stays readable until the next one is published or
//! [`MemberLists::collect`] finds that its grace is over, so that a reader that is loading it can
//! finish. A slower reader finds its pages gone, or its changes
//! ([`DirectoryState::changes_gone`](super::state::DirectoryState::changes_gone)), and begins again
//! with the newer generation.

use std::time::Duration;

use super::crawl::{CrawlLease, size_values};
use crate::domain::ids::InstallationId;
use crate::domain::time::micros;
use crate::store::database::rows::parse_id;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Error, MemberLists};

/// The most characters of an error that are kept.
const ERROR_CHARS: usize = 500;
/// Generations collected at once.
const COLLECTED: i64 = 16;

/// The fate of a failed crawl's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The next holder continues from the checkpoint.
    Checkpoint,
    /// The next holder starts over, for example after an expired cursor.
    Start,
}

/// Clears a crawl's checkpoint.
const FORGET: &str = "UPDATE directory
    SET crawl_started_at = NULL, crawl_cursor = NULL,
        crawl_pages = 0, crawl_members = 0, crawl_restarts = 0
    WHERE installation = $1";
const DROP_CRAWLED: &str =
    "DELETE FROM directory_pages WHERE installation = $1 AND generation >= $2";
const DROP_PAGES: &str = "DELETE FROM directory_pages WHERE installation = $1 AND generation <= $2";
const DROP_CHANGES: &str =
    "DELETE FROM directory_changes WHERE installation = $1 AND sequence <= $2";

impl MemberLists<'_> {
    /// Makes the crawl's pages the directory and ends the lease; the next crawl is due after
    /// `refresh_after`. The directory is as old as its first page, which may be far older than the
    /// last if a crawl was resumed. The previous generation is kept for its readers; older ones are
    /// removed, with the changes that the previous one contains. Returns the new generation;
    /// `None`: the lease was lost, or pages are missing.
    pub async fn publish(
        self,
        lease: &CrawlLease,
        refresh_after: Duration,
    ) -> Result<Option<i64>, Error> {
        const SWITCH: &str = "UPDATE directory
            SET pages_gone = generation - 1, changes_gone = changes_base,
                generation = generation + 1, changes_base = crawl_changes, published_at = {now},
                pages = crawl_pages, members = crawl_members, refreshed_at = crawl_started_at,
                next_refresh_at = {now} + $3, last_error = NULL, lease_until = 0,
                crawl_started_at = NULL, crawl_pages = 0, crawl_members = 0, crawl_restarts = 0,
                crawl_failures = 0, crawl_page_size = $4, crawl_came = $5, crawl_setbacks = $6,
                shrink_members = NULL, shrink_at = NULL, shrink_accepted = 0
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0
                AND crawl_pages > 0 AND crawl_cursor IS NULL
            RETURNING generation, pages_gone, changes_gone";
        let id = &lease.installation.to_string();
        let mut values = params![id.as_str(), lease.epoch, micros(refresh_after)];
        values.extend(size_values(lease.checkpoint.page_size));
        let values = &values;
        let published = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    let Some(row) = sql::one(tx, SWITCH, values.clone()).await? else {
                        return Ok(None);
                    };
                    let (generation, pages, changes) = (row.get(0)?, row.get(1)?, row.get(2)?);
                    drop_older(tx, id, pages, changes).await?;
                    Ok(Some(generation))
                })
            })
            .await?;
        if published.is_some() {
            self.store.hint(lease.installation);
        }
        Ok(published)
    }

    /// Ends the lease without publishing, because the crawl lost more members than is plausible:
    /// the loss is shown to administrators, its pages are dropped, and another crawl is due after
    /// `confirm_after`. `false`: the lease was lost.
    pub async fn refuse_crawl(
        self,
        lease: &CrawlLease,
        error: &str,
        confirm_after: Duration,
    ) -> Result<bool, Error> {
        const SHRUNK: &str = "UPDATE directory
            SET shrink_members = $2, shrink_at = {now}, shrink_accepted = 0
            WHERE installation = $1";
        let (fence, members) = (lease, lease.checkpoint.members);
        let error = &shorten(error);
        self.store
            .transaction(|tx| {
                scoped(async move {
                    if !end(tx, fence, error, confirm_after, Resume::Start).await? {
                        return Ok(false);
                    }
                    let values = params![fence.installation.to_string(), members];
                    sql::execute(tx, SHRUNK, values).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// An administrator accepts the loss: another crawl is due at once, and is published if it
    /// loses no more. `false` if no crawl was refused.
    pub async fn accept_shrink(self, installation: InstallationId) -> Result<bool, Error> {
        const SQL: &str = "UPDATE directory
            SET shrink_accepted = 1, next_refresh_at = {now}
            WHERE installation = $1 AND shrink_members IS NOT NULL";
        let values = &params![installation.to_string()];
        let accepted = self.store.transaction(|tx| {
            scoped(async move {
                let accepted = sql::execute(tx, SQL, values.clone()).await? > 0;
                self.store.record(tx).await?;
                Ok(accepted)
            })
        });
        let accepted = accepted.await?;
        self.store.recorded();
        Ok(accepted)
    }

    /// Ends the lease with an error; the next attempt is due after `retry_after`. `false`: the
    /// lease was already lost.
    pub async fn fail_crawl(
        self,
        lease: &CrawlLease,
        error: &str,
        retry_after: Duration,
        resume: Resume,
    ) -> Result<bool, Error> {
        let error = &shorten(error);
        self.store.transaction(|tx| scoped(end(tx, lease, error, retry_after, resume))).await
    }

    /// Restarts the crawl under way from the first page, under the same lease, which is extended to
    /// `extend` from now. `false`: the lease was lost.
    pub async fn restart_crawl(self, lease: &CrawlLease, extend: Duration) -> Result<bool, Error> {
        const AGAIN: &str = "UPDATE directory
            SET crawl_restarts = crawl_restarts + 1,
                crawl_cursor = NULL, crawl_pages = 0, crawl_members = 0,
                crawl_changes = change_sequence, crawl_started_at = {now}, lease_until = {now} + $3
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        let (id, epoch) = (&lease.installation.to_string(), lease.epoch);
        let generation = lease.generation;
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let values = params![id.as_str(), epoch, micros(extend)];
                    if sql::execute(tx, AGAIN, values).await? == 0 {
                        return Ok(false);
                    }
                    sql::execute(tx, DROP_CRAWLED, params![id.as_str(), generation]).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Drops generations that were replaced more than `grace` ago, a few at a time; returns how
    /// many.
    pub async fn collect(self, grace: Duration) -> Result<usize, Error> {
        const OLD: &str = "SELECT installation FROM directory
            WHERE generation > 1 AND pages_gone < generation - 1 AND published_at <= {now} - $1
            ORDER BY published_at LIMIT $2";
        const GO: &str = "UPDATE directory
            SET pages_gone = generation - 1, changes_gone = changes_base
            WHERE installation = $1 AND generation > 1 AND pages_gone < generation - 1
                AND published_at <= {now} - $2
            RETURNING pages_gone, changes_gone";
        let grace = micros(grace);
        let rows = sql::all(self.store.reader(), OLD, params![grace, COLLECTED]).await?;
        let mut collected = 0;
        for row in rows {
            let id: &String = &parse_id(&row.get::<String>(0)?)?.to_string();
            let went = self.store.transaction(|tx| {
                scoped(async move {
                    let Some(row) = sql::one(tx, GO, params![id.as_str(), grace]).await? else {
                        return Ok(false);
                    };
                    drop_older(tx, id, row.get(0)?, row.get(1)?).await?;
                    Ok(true)
                })
            });
            collected += usize::from(went.await?);
        }
        Ok(collected)
    }
}

/// Ends a lease that is still held.
async fn end(
    tx: &Tx,
    lease: &CrawlLease,
    error: &str,
    due_after: Duration,
    resume: Resume,
) -> Result<bool, Error> {
    const END: &str = "UPDATE directory
        SET lease_until = 0, last_error = $3,
            next_refresh_at = {now} + $4, crawl_failures = crawl_failures + 1,
            crawl_page_size = $5, crawl_came = $6, crawl_setbacks = $7
        WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
    let id = lease.installation.to_string();
    let mut values = params![id.as_str(), lease.epoch, error, micros(due_after)];
    values.extend(size_values(lease.checkpoint.page_size));
    if sql::execute(tx, END, values).await? == 0 {
        return Ok(false);
    }
    if resume == Resume::Start {
        sql::execute(tx, FORGET, params![id.as_str()]).await?;
        sql::execute(tx, DROP_CRAWLED, params![id.as_str(), lease.generation]).await?;
    }
    Ok(true)
}

async fn drop_older(tx: &Tx, id: &str, generation: i64, sequence: i64) -> Result<(), Error> {
    sql::execute(tx, DROP_PAGES, params![id, generation]).await?;
    sql::execute(tx, DROP_CHANGES, params![id, sequence]).await?;
    Ok(())
}

fn shorten(error: &str) -> String {
    error.chars().take(ERROR_CHARS).collect()
}
