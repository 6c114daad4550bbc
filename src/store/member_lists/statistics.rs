//! Totals over all member lists, for metrics.

use std::time::Duration;

use crate::domain::time::micros;
use crate::store::database::sql::{self, params};
use crate::store::{Error, MemberLists};

/// Lists of connected workspaces that are in use, over the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryStatistics {
    pub in_use: u64,
    /// Lists without any generation.
    pub never_read: u64,
    /// Lists last read longer ago than the age asked for.
    pub stale: u64,
    /// Lists whose last crawl failed.
    pub failing: u64,
    /// Lists whose last crawl lost more members than is plausible.
    pub shrink_pending: u64,
    /// Lists with a crawl under way.
    pub crawling: u64,
    /// The age of the oldest list.
    pub oldest: Duration,
    /// How long the most overdue crawl has been due; zero if none is overdue.
    pub overdue: Duration,
    /// Pages and members read so far by the crawls under way.
    pub crawl_pages: u64,
    pub crawl_members: u64,
}

impl MemberLists<'_> {
    /// Counts the lists; one older than `stale` counts as stale.
    pub async fn statistics(self, stale: Duration) -> Result<DirectoryStatistics, Error> {
        const SQL: &str = "SELECT COUNT(*),
                SUM(CASE WHEN COALESCE(d.generation, 0) = 0 THEN 1 ELSE 0 END),
                SUM(CASE WHEN d.refreshed_at < {now} - $1 THEN 1 ELSE 0 END),
                SUM(CASE WHEN d.last_error IS NOT NULL THEN 1 ELSE 0 END),
                SUM(CASE WHEN d.shrink_members IS NOT NULL THEN 1 ELSE 0 END),
                SUM(CASE WHEN d.lease_until > {now} THEN 1 ELSE 0 END),
                MAX({now} - d.refreshed_at),
                MAX(CASE WHEN d.lease_until > {now} THEN 0
                    ELSE {now} - COALESCE(d.next_refresh_at, {now}) END),
                CAST(SUM(d.crawl_pages) AS BIGINT), CAST(SUM(d.crawl_members) AS BIGINT)
            FROM installations i LEFT JOIN directory d ON d.installation = i.id
            WHERE i.state = 'active'
                AND EXISTS (SELECT 1 FROM tenant_links l WHERE l.installation = i.id)";
        let row = sql::one(self.store.reader(), SQL, params![micros(stale)]).await?;
        let row = row.ok_or_else(|| Error::Bug("a count without a row".into()))?;
        // Sums and maxima of no rows are NULL.
        let number = |index| -> Result<u64, Error> {
            Ok(u64::try_from(row.get::<Option<i64>>(index)?.unwrap_or(0)).unwrap_or(0))
        };
        Ok(DirectoryStatistics {
            in_use: number(0)?,
            never_read: number(1)?,
            stale: number(2)?,
            failing: number(3)?,
            shrink_pending: number(4)?,
            crawling: number(5)?,
            oldest: Duration::from_micros(number(6)?),
            overdue: Duration::from_micros(number(7)?),
            crawl_pages: number(8)?,
            crawl_members: number(9)?,
        })
    }
}
