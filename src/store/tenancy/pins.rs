//! Identities of many people, pinned by one call.

use std::collections::{BTreeMap, BTreeSet};

use super::people::{PersonKey, seal_identity, write_identities};
use crate::domain::ids::{TenantId, UserId};
use crate::domain::settings::Identity;
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::KeyScope;
use crate::store::{Error, People};

impl People<'_> {
    /// Stores the identities of people, who need not be stored yet: all or none. Only a pin
    /// replaces a pin.
    pub async fn store_identities(
        self,
        tenant: &TenantId,
        identities: &BTreeMap<UserId, Identity>,
    ) -> Result<(), Error> {
        let keys = &self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let users = &identities.keys().cloned().collect::<BTreeSet<_>>();
        let stored = self.store.transaction(|tx| {
            scoped(async move {
                let keys = self.store.held_keys(tx, keys, tenant, users).await?;
                let mut sealed = BTreeMap::new();
                for (user, identity) in identities {
                    sealed.insert(user, seal_identity(keys.of(Some(user))?, user, identity)?);
                }
                let rows: BTreeMap<PersonKey<'_>, _> =
                    sealed.iter().map(|(user, identity)| ((tenant, *user), identity)).collect();
                write_identities(tx, &rows).await?;
                self.store.record(tx).await
            })
        });
        stored.await?;
        self.store.recorded();
        Ok(())
    }
}
