//! Entries: written with the changes they record, and read page by page.
//!
//! An entry goes into `audit_inbox` in the transaction of the change, which locks nothing that
//! another call needs. Its information about people is encrypted with their own keys
//! (`person_keys`); the rest, except the columns needed for searching, with the tenant's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::Value;
use tokio::sync::Notify;

use crate::domain::access::audit::{
    AuditDetail, AuditOutcome, AuditPerson, AuditRecord, Entry, ShownPerson,
};
use crate::domain::ids::TenantId;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Column, Columns, NewCell, NewRows};
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::seal::data_keys::{KeyScope, NAME_KEPT, SealedCell};
use crate::store::seal::person_keys::PersonKeyId;
use crate::store::{Audit, Error, Store};

/// The columns of an entry, in the inbox and in the log.
pub(super) const COLUMNS: &str = "id, tenant, at, principal, action, outcome, reason, times, \
    detail, actor, actor_key, subject, subject_key";

/// An entry that is encrypted and ready to be written.
pub(in crate::store) struct Prepared([NewCell; 12]);

/// Which entries; all conditions that are set must hold.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub principal: Option<String>,
    pub action: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
}

/// A position in the list: the last entry of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPosition {
    pub at: Timestamp,
    pub id: uuid::Uuid,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditRecord>,
    /// Where the next page begins; `None`: there are no more.
    pub more_after: Option<AuditPosition>,
}

impl<'a> Audit<'a> {
    /// Notified after a commit that wrote entries. A hint within this process.
    pub fn written(self) -> &'a Notify {
        &self.store.inner.audited
    }

    /// Writes entries for calls that changed nothing; all or none. An entry for a tenant that does
    /// not exist is stored without a tenant and names that tenant in its detail.
    pub async fn write(self, entries: &[Entry]) -> Result<(), Error> {
        let mut prepared = Vec::with_capacity(entries.len());
        for entry in entries {
            let known = match &entry.tenant {
                Some(tenant) => self.store.tenancy().tenant_exists(tenant).await?,
                None => true,
            };
            prepared.push(if known {
                self.store.seal_entry(entry).await?
            } else {
                self.store.seal_entry(&of_no_tenant(entry.clone())).await?
            });
        }
        let prepared = &prepared;
        self.store.transaction(|tx| scoped(insert(tx, prepared))).await?;
        self.store.inner.audited.notify_one();
        Ok(())
    }

    /// Records that a key was used just now. Returns whether it had been unused for `silence`, or
    /// had never been used.
    pub async fn note_use(
        self,
        principal: &str,
        key: &str,
        silence: Duration,
    ) -> Result<bool, Error> {
        const AWAY: &str = "INSERT INTO key_uses (principal, key, seen_at) VALUES ($1, $2, {now})
            ON CONFLICT (principal, key) DO UPDATE SET seen_at = excluded.seen_at
            WHERE key_uses.seen_at <= excluded.seen_at - $3 RETURNING 1";
        const SEEN: &str = "UPDATE key_uses SET seen_at = {now} WHERE principal = $1 AND key = $2";
        let values = params![principal, key, micros(silence)];
        if sql::one(self.store.writer(), AWAY, values).await?.is_some() {
            return Ok(true);
        }
        sql::execute(self.store.writer(), SEEN, params![principal, key]).await?;
        Ok(false)
    }

    /// Up to `limit` entries of a tenant (`None`: of no tenant) after a position.
    pub async fn list(
        self,
        tenant: Option<&TenantId>,
        filter: &AuditFilter,
        after: Option<AuditPosition>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let mut values = params![tenant.map_or("", TenantId::as_str)];
        let mut which = "tenant = $1".to_owned();
        let mut bind = |text: &str, value: Value| {
            values.push(value);
            which.push_str(&text.replace("{}", &format!("${}", values.len())));
        };
        if let Some(principal) = &filter.principal {
            bind(" AND principal = {}", principal.as_str().into());
        }
        if let Some(action) = &filter.action {
            bind(" AND action = {}", action.as_str().into());
        }
        if let Some(from) = filter.from {
            bind(" AND at >= {}", from.0.into());
        }
        if let Some(before) = filter.before {
            bind(" AND at < {}", before.0.into());
        }
        if let Some(position) = after {
            bind(" AND (at, id) < ({}", position.at.0.into());
            bind(", {})", position.id.to_string().into());
        }
        let text = format!(
            "SELECT {COLUMNS} FROM audit_log WHERE {which} ORDER BY at DESC, id DESC LIMIT {}",
            limit + 1
        );
        let mut rows = sql::all(self.store.reader(), &text, values).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let sealed: Vec<_> = rows.iter().filter_map(|row| Sealed::read(row).ok()).collect();
        self.store.pass_over(UnreadableRow::Audit, (rows.len() - sealed.len()) as u64);
        let mut positions = rows.iter().rev().filter_map(|row| position(row).ok());
        let more_after = positions.next().filter(|_| more);
        Ok(AuditPage { entries: self.store.open_entries(tenant, sealed).await?, more_after })
    }
}

