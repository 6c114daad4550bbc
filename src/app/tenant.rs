//! The data needed by every call about a tenant: its settings, its compiled mapping and its
//! workspace, read together.

use std::sync::Arc;

use super::{App, Error};
use crate::directory::View;
use crate::domain::identity::person::Person;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::mapping::Mapping;
use crate::domain::settings::{Identity, Preferences, Settings};
use crate::domain::time::Timestamp;
use crate::store::{self, Installation};

/// One tenant in its present state.
pub(super) struct Tenant {
    pub(super) id: TenantId,
    pub(super) settings: Settings,
    pub(super) mapping: Arc<Mapping>,
    /// The connected workspace, even while its token is dead; `None`: never connected, or
    /// disconnected.
    pub(super) installation: Option<Installation>,
    /// When this was read, by the database's clock.
    pub(super) now: Timestamp,
}

/// A person with the stored identity.
pub(super) struct Known {
    pub(super) person: Person,
    pub(super) identity: Option<Identity>,
}

impl App {
    /// The tenant, or [`Error::NotFound`]: it exists from an administrator's first call.
    pub(super) async fn tenant(&self, id: &TenantId) -> Result<Tenant, Error> {
        let Some(facts) = self.store.tenancy().tenant_facts(id).await? else {
            return Err(Error::NotFound("tenant"));
        };
        let store::TenantFacts { settings, installation, now } = facts;
        let mapping = self.directory.mapping(&settings).await?;
        Ok(Tenant { id: id.clone(), settings, mapping, installation, now })
    }

    /// The cached member list; an empty view if no workspace is connected.
    pub(super) async fn view(&self, tenant: &Tenant) -> Result<View, Error> {
        match &tenant.installation {
            Some(installation) => Ok(self.directory.view(installation.id, &tenant.mapping).await?),
            None => Ok(View::default()),
        }
    }

    /// The store's data about one person. An unknown person has an empty record.
    pub(super) async fn known(&self, tenant: &TenantId, user: &UserId) -> Result<Known, Error> {
        Ok(match self.store.people().get(tenant, user).await? {
            Some(stored) => Known { person: stored.person, identity: stored.identity },
            None => Known { person: Person::bare(user.clone()), identity: None },
        })
    }

    /// One person's choices.
    pub(super) async fn choices(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Preferences, Error> {
        let mut all = self.store.people().preferences(tenant, std::slice::from_ref(user)).await?;
        Ok(all.remove(user).unwrap_or_default())
    }
}

impl Tenant {
    /// A stored identity counts only in the workspace in which it was found.
    pub(super) fn identity_here(&self, identity: Option<Identity>) -> Option<Identity> {
        let here = self.installation.as_ref()?.id;
        identity.filter(|identity| identity.installation == here)
    }
}
