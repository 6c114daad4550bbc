//! Connecting a workspace over OAuth: the link, the page that it opens, and what Slack sends back.
//!
//! The link opens a page of Herald's in the administrator's browser, which names the tenant, gets a
//! cookie with the state, and leads to Slack. What comes back counts in that browser only, so that
//! nobody finishes an attempt that somebody else began. Each attempt has a redirect address of its
//! own, and Slack takes a code back only with the address that it was given for: the code of one
//! attempt is nothing to another.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::{App, Call, Error, Reach};
use crate::domain::access;
use crate::domain::audit::{COMPLETE_CONNECT, Detail, Entry, Outcome};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::sharing::Allowed;
use crate::domain::time::Timestamp;
use crate::store::{ConnectOutcome, Store, TakenConnect};
use crate::workspace::{ConnectError, Exchange, Unsupported};

/// A connect link.
#[derive(Debug, Clone)]
pub struct ConnectLink {
    /// Opens the page that leads to Slack's consent page.
    pub url: Url,
    pub expires_at: Timestamp,
}

/// What the page shows that a link opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub tenant: TenantId,
    /// Slack's consent page.
    pub authorize_url: Url,
    pub cookie: Cookie,
}

/// What ties an attempt to a browser. No `Debug`: `state` is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Tells the attempts of one browser apart.
    pub attempt: String,
    pub state: String,
    /// How long it is of use.
    pub lifetime: Duration,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({})", self.attempt)
    }
}

/// What Slack's redirect carries.
#[derive(Clone, Default)]
pub struct Callback {
    pub state: Option<String>,
    pub code: Option<String>,
    /// Such as `access_denied`.
    pub error: Option<String>,
    /// The state that the browser kept when it opened the link.
    pub browser: Option<String>,
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
    /// The link was opened in another browser.
    OtherBrowser,
    /// The link was used before.
    AlreadyUsed,
    /// The link is too old.
    Expired,
    /// Another tenant uses the workspace. Nothing was stored.
    InUse { workspace: String },
    /// The same; the person may confirm, and goes through Slack once more.
    Confirm { tenant: TenantId, workspace: String, start: Start },
    /// Slack agreed, and this version cannot use what it granted. Nothing was stored.
    Unsupported(Unsupported),
    /// Slack refused the exchange; its code.
    Refused { code: String },
    /// Slack did not answer: begin again.
    NoAnswer,
}

