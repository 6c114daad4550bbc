//! Connecting a workspace: the address of the consent page, and the exchange of the code for a
//! token.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::Workspaces;
use crate::domain::access::audit::{AuditDetail, COMPLETE_CONNECT, Entry, SHARE_WORKSPACE};
use crate::domain::access::sharing::{self, Allowed, SharingDecision};
use crate::domain::ids::{InstallationId, TenantId};
use crate::slack::{self, Access, Authorize};
use crate::store::{self, ConnectCompletion, ConnectGrant, NewInstallation};

/// A workspace that was connected.
#[derive(Debug, Clone)]
pub struct Granted {
    pub installation: InstallationId,
    pub team_name: String,
}

/// The data of a callback, and the data that was kept with its link.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    pub tenant: &'a TenantId,
    pub state: &'a str,
    pub code: &'a str,
    /// The address that the link named: Slack refuses a code that was given for another one.
    pub redirect_uri: &'a str,
    pub allowed: Allowed,
}

/// Why the exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Slack refused: begin again, or fix the app's settings.
    #[error("Slack refused: {code}")]
    Refused { code: String },
    /// The Slack app, or the way it was installed, needs a feature that this version does not have.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// Slack did not answer: begin again.
    #[error("Slack did not answer: {code}")]
    NoAnswer { code: String },
    /// The link only connects the tenant's own workspace again, and this is another one. Nothing
    /// was stored.
    #[error("the link is for another workspace than {team_name}")]
    OtherWorkspace { team_name: String },
    /// Other tenants use the workspace, and no one has allowed that. Nothing was stored.
    #[error("other tenants use the workspace {installation}")]
    InUse { installation: InstallationId, team_name: String, may_confirm: bool },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A reason why the connection would fail at once or within a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Tokens of such an app expire after twelve hours unless they are exchanged.
    #[error("the Slack app has token rotation turned on, which this version does not support")]
    TokenRotation,
    /// One token for many workspaces, each with its own members.
    #[error("the app was installed for a whole organisation, which this version does not support")]
    OrgWide,
}

impl Unsupported {
    fn of(access: &Access) -> Option<Self> {
        if access.is_enterprise_install {
            Some(Self::OrgWide)
        } else if access.refresh_token.is_some() || access.expires_in.is_some() {
            Some(Self::TokenRotation)
        } else {
            None
        }
    }
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
    /// The address for an administrator's browser, where Slack asks for these scopes, or, if there
    /// are none, for those of the settings; `None` if no app is configured.
    pub fn authorize_url(&self, state: &str, redirect_uri: &str, scopes: &[String]) -> Option<Url> {
        let app = self.config.credentials()?;
        let challenge = self.verifier(state).map(|verifier| challenge_of(&verifier));
        let asked = if scopes.is_empty() { self.config.asked_scopes() } else { scopes.to_vec() };
        let scopes: Vec<&str> = asked.iter().map(String::as_str).collect();
        Some(self.slack.authorize_url(&Authorize {
            client_id: app.client_id,
            scopes: &scopes,
            redirect_uri,
            state,
            team_id: None,
            challenge: challenge.as_deref(),
        }))
    }

