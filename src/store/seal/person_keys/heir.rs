//! The keys of two ids of one person, while the first gives way to the second
//! (`ends::succession`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{SealingKeys, hex, person_hash, place_of_name, stored};
use crate::domain::ids::{TenantId, UserId};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;
use crate::store::seal::data_keys::{ScopeKeys, SealedCell, person_of};
use crate::store::{Error, Store};

/// The keys of both ids within a transaction.
pub(in crate::store) struct Heir {
    keys: SealingKeys,
    pub(in crate::store) from: UserId,
    pub(in crate::store) to: UserId,
    /// Whether the first id has a key of its own, so that values must be encrypted again.
    pub(in crate::store) seals: bool,
}

impl Heir {
    /// The keys that encrypt values of the second id.
    pub(in crate::store) fn sealing(&self) -> Result<&ScopeKeys, Error> {
        self.keys.of(Some(&self.to))
    }

    /// A value of the first id.
    pub(in crate::store) fn open(
        &self,
        at: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let holder = if self.seals { &self.from } else { &self.to };
        Ok(self.keys.open(Some(holder), at, sealed)?.to_vec())
    }

    /// A value that the second id had before.
    pub(in crate::store) fn open_own(
        &self,
        at: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Error> {
        Ok(self.keys.open(Some(&self.to), at, sealed)?.to_vec())
    }

    /// A value of the first id that stays in its place, encrypted for the second. One that does not
    /// decrypt stays as it is, and so does one that the tenant's key encrypted.
    pub(in crate::store) fn anew(
        &self,
        at: &SealedCell<'_>,
        sealed: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = sealed else { return Ok(None) };
        if person_of(&sealed).is_none() {
            return Ok(Some(sealed));
        }
        match self.open(at, &sealed).and_then(|plain| self.sealing()?.seal(at, &plain)) {
            Err(Error::Sealed(_)) => Ok(Some(sealed)),
            anew => anew.map(Some),
        }
    }
}

impl Store {
    /// The keys of both ids; that of the second is made if it is missing. `keys` are the tenant's.
    pub(in crate::store) async fn heir(
        &self,
        tx: &Tx,
        keys: &Arc<ScopeKeys>,
        tenant: &TenantId,
        from: &UserId,
        to: &UserId,
    ) -> Result<Heir, Error> {
        let theirs = stored(tx, keys, tenant, from).await?;
        let held = self.held_keys(tx, keys, tenant, &BTreeSet::from([to.clone()])).await?;
        Ok(Heir {
            keys: held.and(from, theirs.as_ref()),
            from: from.clone(),
            to: to.clone(),
            seals: theirs.is_some(),
        })
    }
}

/// Gives the key of an id to another one, unless that has a key. Writes with it that are under way
/// end first. `keys` are the tenant's.
pub(in crate::store) async fn hand_on(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    from: &UserId,
    to: &UserId,
) -> Result<(), Error> {
    const HAS: &str = "SELECT 1 FROM person_keys WHERE tenant = $1 AND person = $2";
    const GIVE: &str =
        "UPDATE person_keys SET person = $3, name = $4 WHERE tenant = $1 AND person = $2";
    let (person, heir) = (person_hash(keys, from)?, person_hash(keys, to)?);
    if sql::one(tx, HAS, params![tenant.as_str(), heir.to_vec()]).await?.is_some() {
        return Ok(());
    }
    let name = keys.seal(&place_of_name(&hex(&heir)), to.as_str().as_bytes())?;
    let values = params![tenant.as_str(), person.to_vec(), heir.to_vec(), name];
    sql::execute(tx, GIVE, values).await.map(drop)
}

/// Locks the key of an id: writes with it that are under way end first, and later ones wait.
pub(in crate::store) async fn lock(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(), Error> {
    const LOCK: &str = "SELECT 1 FROM person_keys WHERE tenant = $1 AND person = $2 {for_update}";
    let person = person_hash(keys, user)?.to_vec();
    sql::one(tx, LOCK, params![tenant.as_str(), person]).await.map(drop)
}
