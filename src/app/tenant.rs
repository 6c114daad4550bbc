//! What every question about a tenant starts from: its settings, its compiled mapping and its
//! workspace, read together.

use std::sync::Arc;

use super::{App, Error};
use crate::directory::View;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::mapping::Mapping;
use crate::domain::person::Person;
use crate::domain::settings::{Identity, Settings};
use crate::domain::verdict::Found;
use crate::store::Installation;

/// One tenant, as of now.
pub(super) struct Tenant {
    pub(super) id: TenantId,
    pub(super) settings: Settings,
    pub(super) mapping: Arc<Mapping>,
    /// The connected workspace, also while its token is dead; `None`: never connected, or
    /// disconnected.
    pub(super) installation: Option<Installation>,
}

/// A person and what the store knows about them.
pub(super) struct Known {
    pub(super) person: Person,
    pub(super) identity: Option<Identity>,
}

impl App {
    /// The tenant, or [`Error::NotFound`]: it exists from an administrator's first call.
    pub(super) async fn tenant(&self, id: &TenantId) -> Result<Tenant, Error> {
        let Some(settings) = self.store.settings(id).await? else {
            return Err(Error::NotFound("tenant"));
        };
        let mapping = self.directory.mapping(&settings)?;
        let installation = self.store.installation_of(id).await?;
        Ok(Tenant { id: id.clone(), settings, mapping, installation })
    }

    /// The cached member list; an empty view where no workspace is connected.
    pub(super) async fn view(&self, tenant: &Tenant) -> Result<View, Error> {
        match &tenant.installation {
            Some(installation) => Ok(self.directory.view(installation.id, &tenant.mapping).await?),
            None => Ok(View::default()),
        }
    }

    /// What the store knows about one person. Somebody never heard of has an empty record.
    pub(super) async fn known(&self, tenant: &TenantId, user: &UserId) -> Result<Known, Error> {
        Ok(match self.store.person(tenant, user).await? {
            Some(stored) => Known { person: stored.person, identity: stored.identity },
            None => Known { person: Person::bare(user.clone()), identity: None },
        })
    }
}

impl Tenant {
    /// A stored identity counts only in the workspace it was found in.
    pub(super) fn identity_here(&self, identity: Option<Identity>) -> Option<Identity> {
        let here = self.installation.as_ref()?.id;
        identity.filter(|identity| identity.installation == here)
    }

    /// The identity to store for a member that was found.
    pub(super) fn found(&self, identity: &Identity) -> Found {
        Found {
            installation: identity.installation,
            slack_user_id: identity.slack_user_id.clone(),
            display_name: identity.display_name.clone(),
        }
    }
}
