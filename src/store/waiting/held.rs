//! Deliveries that wait until their person appears in Slack.
//!
//! Whether a person has appeared is checked per person, not per row, and in two ways. A *sweep*
//! checks a tenant's people once after the tenant's member list or mapping changed: `held_sweeps`
//! has a row for each tenant that ever held anything, with the state that the last sweep checked.
//! And every row has its own time (`due_at`): soon after it was held, since the list that held it
//! back may have been older than the store's, and then at intervals. Both only ever move a row to
//! `resolving`, which decides by the same rules as for every other message and puts it into its
//! lane once.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::domain::ids::{LeaseToken, TenantId, UserId};
use crate::domain::time::micros;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::lanes::claim::lease_token;
use crate::store::{Error, Store, Waiting};

/// People that one statement names.
const CHUNK: usize = 500;

/// The state that a sweep depends on, as a text: workspace, generation, change, custom fields,
/// settings. It must be read before the member list is.
const STAMP: &str = "COALESCE(l.installation, '') || '/' || COALESCE(d.generation, 0) || '/' ||
    COALESCE(d.change_sequence, 0) || '/' || COALESCE(d.fields_sequence, 0) || '/' || t.version";

const JOINS: &str = "FROM held_sweeps h JOIN tenants t ON t.tenant = h.tenant
    LEFT JOIN tenant_links l ON l.tenant = h.tenant
    LEFT JOIN directory d ON d.installation = l.installation";

/// The right to check one tenant's held deliveries, until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSweep {
    pub tenant: TenantId,
    token: LeaseToken,
    /// The state that the sweep checks; stored when the sweep is done.
    stamp: String,
}

