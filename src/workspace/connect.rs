//! Connecting a workspace: the address of the consent page, and the exchange of the code for a
//! token.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::discard::{Discarded, DiscardedToken};
use super::{AppRef, Workspaces};
use crate::domain::access::audit::{AuditDetail, COMPLETE_CONNECT, Entry, SHARE_WORKSPACE};
use crate::domain::access::sharing::{self, Allowed, SharingDecision};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::slack_app::AppCredentials;
use crate::slack::{self, Access, Authorize, NamedTeam};
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
    /// The app that the link named.
    pub app: &'a AppRef,
    pub state: &'a str,
    pub code: &'a str,
    /// The address that the link named: Slack refuses a code that was given for another one.
    pub redirect_uri: &'a str,
    pub allowed: Allowed,
    /// Slack's id of the only workspace that the link may connect.
    pub expected_team: Option<&'a str>,
}

/// Why the exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Slack refused: begin again, or fix the app's settings.
    #[error("Slack refused: {code}")]
    Refused { code: String },
    /// The app was installed for a whole organization, which is stored, and the tenant is to be
    /// connected to one of its workspaces: see [`Workspaces::connect_team`].
    #[error("one of {} workspaces must be chosen", teams.len())]
    ChooseTeam { org: InstallationId, teams: Vec<NamedTeam> },
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

impl ConnectError {
    /// Whether the token of the exchange is not stored, for certain. If it was stored for an
    /// organization, that is found out by its text.
    fn discards(&self) -> bool {
        !matches!(self, Self::ChooseTeam { .. } | Self::Store(_))
    }
}

/// An exchange that connected no tenant.
#[derive(Debug)]
pub struct NotConnected {
    pub error: ConnectError,
    /// The end of the token that Slack gave; `None`: it gave none, or the token may be stored.
    pub discarded: Option<Discarded>,
}

