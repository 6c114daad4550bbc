//! Tables whose rows may have times that lie too far ahead, gone through by their keys: a page at a
//! time, so that no statement takes longer than a statement may, however many rows there are. No
//! index has the times at which rows were written: each write would have to keep it up to date, for
//! the sake of a rare event.

use sea_orm::Value;

use crate::store::database::sql::{self, CLOCK, Row, params, placeholders};
use crate::store::{Error, LaneKey, Store};

/// Rows that one statement moves.
const BATCH: u64 = 500;
/// Rows that one statement looks at.
const PAGE: usize = 2_000;

/// The result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimesMoved {
    /// Rows whose times were moved back.
    pub moved: u64,
    /// Rows that still must be looked at: other transactions held them.
    pub left: u64,
}

impl TimesMoved {
    /// Adds the result for other rows.
    pub fn include(&mut self, other: Self) {
        self.moved += other.moved;
        self.left += other.left;
    }
}

/// The value of a primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum RowKey {
    Number(i64),
    Text(String),
    Pair(LaneKey),
}

impl RowKey {
    fn values(&self) -> Vec<Value> {
        match self {
            Self::Number(number) => params![*number],
            Self::Text(text) => params![text.as_str()],
            Self::Pair((first, second)) => params![first.as_str(), second.as_str()],
        }
    }
}

/// The columns of a primary key. Rows are looked at, and locked, in its order.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum KeyColumns {
    Number(&'static str),
    Text(&'static str),
    Pair([&'static str; 2]),
}

impl KeyColumns {
    fn names(self) -> String {
        match self {
            Self::Number(column) | Self::Text(column) => column.to_owned(),
            Self::Pair(columns) => columns.join(", "),
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Number(_) | Self::Text(_) => 1,
            Self::Pair(columns) => columns.len(),
        }
    }

    /// Less than the key of any row.
    fn least(self) -> RowKey {
        match self {
            Self::Number(_) => RowKey::Number(0),
            Self::Text(_) => RowKey::Text(String::new()),
            Self::Pair(_) => RowKey::Pair(LaneKey::default()),
        }
    }

    fn of(self, row: &Row) -> Result<RowKey, Error> {
        Ok(match self {
            Self::Number(_) => RowKey::Number(row.get(0)?),
            Self::Text(_) => RowKey::Text(row.get(0)?),
            Self::Pair(_) => RowKey::Pair((row.get(0)?, row.get(1)?)),
        })
    }
}

/// The rows of a table whose times may lie too far ahead.
pub(in crate::store) struct Ahead {
    pub(in crate::store) table: &'static str,
    pub(in crate::store) key: KeyColumns,
    /// The new times, by `clock.now`.
    pub(in crate::store) set: String,
    /// Whether the times of a row lie too far ahead. Names all of `values`.
    pub(in crate::store) which: String,
    pub(in crate::store) values: Vec<Value>,
}

impl Ahead {
    /// A page of rows after a key, each with 1 if its times lie too far ahead. Parameters: `values`
    /// and the key.
    pub(in crate::store) fn page(&self) -> String {
        let Self { table, which, .. } = self;
        let (key, after) = (self.key.names(), self.compared(">", 0));
        format!(
            "SELECT {key}, CASE WHEN {which} THEN 1 ELSE 0 END
                FROM {table}
                WHERE {after}
                ORDER BY {key}
                LIMIT {PAGE}"
        )
    }

    /// Moves rows of a page that no other transaction holds. Parameters: `values`, the key before
    /// the page, and the last key of the page.
    pub(in crate::store) fn text(&self) -> String {
        let Self { table, set, which, .. } = self;
        let (key, after) = (self.key.names(), self.compared(">", 0));
        let page = format!("{after} AND {}", self.compared("<=", self.key.count()));
        format!(
            "UPDATE {table}
                SET {set}
                FROM {CLOCK}
                WHERE {page} AND ({key}) IN (
                    SELECT {key}
                    FROM {table}
                    WHERE {page} AND ({which})
                    ORDER BY {key}
                    LIMIT {BATCH} {{skip_locked}})"
        )
    }

    /// The key, compared with the parameters that follow `values` and `skipped` more.
    fn compared(&self, operator: &str, skipped: usize) -> String {
        let (names, count) = (self.key.names(), self.key.count());
        let given = placeholders(self.values.len() + skipped + 1, count);
        format!("({names}) {operator} ({given})")
    }

    /// Looks at the page after a key (`None`: the first) and moves its times back. Each statement
    /// is a transaction of its own, so that rows are locked briefly. Returns the last key of the
    /// page; `None`: no rows follow.
    pub(in crate::store) async fn move_page(
        &self,
        store: &Store,
        after: Option<&RowKey>,
    ) -> Result<(TimesMoved, Option<RowKey>), Error> {
        let after = after.map_or_else(|| self.key.least().values(), RowKey::values);
        let mut values = [self.values.clone(), after].concat();
        let rows = sql::all(store.reader(), &self.page(), values.clone()).await?;
        let mut done = TimesMoved::default();
        for row in &rows {
            done.left += u64::from(row.get::<i32>(self.key.count())? == 1);
        }
        let Some(last) = rows.last() else { return Ok((done, None)) };
        let last = self.key.of(last)?;
        values.extend(last.values());
        while done.left > 0 {
            let moved = sql::execute(store.writer(), &self.text(), values.clone()).await?;
            // Other transactions hold the rest.
            if moved == 0 {
                break;
            }
            done.moved += moved;
            done.left = done.left.saturating_sub(moved);
        }
        Ok((done, (rows.len() == PAGE).then_some(last)))
    }
}
