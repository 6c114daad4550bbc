//! Connecting a workspace over OAuth: the link, the page that it opens, and Slack's answer.
//!
//! The link opens a page of Herald's in the administrator's browser. The page names the tenant,
//! sets a cookie with the state, and leads to Slack. Slack's answer counts only in that browser, so
//! that no person can finish an attempt that another person began. Each attempt has its own
//! redirect address, and Slack accepts a code only with the address that it was issued for: the
//! code of one attempt is useless to another.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::{App, Call, Error, Reach};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, AuditOutcome, COMPLETE_CONNECT, Entry};
use crate::domain::access::sharing::Allowed;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::{ConnectOutcome, Store, TakenConnect};
use crate::workspace::{ConnectError, Exchange};

/// A connect link.
#[derive(Debug, Clone)]
pub struct ConnectLink {
    /// Opens the page that leads to Slack's consent page.
    pub url: Url,
    pub expires_at: Timestamp,
}

/// The contents of the page that a link opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub tenant: TenantId,
    /// Slack's consent page.
    pub authorize_url: Url,
    pub cookie: Cookie,
}

/// Binds an attempt to a browser. No `Debug`: `state` is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Distinguishes the attempts of one browser.
    pub attempt: String,
    pub state: String,
    /// How long it is valid.
    pub lifetime: Duration,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({})", self.attempt)
    }
}

/// The contents of Slack's redirect.
#[derive(Clone, Default)]
pub struct Callback {
    pub state: Option<String>,
    pub code: Option<String>,
    /// Such as `access_denied`.
    pub error: Option<String>,
    /// The state that the browser kept when it opened the link.
    pub browser: Option<String>,
}

/// The outcome of a callback; each has its own page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connected {
    /// Connected. Sending stays off until it is switched on.
    Done { tenant: TenantId, workspace: String },
    /// Canceled in Slack.
    Denied,
    /// It is not an answer to an attempt under way: no attempt ended.
    Unusable(Unusable),
    /// Another tenant uses the workspace. Nothing was stored.
    InUse { workspace: String },
    /// The link only connects the tenant's own workspace again. Nothing was stored.
    OtherWorkspace { workspace: String },
    /// The same, but the person may confirm, and then goes through Slack once more.
    Confirm { tenant: TenantId, workspace: String, start: Start },
    /// The app was approved for a whole organization, which is stored; the tenant is not connected,
    /// because the link does not say to which of these workspaces.
    ChooseTeam { org: InstallationId, teams: Vec<String> },
    /// Slack refused the exchange, with its code.
    Refused { code: String },
    /// Slack did not answer: start again.
    NoAnswer,
}

/// Why a link, or Slack's redirect, cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// The state is not one of ours.
    UnknownState,
    /// The link was opened in another browser.
    OtherBrowser,
    /// The link was used before.
    AlreadyUsed,
    /// The link has expired.
    Expired,
}

/// A link, or Slack's redirect, that is looked at.
#[derive(Debug)]
pub enum LinkUse<T> {
    Usable(T),
    Unusable(Unusable),
}

/// An attempt whose link can be used.
struct Attempt {
    tenant: TenantId,
    redirect_uri: String,
    allowed: Allowed,
    /// The scopes to ask for; empty: those of the settings.
    scopes: Vec<String>,
}

/// The attempt that the store found, or why there is none to use.
fn usable(found: TakenConnect) -> LinkUse<Attempt> {
    match found {
        TakenConnect::Taken { tenant, redirect_uri, allowed, scopes } => {
            LinkUse::Usable(Attempt { tenant, redirect_uri, allowed, scopes })
        }
        TakenConnect::AlreadyUsed => LinkUse::Unusable(Unusable::AlreadyUsed),
        TakenConnect::Expired => LinkUse::Unusable(Unusable::Expired),
        TakenConnect::Unknown => LinkUse::Unusable(Unusable::UnknownState),
    }
}

