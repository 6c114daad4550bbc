//! The pass that fetches custom profile fields: one per installation in the whole cluster.
//!
//! As with crawls, every holder of the lease gets its own epoch, and every write names it
//! (invariants I6, I10). The fetched fields are the checkpoint: a replica that takes over reads
//! which fields are stored, and continues with the rest.

use std::time::Duration;

use super::profile_fields::{MemberFields, WriteIf, bump, upsert};
use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::KeyScope;
use crate::store::{CustomFields, Error, Store};

/// The most characters of an error that are kept.
const ERROR_CHARS: usize = 500;
/// Members in one statement that deletes.
const CHUNK: usize = 500;

/// The right to fetch custom fields of one installation's members, until the lease has lapsed and
/// another replica takes it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldsLease {
    pub installation: InstallationId,
    /// Fences: writes that name an older epoch change nothing.
    pub epoch: i64,
    /// The previous holder left rows that were not yet published to snapshots.
    pub unpublished: bool,
}

/// The progress of fetching, for people to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldsProgress {
    /// Whether a mapping reads custom fields.
    pub needed: bool,
    /// Members who may match.
    pub wanted: i64,
    /// Those of them whose fields were fetched.
    pub fetched: i64,
    /// When the pass under way began, with or without a holder.
    pub started_at: Option<Timestamp>,
    /// The latest time of the next check whether there is something to fetch.
    pub due_at: Timestamp,
    /// Why the last pass stopped early; `None` if it did not.
    pub last_error: Option<String>,
}

/// A member list as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenList {
    pub generation: i64,
    pub change_sequence: i64,
}

/// How a pass ends.
#[derive(Debug, Clone)]
pub struct FieldsEnd {
    /// The next pass is due after this in any case.
    pub due_after: Duration,
    /// The next pass is due no sooner than this, if the member list changes.
    pub soon_after: Duration,
    /// The member list that it looked at; `None` keeps the stored one.
    pub seen: Option<SeenList>,
    pub needed: bool,
    pub error: Option<String>,
}

/// The condition for taking a row: it is due, or the member list changed.
const DUE: &str = "(p.due_at <= {now} OR (p.soon_at <= {now} AND EXISTS
    (SELECT 1 FROM directory m WHERE m.installation = p.installation AND
     (m.generation <> p.seen_generation OR m.change_sequence <> p.seen_change))))";

