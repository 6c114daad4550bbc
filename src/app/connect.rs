//! Connecting a workspace over OAuth: the link, the page that it opens, and Slack's answer.
//!
//! The link opens a page of Herald's in the administrator's browser. The page names the tenant,
//! sets a cookie with the state, and leads to Slack. Slack's answer counts only in that browser, so
//! that no person can finish an attempt that another person began. Each attempt has its own
//! redirect address, and Slack accepts a code only with the address that it was issued for: the
//! code of one attempt is useless to another.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tracing::Instrument as _;
use url::Url;

use super::connect_end::{ConnectEnd, ConnectFailure, Connected, Cookie, Start, Unusable, failure};
use super::{App, Call, Error, Reach};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, COMPLETE_CONNECT, Entry};
use crate::domain::access::sharing::Allowed;
use crate::domain::features::Feature;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::store::{BegunConnect, ConnectTerms, Store, TakenConnect};
use crate::workspace::{AppRef, ConnectError, Exchange, Granted, NotConnected};

/// A connect link.
#[derive(Debug, Clone)]
pub struct ConnectLink {
    /// Opens the page that leads to Slack's consent page.
    pub url: Url,
    pub expires_at: Timestamp,
}

/// The wishes of a caller for a link.
#[derive(Debug, Clone, Default)]
pub struct ConnectWish {
    /// Also allows a workspace that another tenant uses, which only callers for all tenants may do.
    pub shared: bool,
    /// Where the browser goes in the end; `None`: a page of Herald's.
    pub return_url: Option<Url>,
    /// Slack's id of the only workspace that the link may connect.
    pub expected_team: Option<String>,
    /// The features to ask permissions for; empty: all that the settings name.
    pub features: Vec<&'static Feature>,
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
    /// The path of the tenant's app that the address named; empty: the deployment's app.
    pub app_path: String,
}

/// A link, or Slack's redirect, that is looked at.
#[derive(Debug)]
pub enum LinkUse<T> {
    Usable(T),
    Unusable(ConnectEnd),
}

/// The attempt that the store found, or why there is none to use.
pub(super) fn usable(found: TakenConnect) -> LinkUse<BegunConnect> {
    let end = |why, begun: &BegunConnect| {
        let return_url = begun.terms.return_url.as_deref();
        LinkUse::Unusable(ConnectEnd::new(Connected::Unusable(why), return_url))
    };
    match found {
        TakenConnect::Taken(begun) => LinkUse::Usable(begun),
        TakenConnect::AlreadyUsed(begun) => end(Unusable::AlreadyUsed, &begun),
        TakenConnect::Expired(begun) => end(Unusable::Expired, &begun),
        TakenConnect::Unknown => LinkUse::Unusable(ConnectEnd::unknown()),
    }
}

