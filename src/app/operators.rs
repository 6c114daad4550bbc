//! ListTenants and ListWorkspaces: an operator's view of all tenants and workspaces.

use std::time::Duration;

use super::caller::may_beyond_tenants;
use super::get_workspace::Workspace;
use super::{App, Caller, Error};
use crate::domain::access;
use crate::domain::connection::{self, ConnectionState};
use crate::domain::features::Feature;
use crate::domain::ids::{InstallationId, TenantId};
use crate::store::{ListedTenant, ListedWorkspace, WorkspaceFilter};

/// A tenant, with the state of its connection.
pub struct TenantShown {
    pub listed: ListedTenant,
    pub state: ConnectionState,
}

/// A workspace, with the state of its connection.
pub struct WorkspaceShown {
    pub listed: ListedWorkspace,
    pub state: ConnectionState,
    /// Without its member list.
    pub workspace: Workspace,
}

/// One page of tenants.
pub struct TenantPage {
    pub tenants: Vec<TenantShown>,
    /// The last one, if there are more.
    pub more_after: Option<TenantId>,
}

/// One page of workspaces.
pub struct WorkspacePage {
    pub workspaces: Vec<WorkspaceShown>,
    /// The last one that was looked at, if there are more.
    pub more_after: Option<InstallationId>,
}

/// The workspaces to list. All conditions must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkspaceWish {
    pub state: Option<ConnectionState>,
    /// Without all the scopes of this feature.
    pub lacks: Option<&'static Feature>,
    pub token_older_than: Option<Duration>,
}

/// Workspaces read in one statement.
const READ: u32 = 500;
/// Workspaces that one call looks at: then it returns those found, perhaps none, and continues on
/// the next page.
const LOOKED_AT: usize = 10_000;

impl App {
    /// Up to `limit` tenants in reach after this one, by name.
    pub async fn list_tenants(
        &self,
        caller: &Caller,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<TenantPage, Error> {
        may_beyond_tenants(&access::LIST_TENANTS, caller)?;
        let found = self.store.operators().tenants(&caller.reach, after, limit + 1).await?;
        let more = found.len() > limit as usize;
        let shown = found.into_iter().take(limit as usize).map(|listed| {
            let installation = listed.connection.installation.as_ref();
            let scopes = installation.map(|installation| installation.scopes.as_slice());
            let facts = listed.connection.facts(self.lacking_names(scopes.unwrap_or_default()));
            TenantShown { state: connection::state(&facts).0, listed }
        });
        let tenants: Vec<_> = shown.collect();
        let last = tenants.last().map(|last| last.listed.connection.tenant.clone());
        Ok(TenantPage { tenants, more_after: last.filter(|_| more) })
    }

    /// Up to `limit` connected workspaces after this one, by id; fewer if not many of those that
    /// one call looks at are wanted.
    pub async fn list_workspaces(
        &self,
        caller: &Caller,
        wish: WorkspaceWish,
        after: Option<InstallationId>,
        limit: u32,
    ) -> Result<WorkspacePage, Error> {
        may_beyond_tenants(&access::LIST_WORKSPACES, caller)?;
        let dead = wish.state.map(|state| state == ConnectionState::ReconnectRequired);
        let filter = WorkspaceFilter { dead, token_older_than: wish.token_older_than };
        let (mut after, mut looked_at) = (after, 0);
        let mut workspaces = Vec::new();
        loop {
            let read = self.store.operators().workspaces(filter, after, READ).await?;
            let full = read.len() >= READ as usize;
            looked_at += read.len();
            for listed in read {
                let id = listed.installation.id;
                if workspaces.len() >= limit as usize {
                    return Ok(WorkspacePage { workspaces, more_after: after });
                }
                after = Some(id);
                workspaces.extend(self.wanted(listed, wish));
            }
            if !full {
                return Ok(WorkspacePage { workspaces, more_after: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(WorkspacePage { workspaces, more_after: after });
            }
        }
    }

    /// The workspace, if it is to be listed.
    fn wanted(&self, listed: ListedWorkspace, wish: WorkspaceWish) -> Option<WorkspaceShown> {
        let scopes = &listed.installation.scopes;
        let has = |scope: &&str| scopes.iter().any(|granted| granted == scope);
        if wish.lacks.is_some_and(|feature| feature.scopes.iter().all(has)) {
            return None;
        }
        let state = connection::state(&listed.facts(self.lacking_names(scopes))).0;
        if wish.state.is_some_and(|wished| wished != state) {
            return None;
        }
        let others = listed.users.saturating_sub(1);
        let workspace = self.bare_workspace(listed.installation.clone(), others);
        Some(WorkspaceShown { listed, state, workspace })
    }

    /// The names of the features that must have scopes which are not among these.
    fn lacking_names(&self, scopes: &[String]) -> Vec<&'static str> {
        self.lacking(scopes).into_iter().map(|feature| feature.name).collect()
    }
}
