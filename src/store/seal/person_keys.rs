//! A separate data key per person, for data that cannot be rewritten when the person is deleted:
//! their part in the audit trail. Erasing the key erases that data.
//!
//! The key is wrapped by the tenant's key and found by a keyed hash of the user id, so the table
//! identifies no person. Keys are not cached in memory: an erased key must not decrypt anything on
//! any replica.

use std::collections::{BTreeSet, HashMap};

use sea_orm::Value;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, Key};
use super::data_keys::{Scope, ScopeKeys, SealedCell};
use crate::domain::ids::{TenantId, UserId};
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::Tx;
use crate::store::{Error, Store};

/// Names a key; random, so that it says nothing about the person.
pub(in crate::store) type PersonKeyId = Vec<u8>;

const ID_BYTES: usize = 16;

impl Store {
    /// The key of a person, made if it is missing. May write, so never use it inside a transaction.
    pub(in crate::store) async fn person_key(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<(PersonKeyId, ScopeKeys), Error> {
        const FIND: &str = "SELECT id, wrapped FROM person_keys WHERE tenant = $1 AND person = $2";
        const ADD: &str = "INSERT INTO person_keys (tenant, person, id, wrapped, created_at)
            VALUES ($1, $2, $3, $4, {now}) ON CONFLICT DO NOTHING";
        let keys = self.keys(&Scope::Tenant(tenant.clone())).await?;
        let find = params![tenant.as_str(), hash(&keys, user)?];
        if let Some(row) = sql::one(self.reader(), FIND, find.clone()).await? {
            return opened(&keys, tenant, row.get(0)?, &row.get::<Vec<u8>>(1)?);
        }
        let id: [u8; ID_BYTES] = rand::random();
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        rand::fill(&mut key[..]);
        let wrapped = keys.seal(&place(&hex(&id)), &key[..])?;
        let mut values = find.clone();
        values.extend(params![id.to_vec(), wrapped]);
        sql::execute(self.writer(), ADD, values).await?;
        // The first insert decides.
        match sql::one(self.reader(), FIND, find).await? {
            Some(row) => opened(&keys, tenant, row.get(0)?, &row.get::<Vec<u8>>(1)?),
            // It was erased at once: nothing encrypted with this key can be decrypted.
            None => Ok((id.to_vec(), scope_keys(tenant, &id, key))),
        }
    }

    /// Those of these keys that were not erased.
    pub(in crate::store) async fn person_keys(
        &self,
        tenant: &TenantId,
        ids: &BTreeSet<PersonKeyId>,
    ) -> Result<HashMap<PersonKeyId, ScopeKeys>, Error> {
        let keys = self.keys(&Scope::Tenant(tenant.clone())).await?;
        let mut found = HashMap::new();
        let ids: Vec<_> = ids.iter().collect();
        for chunk in ids.chunks(500) {
            let among = placeholders(2, chunk.len());
            let text = format!(
                "SELECT id, wrapped FROM person_keys WHERE tenant = $1 AND id IN ({among})"
            );
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|id| Value::from((*id).clone())));
            for row in sql::all(self.reader(), &text, values).await? {
                let (id, key) = opened(&keys, tenant, row.get(0)?, &row.get::<Vec<u8>>(1)?)?;
                found.insert(id, key);
            }
        }
        Ok(found)
    }
}

/// Erases a person's key; `keys` are the tenant's.
pub(in crate::store) async fn erase(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM person_keys WHERE tenant = $1 AND person = $2";
    sql::execute(tx, SQL, params![tenant.as_str(), hash(keys, user)?]).await.map(drop)
}

fn opened(
    keys: &ScopeKeys,
    tenant: &TenantId,
    id: PersonKeyId,
    wrapped: &[u8],
) -> Result<(PersonKeyId, ScopeKeys), Error> {
    let plain = keys.open(&place(&hex(&id)), wrapped)?;
    let key: [u8; KEY_BYTES] = plain
        .as_slice()
        .try_into()
        .map_err(|_| Error::Sealed("a person's key: its row was altered".into()))?;
    let key = scope_keys(tenant, &id, Zeroizing::new(key));
    Ok((id, key))
}

fn scope_keys(tenant: &TenantId, id: &[u8], key: Key) -> ScopeKeys {
    ScopeKeys::of_person(format!("person:{tenant}:{}", hex(id)), key)
}

fn hash(keys: &ScopeKeys, user: &UserId) -> Result<Vec<u8>, Error> {
    keys.mac("person", &[user.as_str().as_bytes()]).map(|mac| mac.to_vec())
}

fn place(row: &str) -> SealedCell<'_> {
    SealedCell { table: "person_keys", row, column: "wrapped" }
}

/// Two digits for each byte.
pub(in crate::store) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