impl App {
    /// Creates a link with a fresh state: for single use, stored only as a hash.
    pub async fn begin_connect(
        &self,
        call: &Call,
        wish: &ConnectWish,
    ) -> Result<ConnectLink, Error> {
        call.may(&access::BEGIN_CONNECT)?;
        let ConnectWish { shared, return_url, expected_team, features } = wish;
        let for_all = call.caller.reach == Reach::All && call.actor.is_none();
        if *shared && !for_all {
            return Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only a caller for all tenants, without an actor, may allow a workspace that \
                 another tenant uses",
            ));
        }
        if let Some(url) = return_url {
            self.may_return_to(url)?;
        }
        let scopes = self.scopes_of(&call.tenant, features).await?;
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let terms = ConnectTerms {
            allowed: if *shared { Allowed::Anything } else { Allowed::Nothing },
            scopes,
            return_url: return_url.as_ref().map(Url::to_string),
            expected_team: expected_team.clone(),
            app_path: String::new(),
        };
        let codes: Vec<&str> = features.iter().map(|feature| feature.code).collect();
        let after = json!({
            "allow_shared_workspace": shared,
            "expected_team_id": expected_team,
            "features": codes,
        });
        self.connect_link(call, after, terms).await
    }

    /// A link that connects the tenant's own workspace again and asks for these scopes. Any caller
    /// that needs them may get it: it gives no access to another workspace.
    pub(super) async fn connect_link_for(
        &self,
        call: &Call,
        scopes: &[String],
    ) -> Result<ConnectLink, Error> {
        let after = json!({ "allow_shared_workspace": false, "scopes": scopes });
        let terms = ConnectTerms {
            allowed: Allowed::OwnAgain,
            scopes: scopes.to_vec(),
            ..ConnectTerms::default()
        };
        self.connect_link(call, after, terms).await
    }

    /// Whether the operator lets browsers go there.
    fn may_return_to(&self, url: &Url) -> Result<(), Error> {
        if self.config.return_origins.contains(&url.origin()) {
            return Ok(());
        }
        Err(Error::invalid(
            "return_url",
            "is at an origin that is not in the setting http.return_origins; ask the operator of \
             Herald to add it",
        ))
    }

    /// `after`: the terms of the link, for the audit trail.
    async fn connect_link(
        &self,
        call: &Call,
        after: serde_json::Value,
        terms: ConnectTerms,
    ) -> Result<ConnectLink, Error> {
        let lifetime = self.config.connect_link_lifetime;
        // Read before the link is stored, so that the link never outlives the reported time.
        let expires_at = self.store.now().await?.plus(lifetime);
        let detail = AuditDetail { after: Some(after), ..AuditDetail::default() };
        let entry = Entry { detail, ..call.entry("BeginConnect") };
        let store = self.store.noting(&entry).await?;
        let app = self.workspaces.app_of_tenant(&call.tenant).await?;
        let state = self.new_attempt(&store, &call.tenant, &app, terms).await?;
        let mut url = self.config.connect_url.clone();
        url.query_pairs_mut().append_pair("state", &state);
        Ok(ConnectLink { url, expires_at })
    }

    /// Stores an attempt with an app; returns its state.
    async fn new_attempt(
        &self,
        store: &Store,
        tenant: &TenantId,
        app: &AppRef,
        terms: ConnectTerms,
    ) -> Result<String, Error> {
        let state = new_state();
        let redirect = self.redirect_of(app, &state);
        if self.workspaces.credentials(app).await?.is_none() {
            return Err(no_app());
        }
        let terms = ConnectTerms { app_path: app.path.clone(), ..terms };
        let lifetime = self.config.connect_link_lifetime;
        store.tenancy().begin_connect(tenant, &state, &redirect, lifetime, &terms).await?;
        Ok(state)
    }

    /// The redirect address of an attempt: below the address configured in the Slack app.
    fn redirect_of(&self, app: &AppRef, state: &str) -> String {
        format!("{}/{}", self.slack_app_addresses(&app.path).redirect_url, attempt_of(state))
    }

    /// The page that a link opens. Opening it does not use the link up.
    pub async fn start_connect(&self, state: &str) -> Result<LinkUse<Start>, Error> {
        let begun = match usable(self.store.tenancy().look_at_connect(state).await?) {
            LinkUse::Usable(begun) => begun,
            LinkUse::Unusable(end) => return Ok(LinkUse::Unusable(end)),
        };
        // `None`: the tenant's own app was deleted since.
        let Some(app) = self.workspaces.app_at(&begun.terms.app_path).await? else {
            return Ok(LinkUse::Unusable(ConnectEnd::unknown()));
        };
        if !begun.opened {
            self.store.tenancy().note_opened(state).await?;
        }
        let BegunConnect { tenant, redirect_uri, terms, .. } = begun;
        Ok(LinkUse::Usable(self.start(tenant, &app, state, &redirect_uri, &terms).await?))
    }

    async fn start(
        &self,
        tenant: TenantId,
        app: &AppRef,
        state: &str,
        redirect: &str,
        terms: &ConnectTerms,
    ) -> Result<Start, Error> {
        let team = terms.expected_team.as_deref();
        let authorize_url =
            self.workspaces.authorize_url(app, state, redirect, &terms.scopes, team).await?;
        Ok(Start {
            tenant,
            authorize_url: authorize_url.ok_or_else(no_app)?,
            cookie: self.cookie_of(state),
            back: terms.return_url.as_deref().and_then(|url| Url::parse(url).ok()),
            for_one_workspace: team.is_some(),
        })
    }

    /// Names an attempt without revealing its state: each has its own cookie.
    #[must_use]
    pub fn attempt_of(state: &str) -> String {
        attempt_of(state)
    }

    /// The platform's name on the pages of connecting.
    #[must_use]
    pub fn display_name(&self) -> &str {
        &self.config.display_name
    }

    /// The cookie of the browser in which an attempt may end.
    pub(super) fn cookie_of(&self, state: &str) -> Cookie {
        Cookie {
            attempt: attempt_of(state),
            state: state.to_owned(),
            lifetime: self.config.connect_link_lifetime,
        }
    }

    /// Handles Slack's redirect. The state is taken first, so that a repeated callback changes
    /// nothing; but a browser that did not open the link cannot take it.
    pub async fn complete_connect(&self, callback: Callback) -> Result<ConnectEnd, Error> {
        let Callback { state, code, error, browser, app_path } = callback;
        let Some(state) = state.filter(|state| !state.is_empty()) else {
            return Ok(ConnectEnd::unknown());
        };
        let Some(app) = self.app_at_callback(&state, &app_path).await? else {
            return Ok(ConnectEnd::unknown());
        };
        let begun = match self.taken(&state, &browser.unwrap_or_default()).await? {
            LinkUse::Usable(begun) => begun,
            LinkUse::Unusable(end) => return Ok(end),
        };
        let BegunConnect { tenant, redirect_uri, terms, .. } = begun;
        let connected = match (code, error) {
            (Some(code), None) => {
                let exchange = Exchange {
                    tenant: &tenant,
                    app: &app,
                    state: &state,
                    code: &code,
                    redirect_uri: &redirect_uri,
                    allowed: terms.allowed,
                    expected_team: terms.expected_team.as_deref(),
                };
                let granted = self.workspaces.connect(exchange).await;
                let granted = granted.map_err(|failed| self.count_discarded(failed));
                self.granted(&tenant, &app, &state, &terms, granted).await?
            }
            (_, Some(error)) if error != "access_denied" => {
                Connected::Refused { code: slack_code(error) }
            }
            _ => Connected::Denied,
        };
        self.note_failure(&tenant, &state, &connected).await;
        Ok(ConnectEnd::new(connected, terms.return_url.as_deref()))
    }

    /// Counts the token of an exchange that connected no tenant, if there is one.
    fn count_discarded(&self, failed: NotConnected) -> ConnectError {
        if let Some(discarded) = failed.discarded {
            self.metrics.discarded_token(discarded.code());
        }
        failed.error
    }

    /// The app whose address Slack sent the browser to; `None` if the attempt with this state uses
    /// another one: an answer about one app never counts for another.
    async fn app_at_callback(&self, state: &str, path: &str) -> Result<Option<AppRef>, Error> {
        let found = usable(self.store.tenancy().look_at_connect(state).await?);
        if let LinkUse::Usable(BegunConnect { tenant, terms, .. }) = found
            && terms.app_path != path
        {
            tracing::warn!(%tenant, "Slack's answer came to the address of another app");
            return Ok(None);
        }
        Ok(self.workspaces.app_at(path).await?)
    }

    /// Takes the attempt with this state if this browser, with the state that it kept, opened the
    /// link.
    async fn taken(&self, state: &str, kept: &str) -> Result<LinkUse<BegunConnect>, Error> {
        let tenancy = self.store.tenancy();
        if is_kept(kept, state) {
            return Ok(usable(tenancy.take_connect(state).await?));
        }
        match usable(tenancy.look_at_connect(state).await?) {
            LinkUse::Usable(BegunConnect { tenant, .. }) => {
                tracing::warn!(%tenant, "Slack redirected a browser that did not open the link");
                // The attempt continues in the right browser, so this is not its end.
                self.trail().refused_browser(&tenant);
                let other = Connected::Unusable(Unusable::OtherBrowser);
                Ok(LinkUse::Unusable(ConnectEnd::new(other, None)))
            }
            // Another browser than the one that began it does not go on to the platform.
            LinkUse::Unusable(ConnectEnd { connected, .. }) => {
                Ok(LinkUse::Unusable(ConnectEnd { connected, back: None }))
            }
        }
    }

    /// Records the end of an attempt that did not connect. A success was recorded in the
    /// transaction that connected. Another outcome is final: a failure to record it must not show
    /// the person a different one.
    pub(super) async fn note_failure(&self, tenant: &TenantId, state: &str, connected: &Connected) {
        let Some(failure) = failure(connected) else { return };
        if let Err(error) = self.fail_connect(tenant, state, failure).await {
            tracing::warn!(%error, "the outcome of a connect attempt was not recorded");
        }
    }

    async fn fail_connect(
        &self,
        tenant: &TenantId,
        state: &str,
        failure: ConnectFailure,
    ) -> Result<(), Error> {
        let ConnectFailure { outcome, reason, shown } = failure;
        let entry =
            Entry { outcome, reason, ..Entry::of_browser(tenant.clone(), COMPLETE_CONNECT) };
        let store = self.store.noting(&entry).await?;
        store.tenancy().finish_connect(state, &shown).await?;
        Ok(())
    }

    /// The outcome of an exchange, or of the choice of a workspace.
    pub(super) async fn granted(
        &self,
        tenant: &TenantId,
        app: &AppRef,
        state: &str,
        terms: &ConnectTerms,
        granted: Result<Granted, ConnectError>,
    ) -> Result<Connected, Error> {
        match granted {
            Ok(granted) => Ok(self.done(tenant, granted).await),
            Err(ConnectError::ChooseTeam { org, teams }) => {
                self.offer_teams(tenant, state, org, &teams).await
            }
            Err(ConnectError::InUse { installation, team_name: workspace, may_confirm }) => {
                tracing::warn!(
                    %tenant, workspace = %installation,
                    "a tenant was not connected to a workspace that another tenant uses"
                );
                if !may_confirm {
                    return Ok(Connected::InUse { workspace });
                }
                let terms =
                    ConnectTerms { allowed: Allowed::Confirmed(installation), ..terms.clone() };
                self.confirm(tenant, app, workspace, terms).await
            }
            Err(ConnectError::OtherWorkspace { team_name: workspace }) => {
                tracing::warn!(%tenant, "a link for one workspace was used for another");
                Ok(Connected::OtherWorkspace { workspace })
            }
            Err(ConnectError::Refused { code }) => {
                tracing::warn!(%tenant, code, "Slack refused to connect a workspace");
                Ok(Connected::Refused { code })
            }
            Err(ConnectError::NoAnswer { code }) => {
                tracing::warn!(%tenant, code, "Slack gave no answer to connecting a workspace");
                Ok(Connected::NoAnswer)
            }
            Err(ConnectError::Store(error)) => Err(error.into()),
        }
    }

    /// The workspace is connected, even if something fails here: the refresher finds workspaces
    /// that were never read, and GetWorkspace shows the missing permissions.
    async fn done(&self, tenant: &TenantId, granted: Granted) -> Connected {
        let id = granted.installation;
        tracing::info!(%tenant, workspace = %id, "a workspace was connected");
        // Slack may take a while to revoke a token, and the browser need not wait for that.
        let (app, of) = (self.clone(), tenant.clone());
        tokio::spawn(async move { app.leave_former(&of).await }.in_current_span());
        if let Err(error) = self.directory.refresh_soon(id).await {
            tracing::warn!(%error, "a reading of the member list was not requested");
        }
        let scopes = match self.store.tenancy().installation(id).await {
            Ok(installation) => installation.map(|installation| installation.scopes),
            Err(error) => {
                tracing::warn!(%error, "the permissions of a new workspace were not read");
                None
            }
        };
        Connected::Done {
            tenant: tenant.clone(),
            workspace: granted.team_name,
            lacking: scopes.map(|scopes| self.lacking(&scopes)).unwrap_or_default(),
        }
    }

    /// Another tenant uses the workspace. Its token is not kept for a confirmation: a person who
    /// confirms goes through Slack once more.
    async fn confirm(
        &self,
        tenant: &TenantId,
        app: &AppRef,
        workspace: String,
        terms: ConnectTerms,
    ) -> Result<Connected, Error> {
        let state = self.new_attempt(&self.store, tenant, app, terms.clone()).await?;
        let redirect = self.redirect_of(app, &state);
        let start = self.start(tenant.clone(), app, &state, &redirect, &terms).await?.into();
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

/// Whether a browser kept this state.
pub(super) fn is_kept(kept: &str, state: &str) -> bool {
    bool::from(kept.as_bytes().ct_eq(state.as_bytes()))
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
