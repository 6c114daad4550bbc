//! The sequencer: moves committed changes from the inbox into the feed and numbers them.
//!
//! On PostgreSQL it is one statement, which the server finishes by itself: a replica that freezes
//! keeps neither the turn nor the heads of tenants locked. A sequencer that finds the turn taken
//! returns. One that took its snapshot before another's commit still sees the changes that the
//! other moved, but their rows are gone when it tries to delete them, and it reads each head as it
//! is at the moment of locking.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait as _;

use super::tables::{ALL, FeedOf, FeedTables};
use crate::store::database::era::ERA;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Patience, Tx, scoped};
use crate::store::{Backend, DeliveryFeed, Error, Store};

/// The result of one run of the sequencer.
struct Numbered {
    count: u32,
    epoch: i64,
    /// The last number of each tenant that had changes, and of all tenants ([`ALL`]).
    heads: BTreeMap<String, i64>,
}

impl DeliveryFeed<'_> {
    /// Numbers up to `limit` committed changes; returns how many, which is `limit` if more may be
    /// waiting. `None`: another sequencer has the turn. Any number of replicas may call it.
    pub async fn number(self, limit: u32) -> Result<Option<u32>, Error> {
        self.store.number_feed(FeedOf::Deliveries, limit).await
    }
}

impl Store {
    /// Numbers up to `limit` committed changes of a feed, as [`DeliveryFeed::number`].
    pub(in crate::store) async fn number_feed(
        &self,
        of: FeedOf,
        limit: u32,
    ) -> Result<Option<u32>, Error> {
        let tables = of.tables();
        // Without work there is no reason to take SQLite's only writer.
        let any = format!("SELECT 1 FROM {} LIMIT 1", tables.inbox);
        if sql::one(self.reader(), &any, params![]).await?.is_none() {
            return Ok(Some(0));
        }
        let numbered = match self.backend() {
            Backend::Postgres => self.number_at_once(tables, limit).await?,
            Backend::Sqlite => {
                Some(self.transaction(|tx| scoped(in_steps(tx, tables, limit))).await?)
            }
        };
        if let Some(numbered) = &numbered {
            self.signals(of).numbered(numbered.epoch, &numbered.heads);
        }
        Ok(numbered.map(|numbered| numbered.count))
    }

    async fn number_at_once(
        &self,
        tables: &FeedTables,
        limit: u32,
    ) -> Result<Option<Numbered>, Error> {
        let writer = self.writer();
        let patience = Patience::Shared.column(writer.get_database_backend());
        let rows = sql::all(writer, &at_once(tables, limit, &patience), params![]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let mut numbered = Numbered { count: 0, epoch: first.get(0)?, heads: BTreeMap::new() };
        for row in &rows {
            let Some(tenant) = row.get::<Option<String>>(1)? else { continue };
            if tenant != ALL {
                numbered.count += u32::try_from(row.get::<i64>(3)?).unwrap_or(u32::MAX);
            }
            numbered.heads.insert(tenant, row.get(2)?);
        }
        Ok(Some(numbered))
    }
}

/// Waits for the sequencer's turn; returns the database's time.
pub(in crate::store) async fn turn(tx: &Tx, of: &FeedTables) -> Result<i64, Error> {
    let text = format!("SELECT {{now}} FROM {} WHERE id = 1 {{for_update}}", of.sequencer);
    let turn = sql::one(tx, &text, params![]).await?;
    turn.ok_or_else(|| Error::Bug("the feed has no sequencer".into()))?.get(0)
}

/// The last of the first `limit` ids of the inbox. The bound is one value: `IN` with many ids was
/// planned as a product of the inbox with itself.
fn first(inbox: &str, limit: u32) -> String {
    format!("(SELECT MAX(id) FROM (SELECT id FROM {inbox} ORDER BY id LIMIT {limit}) AS first)")
}

/// Returns no row if another sequencer has the turn. Otherwise returns the epoch with each tenant's
/// head and its number of changes, which are NULL if there was no work. All tenants together are
/// counted like one more tenant.
fn at_once(tables: &FeedTables, limit: u32, patience: &str) -> String {
    let FeedTables { inbox, changes, heads, sequencer, columns, position } = tables;
    let first = first(inbox, limit);
    let (all, column, place) = match position {
        None => (String::new(), String::new(), String::new()),
        Some(position) => (
            format!("UNION ALL SELECT '{ALL}', COUNT(*) FROM taken HAVING COUNT(*) > 0"),
            format!(", {position}"),
            format!(
                ", (SELECT head - changes
                            FROM heads
                            JOIN counts USING (tenant)
                            WHERE tenant = '{ALL}')
                            + ROW_NUMBER() OVER (ORDER BY id)"
            ),
        ),
    };
    format!(
        "WITH turn AS MATERIALIZED (
                    SELECT {{now}} AS now, {ERA} AS epoch{patience}
                    FROM {sequencer}
                    WHERE id = 1 {{skip_locked}}),
                taken AS (
                    DELETE FROM {inbox}
                    USING turn
                    WHERE id <= {first}
                    RETURNING id, {columns}),
                counts AS (
                    SELECT tenant, COUNT(*) AS changes
                    FROM taken
                    GROUP BY tenant
                    {all}),
                heads AS (
                    INSERT INTO {heads} (tenant, head)
                    SELECT tenant, epoch + changes
                    FROM counts, turn
                    ORDER BY tenant
                    ON CONFLICT (tenant) DO UPDATE
                    SET head = excluded.head - (SELECT epoch FROM turn)
                        + GREATEST({heads}.head, (SELECT epoch FROM turn))
                    RETURNING tenant, head),
                written AS (
                    INSERT INTO {changes} (sequence, {columns}{column}, sequenced_at)
                    SELECT head - changes + ROW_NUMBER() OVER (PARTITION BY tenant ORDER BY id),
                        {columns}{place}, now
                    FROM taken
                    JOIN counts USING (tenant)
                    JOIN heads USING (tenant)
                    CROSS JOIN turn)
            SELECT epoch, tenant, head, changes
            FROM turn
            LEFT JOIN (heads JOIN counts USING (tenant)) ON TRUE"
    )
}

