//! Reading of both feeds: the extent of a feed, and a page of its changes.

use crate::domain::ids::TenantId;
use crate::store::database::era::ERA;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::feed::tables::FeedOf;
use crate::store::{Error, Store};

/// A page of changes, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePage<T> {
    pub changes: Vec<T>,
    /// `None`: there were no changes.
    pub span: Option<ChangeSpan>,
    /// More may follow.
    pub full: bool,
}

/// The numbers of a page, including those of changes that cannot be read and were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeSpan {
    pub first: i64,
    pub last: i64,
}

impl ChangeSpan {
    /// Of rows in order, whose first column is the number.
    fn of(rows: &[Row]) -> Result<Option<Self>, Error> {
        match (rows.first(), rows.last()) {
            (Some(first), Some(last)) => {
                Ok(Some(Self { first: first.get(0)?, last: last.get(0)? }))
            }
            _ => Ok(None),
        }
    }
}

/// The extent of the feed of a tenant, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedExtent {
    /// The number after which the current epoch begins; 0 if the store was never recovered
    /// ([`Upkeep::begin_epoch`](crate::store::Upkeep::begin_epoch)). Smaller numbers may also have
    /// been given to other changes.
    pub epoch: i64,
    /// The last number given; the epoch's number if none was given yet.
    pub head: i64,
    /// The last number that retention removed; 0 if it removed none.
    pub pruned: i64,
}

impl<T> ChangePage<T> {
    /// The page of at most `limit` changes that these rows are, which begin with their number. Rows
    /// that cannot be read are skipped and counted.
    pub(in crate::store) fn of(
        store: &Store,
        rows: &[Row],
        limit: u32,
        read: fn(&Row) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        let span = ChangeSpan::of(rows)?;
        let changes: Vec<T> = rows.iter().filter_map(|row| read(row).ok()).collect();
        store.pass_over(UnreadableRow::Change, (rows.len() - changes.len()) as u64);
        Ok(Self { changes, span, full: rows.len() >= limit as usize })
    }
}

impl Store {
    /// The extent of a tenant's feed; [`ALL`](super::tables::ALL): of all tenants.
    pub(in crate::store) async fn feed_extent(
        &self,
        of: FeedOf,
        tenant: &str,
    ) -> Result<FeedExtent, Error> {
        let text = format!(
            "SELECT era.epoch, COALESCE(head, 0), COALESCE(pruned, 0)
                FROM (SELECT {ERA} AS epoch) AS era
                LEFT JOIN {} ON tenant = $1",
            of.tables().heads
        );
        let row = sql::one(self.reader(), &text, params![tenant]).await?;
        let row = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?;
        let (epoch, head): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(FeedExtent { epoch, head: head.max(epoch), pruned: row.get(2)? })
    }

    /// Up to `limit` changes of a feed after a number, in order. If the first one is not the very
    /// next number, retention has removed the changes between.
    pub(in crate::store) async fn feed_page<T>(
        &self,
        of: FeedOf,
        tenant: &TenantId,
        after: i64,
        limit: u32,
        read: fn(&Row) -> Result<T, Error>,
    ) -> Result<ChangePage<T>, Error> {
        let tables = of.tables();
        let position = tables.position.map(|position| format!("{position}, "));
        let text = format!(
            "SELECT sequence, {}{}
                FROM {}
                WHERE tenant = $1 AND sequence > $2
                ORDER BY sequence
                LIMIT {limit}",
            position.unwrap_or_default(),
            tables.columns,
            tables.changes
        );
        let rows = sql::all(self.reader(), &text, params![tenant.as_str(), after]).await?;
        ChangePage::of(self, &rows, limit, read)
    }
}