impl App {
    /// Makes a link with a fresh state: single use, kept only as a hash. `shared`: also to a
    /// workspace that another tenant uses, which only callers for all tenants may say.
    pub async fn begin_connect(&self, call: &Call, shared: bool) -> Result<ConnectLink, Error> {
        call.may(&access::BEGIN_CONNECT)?;
        let for_all = call.caller.reach == Reach::All && call.actor.is_none();
        if shared && !for_all {
            return Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only a caller for all tenants may allow a workspace that another tenant uses, \
                 and on nobody's behalf",
            ));
        }
        self.store.ensure_tenant(&call.tenant).await?;
        let lifetime = self.config.connect_link_lifetime;
        // Before, so that the link never outlives what is told.
        let expires_at = self.store.now().await?.plus(lifetime);
        let allowed = if shared { Allowed::Anything } else { Allowed::Nothing };
        let after = Some(serde_json::json!({ "allow_shared_workspace": shared }));
        let detail = Detail { after, ..Detail::default() };
        let entry = Entry { detail, ..call.entry("BeginConnect") };
        let store = self.store.noting(&entry).await?;
        let state = self.new_attempt(&store, &call.tenant, allowed).await?;
        let mut url = self.config.connect_url.clone();
        url.query_pairs_mut().append_pair("state", &state);
        Ok(ConnectLink { url, expires_at })
    }

    /// Remembers an attempt; answers its state.
    async fn new_attempt(
        &self,
        store: &Store,
        tenant: &TenantId,
        allowed: Allowed,
    ) -> Result<String, Error> {
        let state = new_state();
        let redirect = self.redirect_of(&state);
        if self.workspaces.authorize_url(&state, &redirect).is_none() {
            return Err(no_app());
        }
        let lifetime = self.config.connect_link_lifetime;
        store.begin_connect(tenant, &state, &redirect, lifetime, allowed).await?;
        Ok(state)
    }

    /// The redirect address of an attempt: below the one that the Slack app names.
    fn redirect_of(&self, state: &str) -> String {
        format!("{}/{}", self.config.redirect_url, attempt_of(state))
    }

    /// What a link opens. Nothing is used up by looking.
    pub async fn start_connect(&self, state: &str) -> Result<Result<Start, Connected>, Error> {
        Ok(match self.store.look_at_connect(state).await? {
            TakenConnect::Taken { tenant, redirect_uri, .. } => {
                Ok(self.start(tenant, state, &redirect_uri)?)
            }
            TakenConnect::AlreadyUsed => Err(Connected::AlreadyUsed),
            TakenConnect::Expired => Err(Connected::Expired),
            TakenConnect::Unknown => Err(Connected::UnknownState),
        })
    }

    fn start(&self, tenant: TenantId, state: &str, redirect: &str) -> Result<Start, Error> {
        let authorize_url = self.workspaces.authorize_url(state, redirect).ok_or_else(no_app)?;
        let cookie = Cookie {
            attempt: attempt_of(state),
            state: state.to_owned(),
            lifetime: self.config.connect_link_lifetime,
        };
        Ok(Start { tenant, authorize_url, cookie })
    }

    /// Handles Slack's redirect. The state is taken before anything else, so that a repeated
    /// callback changes nothing; but not by a browser that did not open the link.
    pub async fn complete_connect(&self, callback: Callback) -> Result<Connected, Error> {
        let Some(state) = callback.state.filter(|state| !state.is_empty()) else {
            return Ok(Connected::UnknownState);
        };
        let kept = callback.browser.unwrap_or_default();
        let found = if bool::from(kept.as_bytes().ct_eq(state.as_bytes())) {
            self.store.take_connect(&state).await?
        } else {
            let found = self.store.look_at_connect(&state).await?;
            if let TakenConnect::Taken { tenant, .. } = &found {
                tracing::warn!(%tenant, "Slack's answer came to another browser than the link");
                return Ok(Connected::OtherBrowser);
            }
            found
        };
        let (tenant, redirect_uri, allowed) = match found {
            TakenConnect::Taken { tenant, redirect_uri, allowed } => {
                (tenant, redirect_uri, allowed)
            }
            TakenConnect::AlreadyUsed => return Ok(Connected::AlreadyUsed),
            TakenConnect::Expired => return Ok(Connected::Expired),
            TakenConnect::Unknown => return Ok(Connected::UnknownState),
        };
        let connected = match (callback.code, callback.error) {
            (Some(code), None) => {
                let exchange = Exchange {
                    tenant: &tenant,
                    state: &state,
                    code: &code,
                    redirect_uri: &redirect_uri,
                    allowed,
                };
                self.exchange(exchange).await?
            }
            (_, Some(error)) if error != "access_denied" => {
                Connected::Refused { code: slack_code(error) }
            }
            _ => Connected::Denied,
        };
        // What happened has happened: a failure to note it must not tell the person otherwise.
        if let Err(error) = self.finish_connect(&tenant, &state, &connected).await {
            tracing::warn!(%error, "how a connect attempt ended was not recorded");
        }
        Ok(connected)
    }

    /// Records how an attempt ended. Nobody signed in: who opened the link is not known.
    async fn finish_connect(
        &self,
        tenant: &TenantId,
        state: &str,
        connected: &Connected,
    ) -> Result<(), Error> {
        let (decided, reason) = match connected {
            Connected::Done { .. } => (Outcome::Done, String::new()),
            Connected::Refused { code } => (Outcome::Failed, code.clone()),
            Connected::NoAnswer => (Outcome::Failed, "no_answer".into()),
            Connected::Unsupported(_) => (Outcome::Failed, "unsupported".into()),
            Connected::InUse { .. } => (Outcome::Refused, "workspace_in_use".into()),
            Connected::Confirm { .. } => (Outcome::Refused, "confirmation_needed".into()),
            Connected::Denied
            | Connected::UnknownState
            | Connected::OtherBrowser
            | Connected::AlreadyUsed
            | Connected::Expired => (Outcome::Refused, "access_denied".into()),
        };
        let object = match connected {
            Connected::Done { workspace, .. } => format!("workspace:{workspace}"),
            _ => String::new(),
        };
        let entry = Entry {
            tenant: Some(tenant.clone()),
            principal: None,
            actor: None,
            action: COMPLETE_CONNECT.to_owned(),
            outcome: decided,
            reason,
            times: 1,
            subject: None,
            detail: Detail { object, ..Detail::default() },
        };
        let store = self.store.noting(&entry).await?;
        store.finish_connect(state, &outcome(connected)).await?;
        Ok(())
    }

    async fn exchange(&self, exchange: Exchange<'_>) -> Result<Connected, Error> {
        let tenant = exchange.tenant;
        match self.workspaces.connect(exchange).await {
            Ok(granted) => {
                tracing::info!(tenant = %tenant, workspace = %granted.installation, "connected");
                // Connected all the same: the refresher finds a workspace that was never read.
                if let Err(error) = self.directory.refresh_soon(granted.installation).await {
                    tracing::warn!(%error, "the member list was not asked for at once");
                }
                Ok(Connected::Done { tenant: tenant.clone(), workspace: granted.team_name })
            }
            Err(ConnectError::InUse { installation, team_name, may_confirm }) => {
                self.in_use(tenant, installation, team_name, may_confirm).await
            }
            Err(ConnectError::Refused { code }) => {
                tracing::warn!(tenant = %tenant, code, "Slack refused to connect");
                Ok(Connected::Refused { code })
            }
            Err(ConnectError::Unsupported(unsupported)) => {
                tracing::warn!(tenant = %tenant, %unsupported, "a workspace was not connected");
                Ok(Connected::Unsupported(unsupported))
            }
            Err(ConnectError::NoAnswer { code }) => {
                tracing::warn!(tenant = %tenant, code, "Slack did not answer while connecting");
                Ok(Connected::NoAnswer)
            }
            Err(ConnectError::Store(error)) => Err(error.into()),
        }
    }

    /// Another tenant uses the workspace. Its token is not kept for a confirmation: whoever
    /// confirms goes through Slack once more.
    async fn in_use(
        &self,
        tenant: &TenantId,
        installation: InstallationId,
        workspace: String,
        may_confirm: bool,
    ) -> Result<Connected, Error> {
        tracing::warn!(
            %tenant, workspace = %installation,
            "a tenant was not connected to a workspace that another tenant uses"
        );
        if !may_confirm {
            return Ok(Connected::InUse { workspace });
        }
        let state = self.new_attempt(&self.store, tenant, Allowed::Confirmed(installation)).await?;
        let start = self.start(tenant.clone(), &state, &self.redirect_of(&state))?;
        Ok(Connected::Confirm { tenant: tenant.clone(), workspace, start })
    }
}

