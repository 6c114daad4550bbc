//! Deliveries that wait for their time (`deliver_after`). They are pending and in no lane, so they
//! hold nothing up; when due, they join their lane's tail (invariant I4). Those for a channel with
//! a key have no lane to join yet: see `awaiting`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::ASIDE;
use crate::domain::ids::{InstallationId, ManagedChannelId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::lanes::lane::{self, Joining};
use crate::store::lanes::unread::known;
use crate::store::records::deliveries::OPEN_OF_TENANT;
use crate::store::{Error, Store, Waiting};

/// Waiting for its time; the same text as in the partial index.
const DEFERRED: &str = "state = 'pending' AND lane IS NULL";

/// Messages that one statement calls back into their lanes, and how many of these one call makes.
const REJOINING: u32 = 256;
const REJOINS: usize = 400;

/// A due delivery, as it was found.
struct Due {
    id: String,
    installation: InstallationId,
    lane: String,
    tenant: TenantId,
    priority: Priority,
    budget: Budget,
}

impl Waiting<'_> {
    /// Puts up to `limit` deliveries whose time has come into their lanes; returns how many.
    /// Several replicas may do this at once.
    pub async fn join_due(self, limit: u32) -> Result<u32, Error> {
        let text = format!(
            "SELECT id, installation, deferred_lane, tenant, priority, action
                FROM deliveries
                WHERE {DEFERRED} AND deferred_lane IS NOT NULL AND due_at <= {{now}} AND {}
                ORDER BY due_at, sequence
                LIMIT {limit}",
            known()
        );
        let rows = sql::all(self.store.reader(), &text, params![]).await?;
        let due: Vec<Due> = rows
            .iter()
            .filter_map(|row| {
                let mut columns = Columns::of(row);
                let mut due = || {
                    Ok::<_, Error>(Due {
                        id: columns.take()?,
                        installation: columns.uuid(InstallationId::parse)?,
                        lane: columns.take()?,
                        tenant: columns.id(TenantId::parse)?,
                        priority: Priority::from_code(columns.take()?),
                        budget: columns.action()?.budget(),
                    })
                };
                due().inspect_err(|_| self.store.pass_over(UnreadableRow::Waiting, 1)).ok()
            })
            .collect();
        if due.is_empty() {
            return Ok(0);
        }
        let due = &due;
        let joined = self.store.transaction(|tx| scoped(self.store.join_within(tx, due))).await?;
        if joined > 0 {
            self.store.wake();
        }
        Ok(joined)
    }

    /// The tenant is connected again: its messages for channels that waited outside their lanes
    /// join them in their order, ahead of all that are accepted later. [`Error::Unfinished`]: there
    /// are more than one call moves; those join later by themselves.
    pub async fn rejoin(self, tenant: &TenantId) -> Result<(), Error> {
        let text = format!(
            "UPDATE deliveries
                SET due_at = {{now}}
                WHERE sequence IN (
                    SELECT sequence
                    FROM deliveries
                    WHERE tenant = $1
                        AND {OPEN_OF_TENANT}
                        AND {DEFERRED}
                        AND deferred_lane IS NOT NULL
                        AND code = '{ASIDE}'
                        AND due_at > {{now}}
                    ORDER BY sequence
                    LIMIT {REJOINING})"
        );
        self.rejoin_lines(tenant).await?;
        for _ in 0..REJOINS {
            let called = sql::execute(self.store.writer(), &text, params![tenant.as_str()]).await?;
            while self.join_due(REJOINING).await? == REJOINING {}
            if called < u64::from(REJOINING) {
                return Ok(());
            }
        }
        Err(Error::Unfinished("a tenant has more messages that wait for it".into()))
    }

    /// The same for channels with keys, in whose lines they wait. Upkeep serves those that are
    /// left.
    async fn rejoin_lines(self, tenant: &TenantId) -> Result<(), Error> {
        let text = format!(
            "SELECT DISTINCT awaits_channel
                FROM deliveries
                WHERE tenant = $1
                    AND {OPEN_OF_TENANT}
                    AND {DEFERRED}
                    AND awaits_channel IS NOT NULL
                LIMIT {REJOINING}"
        );
        let rows = sql::all(self.store.reader(), &text, params![tenant.as_str()]).await?;
        for row in &rows {
            let Ok(channel) = Columns::of(row).uuid(ManagedChannelId::parse) else {
                self.store.pass_over(UnreadableRow::Waiting, 1);
                continue;
            };
            self.store.serve_channel(channel).await?;
        }
        Ok(())
    }

    /// How long until the first is due; `None` if none waits.
    pub async fn next_deferred(self) -> Result<Option<Duration>, Error> {
        // Also of those for a channel; in its line they are never due.
        let text =
            format!("SELECT MIN(due_at), {{now}} FROM deliveries WHERE {DEFERRED} AND {}", known());
        let Some(row) = sql::one(self.store.reader(), &text, params![]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let (due, now) = (columns.optional_time()?, columns.time()?);
        Ok(due.map(|due| due.since(now)))
    }
}

impl Store {
    async fn join_within(&self, tx: &Tx, due: &[Due]) -> Result<u32, Error> {
        let now = sql::one(tx, "SELECT {now}", params![]).await?;
        let now: i64 = now.ok_or_else(|| Error::Bug("SELECT without a row".into()))?.get(0)?;
        let places = due.iter().map(|due| (due.installation, due.lane.as_str())).collect();
        let position = lane::position(tx, &places).await?;
        let mut lanes: BTreeMap<(InstallationId, &str), Joining<'_>> = BTreeMap::new();
        for due in due {
            let joining =
                Joining::new(&due.tenant, position, due.priority, due.budget, Timestamp(now));
            let place = (due.installation, due.lane.as_str());
            lanes.entry(place).and_modify(|first| first.and(&joining)).or_insert(joining);
        }
        // Before the deliveries, because every transaction locks in this order.
        lane::fill(tx, &lanes).await?;
        let mut joined = 0;
        for chunk in due.chunks(256) {
            let text = format!(
                "UPDATE deliveries
                    SET lane = deferred_lane, deferred_lane = NULL, position = $1, due_at = $2,
                        updated_at = $2
                    WHERE {DEFERRED} AND deferred_lane IS NOT NULL AND id IN ({})",
                placeholders(3, chunk.len())
            );
            let mut values = params![position, now];
            values.extend(chunk.iter().map(|due| sea_orm::Value::from(due.id.as_str())));
            joined += sql::execute(tx, &text, values).await?;
        }
        Ok(u32::try_from(joined).unwrap_or(u32::MAX))
    }
}