/// The code of a refusal because client id and client secret are not those of the app id.
const OTHER_APP: &str = "app_id_mismatch";

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
    /// are none, for those of the settings, and preselects a workspace; `None` if the app is not
    /// configured.
    pub async fn authorize_url(
        &self,
        app: &AppRef,
        state: &str,
        redirect_uri: &str,
        scopes: &[String],
        team_id: Option<&str>,
    ) -> Result<Option<Url>, store::Error> {
        let Some(credentials) = self.credentials(app).await? else { return Ok(None) };
        let verifier = self.verifier(app, &credentials, state);
        let challenge = verifier.map(|verifier| challenge_of(&verifier));
        let asked = if scopes.is_empty() { self.config.asked_scopes() } else { scopes.to_vec() };
        let scopes: Vec<&str> = asked.iter().map(String::as_str).collect();
        Ok(Some(self.slack.authorize_url(&Authorize {
            client_id: &credentials.client_id,
            scopes: &scopes,
            redirect_uri,
            state,
            team_id,
            challenge: challenge.as_deref(),
        })))
    }

    /// The PKCE verifier for a state, if the app uses PKCE, which only the deployment's can. It is
    /// not stored: making it needs the state and the client secret. While that is exchanged, the
    /// previous one counts, which the replicas with older settings have.
    fn verifier(&self, app: &AppRef, credentials: &AppCredentials, state: &str) -> Option<String> {
        let uses = self.config.pkce && app.is_of_deployment();
        let secret = credentials.previous_client_secret.as_ref();
        let secret = secret.unwrap_or(&credentials.client_secret).expose().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| uses)?;
        mac.update(b"pkce:");
        mac.update(state.as_bytes());
        Some(BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Exchanges the code, asks Slack which workspace the token belongs to, and links the tenant to
    /// that workspace; the end of the attempt and the entries of the audit trail are written in the
    /// same transaction. Messages that waited for a reconnect are sent. A token that is not stored
    /// is revoked.
    pub async fn connect(&self, exchange: Exchange<'_>) -> Result<Granted, NotConnected> {
        let access = match self.access(exchange).await {
            Ok(access) => access,
            Err(error) => return Err(NotConnected { error, discarded: None }),
        };
        let mut place = DiscardedToken::of(&access);
        let connected = Box::pin(self.connect_by(exchange, access, &mut place)).await;
        match connected {
            Ok(granted) => Ok(granted),
            Err(error) if error.discards() => {
                let discarded = Some(Box::pin(self.discard(&place)).await);
                Err(NotConnected { error, discarded })
            }
            Err(error) => Err(NotConnected { error, discarded: None }),
        }
    }

    /// `place` learns from Slack where the token belongs.
    async fn connect_by(
        &self,
        exchange: Exchange<'_>,
        access: Access,
        place: &mut DiscardedToken,
    ) -> Result<Granted, ConnectError> {
        let Exchange { tenant, app, state, allowed, expected_team, .. } = exchange;
        let new = self.describe(access, app).await?;
        place.learn(&new);
        // The installation would count as one of another app.
        if app.app_id.as_ref().is_some_and(|id| *id != new.app_id) {
            return Err(ConnectError::Refused { code: OTHER_APP.into() });
        }
        if new.org_wide {
            return Box::pin(self.connect_org(exchange, &new, expected_team)).await;
        }
        if expected_team.is_some_and(|team| new.team_id.as_deref() != Some(team)) {
            return Err(ConnectError::OtherWorkspace { team_name: new.team_name });
        }
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
        self.after_connect(tenant, installation, others.len()).await;
        Ok(Granted { installation, team_name })
    }

    /// The workspace is connected already; its lanes also wake by themselves, later.
    pub(super) async fn after_connect(
        &self,
        tenant: &TenantId,
        workspace: InstallationId,
        others: usize,
    ) {
        if let Err(error) = self.store.waiting().rejoin(tenant).await {
            tracing::warn!(%tenant, %workspace, %error, "messages for channels wait longer");
        }
        if let Err(error) = self.store.lanes().wake(workspace).await {
            tracing::warn!(%tenant, %workspace, %error, "lanes were not woken");
        }
        if others > 0 {
            tracing::warn!(
                %tenant, %workspace, others,
                "a workspace is now used by several tenants"
            );
        }
    }

    /// Exchanges the code for a token.
    async fn access(&self, exchange: Exchange<'_>) -> Result<Access, ConnectError> {
        let Exchange { app, state, code, redirect_uri, .. } = exchange;
        let Some(credentials) = self.credentials(app).await? else {
            return Err(ConnectError::Refused { code: "app_not_configured".into() });
        };
        let verifier = self.verifier(app, &credentials, state);
        let verifier = verifier.as_deref();
        Ok(self.slack.oauth_v2_access(&credentials, code, redirect_uri, verifier).await?)
    }

    /// The other tenants of the workspace, if this tenant may join them, and whether it is new
    /// among them.
    pub(super) async fn let_in(
        &self,
        tenant: &TenantId,
        new: &NewInstallation,
        allowed: Allowed,
    ) -> Result<(Vec<TenantId>, bool), ConnectError> {
        let users = self.store.tenancy().tenants_in_workspace(new).await?;
        let known = users.iter().any(|(user, _)| user == tenant);
        if allowed == Allowed::OwnAgain && !known && !self.is_own(tenant, new).await? {
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

    /// Whether the tenant uses this workspace already, by whatever app.
    async fn is_own(&self, tenant: &TenantId, new: &NewInstallation) -> Result<bool, store::Error> {
        let own = self.store.tenancy().installation_of(tenant).await?;
        Ok(own.is_some_and(|own| match &own.team_id {
            Some(team) => new.team_id.as_ref() == Some(team),
            None => new.team_id.is_none() && own.enterprise_id == new.enterprise_id,
        }))
    }

    /// The result of the exchange, completed by `auth.test`: the answer of the exchange lacks the
    /// bot's name, and names no workspace for an org-wide installation.
    async fn describe(
        &self,
        access: Access,
        app: &AppRef,
    ) -> Result<NewInstallation, ConnectError> {
        let test = self.slack.auth_test(&access.access_token).await?;
        let token_expires_at = match access.expires_in {
            Some(lifetime) => {
                let lifetime = lifetime.mul_f64(self.time_scale());
                Some(self.store.now().await?.plus(lifetime))
            }
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
            app_path: app.path.clone(),
        })
    }
}

/// The entries about a connection: one for the tenant, and one, which does not name it, for each
/// tenant that it joined.
pub(super) fn entries(tenant: &TenantId, joined: &[TenantId], team_name: &str) -> Vec<Entry> {
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