impl CustomFields<'_> {
    /// Connected installations in use, with a member list, whose custom fields no replica is
    /// fetching and that are due for a check; the longest overdue first.
    pub async fn due(self, limit: u32) -> Result<Vec<InstallationId>, Error> {
        let text = format!(
            "SELECT i.id
                FROM installations i
                JOIN directory d ON d.installation = i.id AND d.generation > 0
                LEFT JOIN field_passes p ON p.installation = i.id
                WHERE i.state = 'active' AND COALESCE(p.lease_until, 0) <= {{now}}
                    AND EXISTS (SELECT 1 FROM tenant_links l WHERE l.installation = i.id)
                    AND (p.installation IS NULL OR {DUE})
                ORDER BY COALESCE(p.due_at, 0), i.id
                LIMIT $1"
        );
        let rows = sql::all(self.store.reader(), &text, params![i64::from(limit)]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// The same of those that were checked or requested before, as nearly all were. However many
    /// workspaces there are, only those that are due are looked up.
    pub async fn booked(self, limit: u32) -> Result<Vec<InstallationId>, Error> {
        // As values, which PostgreSQL looks up row by row: it would join whole tables.
        let text = format!(
            "SELECT p.installation
                FROM field_passes p
                WHERE p.lease_until <= {{now}} AND {DUE}
                    AND (SELECT d.generation FROM directory d
                        WHERE d.installation = p.installation) > 0
                    AND (SELECT i.state FROM installations i WHERE i.id = p.installation) = 'active'
                    AND (SELECT MIN(l.tenant) FROM tenant_links l
                        WHERE l.installation = p.installation) IS NOT NULL
                ORDER BY p.due_at, p.installation
                LIMIT $1"
        );
        let rows = sql::all(self.store.reader(), &text, params![i64::from(limit)]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// Takes the lease if a check is due and no replica holds it.
    pub async fn acquire(
        self,
        installation: InstallationId,
        lease: Duration,
    ) -> Result<Option<FieldsLease>, Error> {
        let text = format!(
            "UPDATE field_passes AS p SET epoch = epoch + 1, lease_until = {{now}} + $2,
                   started_at = {{now}}
                WHERE p.installation = $1 AND p.lease_until <= {{now}} AND {DUE}
                RETURNING epoch, unpublished"
        );
        self.store.ensure_pass(installation).await?;
        let values = params![installation.to_string(), micros(lease)];
        let row = sql::one(self.store.writer(), &text, values).await?;
        row.map(|row| {
            let unpublished = row.get::<i32>(1)? != 0;
            Ok(FieldsLease { installation, epoch: row.get(0)?, unpublished })
        })
        .transpose()
    }

    /// Makes a check for fields to fetch due soon, after a changed mapping or a connect.
    pub async fn request(self, installation: InstallationId) -> Result<(), Error> {
        const SQL: &str = "UPDATE field_passes SET due_at = 0 WHERE installation = $1";
        self.store.ensure_pass(installation).await?;
        sql::execute(self.store.writer(), SQL, params![installation.to_string()]).await?;
        Ok(())
    }

    /// Stores how much there is to do, and extends the lease to `extend` from now. `false`: the
    /// lease was lost.
    pub async fn plan(
        self,
        lease: &FieldsLease,
        wanted: i64,
        fetched: i64,
        extend: Duration,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE field_passes
            SET needed = 1, wanted = $3, fetched = $4,
                lease_until = {now} + $5
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        let id = lease.installation.to_string();
        let values = params![id, lease.epoch, wanted, fetched, micros(extend)];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Stores one member's fields and extends the lease to `extend` from now. `seen` is when they
    /// were last fetched: an answer that arrived another way since then stays. `false`: the lease
    /// was lost; nothing was stored.
    pub async fn save(
        self,
        lease: &FieldsLease,
        fields: &MemberFields,
        seen: Option<Timestamp>,
        extend: Duration,
    ) -> Result<bool, Error> {
        const CHECK: &str = "UPDATE field_passes
            SET lease_until = {now} + $3,
                fetched = fetched + $4, unpublished = 1
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        let keys = self.store.keys(&KeyScope::Installation(lease.installation)).await?;
        let (keys, new) = (&keys, i64::from(seen.is_none()));
        let values = &params![lease.installation.to_string(), lease.epoch, micros(extend), new];
        self.store
            .transaction(|tx| {
                scoped(async move {
                    if sql::execute(tx, CHECK, values.clone()).await? == 0 {
                        return Ok(false);
                    }
                    upsert(tx, keys, lease.installation, fields, WriteIf::Unchanged(seen)).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// Makes snapshots read the saved fields. `false`: the lease was lost.
    pub async fn publish(self, lease: &FieldsLease) -> Result<bool, Error> {
        const DONE: &str = "UPDATE field_passes
            SET unpublished = 0
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        let values = &params![lease.installation.to_string(), lease.epoch];
        let published = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    if sql::execute(tx, DONE, values.clone()).await? == 0 {
                        return Ok(false);
                    }
                    bump(tx, lease.installation).await?;
                    Ok(true)
                })
            })
            .await?;
        if published {
            self.store.hint(lease.installation);
        }
        Ok(published)
    }

    /// Deletes the fields of members who are gone. `false`: the lease was lost.
    pub async fn forget(self, lease: &FieldsLease, members: &[String]) -> Result<bool, Error> {
        for chunk in members.chunks(CHUNK) {
            let text = &format!(
                "DELETE FROM profile_fields WHERE installation = $1 AND slack_user_id IN ({})",
                placeholders(2, chunk.len())
            );
            let mut values = params![lease.installation.to_string()];
            values.extend(chunk.iter().map(|member| sea_orm::Value::from(member.as_str())));
            let values = &values;
            let work = self.store.transaction(|tx| {
                scoped(async move {
                    let held = held(tx, lease).await?;
                    if held {
                        sql::execute(tx, text, values.clone()).await?;
                    }
                    Ok(held)
                })
            });
            if !work.await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the lease. `false`: it was already lost.
    pub async fn end(self, lease: &FieldsLease, end: &FieldsEnd) -> Result<bool, Error> {
        const SQL: &str = "UPDATE field_passes
            SET lease_until = 0,
                started_at = NULL,
                due_at = {now} + $3,
                soon_at = {now} + $4,
                needed = $5,
                last_error = $6,
                seen_generation = COALESCE($7, seen_generation),
                seen_change = COALESCE($8, seen_change)
            WHERE installation = $1 AND epoch = $2 AND lease_until > 0";
        let error = end.error.as_ref();
        let values = params![
            lease.installation.to_string(),
            lease.epoch,
            micros(end.due_after),
            micros(end.soon_after),
            i32::from(end.needed),
            error.map(|error| error.chars().take(ERROR_CHARS).collect::<String>()),
            end.seen.map(|list| list.generation),
            end.seen.map(|list| list.change_sequence),
        ];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// `None` if no pass ever ran or was requested.
    pub async fn progress(
        self,
        installation: InstallationId,
    ) -> Result<Option<FieldsProgress>, Error> {
        const SQL: &str = "SELECT needed, wanted, fetched, started_at, due_at, last_error
            FROM field_passes WHERE installation = $1";
        let row = sql::one(self.store.reader(), SQL, params![installation.to_string()]).await?;
        let Some(row) = row else { return Ok(None) };
        let mut columns = Columns::of(&row);
        Ok(Some(FieldsProgress {
            needed: columns.take::<i32>()? != 0,
            wanted: columns.take()?,
            fetched: columns.take()?,
            started_at: columns.optional_time()?,
            due_at: columns.time()?,
            last_error: columns.take()?,
        }))
    }
}

impl Store {
    async fn ensure_pass(&self, installation: InstallationId) -> Result<(), Error> {
        const SQL: &str =
            "INSERT INTO field_passes (installation) VALUES ($1) ON CONFLICT DO NOTHING";
        sql::execute(self.writer(), SQL, params![installation.to_string()]).await?;
        Ok(())
    }
}

/// Whether the lease still holds; no replica takes it over before the transaction ends.
async fn held(tx: &Tx, lease: &FieldsLease) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 FROM field_passes
        WHERE installation = $1 AND epoch = $2 AND lease_until > 0 {for_update}";
    let values = params![lease.installation.to_string(), lease.epoch];
    Ok(sql::one(tx, SQL, values).await?.is_some())
}