impl App {
    /// Creates a link with a fresh state: for single use, stored only as a hash. `shared` also
    /// allows a workspace that another tenant uses, which only callers for all tenants may do.
    pub async fn begin_connect(&self, call: &Call, shared: bool) -> Result<ConnectLink, Error> {
        call.may(&access::BEGIN_CONNECT)?;
        let for_all = call.caller.reach == Reach::All && call.actor.is_none();
        if shared && !for_all {
            return Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only a caller for all tenants, without an actor, may allow a workspace that \
                 another tenant uses",
            ));
        }
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let allowed = if shared { Allowed::Anything } else { Allowed::Nothing };
        let after = json!({ "allow_shared_workspace": shared });
        self.connect_link(call, after, allowed, &[]).await
    }

    /// A link that connects the tenant's own workspace again and asks for these scopes. Any caller
    /// that needs them may get it: it gives no access to another workspace.
    pub(super) async fn connect_link_for(
        &self,
        call: &Call,
        scopes: &[String],
    ) -> Result<ConnectLink, Error> {
        let after = json!({ "allow_shared_workspace": false, "scopes": scopes });
        self.connect_link(call, after, Allowed::OwnAgain, scopes).await
    }

    /// `after`: the terms of the link, for the audit trail.
    async fn connect_link(
        &self,
        call: &Call,
        after: serde_json::Value,
        allowed: Allowed,
        scopes: &[String],
    ) -> Result<ConnectLink, Error> {
        let lifetime = self.config.connect_link_lifetime;
        // Read before the link is stored, so that the link never outlives the reported time.
        let expires_at = self.store.now().await?.plus(lifetime);
        let detail = AuditDetail { after: Some(after), ..AuditDetail::default() };
        let entry = Entry { detail, ..call.entry("BeginConnect") };
        let store = self.store.noting(&entry).await?;
        let state = self.new_attempt(&store, &call.tenant, allowed, scopes).await?;
        let mut url = self.config.connect_url.clone();
        url.query_pairs_mut().append_pair("state", &state);
        Ok(ConnectLink { url, expires_at })
    }

    /// Stores an attempt; returns its state.
    async fn new_attempt(
        &self,
        store: &Store,
        tenant: &TenantId,
        allowed: Allowed,
        scopes: &[String],
    ) -> Result<String, Error> {
        let state = new_state();
        let redirect = self.redirect_of(&state);
        if self.workspaces.authorize_url(&state, &redirect, scopes).is_none() {
            return Err(no_app());
        }
        let lifetime = self.config.connect_link_lifetime;
        let tenancy = store.tenancy();
        tenancy.begin_connect(tenant, &state, &redirect, lifetime, allowed, scopes).await?;
        Ok(state)
    }

    /// The redirect address of an attempt: below the address configured in the Slack app.
    fn redirect_of(&self, state: &str) -> String {
        format!("{}/{}", self.config.redirect_url, attempt_of(state))
    }

    /// The page that a link opens. Opening it does not use the link up.
    pub async fn start_connect(&self, state: &str) -> Result<LinkUse<Start>, Error> {
        match usable(self.store.tenancy().look_at_connect(state).await?) {
            LinkUse::Usable(Attempt { tenant, redirect_uri, scopes, .. }) => {
                self.start(tenant, state, &redirect_uri, &scopes).map(LinkUse::Usable)
            }
            LinkUse::Unusable(unusable) => Ok(LinkUse::Unusable(unusable)),
        }
    }

    fn start(
        &self,
        tenant: TenantId,
        state: &str,
        redirect: &str,
        scopes: &[String],
    ) -> Result<Start, Error> {
        let authorize_url = self.workspaces.authorize_url(state, redirect, scopes);
        let authorize_url = authorize_url.ok_or_else(no_app)?;
        let cookie = Cookie {
            attempt: attempt_of(state),
            state: state.to_owned(),
            lifetime: self.config.connect_link_lifetime,
        };
        Ok(Start { tenant, authorize_url, cookie })
    }

    /// Handles Slack's redirect. The state is taken first, so that a repeated callback changes
    /// nothing; but a browser that did not open the link cannot take it.
    pub async fn complete_connect(&self, callback: Callback) -> Result<Connected, Error> {
        let Some(state) = callback.state.filter(|state| !state.is_empty()) else {
            return Ok(Connected::Unusable(Unusable::UnknownState));
        };
        let browser = callback.browser.unwrap_or_default();
        let attempt = match self.taken(&state, &browser).await? {
            LinkUse::Usable(attempt) => attempt,
            LinkUse::Unusable(unusable) => return Ok(Connected::Unusable(unusable)),
        };
        let Attempt { tenant, redirect_uri, allowed, scopes } = attempt;
        let connected = match (callback.code, callback.error) {
            (Some(code), None) => {
                let exchange = Exchange {
                    tenant: &tenant,
                    state: &state,
                    code: &code,
                    redirect_uri: &redirect_uri,
                    allowed,
                };
                self.exchange(exchange, &scopes).await?
            }
            (_, Some(error)) if error != "access_denied" => {
                Connected::Refused { code: slack_code(error) }
            }
            _ => Connected::Denied,
        };
        // A success was recorded in the transaction that connected. Another outcome is final: a
        // failure to record it must not show the person a different one.
        if let Some(failure) = failure(&connected)
            && let Err(error) = self.fail_connect(&tenant, &state, failure).await
        {
            tracing::warn!(%error, "the outcome of a connect attempt was not recorded");
        }
        Ok(connected)
    }

    /// Takes the attempt with this state if this browser, with the state that it kept, opened the
    /// link.
    async fn taken(&self, state: &str, kept: &str) -> Result<LinkUse<Attempt>, Error> {
        let tenancy = self.store.tenancy();
        if bool::from(kept.as_bytes().ct_eq(state.as_bytes())) {
            return Ok(usable(tenancy.take_connect(state).await?));
        }
        match usable(tenancy.look_at_connect(state).await?) {
            LinkUse::Usable(Attempt { tenant, .. }) => {
                tracing::warn!(%tenant, "Slack redirected a browser that did not open the link");
                // The attempt continues in the right browser, so this is not its end.
                self.trail().refused_browser(&tenant);
                Ok(LinkUse::Unusable(Unusable::OtherBrowser))
            }
            unusable @ LinkUse::Unusable(_) => Ok(unusable),
        }
    }

    /// Records the end of an attempt that did not connect.
    async fn fail_connect(
        &self,
        tenant: &TenantId,
        state: &str,
        failure: Failure,
    ) -> Result<(), Error> {
        let Failure { outcome, reason, shown } = failure;
        let entry =
            Entry { outcome, reason, ..Entry::of_browser(tenant.clone(), COMPLETE_CONNECT) };
        let store = self.store.noting(&entry).await?;
        store.tenancy().finish_connect(state, &shown).await?;
        Ok(())
    }

    /// `scopes`: those that the link asked for; empty: those of the settings.
    async fn exchange(
        &self,
        exchange: Exchange<'_>,
        scopes: &[String],
    ) -> Result<Connected, Error> {
        let tenant = exchange.tenant;
        match self.workspaces.connect(exchange).await {
            Ok(granted) => {
                let workspace = granted.installation;
                tracing::info!(%tenant, %workspace, "a workspace was connected");
                // The workspace is connected even if this fails: the refresher finds workspaces
                // that were never read.
                if let Err(error) = self.directory.refresh_soon(workspace).await {
                    tracing::warn!(%error, "a reading of the member list was not requested");
                }
                Ok(Connected::Done { tenant: tenant.clone(), workspace: granted.team_name })
            }
            Err(ConnectError::InUse { installation, team_name: workspace, may_confirm }) => {
                tracing::warn!(
                    %tenant, workspace = %installation,
                    "a tenant was not connected to a workspace that another tenant uses"
                );
                if !may_confirm {
                    return Ok(Connected::InUse { workspace });
                }
                self.confirm(tenant, installation, workspace, scopes).await
            }
            Err(ConnectError::OtherWorkspace { team_name: workspace }) => {
                tracing::warn!(%tenant, "a link for one workspace was used for another");
                Ok(Connected::OtherWorkspace { workspace })
            }
            Err(ConnectError::Refused { code }) => {
                tracing::warn!(tenant = %tenant, code, "Slack refused to connect a workspace");
                Ok(Connected::Refused { code })
            }
            Err(ConnectError::ChooseTeam { org, teams }) => {
                let count = teams.len();
                tracing::info!(%tenant, %org, count, "a workspace of an organization is chosen");
                let teams = teams.into_iter().map(|team| team.name.unwrap_or(team.id)).collect();
                Ok(Connected::ChooseTeam { org, teams })
            }
            Err(ConnectError::NoAnswer { code }) => {
                tracing::warn!(%tenant, code, "Slack gave no answer to connecting a workspace");
                Ok(Connected::NoAnswer)
            }
            Err(ConnectError::Store(error)) => Err(error.into()),
        }
    }

    /// Another tenant uses the workspace. Its token is not kept for a confirmation: a person who
    /// confirms goes through Slack once more.
    async fn confirm(
        &self,
        tenant: &TenantId,
        installation: InstallationId,
        workspace: String,
        scopes: &[String],
    ) -> Result<Connected, Error> {
        let allowed = Allowed::Confirmed(installation);
        let state = self.new_attempt(&self.store, tenant, allowed, scopes).await?;
        let start = self.start(tenant.clone(), &state, &self.redirect_of(&state), scopes)?;
        Ok(Connected::Confirm { tenant: tenant.clone(), workspace, start })
    }
}