fn no_app() -> Error {
    Error::Precondition {
        reason: "SLACK_APP_NOT_CONFIGURED",
        sentence: "the operator must set app.client_id and app.client_secret first",
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

/// Names an attempt without telling its state.
fn attempt_of(state: &str) -> String {
    let hash = Sha256::new().chain_update(b"attempt:").chain_update(state).finalize();
    URL_SAFE_NO_PAD.encode(&hash[..12])
}

fn outcome(connected: &Connected) -> ConnectOutcome {
    match connected {
        Connected::Done { .. } => ConnectOutcome::Completed,
        Connected::Refused { code } => ConnectOutcome::Failed(format!("Slack refused: {code}")),
        Connected::Unsupported(unsupported) => ConnectOutcome::Failed(unsupported.to_string()),
        Connected::NoAnswer => ConnectOutcome::Failed("Slack did not answer".to_owned()),
        Connected::InUse { .. } => ConnectOutcome::Failed(
            "Another tenant uses this workspace, and nobody has allowed two tenants there."
                .to_owned(),
        ),
        Connected::Confirm { .. } => ConnectOutcome::Failed(
            "Another tenant uses this workspace; the person was asked to confirm.".to_owned(),
        ),
        Connected::Denied
        | Connected::UnknownState
        | Connected::OtherBrowser
        | Connected::AlreadyUsed
        | Connected::Expired => ConnectOutcome::Denied,
    }
}
