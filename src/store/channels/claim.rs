//! Leases on channels that are due.
//!
//! `due_at` is never before the end of a lease, so it is the time at which a row can be claimed. A
//! tenant's channels become due when its workspace is another one or is connected again, and those
//! with members who are not in Slack when the member list or the mapping changed: `channel_sweeps`
//! has a row for each tenant with the state that its channels were last woken for.
//!
//! Workspaces take turns, so that one with many channels does not hold up the others. Within a
//! workspace the longest due channel is first.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend};
use tokio::sync::Notify;

use super::rows::{COLUMNS, LEASE, ManagedChannel, SealedChannel, known};
use crate::domain::ids::{ManagedChannelId, TenantId};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, CLOCK, Row, by_key, params};
use crate::store::database::transaction::scoped;
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{Channels, Error, Store};

/// Workspaces that one claim looks at: others may take the first ones at the same time.
const CANDIDATES: u32 = 16;
/// Tenants that one claim looks through for channels to wake.
const SWEEPS: u32 = 16;
/// Rows that one statement wakes.
const BATCH: u64 = 500;
/// Statements for one tenant and claim: the next claim continues, so that a tenant with many
/// channels does not hold up those of others.
const BATCHES: usize = 4;
/// When a row that this release cannot read is tried again.
const UNREAD: Duration = Duration::from_secs(5);

/// The connection to a workspace as a text: workspace, state, and the number of its token.
const LINK: &str = "COALESCE(l.installation, '') || '/' || COALESCE(i.state, '') || '/' ||
    COALESCE(i.token_version, 0)";
/// After [`LINK`]: the state of the member list and of the mapping. It must be read before the
/// member list is.
const LIST: &str = "COALESCE(d.generation, 0) || '/' || COALESCE(d.change_sequence, 0) || '/' ||
    COALESCE(d.fields_sequence, 0) || '/' || t.version";
/// For a tenant `t`.
const JOINS: &str = "LEFT JOIN tenant_links l ON l.tenant = t.tenant
    LEFT JOIN installations i ON i.id = l.installation
    LEFT JOIN directory d ON d.installation = l.installation";

/// The whole state that channels depend on.
fn stamp() -> String {
    format!("{LINK} || '/' || {LIST}")
}

/// The present value of a state that the channel of an UPDATE depends on.
fn present(state: &str) -> String {
    format!("(SELECT {state} FROM tenants t {JOINS} WHERE t.tenant = channels.tenant)")
}

/// The right to work on one channel, until the lease has lapsed and another replica takes it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLease {
    pub id: ManagedChannelId,
    /// Fences: writes that name an older epoch change nothing.
    pub epoch: i64,
    /// As it was claimed.
    pub channel: ManagedChannel,
    /// The state of the workspace, the member list and the mapping.
    pub stamp: String,
    /// Slack reported a change of the channel that was not followed up yet.
    pub recheck: bool,
    /// The stamp is not the one that was last acted on: people may have appeared.
    pub appeared: bool,
    /// The part of the stamp that is about the connection.
    link: String,
    /// The events at the time of the claim.
    rechecks: i64,
}

/// The first channel that is due of each workspace, in the order of their turns. The state is an
/// expression, so that no index of states is searched, whatever the statistics say.
pub(in crate::store) fn due_first(backend: DbBackend) -> String {
    format!(
        "SELECT c.id, q.workspace
            FROM (
                SELECT COALESCE(l.installation, '') AS workspace,
                    (SELECT f.id
                        FROM channels f
                        WHERE f.tenant = s.tenant AND f.due_at <= {{now}} AND f.state || '' IN ({})
                        ORDER BY f.due_at
                        LIMIT 1) AS first
                FROM channel_sweeps s
                LEFT JOIN tenant_links l ON l.tenant = s.tenant) AS q
            JOIN channels c ON {}
            LEFT JOIN channel_turns w ON w.workspace = q.workspace
            ORDER BY COALESCE(w.turn, 0), c.due_at, c.id
            LIMIT {CANDIDATES}",
        known(),
        by_key(backend, "c.id", "q.first")
    )
}

/// The time of the first channel that is due. Its index is of an expression, so that the search
/// within a tenant never takes it, whatever the statistics say.
pub(in crate::store) const NEXT_DUE: &str = "SELECT due_at, {now}
    FROM channels
    WHERE due_at IS NOT NULL AND state IN ({known})
    ORDER BY due_at + 0
    LIMIT 1";