impl Store {
    /// A clone whose next change writes this entry in the same transaction. Use it for one change.
    pub async fn noting(&self, entry: &Entry) -> Result<Self, Error> {
        self.noting_all(std::slice::from_ref(entry)).await
    }

    /// The same for a change that has several entries.
    pub async fn noting_all(&self, entries: &[Entry]) -> Result<Self, Error> {
        let mut notes = Vec::with_capacity(entries.len());
        for entry in entries {
            notes.push(self.seal_entry(entry).await?);
        }
        Ok(Self { inner: Arc::clone(&self.inner), notes: notes.into() })
    }

    /// Writes the entries of this clone, if it has any.
    pub(in crate::store) async fn record(&self, tx: &Tx) -> Result<(), Error> {
        insert(tx, &self.notes).await
    }

    /// Wakes the task that appends to the chain, after a commit.
    pub(in crate::store) fn recorded(&self) {
        if !self.notes.is_empty() {
            self.inner.audited.notify_one();
        }
    }

    async fn open_entries(
        &self,
        tenant: Option<&TenantId>,
        sealed: Vec<Sealed>,
    ) -> Result<Vec<AuditRecord>, Error> {
        let scope = tenant.map_or(KeyScope::Audit, |tenant| KeyScope::Tenant(tenant.clone()));
        let (mut people, mut lost) = (std::collections::HashMap::new(), None);
        if let Some(tenant) = tenant {
            lost = self.unreadable_until(tenant).await?;
            let readable = sealed.iter().filter(|entry| Some(entry.record.at) > lost);
            let ids = readable.flat_map(|entry| [&entry.actor.1, &entry.subject.1]);
            let ids: BTreeSet<_> = ids.filter(|id| !id.is_empty()).cloned().collect();
            if !ids.is_empty() {
                people = self.person_keys(tenant, &ids).await?;
            }
        }
        let mut entries = Vec::with_capacity(sealed.len());
        for entry in sealed {
            if Some(entry.record.at) <= lost {
                entries.push(entry.without_keys());
                continue;
            }
            let shown = |(bytes, id): &(Vec<u8>, PersonKeyId), column| {
                if id.is_empty() {
                    return Ok(ShownPerson::Nobody);
                }
                let Some(key) = people.get(id) else { return Ok(ShownPerson::Erased) };
                let plain = key.open(&place(&entry.id, column), bytes)?;
                serde_json::from_slice(&plain).map(ShownPerson::Person).map_err(|_| damaged())
            };
            let detail = self.unseal(&scope, &place(&entry.id, "detail"), &entry.detail).await?;
            entries.push(AuditRecord {
                actor: shown(&entry.actor, "actor")?,
                subject: shown(&entry.subject, "subject")?,
                detail: serde_json::from_slice(&detail).map_err(|_| damaged())?,
                ..entry.record
            });
        }
        Ok(entries)
    }

    /// The time up to which entries have lost their keys, because a tenant of this name was
    /// deleted. Calls that were under way then may have written a few more, with keys in memory.
    async fn unreadable_until(&self, tenant: &TenantId) -> Result<Option<Timestamp>, Error> {
        const SQL: &str = "SELECT erased_at FROM erased_tenants WHERE tenant = $1";
        let row = sql::one(self.reader(), SQL, params![tenant.as_str()]).await?;
        row.map(|row| Ok(Timestamp(row.get(0)?).plus(NAME_KEPT))).transpose()
    }

