//! The keys that one write or one read needs: those of its people, and the tenant's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::ConnectionTrait as _;
use zeroize::Zeroizing;

use super::{
    Need, NewKey, PersonHash, PersonKeyId, WrappedKey, altered, find_people, insert, key_lives,
    person_hash,
};
use crate::domain::ids::{TenantId, UserId};
use crate::store::database::group::breathe;
use crate::store::database::rows::{Column, given};
use crate::store::database::sql;
use crate::store::database::transaction::Tx;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell, person_of};
use crate::store::{Error, Store};

/// People's keys by their ids, to open values.
pub(in crate::store) type KeysById = HashMap<PersonKeyId, Arc<ScopeKeys>>;

/// The keys that seal the values of one write.
pub(in crate::store) struct SealingKeys {
    tenant: Arc<ScopeKeys>,
    /// `None`: the person's key is damaged.
    people: HashMap<UserId, Option<Arc<ScopeKeys>>>,
    /// Whether people's keys seal; otherwise they only open, and the tenant's seals.
    in_use: bool,
}

impl SealingKeys {
    /// The tenant's, for data about several people.
    pub(in crate::store) fn tenant(&self) -> &ScopeKeys {
        &self.tenant
    }

    /// The key for data about this person only; without a person, for a channel, the tenant's.
    /// [`Error::Sealed`]: the person's key is damaged.
    pub(in crate::store) fn of(&self, user: Option<&UserId>) -> Result<&ScopeKeys, Error> {
        let Some(user) = user.filter(|_| self.in_use) else { return Ok(&self.tenant) };
        match self.people.get(user) {
            Some(Some(key)) => Ok(key),
            Some(None) => Err(altered()),
            None => Err(Error::Bug("a person's key was not fetched".into())),
        }
    }

    /// Also with the key of this person, which is being erased.
    pub(in crate::store) fn and(mut self, user: &UserId, key: Option<&Arc<ScopeKeys>>) -> Self {
        if let Some(key) = key {
            self.people.insert(user.clone(), Some(Arc::clone(key)));
        }
        self
    }

    /// Opens a value about this person, in either layout.
    pub(in crate::store) fn open(
        &self,
        user: Option<&UserId>,
        place: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let theirs = person_of(sealed).and(user).and_then(|user| self.people.get(user));
        theirs.and_then(Option::as_ref).unwrap_or(&self.tenant).open(place, sealed)
    }
}

impl Store {
    /// The keys for a write about these people, made if missing. May write, so never use it inside
    /// a transaction. The write must check that the keys still exist ([`key_lives`]).
    pub(in crate::store) async fn keys_for(
        &self,
        tenant: &TenantId,
        users: &[&UserId],
    ) -> Result<SealingKeys, Error> {
        self.known_keys(tenant, users, Need::Made).await
    }

    /// The key for a value about this person that is of no use after the person's deletion; without
    /// a person, the tenant's. `None`: the person has no key.
    pub(in crate::store) async fn existing_key(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
    ) -> Result<Option<Arc<ScopeKeys>>, Error> {
        let users: Vec<_> = user.into_iter().collect();
        let mut keys = self.known_keys(tenant, &users, Need::Stored).await?;
        Ok(match user.filter(|_| keys.in_use) {
            Some(user) => keys.people.remove(user).flatten(),
            None => Some(keys.tenant),
        })
    }

    /// The keys of these people, from memory if they are there.
    async fn known_keys(
        &self,
        tenant: &TenantId,
        users: &[&UserId],
        need: Need,
    ) -> Result<SealingKeys, Error> {
        let keys = self.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let cached = &self.inner.person_keys;
        let in_use = cached.in_use;
        if !in_use {
            return Ok(SealingKeys { tenant: keys, people: HashMap::new(), in_use });
        }
        let mut people = HashMap::with_capacity(users.len());
        let mut missing = HashMap::new();
        for (number, user) in users.iter().copied().enumerate() {
            breathe(number).await;
            let person = person_hash(&keys, user)?;
            if let Some(key) = cached.by_person.get(&person).await {
                people.insert(user.clone(), Some(key));
            } else {
                missing.insert(person, user);
            }
        }
        if !missing.is_empty() {
            let asked = missing.iter().map(|(person, user)| (*person, (*user).clone())).collect();
            for (person, key) in self.stored_keys(tenant, &keys, asked, need).await? {
                cached.keep(tenant, person, &key).await;
                if let Some(user) = missing.get(&person) {
                    people.insert((*user).clone(), Some(key));
                }
            }
        }
        Ok(SealingKeys { tenant: keys, people, in_use })
    }

    /// The keys of these people within a transaction, made if missing. Their rows are locked until
    /// the commit, so the write needs no further check. `keys` are the tenant's.
    pub(in crate::store) async fn held_keys(
        &self,
        tx: &Tx,
        keys: &Arc<ScopeKeys>,
        tenant: &TenantId,
        users: &BTreeSet<UserId>,
    ) -> Result<SealingKeys, Error> {
        let in_use = self.inner.person_keys.in_use;
        let mut named = BTreeMap::new();
        for user in users {
            named.insert((tenant.as_str(), person_hash(keys, user)?), user);
        }
        let asked: BTreeSet<_> = named.keys().copied().collect();
        let mut found = find_people(tx, &asked, "{for_key_share}").await?;
        let mut new = BTreeMap::new();
        // Keys that are not in use open stored values; none is made.
        let missing = |person: &PersonHash| in_use && !found.contains_key(person);
        for ((of, person), user) in named.iter().filter(|((_, person), _)| missing(person)) {
            new.insert((*of, *person), NewKey::make(keys, person, user)?);
        }
        found.extend(insert(tx, &new, sql::CLOCK).await?);
        let mut people = HashMap::with_capacity(named.len());
        for ((_, person), user) in named {
            if let Some(wrapped) = found.get(&person) {
                people.insert(user.clone(), wrapped.open_or_report(keys, tenant)?);
            }
        }
        Ok(SealingKeys { tenant: Arc::clone(keys), people, in_use })
    }