impl<'a> Channels<'a> {
    /// Takes a channel that is due. Of one workspace the longest due is first, and workspaces take
    /// turns. A channel that only a newer release can read is left to it.
    pub async fn claim(self, lease: Duration) -> Result<Option<ChannelLease>, Error> {
        self.store.wake_changed().await?;
        // Read first: the search below looks at every tenant with channels, and nearly always
        // nothing is due.
        if self.next_due().await?.is_none_or(|rest| !rest.is_zero()) {
            return Ok(None);
        }
        let due = due_first(self.store.reader().get_database_backend());
        let rows = sql::all(self.store.reader(), &due, params![]).await?;
        for row in &rows {
            let (id, workspace): (String, String) = (row.get(0)?, row.get(1)?);
            let Some(taken) = self.store.take_channel(&id, lease).await? else { continue };
            self.store.next_turn(&workspace).await?;
            if let Some(lease) = self.store.read_taken(&id, &taken).await? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    /// Extends a lease from now. `false`: it was lost.
    pub async fn extend(self, lease: &ChannelLease, by: Duration) -> Result<bool, Error> {
        let text = format!(
            "UPDATE channels
                SET lease_until = clock.now + $3, due_at = clock.now + $3, touched_at = clock.now
                FROM {CLOCK}
                WHERE id = $1 AND epoch = $2 AND lease_until > 0"
        );
        let values = params![lease.id.to_string(), lease.epoch, micros(by)];
        Ok(sql::execute(self.store.writer(), &text, values).await? > 0)
    }

    /// Ends a lease; the channel is due again at this time, or when something changes. It is due
    /// now if meanwhile the wish or the connection changed, or an event came, or if the stamp
    /// changed and members are not in Slack. `now`: the database's time as the holder knows it; if
    /// the clock was set back since, the channel waits no longer for that. `stamp_seen`: everything
    /// was done as of the stamp and the events of the lease, which are not reported again. `false`:
    /// the lease was lost.
    pub async fn end(
        self,
        lease: &ChannelLease,
        due: Option<Timestamp>,
        now: Timestamp,
        stamp_seen: bool,
    ) -> Result<bool, Error> {
        let text = format!(
            "UPDATE channels
                SET lease_until = 0,
                    touched_at = {{now}},
                    due_at = CASE
                        WHEN wish_version <> $3 OR recheck <> $4 OR $8 <> {link}
                            OR (waiting > 0 AND $5 <> {stamp}) THEN {{now}}
                        ELSE {{least}}($6, {{now}} + ($6 - $9)) END,
                    seen = CASE WHEN $7 = 1 THEN $5 ELSE seen END,
                    rechecked = CASE WHEN $7 = 1 THEN $4 ELSE rechecked END
                WHERE id = $1 AND epoch = $2 AND lease_until > 0",
            link = present(LINK),
            stamp = present(&stamp())
        );
        let values = params![
            lease.id.to_string(),
            lease.epoch,
            lease.channel.wish_version,
            lease.rechecks,
            lease.stamp.as_str(),
            due.map(|due| due.0),
            i64::from(stamp_seen),
            lease.link.as_str(),
            now.0,
        ];
        Ok(sql::execute(self.store.writer(), &text, values).await? > 0)
    }

    /// How long until a channel is due by time; `None`: none is.
    pub async fn next_due(self) -> Result<Option<Duration>, Error> {
        let text = NEXT_DUE.replace("{known}", &known());
        let Some(row) = sql::one(self.store.reader(), &text, params![]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let (due, now) = (columns.time()?, columns.time()?);
        Ok(Some(due.since(now)))
    }

    /// Notified when a call or an event of this process made a channel due. A hint: other processes
    /// do so too.
    pub fn woken(self) -> &'a Notify {
        &self.store.inner.channels_woken
    }
}

impl Store {
    /// Makes channels due of tenants whose workspace, member list or mapping changed.
    async fn wake_changed(&self) -> Result<(), Error> {
        const SEEN: &str = "UPDATE channel_sweeps SET seen = $2, link = $3 WHERE tenant = $1";
        let stamp = stamp();
        let find = format!(
            "SELECT s.tenant, {stamp}, {LINK}, s.link
                FROM channel_sweeps s
                JOIN tenants t ON t.tenant = s.tenant {JOINS}
                WHERE s.seen <> {stamp}
                LIMIT {SWEEPS}"
        );
        for row in sql::all(self.reader(), &find, params![]).await? {
            let (tenant, stamp): (String, String) = (row.get(0)?, row.get(1)?);
            let (link, before): (String, String) = (row.get(2)?, row.get(3)?);
            // Another workspace, or new scopes, may concern every channel.
            let which = if link == before { "AND waiting > 0" } else { "" };
            if self.wake_tenant(&tenant, which, &stamp).await? {
                // Afterwards, so that a replica that takes over after a crash wakes the rest.
                sql::execute(self.writer(), SEEN, params![tenant, stamp, link]).await?;
            }
        }
        Ok(())
    }

    /// Returns whether all are woken. Those on which a holder acted for this stamp are not.
    async fn wake_tenant(&self, tenant: &str, which: &str, stamp: &str) -> Result<bool, Error> {
        let text = &format!(
            "UPDATE channels
                SET due_at = {{greatest}}({{now}}, {LEASE}),
                    lease_until = {LEASE},
                    touched_at = {{now}}
                WHERE id IN (
                    SELECT id
                    FROM channels
                    WHERE tenant = $1 {which} AND seen <> $2
                        AND (due_at IS NULL OR due_at > {{greatest}}({{now}}, lease_until))
                    ORDER BY id
                    LIMIT {BATCH} {{for_update}})"
        );
        let values = &params![tenant, stamp];
        for _ in 0..BATCHES {
            let work = self.transaction(|tx| scoped(sql::execute(tx, text, values.clone())));
            if work.await? < BATCH {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `None`: another replica was faster, or it is no longer due. A holder that did not end its
    /// lease died, and nothing shows the effect of its last request: the channel is read again.
    async fn take_channel(&self, id: &str, lease: Duration) -> Result<Option<Row>, Error> {
        let text = format!(
            "UPDATE channels
                SET epoch = epoch + 1,
                    recheck = recheck + CASE
                        WHEN lease_until > 0 AND slack_channel IS NOT NULL THEN 1
                        ELSE 0 END,
                    lease_until = clock.now + $2,
                    due_at = clock.now + $2,
                    touched_at = clock.now
                FROM {CLOCK}
                WHERE id = $1 AND due_at <= clock.now AND state IN ({})
                RETURNING {COLUMNS}, epoch, recheck, rechecked, seen",
            known()
        );
        sql::one(self.writer(), &text, params![id, micros(lease)]).await
    }

    /// The workspace's next turn comes after those of all others.
    async fn next_turn(&self, workspace: &str) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO channel_turns (workspace, turn)
            SELECT $1, COALESCE(MAX(turn), 0) + 1
            FROM channel_turns
            WHERE TRUE
            ON CONFLICT (workspace) DO UPDATE
            SET turn = excluded.turn";
        sql::execute(self.writer(), SQL, params![workspace]).await.map(drop)
    }

    /// `None`: this release cannot read the row, which is given back for a while.
    async fn read_taken(&self, id: &str, row: &Row) -> Result<Option<ChannelLease>, Error> {
        const BACK: &str = "UPDATE channels
            SET lease_until = 0, due_at = {now} + $3, touched_at = {now}
            WHERE id = $1 AND epoch = $2";
        let mut columns = Columns::of(row);
        let channel = match SealedChannel::read(&mut columns) {
            Ok(sealed) => match self.open_channel(sealed).await {
                Err(error @ Error::Sealed(_)) => {
                    tracing::error!(%error, "A channel cannot be read.");
                    None
                }
                opened => opened?,
            },
            Err(_) => None,
        };
        let Some(channel) = channel else {
            self.pass_over(UnreadableRow::Channel, 1);
            let values = params![id, row.named::<i64>("epoch")?, micros(UNREAD)];
            sql::execute(self.writer(), BACK, values).await?;
            return Ok(None);
        };
        let (epoch, rechecks) = (columns.take()?, columns.take::<i64>()?);
        let (rechecked, seen): (i64, String) = (columns.take()?, columns.take()?);
        let (stamp, link) = self.channel_stamp(&channel.tenant).await?;
        Ok(Some(ChannelLease {
            id: channel.id,
            epoch,
            recheck: rechecks != rechecked,
            appeared: seen != stamp,
            channel,
            stamp,
            link,
            rechecks,
        }))
    }

    /// The stamp and its link; empty if there is no such tenant.
    async fn channel_stamp(&self, tenant: &TenantId) -> Result<(String, String), Error> {
        let text = format!("SELECT {}, {LINK} FROM tenants t {JOINS} WHERE t.tenant = $1", stamp());
        match sql::one(self.reader(), &text, params![tenant.as_str()]).await? {
            Some(row) => Ok((row.get(0)?, row.get(1)?)),
            None => Ok((String::new(), String::new())),
        }
    }
}
