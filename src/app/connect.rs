//! Connecting a workspace over OAuth: the link, and what Slack sends back.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;

use super::{App, Call, Error};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::store::{ConnectOutcome, TakenConnect};
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
        let lifetime = self.config.connect_link_lifetime;
        // Before, so that the link never outlives what is told.
        let expires_at = self.store.now().await?.plus(lifetime);
        self.store.begin_connect(&call.tenant, &state, redirect.as_str(), lifetime).await?;
        Ok(ConnectLink { authorize_url, expires_at })
    }

    /// Handles Slack's redirect. The state is taken before anything else, so that a repeated
    /// callback changes nothing.
    pub async fn complete_connect(&self, callback: Callback) -> Result<Connected, Error> {
        let Some(state) = callback.state.filter(|state| !state.is_empty()) else {
            return Ok(Connected::UnknownState);
        };
        let (tenant, redirect) = match self.store.take_connect(&state).await? {
            TakenConnect::Taken { tenant, redirect_uri } => (tenant, redirect_uri),
            TakenConnect::AlreadyUsed => return Ok(Connected::AlreadyUsed),
            TakenConnect::Expired => return Ok(Connected::Expired),
            TakenConnect::Unknown => return Ok(Connected::UnknownState),
        };
        let connected = match (callback.code, callback.error) {
            (Some(code), None) => self.exchange(&tenant, &code, &redirect).await?,
            (_, Some(error)) if error != "access_denied" => {
                Connected::Refused { code: slack_code(error) }
            }
            _ => Connected::Denied,
        };
        // What happened has happened: a failure to note it must not tell the person otherwise.
        if let Err(error) = self.store.finish_connect(&state, &outcome(&connected)).await {
            tracing::warn!(%error, "how a connect attempt ended was not recorded");
        }
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
                // Connected all the same: the refresher finds a workspace that was never read.
                if let Err(error) = self.directory.refresh_soon(granted.installation).await {
                    tracing::warn!(%error, "the member list was not asked for at once");
                }
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

/// The query can be written by anybody: what does not look like a code of Slack's is not kept.
fn slack_code(text: String) -> String {
    let shaped = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if shaped && (1..=64).contains(&text.len()) { text } else { "unknown".to_owned() }
}

/// 256 bits of chance.
fn new_state() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn outcome(connected: &Connected) -> ConnectOutcome {
    match connected {
        Connected::Done { .. } => ConnectOutcome::Completed,
        Connected::Refused { code } => ConnectOutcome::Failed(format!("Slack refused: {code}")),
        Connected::NoAnswer => ConnectOutcome::Failed("Slack did not answer".to_owned()),
        Connected::Denied
        | Connected::UnknownState
        | Connected::AlreadyUsed
        | Connected::Expired => ConnectOutcome::Denied,
    }
}
