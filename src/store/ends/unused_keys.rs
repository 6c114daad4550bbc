//! Removes the keys of people who are gone: nothing is left that such a key encrypts.
//!
//! A write may be about to use the key. If so, it either holds a lock on the key's row, which is
//! then skipped; or it has committed, and its rows are found; or it comes later, finds no key, and
//! encrypts again with a new one (`person_keys`). Entries of the audit trail and versions of
//! templates are written without this check. Their use of a key is recorded beforehand
//! ([`NOTED_EVERY`]), and a key that was used recently is kept.

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Value};

use crate::domain::ids::TenantId;
use crate::domain::time::micros;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::KeyScope;
use crate::store::seal::person_keys::{NOTED_EVERY, PersonKeyId, hex, place_of_name};
use crate::store::{Ends, Error, Store};

/// A key's place in the table: the position from which a scan of all keys continues.
pub type KeyPosition = (String, Vec<u8>);

/// A key that was used within this time is kept: longer than a call takes after its use of a key
/// was found recorded.
const KEPT: Duration = NOTED_EVERY.saturating_mul(2);

/// A key that was not used lately, and its person.
struct Unused {
    tenant: String,
    user: String,
    id: PersonKeyId,
}

impl Unused {
    fn row(&self) -> [Value; 3] {
        [self.tenant.as_str().into(), self.user.as_str().into(), self.id.clone().into()]
    }
}

/// The columns of [`Unused::row`].
const COLUMNS: [Column; 3] = [Column::Text, Column::Text, Column::Bytes];

/// Whether no row refers to a key, given as in [`COLUMNS`]: neither of its person, nor of an entry
/// of the audit trail, nor of a version of a template.
const UNREFERENCED: &str = "
    NOT EXISTS (SELECT 1 FROM people p WHERE p.tenant = column1 AND p.user_id = column2)
    AND NOT EXISTS (
        SELECT 1 FROM deliveries d WHERE d.tenant = column1 AND d.user_id = column2)
    AND NOT EXISTS (
        SELECT 1 FROM deliveries_history h WHERE h.tenant = column1 AND h.user_id = column2)
    AND NOT EXISTS (
        SELECT 1 FROM audit_inbox i
        WHERE i.tenant = column1 AND (i.actor_key = column3 OR i.subject_key = column3))
    AND NOT EXISTS (
        SELECT 1 FROM template_versions v WHERE v.tenant = column1 AND v.actor_key = column3)
    AND NOT EXISTS (
        SELECT 1 FROM audit_log a WHERE a.tenant = column1 AND a.actor_key = column3)
    AND NOT EXISTS (
        SELECT 1 FROM audit_log b WHERE b.tenant = column1 AND b.subject_key = column3)";

impl Ends<'_> {
    /// Checks up to `limit` keys of people after `after` and removes those that nothing refers to
    /// and that were not used for two days. Returns how many, and where to continue; `None`: the
    /// scan is complete. Several replicas may do this at once.
    pub async fn forget_keys(
        self,
        after: Option<&KeyPosition>,
        limit: u32,
    ) -> Result<(u64, Option<KeyPosition>), Error> {
        let text = format!(
            "SELECT tenant, person, id, name,
                    CASE
                        WHEN name IS NOT NULL AND used_at <= {{now}} - CAST($1 AS bigint) THEN 1
                        ELSE 0 END
                FROM person_keys
                WHERE (tenant, person) > ($2, $3)
                ORDER BY tenant, person
                LIMIT {limit}"
        );
        let (tenant, person) = after.cloned().unwrap_or_default();
        let values = params![micros(KEPT), tenant, person];
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let (mut unused, mut last) = (Vec::new(), None);
        for row in &rows {
            let mut columns = Columns::of(row);
            let (tenant, person): KeyPosition = (columns.take()?, columns.take()?);
            let (id, name) = (columns.take()?, columns.take::<Option<Vec<u8>>>()?);
            if let Some(name) = name.filter(|_| columns.take::<i32>().is_ok_and(|old| old == 1)) {
                let user = self.store.person_of_key(&tenant, &person, &name).await?;
                unused.extend(user.map(|user| Unused { tenant: tenant.clone(), user, id }));
            }
            last = Some((tenant, person));
        }
        let last = last.filter(|_| rows.len() == limit as usize);
        let unused = self.store.unreferenced(unused).await?;
        if unused.is_empty() {
            return Ok((0, last));
        }
        let unused = &unused;
        let removed = self.store.transaction(|tx| scoped(remove(tx, unused))).await?;
        Ok((removed, last))
    }
}

impl Store {
    /// The user id of a key's person. `None`: it does not decrypt, so the key is left.
    async fn person_of_key(
        &self,
        tenant: &str,
        person: &[u8],
        name: &[u8],
    ) -> Result<Option<String>, Error> {
        let Ok(tenant) = TenantId::parse(tenant) else { return Ok(None) };
        let row = hex(person);
        match self.unseal(&KeyScope::Tenant(tenant), &place_of_name(&row), name).await {
            Ok(user) => Ok(String::from_utf8(user.to_vec()).ok()),
            Err(Error::Sealed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Those that nothing refers to, before any row is locked.
    async fn unreferenced(&self, unused: Vec<Unused>) -> Result<Vec<Unused>, Error> {
        let backend = self.reader().get_database_backend();
        let mut left = HashSet::new();
        for (table, values) in given(backend, COLUMNS, unused.iter().map(Unused::row).collect()) {
            let text = format!("SELECT column3 FROM {table} WHERE {UNREFERENCED}");
            for row in sql::all(self.reader(), &text, values).await? {
                left.insert(row.get::<PersonKeyId>(0)?);
            }
        }
        Ok(unused.into_iter().filter(|key| left.contains(&key.id)).collect())
    }
}

/// Locks the rows, except those in use, and checks again in another statement: it sees the rows of
/// every write that held one of the locks before.
async fn remove(tx: &Tx, unused: &[Unused]) -> Result<u64, Error> {
    let backend = tx.get_database_backend();
    let mut locked = HashSet::new();
    for (table, mut values) in given(backend, COLUMNS, unused.iter().map(Unused::row).collect()) {
        let kept = values.len() + 1;
        values.push(micros(KEPT).into());
        let text = format!(
            "SELECT id
                FROM person_keys
                WHERE (tenant, id) IN (SELECT column1, column3 FROM {table})
                    AND used_at <= {{now}} - CAST(${kept} AS bigint)
                ORDER BY tenant, person {{skip_locked}}"
        );
        for row in sql::all(tx, &text, values).await? {
            locked.insert(row.get::<PersonKeyId>(0)?);
        }
    }
    let rows = unused.iter().filter(|key| locked.contains(&key.id)).map(Unused::row);
    let mut removed = 0;
    for (table, values) in given(backend, COLUMNS, rows.collect()) {
        let text = format!(
            "DELETE FROM person_keys
                WHERE (tenant, id) IN (SELECT column1, column3 FROM {table} WHERE {UNREFERENCED})"
        );
        removed += sql::execute(tx, &text, values).await?;
    }
    Ok(removed)
}
