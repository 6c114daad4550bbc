//! The data that every call about a tenant needs: its settings, its compiled mapping and its
//! workspace, read together.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{App, Error};
use crate::directory::View;
use crate::domain::delivery::End;
use crate::domain::delivery::admission::{Admitted, Facts, Message, admit};
use crate::domain::identity::matching::{Match, MemberDecision};
use crate::domain::identity::person::Person;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::mapping::{Mapping, Values};
use crate::domain::message::render::mentions::Mentions;
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
    /// The tenant, or [`Error::NotFound`]: it exists from an administrator's first call. One that
    /// is being deleted is refused.
    pub(super) async fn tenant(&self, id: &TenantId) -> Result<Tenant, Error> {
        let Some(facts) = self.store.tenancy().tenant_facts(id).await? else {
            return Err(Error::NotFound("tenant"));
        };
        let store::TenantFacts { settings, installation, now, deleting, .. } = facts;
        if deleting {
            return Err(Error::tenant_deleted());
        }
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

    /// The people that a message mentions, as they are now.
    pub(super) async fn mentions(
        &self,
        tenant: &Tenant,
        users: &BTreeSet<UserId>,
    ) -> Result<Mentions, Error> {
        let Some(workspace) = &tenant.installation else { return Ok(Mentions::default()) };
        let people = self.store.people().mentions(&tenant.id, workspace.id, users).await?;
        Ok(self.view(tenant).await?.mentionable(people))
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
    pub(super) fn identity_here<'k>(&self, known: &'k Known) -> Option<&'k Identity> {
        let here = self.installation.as_ref()?.id;
        known.identity.as_ref().filter(|identity| identity.installation == here)
    }

    /// A person's member by the list that decides, and the result of the rules.
    pub(super) fn decide(
        &self,
        view: &View,
        known: &Known,
        values: &Values,
    ) -> (MemberDecision, Match) {
        view.decide(&self.mapping, self.identity_here(known), values)
    }

    /// Whether a message may go to a person with these choices, or, without choices, to a channel.
    pub(super) fn admit<'a>(
        &'a self,
        message: Message<'a>,
        preferences: Option<&'a Preferences>,
    ) -> Result<Admitted<'a, &'a Installation>, End> {
        let installation = self.installation.as_ref();
        let connected = installation.map(|installation| (installation.id, installation));
        admit(Facts { message, settings: Some(&self.settings), preferences, connected })
    }
}