/// SQLite changes one table per statement, and there is only one writer. No change leaves the
/// database: reading all of them and binding them again would hold up that writer for longer.
async fn in_steps(tx: &Tx, tables: &FeedTables, limit: u32) -> Result<Numbered, Error> {
    let FeedTables { inbox, changes, heads, columns, position, .. } = tables;
    let now = turn(tx, tables).await?;
    let text = format!(
        "SELECT {ERA}, COUNT(*), COALESCE(MAX(id), 0)
            FROM (SELECT id FROM {inbox} ORDER BY id LIMIT {limit}) AS first"
    );
    let row = sql::one(tx, &text, params![]).await?;
    let row = row.ok_or_else(|| Error::Bug("COUNT without a row".into()))?;
    let mut found = Columns::of(&row);
    let (epoch, count): (i64, u32) = (found.take()?, found.count()?);
    let last: i64 = found.take()?;
    let mut numbered = Numbered { count, epoch, heads: BTreeMap::new() };
    let advance = format!(
        "INSERT INTO {heads} (tenant, head)
            SELECT tenant, {epoch} + COUNT(*)
            FROM {inbox}
            WHERE id <= $1
            GROUP BY tenant
            ON CONFLICT (tenant) DO UPDATE
            SET head = {{greatest}}({heads}.head, {epoch}) + excluded.head - {epoch}
            RETURNING tenant, head"
    );
    for row in sql::all(tx, &advance, params![last]).await? {
        numbered.heads.insert(row.get(0)?, row.get(1)?);
    }
    let (mut column, mut place) = (String::new(), String::new());
    if let Some(position) = position {
        let all = format!(
            "INSERT INTO {heads} (tenant, head)
                VALUES ('{ALL}', {epoch} + $1)
                ON CONFLICT (tenant) DO UPDATE
                SET head = {{greatest}}({heads}.head, {epoch}) + excluded.head - {epoch}
                RETURNING head"
        );
        let row = sql::one(tx, &all, params![i64::from(count)]).await?;
        let head: i64 = row.ok_or_else(|| Error::Bug("a head without a row".into()))?.get(0)?;
        numbered.heads.insert(ALL.to_owned(), head);
        column = format!(", {position}");
        place = format!(", {head} + 1 - ROW_NUMBER() OVER (ORDER BY id DESC)");
    }
    // The last change of a tenant gets the number of the head.
    let write = format!(
        "INSERT INTO {changes} (sequence, {columns}{column}, sequenced_at)
            SELECT head + 1 - ROW_NUMBER() OVER (PARTITION BY tenant ORDER BY id DESC),
                {columns}{place}, $2
            FROM {inbox}
            JOIN {heads} USING (tenant)
            WHERE id <= $1
            ORDER BY id"
    );
    sql::execute(tx, &write, params![last, now]).await?;
    sql::execute(tx, &format!("DELETE FROM {inbox} WHERE id <= $1"), params![last]).await?;
    Ok(numbered)
}
