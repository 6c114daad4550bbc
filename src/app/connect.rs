//! Connecting a workspace over OAuth: the link, and what Slack sends back.

use sha2::{Digest, Sha256};

use super::{App, Call, Error};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::store::Taken;
use crate::workspace::ConnectError;

/// A connect link.
#[derive(Debug, Clone)]
pub struct ConnectLink {
    /// Opens Slack's consent page.
    pub authorize_url: url::Url,
    pub expires_at: Timestamp,
}

/// What Slack's redirect carries.
#[derive(Debug, Clone, Default)]
pub struct Callback {
    pub state: Option<String>,
    pub code: Option<String>,
    /// Such as `access_denied`.
    pub error: Option<String>,
}

/// What came of a callback; each has its own page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connected {
    /// Connected. Sending stays off until it is switched on.
    Done { tenant: TenantId, workspace: String },
    /// Canceled in Slack.
    Denied,
    /// The state is not one of ours.
    UnknownState,
    /// The link was used before.
    AlreadyUsed,
    /// The link is too old.
    Expired,
    /// Slack refused the exchange; its code.
    Refused { code: String },
    /// Slack did not answer: begin again.
    NoAnswer,
}

impl App {
    /// Makes a link with a fresh state: single use, kept only as a hash.
    pub async fn begin_connect(&self, call: &Call) -> Result<ConnectLink, Error> {
        call.acting()?.may_administer()?;
        self.store.ensure_tenant(&call.tenant).await?;
        let state = new_state();
        let redirect = &self.config.redirect_url;
        let authorize_url =
            self.workspaces.authorize_url(&state, redirect).ok_or(Error::Precondition {
                reason: "SLACK_APP_NOT_CONFIGURED",
                sentence: "the operator must set app.client_id and app.client_secret first",
            })?;
        let expires_at = self
            .store
            .begin_connect(
                &call.tenant,
                &hash(&state),
                redirect.as_str(),
                self.config.connect_link_lifetime,
            )
            .await?;
        Ok(ConnectLink { authorize_url, expires_at })
    }

    /// Handles Slack's redirect. The state is taken before anything else, so that a repeated
    /// callback changes nothing.
    pub async fn complete_connect(&self, callback: Callback) -> Result<Connected, Error> {
        let Some(state) = callback.state.filter(|state| !state.is_empty()) else {
            return Ok(Connected::UnknownState);
        };
        let state = hash(&state);
        let (tenant, redirect) = match self.store.take_connect(&state).await? {
            Taken::Fresh { tenant, redirect_uri } => (tenant, redirect_uri),
            Taken::AlreadyUsed => return Ok(Connected::AlreadyUsed),
            Taken::Expired => return Ok(Connected::Expired),
            Taken::Unknown => return Ok(Connected::UnknownState),
        };
        let connected = match (callback.code, callback.error) {
            (Some(code), None) => self.exchange(&tenant, &code, &redirect).await?,
            (_, Some(error)) if error != "access_denied" => Connected::Refused { code: error },
            _ => Connected::Denied,
        };
        self.store.finish_connect(&state, outcome(&connected)).await?;
        Ok(connected)
    }

    async fn exchange(
        &self,
        tenant: &TenantId,
        code: &str,
        redirect: &str,
    ) -> Result<Connected, Error> {
        match self.workspaces.connect(tenant, code, redirect).await {
            Ok(granted) => {
                tracing::info!(tenant = %tenant, workspace = %granted.installation, "connected");
                self.directory.refresh_soon(granted.installation).await?;
                Ok(Connected::Done { tenant: tenant.clone(), workspace: granted.team_name })
            }
            Err(ConnectError::Refused { code }) => {
                tracing::warn!(tenant = %tenant, code, "Slack refused to connect");
                Ok(Connected::Refused { code })
            }
            Err(ConnectError::NoAnswer { code }) => {
                tracing::warn!(tenant = %tenant, code, "Slack did not answer while connecting");
                Ok(Connected::NoAnswer)
            }
            Err(ConnectError::Store(error)) => Err(error.into()),
        }
    }
}

/// 256 bits of chance.
fn new_state() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(state: &str) -> [u8; 32] {
    Sha256::digest(state.as_bytes()).into()
}

fn outcome(connected: &Connected) -> crate::store::ConnectOutcome {
    use crate::store::ConnectOutcome;
    match connected {
        Connected::Done { .. } => ConnectOutcome::Completed,
        Connected::Refused { code } => ConnectOutcome::Failed { code: code.clone() },
        Connected::NoAnswer => ConnectOutcome::Failed { code: "no_answer".to_owned() },
        Connected::Denied
        | Connected::UnknownState
        | Connected::AlreadyUsed
        | Connected::Expired => ConnectOutcome::Denied,
    }
}