    /// The PKCE verifier for a state, if the app uses PKCE. It is not stored: making it needs the
    /// state and the client secret.
    fn verifier(&self, state: &str) -> Option<String> {
        let secret = self.config.client_secret.expose().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| self.config.pkce)?;
        mac.update(b"pkce:");
        mac.update(state.as_bytes());
        Some(BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Exchanges the code, asks Slack which workspace the token belongs to, and links the tenant to
    /// that workspace; the end of the attempt and the entries of the audit trail are written in the
    /// same transaction. Messages that waited for a reconnect are sent.
    pub async fn connect(&self, exchange: Exchange<'_>) -> Result<Granted, ConnectError> {
        let Some(app) = self.config.credentials() else {
            return Err(ConnectError::Refused { code: "app_not_configured".into() });
        };
        let Exchange { tenant, state, code, redirect_uri, allowed } = exchange;
        let verifier = self.verifier(state);
        let access =
            self.slack.oauth_v2_access(app, code, redirect_uri, verifier.as_deref()).await?;
        if let Some(unsupported) = Unsupported::of(&access) {
            return Err(ConnectError::Unsupported(unsupported));
        }
        let new = self.describe(access).await?;
        let (others, is_new) = self.let_in(tenant, &new, allowed).await?;
        let joined = if is_new { others.as_slice() } else { &[] };
        let entries = entries(tenant, joined, &new.team_name);
        let store = self.store.noting_all(&entries).await?;
        let grant = ConnectGrant { tenant, state, installation: &new, others: &others };
        let completion = store.tenancy().complete_connect(&grant).await?;
        let team_name = new.team_name;
        let installation = match completion {
            ConnectCompletion::Connected(installation) => installation,
            // Another tenant was linked at the same moment.
            ConnectCompletion::InUse(installation) => {
                return Err(ConnectError::InUse { installation, team_name, may_confirm: false });
            }
        };
        // The workspace is connected already; its lanes also wake by themselves, later.
        if let Err(error) = self.store.lanes().wake(installation).await {
            tracing::warn!(%tenant, workspace = %installation, %error, "lanes were not woken");
        }
        if !others.is_empty() {
            let (workspace, others) = (installation, others.len());
            tracing::warn!(
                %tenant, %workspace, others,
                "a workspace is now used by several tenants"
            );
        }
        Ok(Granted { installation, team_name })
    }

    /// The other tenants of the workspace, if this tenant may join them, and whether it is new
    /// among them.
    async fn let_in(
        &self,
        tenant: &TenantId,
        new: &NewInstallation,
        allowed: Allowed,
    ) -> Result<(Vec<TenantId>, bool), ConnectError> {
        let users = self.store.tenancy().tenants_in_workspace(new).await?;
        let known = users.iter().any(|(user, _)| user == tenant);
        if allowed == Allowed::OwnAgain && !known {
            return Err(ConnectError::OtherWorkspace { team_name: new.team_name.clone() });
        }
        let mut others = users;
        others.retain(|(other, _)| other != tenant);
        let tenants = |others: Vec<(TenantId, InstallationId)>| {
            others.into_iter().map(|(other, _)| other).collect::<Vec<_>>()
        };
        // A reconnect: sharing with the other tenants was decided before.
        let Some(installation) = others.first().map(|(_, id)| *id).filter(|_| !known) else {
            return Ok((tenants(others), false));
        };
        let mut let_in = Vec::with_capacity(others.len());
        for (other, _) in &others {
            let settings = self.store.tenancy().settings(other).await?.unwrap_or_default();
            let_in.push(settings.share_workspace);
        }
        match sharing::decide(self.config.workspace_sharing, allowed, installation, &let_in) {
            SharingDecision::Connect => Ok((tenants(others), true)),
            decision => Err(ConnectError::InUse {
                installation,
                team_name: new.team_name.clone(),
                may_confirm: decision == SharingDecision::Confirm,
            }),
        }
    }

    /// The result of the exchange, completed by `auth.test`: the answer of the exchange lacks the
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
            installed_by: access.authed_user,
        })
    }
}

/// The entries about a connection: one for the tenant, and one, which does not name it, for each
/// tenant that it joined.
fn entries(tenant: &TenantId, joined: &[TenantId], team_name: &str) -> Vec<Entry> {
    let entry = |tenant: &TenantId, action| Entry {
        detail: AuditDetail { object: format!("workspace:{team_name}"), ..AuditDetail::default() },
        ..Entry::of_browser(tenant.clone(), action)
    };
    let shared = joined.iter().map(|other| entry(other, SHARE_WORKSPACE));
    std::iter::once(entry(tenant, COMPLETE_CONNECT)).chain(shared).collect()
}

/// The S256 challenge of a verifier (RFC 7636, section 4.2).
fn challenge_of(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge_of(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