fn no_app() -> Error {
    Error::Precondition {
        reason: "SLACK_APP_NOT_CONFIGURED",
        sentence: "the operator must set app.client_id and app.client_secret first",
    }
}

/// Any person can write the query: a text without the form of a Slack code is not kept.
fn slack_code(text: String) -> String {
    let shaped = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if shaped && (1..=64).contains(&text.len()) { text } else { "unknown".to_owned() }
}

/// 256 random bits.
fn new_state() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Names an attempt without revealing its state.
fn attempt_of(state: &str) -> String {
    let hash = Sha256::new().chain_update(b"attempt:").chain_update(state).finalize();
    URL_SAFE_NO_PAD.encode(&hash[..12])
}

/// The end of an attempt that did not connect.
struct Failure {
    /// For the audit trail, with its reason.
    outcome: AuditOutcome,
    reason: String,
    /// For GetWorkspace.
    shown: ConnectOutcome,
}

/// `None` if it connected, or if no attempt ended.
fn failure(connected: &Connected) -> Option<Failure> {
    let of =
        |outcome, reason: &str, shown| Some(Failure { outcome, reason: reason.to_owned(), shown });
    let failed = |sentence: &str| ConnectOutcome::Failed(sentence.to_owned());
    match connected {
        Connected::Done { .. } | Connected::Unusable(_) => None,
        Connected::Refused { code } => {
            of(AuditOutcome::Failed, code, ConnectOutcome::Failed(format!("Slack refused: {code}")))
        }
        Connected::ChooseTeam { .. } => of(
            AuditOutcome::Failed,
            "team_not_chosen",
            failed(
                "The app was approved for a whole organization. Begin again and name the \
                 workspace.",
            ),
        ),
        Connected::NoAnswer => {
            of(AuditOutcome::Failed, "no_answer", failed("Slack did not answer"))
        }
        Connected::InUse { .. } => of(
            AuditOutcome::Refused,
            "workspace_in_use",
            failed("Another tenant uses this workspace, and sharing it has not been allowed."),
        ),
        Connected::OtherWorkspace { .. } => of(
            AuditOutcome::Refused,
            "other_workspace",
            failed("The link connects this tenant's own workspace only, and another was chosen."),
        ),
        Connected::Confirm { .. } => of(
            AuditOutcome::Refused,
            "confirmation_needed",
            failed("Another tenant uses this workspace; the person was asked to confirm."),
        ),
        Connected::Denied => of(AuditOutcome::Refused, "access_denied", ConnectOutcome::Denied),
    }
}