impl Waiting<'_> {
    /// Takes a tenant that holds deliveries and whose member list or mapping changed since the last
    /// sweep; the longest waiting first.
    pub async fn claim_held_sweep(self, lease: Duration) -> Result<Option<HeldSweep>, Error> {
        const TAKE: &str = "UPDATE held_sweeps
            SET lease_token = $2, lease_until = {now} + $3
            WHERE tenant = $1 AND lease_until <= {now} AND next_at <= {now}";
        let find = format!(
            "SELECT h.tenant, {STAMP} {JOINS}
                WHERE h.next_at <= {{now}} AND h.lease_until <= {{now}}
                    AND h.seen <> {STAMP}
                ORDER BY h.next_at
                LIMIT 1"
        );
        let Some(row) = sql::one(self.store.reader(), &find, params![]).await? else {
            return Ok(None);
        };
        let (tenant, stamp): (String, String) = (row.get(0)?, row.get(1)?);
        let token = lease_token();
        let values = params![tenant.as_str(), token.to_string(), micros(lease)];
        if sql::execute(self.store.writer(), TAKE, values).await? == 0 {
            return Ok(None);
        }
        let tenant =
            TenantId::parse(tenant).map_err(|_| Error::Bug("a stored tenant id".into()))?;
        Ok(Some(HeldSweep { tenant, token, stamp }))
    }

    /// Extends the sweep's lease. `false`: it was lost.
    pub async fn extend_held_sweep(
        self,
        sweep: &HeldSweep,
        lease: Duration,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE held_sweeps
            SET lease_until = {now} + $3
            WHERE tenant = $1 AND lease_token = $2";
        let values = params![sweep.tenant.as_str(), sweep.token.to_string(), micros(lease)];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Stores the state that was checked; the next sweep of this tenant comes after `pause` at the
    /// earliest. The end of the lease records when the pause began. `false`: the lease was lost.
    pub async fn end_held_sweep(self, sweep: &HeldSweep, pause: Duration) -> Result<bool, Error> {
        const SQL: &str = "UPDATE held_sweeps
            SET seen = $3, next_at = {now} + $4,
                lease_until = {now}, lease_token = NULL
            WHERE tenant = $1 AND lease_token = $2";
        let values = params![
            sweep.tenant.as_str(),
            sweep.token.to_string(),
            sweep.stamp.as_str(),
            micros(pause),
        ];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Up to `limit` people of a tenant with held deliveries, after the given person, each once.
    pub async fn held_people(
        self,
        tenant: &TenantId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<UserId>, Error> {
        // Every id is larger than the empty text.
        let text = format!(
            "SELECT DISTINCT user_id
                FROM deliveries
                WHERE state = 'held' AND tenant = $1 AND user_id > $2
                ORDER BY user_id
                LIMIT {limit}"
        );
        let values = params![tenant.as_str(), after.map_or("", UserId::as_str)];
        let rows = sql::all(self.store.reader(), &text, values).await?;
        rows.iter().map(|row| user(row.get(0)?)).collect()
    }

    /// People with held deliveries that are due, by tenant; up to about `limit`.
    pub async fn held_due(self, limit: u32) -> Result<BTreeMap<TenantId, Vec<UserId>>, Error> {
        let text = format!(
            "SELECT DISTINCT tenant, user_id
                FROM (
                    SELECT tenant, user_id
                    FROM deliveries
                    WHERE state = 'held' AND due_at <= {{now}}
                    ORDER BY due_at
                    LIMIT {limit}) AS due"
        );
        let mut due: BTreeMap<TenantId, Vec<UserId>> = BTreeMap::new();
        for row in sql::all(self.store.reader(), &text, params![]).await? {
            let (tenant, id) = (TenantId::parse(row.get::<String>(0)?), row.get(1)?);
            let (Ok(tenant), Ok(user)) = (tenant, user(id)) else {
                self.store.pass_over(UnreadableRow::Waiting, 1);
                continue;
            };
            due.entry(tenant).or_default().push(user);
        }
        Ok(due)
    }

    /// These people may have appeared: their held deliveries are resolved again, once. Returns the
    /// number of those deliveries.
    pub async fn wake_held(self, tenant: &TenantId, users: &[UserId]) -> Result<u64, Error> {
        const SET: &str = "state = 'resolving', reason = NULL, due_at = {now}, updated_at = {now}, \
            lease_token = NULL";
        let woken = self.store.update_held(tenant, users, SET).await?;
        if woken > 0 {
            self.store.changed();
        }
        Ok(woken)
    }

    /// Sets the next check of these people's held deliveries to this time.
    pub async fn defer_held(
        self,
        tenant: &TenantId,
        users: &[UserId],
        by: Duration,
    ) -> Result<(), Error> {
        let set = format!("due_at = {{now}} + {}", micros(by));
        self.store.update_held(tenant, users, &set).await.map(|_| ())
    }

    /// Something new is known of these people: their held and resolving deliveries are checked
    /// soon.
    pub async fn recheck_held(self, tenant: &TenantId, users: &[UserId]) -> Result<(), Error> {
        self.store.resolve_people(tenant, users).await?;
        self.store.update_held(tenant, users, "due_at = {now}").await.map(|_| ())
    }
}

impl Store {
    /// In the order of the rows, so that two concurrent updates do not deadlock.
    async fn update_held(
        &self,
        tenant: &TenantId,
        users: &[UserId],
        set: &str,
    ) -> Result<u64, Error> {
        let mut changed = 0;
        for chunk in users.chunks(CHUNK) {
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|user| sea_orm::Value::from(user.as_str())));
            let text = format!(
                "UPDATE deliveries
                    SET {set}
                    WHERE state = 'held' AND sequence IN (
                        SELECT sequence
                        FROM deliveries
                        WHERE state = 'held' AND tenant = $1 AND user_id IN ({})
                        ORDER BY sequence {{for_update}})",
                placeholders(2, chunk.len())
            );
            changed += sql::execute(self.writer(), &text, values).await?;
        }
        Ok(changed)
    }
}

/// Runs in the transaction that holds a delivery: the tenant takes part in sweeps. The tenant's row
/// stays locked until the commit, so that the removal of unused sweeps (`idle`) waits for it.
pub(in crate::store) async fn expect_sweeps(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO held_sweeps (tenant) VALUES ($1) ON CONFLICT DO NOTHING";
    const KEEP: &str = "SELECT 1 FROM held_sweeps WHERE tenant = $1 {for_key_share}";
    // The row may be removed between the two, but not repeatedly: only old ones are removed.
    for _ in 0..3 {
        sql::execute(db, SQL, params![tenant.as_str()]).await?;
        if sql::one(db, KEEP, params![tenant.as_str()]).await?.is_some() {
            return Ok(());
        }
    }
    Err(Error::Contended("held_sweeps".into()))
}

fn user(id: String) -> Result<UserId, Error> {
    UserId::parse(id).map_err(|_| Error::Bug("a stored user id".into()))
}
