//! A token that Slack gave and that is not stored, because the tenant may not be connected by it:
//! it is revoked, so that no token lives that no one knows of.
//!
//! An app without token rotation gets the same token for each connect of a workspace. So a token
//! that an installation uses stays.

use super::{Error, Workspaces};
use crate::domain::ids::InstallationId;
use crate::domain::secret::Secret;
use crate::slack::Access;
use crate::store::NewInstallation;

/// The end of a token that is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    /// Slack revoked it.
    Revoked,
    /// An installation uses it.
    InUse,
    /// It may still work: Slack gave no clear answer, or it is not known who uses it.
    Unclear,
}

impl Discarded {
    /// The value of the metric's label.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::InUse => "in_use",
            Self::Unclear => "unclear",
        }
    }
}

/// A new token, and the place that it belongs to, as far as Slack said.
pub(super) struct DiscardedToken {
    token: Secret,
    app_id: Option<String>,
    team_id: Option<String>,
    enterprise_id: Option<String>,
}

impl DiscardedToken {
    pub(super) fn of(access: &Access) -> Self {
        Self {
            token: access.access_token.clone(),
            app_id: access.app_id.clone(),
            team_id: access.team.as_ref().map(|team| team.id.clone()),
            enterprise_id: access.enterprise.as_ref().map(|enterprise| enterprise.id.clone()),
        }
    }

    /// The rest of the place, which `auth.test` says.
    pub(super) fn learn(&mut self, new: &NewInstallation) {
        self.app_id = Some(new.app_id.clone());
        self.team_id.clone_from(&new.team_id);
        self.enterprise_id.clone_from(&new.enterprise_id);
    }
}

impl Workspaces {
    /// Asks Slack to revoke a token that is not stored. Best effort: the outcome is counted.
    pub(super) async fn discard(&self, discarded: &DiscardedToken) -> Discarded {
        match self.revoke_unused(discarded).await {
            Ok(end) => end,
            Err(error) => {
                tracing::warn!(%error, "a new token that is not used was not revoked");
                Discarded::Unclear
            }
        }
    }

    async fn revoke_unused(&self, discarded: &DiscardedToken) -> Result<Discarded, Error> {
        let is_placed = discarded.team_id.is_some() || discarded.enterprise_id.is_some();
        if discarded.app_id.is_none() || !is_placed {
            return Ok(Discarded::Unclear);
        }
        if !self.users_of(discarded).await?.is_empty() {
            return Ok(Discarded::InUse);
        }
        let revoked = self.slack.auth_revoke(&discarded.token).await;
        // Another tenant may have been connected by the same token meanwhile.
        for user in self.users_of(discarded).await? {
            let now = self.store.now().await?;
            self.confirm_alive(user, now).await?;
        }
        match revoked {
            Ok(true) => Ok(Discarded::Revoked),
            Ok(false) => Ok(Discarded::Unclear),
            Err(error) => Err(Error::Slack(error)),
        }
    }

    /// The installations that use this very token.
    async fn users_of(&self, discarded: &DiscardedToken) -> Result<Vec<InstallationId>, Error> {
        let DiscardedToken { token, app_id, team_id, enterprise_id } = discarded;
        let app_id = app_id.as_deref().unwrap_or_default();
        let (team_id, enterprise_id) = (team_id.as_deref(), enterprise_id.as_deref());
        let mut users = Vec::new();
        for id in self.store.tokens().alike(app_id, team_id, enterprise_id).await? {
            if self.stored_token(id).await?.secret == *token {
                users.push(id);
            }
        }
        Ok(users)
    }
}
