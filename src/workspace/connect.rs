//! Connecting: the consent page's address, and the exchange of the code for a token.

use url::Url;

use super::Workspaces;
use crate::domain::ids::{InstallationId, TenantId};
use crate::slack::{self, Access, App, Authorize};
use crate::store::{self, NewInstallation};

/// A workspace that was connected.
#[derive(Debug, Clone)]
pub struct Granted {
    pub installation: InstallationId,
    pub team_name: String,
}

/// Why the exchange did not work.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Slack refused; begin again, or mend the app's settings.
    #[error("Slack refused: {code}")]
    Refused { code: String },
    /// Slack did not answer: begin again.
    #[error("Slack did not answer: {code}")]
    NoAnswer { code: String },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<slack::Error> for ConnectError {
    fn from(error: slack::Error) -> Self {
        let code = error.code().to_owned();
        match error {
            slack::Error::Rejected { .. }
            | slack::Error::Unauthorized { .. }
            | slack::Error::MissingScope { .. } => Self::Refused { code },
            slack::Error::Throttled { .. }
            | slack::Error::Transient { .. }
            | slack::Error::Unknown { .. } => Self::NoAnswer { code },
        }
    }
}

impl Workspaces {
    /// Where to send an administrator's browser; `None` where no app is configured.
    pub fn authorize_url(&self, state: &str, redirect_uri: &Url) -> Option<Url> {
        let app = self.config.credentials()?;
        let scopes: Vec<&str> = self.config.scopes.iter().map(String::as_str).collect();
        Some(self.slack.authorize_url(&Authorize {
            client_id: app.client_id,
            scopes: &scopes,
            redirect_uri: redirect_uri.as_str(),
            state,
            team_id: None,
        }))
    }

    /// Exchanges the code, asks Slack whose the token is, and links the tenant to the workspace.
    /// Messages that waited for a reconnect go out.
    pub async fn connect(
        &self,
        tenant: &TenantId,
        code: &str,
        redirect_uri: &str,
    ) -> Result<Granted, ConnectError> {
        let Some(app) = self.config.credentials() else {
            return Err(ConnectError::Refused { code: "app_not_configured".into() });
        };
        let access = self.slack.oauth_v2_access(app, code, redirect_uri).await?;
        let new = self.describe(access).await?;
        let team_name = new.team_name.clone();
        let installation = self.store.save_installation(&new).await?;
        self.store.link_tenant(tenant, installation).await?;
        self.store.wake_installation(installation).await?;
        Ok(Granted { installation, team_name })
    }

    /// What the exchange brought, completed by `auth.test`: the answer of the exchange lacks the
    /// bot's name, and names no workspace for an org-wide installation.
    async fn describe(&self, access: Access) -> Result<NewInstallation, ConnectError> {
        let test = self.slack.auth_test(&access.access_token).await?;
        let token_expires_at = match access.expires_in {
            Some(lifetime) => Some(self.store.now().await?.plus(lifetime)),
            None => None,
        };
        let org_wide = access.is_enterprise_install;
        let team_id = if org_wide {
            None
        } else {
            access.team.as_ref().map(|team| team.id.clone()).or(test.team_id)
        };
        let named = if org_wide { &access.enterprise } else { &access.team };
        let team_name = named.as_ref().and_then(|named| named.name.clone()).or(test.team);
        let enterprise_id = access.enterprise.map(|enterprise| enterprise.id);
        Ok(NewInstallation {
            app_id: access.app_id.or(test.app_id).unwrap_or_default(),
            enterprise_id: enterprise_id.or(test.enterprise_id),
            team_id,
            org_wide,
            team_name: team_name.unwrap_or_else(|| "a Slack workspace".to_owned()),
            bot_user_id: access.bot_user_id.or(test.user_id).unwrap_or_default(),
            bot_name: test.user.unwrap_or_default(),
            scopes: if access.scopes.is_empty() {
                test.scopes.unwrap_or_default()
            } else {
                access.scopes
            },
            token: access.access_token,
            refresh_token: access.refresh_token,
            token_expires_at,
        })
    }
}