    /// Removes the keys of people from memory: some were erased.
    pub(in crate::store) async fn forget_keys(
        &self,
        tenant: &TenantId,
        keys: &SealingKeys,
    ) -> Result<(), Error> {
        for (user, key) in &keys.people {
            self.forget_key(tenant, &keys.tenant, user, key.as_deref()).await?;
        }
        Ok(())
    }

    /// Removes the key of a person from this process's memory; `keys` are the tenant's.
    pub(in crate::store) async fn forget_key(
        &self,
        tenant: &TenantId,
        keys: &ScopeKeys,
        user: &UserId,
        key: Option<&ScopeKeys>,
    ) -> Result<(), Error> {
        let cached = &self.inner.person_keys;
        cached.by_person.invalidate(&person_hash(keys, user)?).await;
        if let Some(id) = key.and_then(ScopeKeys::person) {
            cached.by_id.invalidate(&(tenant.clone(), id.to_vec())).await;
        }
        Ok(())
    }

    /// Opens keys that were read together with rows of a tenant, and keeps them in memory. Damaged
    /// keys are absent.
    pub(in crate::store) async fn read_keys(
        &self,
        tenant: &TenantId,
        read: &[WrappedKey],
    ) -> Result<KeysById, Error> {
        let mut opened = KeysById::with_capacity(read.len());
        if read.is_empty() {
            return Ok(opened);
        }
        let keys = self.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let cached = &self.inner.person_keys;
        for (number, wrapped) in read.iter().enumerate() {
            breathe(number).await;
            let known = cached.by_person.get(&wrapped.person).await;
            let known = known.filter(|key| key.person() == Some(wrapped.id.as_slice()));
            let key = if let Some(key) = known {
                key
            } else {
                let Some(key) = wrapped.open_or_report(&keys, tenant)? else { continue };
                cached.keep(tenant, wrapped.person, &key).await;
                key
            };
            opened.insert(wrapped.id.clone(), key);
        }
        Ok(opened)
    }

    /// The keys of those of these values that people's keys sealed. Erased and damaged keys are
    /// absent.
    pub(in crate::store) async fn keys_of_values(
        &self,
        tenant: &TenantId,
        values: &[&[u8]],
    ) -> Result<KeysById, Error> {
        let cached = &self.inner.person_keys;
        let (mut found, mut missing) = (KeysById::new(), BTreeSet::new());
        let ids: BTreeSet<&[u8]> = values.iter().filter_map(|sealed| person_of(sealed)).collect();
        for id in ids {
            if let Some(key) = cached.by_id.get(&(tenant.clone(), id.to_vec())).await {
                found.insert(id.to_vec(), key);
            } else {
                missing.insert(id.to_vec());
            }
        }
        if !missing.is_empty() {
            for (wrapped, key) in self.keys_with_ids(tenant, &missing).await? {
                cached.keep(tenant, wrapped.person, &key).await;
                found.insert(wrapped.id, key);
            }
        }
        Ok(found)
    }

    /// Opens a value about a person or, as it has the same columns, about a channel. `known` may
    /// lack its key. `None`: the key was erased or is damaged.
    pub(in crate::store) async fn open_personal(
        &self,
        tenant: &TenantId,
        place: &SealedCell<'_>,
        sealed: &[u8],
        known: &KeysById,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(id) = person_of(sealed) else {
            return self.open_column(tenant, place, sealed).await.map(Some);
        };
        if let Some(key) = known.get(id) {
            return Ok(Some(key.open(place, sealed)?.to_vec()));
        }
        let read = self.keys_of_values(tenant, &[sealed]).await?;
        let Some(key) = read.get(id) else { return Ok(None) };
        Ok(Some(key.open(place, sealed)?.to_vec()))
    }
}

/// Fails with [`Error::KeyErased`] unless the keys of all these values of tenants still exist.
/// Their rows are then locked until the commit.
pub(in crate::store) async fn hold_keys(
    tx: &Tx,
    values: &[(&TenantId, &[u8])],
) -> Result<(), Error> {
    let rows = values.iter();
    let rows = rows.map(|(tenant, sealed)| [tenant.as_str().into(), sealed.to_vec().into()]);
    let (backend, columns) = (tx.get_database_backend(), [Column::Text, Column::Bytes]);
    let (lives, mut alive) = (key_lives(backend, "column1", "column2"), 0);
    for (table, all) in given(backend, columns, rows.collect()) {
        let text = format!("SELECT 1 FROM {table} WHERE {lives}");
        alive += sql::all(tx, &text, all).await?.len();
    }
    if alive == values.len() { Ok(()) } else { Err(Error::KeyErased) }
}