    async fn seal_entry(&self, entry: &Entry) -> Result<Prepared, Error> {
        let scope = entry.tenant.clone().map_or(KeyScope::Audit, KeyScope::Tenant);
        let keys = self.keys(&scope).await?;
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        let detail = keys.seal(&place(&id, "detail"), &json(&entry.detail)?)?;
        let actor = entry.actor.clone().map(|user| AuditPerson { user, detail: String::new() });
        let (actor, actor_key) = self.seal_person(entry, actor.as_ref(), &id, "actor").await?;
        let subject = entry.subject.as_ref();
        let (subject, subject_key) = self.seal_person(entry, subject, &id, "subject").await?;
        let times = i64::try_from(entry.times).unwrap_or(i64::MAX);
        let tenant = entry.tenant.as_ref().map_or("", TenantId::as_str);
        let principal = entry.principal.as_ref().map_or("", |principal| principal.as_str());
        Ok(Prepared([
            NewCell("id", Column::Text, id.into()),
            NewCell("tenant", Column::Text, tenant.into()),
            NewCell("principal", Column::Text, principal.into()),
            NewCell("action", Column::Text, entry.action.as_str().into()),
            NewCell("outcome", Column::Text, entry.outcome.code().into()),
            NewCell("reason", Column::Text, entry.reason.as_str().into()),
            NewCell("times", Column::Number, times.into()),
            NewCell("detail", Column::Bytes, detail.into()),
            NewCell("actor", Column::Bytes, actor.into()),
            NewCell("actor_key", Column::Bytes, actor_key.into()),
            NewCell("subject", Column::Bytes, subject.into()),
            NewCell("subject_key", Column::Bytes, subject_key.into()),
        ]))
    }

    /// Encrypts it for this entry; returns it with the key's id. Empty if there is no person or no
    /// tenant.
    async fn seal_person(
        &self,
        entry: &Entry,
        person: Option<&AuditPerson>,
        id: &str,
        column: &'static str,
    ) -> Result<(Vec<u8>, PersonKeyId), Error> {
        let (Some(person), Some(tenant)) = (person, &entry.tenant) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let (key_id, key) = self.person_key(tenant, &person.user).await?;
        Ok((key.seal(&place(id, column), &json(person)?)?, key_id))
    }
}

/// An entry as stored in its row.
struct Sealed {
    id: String,
    record: AuditRecord,
    detail: Vec<u8>,
    actor: (Vec<u8>, PersonKeyId),
    subject: (Vec<u8>, PersonKeyId),
}

impl Sealed {
    /// The entry of a deleted tenant: its people and its detail cannot be decrypted any more.
    fn without_keys(self) -> AuditRecord {
        let person = |id: &PersonKeyId| {
            if id.is_empty() { ShownPerson::Nobody } else { ShownPerson::Erased }
        };
        let (actor, subject) = (person(&self.actor.1), person(&self.subject.1));
        AuditRecord { actor, subject, ..self.record }
    }

    fn read(row: &Row) -> Result<Self, Error> {
        let mut columns = Columns::of(row);
        let id: String = columns.take()?;
        let _tenant: String = columns.take()?;
        let record = AuditRecord {
            id: uuid::Uuid::try_parse(&id).map_err(|_| damaged())?,
            at: columns.time()?,
            principal: columns.take()?,
            action: columns.take()?,
            outcome: columns.code(AuditOutcome::from_code)?,
            reason: columns.take()?,
            times: u64::try_from(columns.take::<i64>()?).unwrap_or_default(),
            actor: ShownPerson::Nobody,
            subject: ShownPerson::Nobody,
            detail: AuditDetail::default(),
        };
        let detail = columns.take()?;
        let actor = (columns.take()?, columns.take()?);
        let subject = (columns.take()?, columns.take()?);
        Ok(Self { id, record, detail, actor, subject })
    }
}

/// The position of a row of [`COLUMNS`].
fn position(row: &Row) -> Result<AuditPosition, Error> {
    let id = uuid::Uuid::try_parse(&row.get::<String>(0)?).map_err(|_| damaged())?;
    Ok(AuditPosition { at: Timestamp(row.get(2)?), id })
}

async fn insert(tx: &Tx, entries: &[Prepared]) -> Result<(), Error> {
    use sea_orm::ConnectionTrait as _;
    let rows = entries.iter().map(|entry| entry.0.clone()).collect();
    let Some(rows) = NewRows::of(tx.get_database_backend(), rows) else { return Ok(()) };
    let (names, chosen) = (rows.names(), rows.values());
    for (table, values) in rows.tables {
        let text =
            format!("INSERT INTO audit_inbox ({names}, at) SELECT {chosen}, {{now}} FROM {table}");
        sql::execute(tx, &text, values).await?;
    }
    Ok(())
}

/// The same entry without its tenant, for a tenant that does not exist or is out of the caller's
/// reach.
fn of_no_tenant(entry: Entry) -> Entry {
    let object = entry.tenant.map(|tenant| format!("tenant:{tenant}")).unwrap_or_default();
    let detail = AuditDetail { object, ..entry.detail };
    Entry { tenant: None, actor: None, subject: None, detail, ..entry }
}

fn place<'a>(row: &'a str, column: &'static str) -> SealedCell<'a> {
    SealedCell { table: "audit", row, column }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|_| Error::Bug("an entry cannot be converted to JSON".into()))
}

fn damaged() -> Error {
    Error::Bug("a stored entry of the audit trail cannot be parsed".into())
}
