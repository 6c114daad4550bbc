//! Installs the app in a workspace, keeps its token fresh, and asks for the owner of a token.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::Error;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use super::wire::{self, NamedTeam};
use crate::domain::capacity::slack_method::Method;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{AppCredentials, BAD_SECRET};
use crate::domain::time::Timestamp;

/// The parameters of the consent page (Slack's documentation: Installing with OAuth).
#[derive(Debug, Clone, Copy)]
pub struct Authorize<'a> {
    pub client_id: &'a str,
    /// Bot scopes.
    pub scopes: &'a [&'a str],
    /// Must be sent again, unchanged, with the code.
    pub redirect_uri: &'a str,
    /// Returned with the code; unguessable, single use.
    pub state: &'a str,
    /// Preselects a workspace if the person is signed in to it; verify `team` afterwards.
    pub team_id: Option<&'a str>,
    /// The S256 challenge of PKCE, if the app uses it.
    pub challenge: Option<&'a str>,
}

/// An installation's tokens and its workspace (oauth.v2.access).
#[derive(Debug, Clone)]
pub struct Access {
    pub access_token: Secret,
    /// Only with token rotation; single use.
    pub refresh_token: Option<Secret>,
    /// Lifetime of `access_token`; without rotation it does not expire. Slack's time, not scaled.
    pub expires_in: Option<Duration>,
    /// The granted scopes, which may be fewer than requested.
    pub scopes: Vec<String>,
    pub app_id: Option<String>,
    pub bot_user_id: Option<String>,
    /// None for an org-wide installation.
    pub team: Option<NamedTeam>,
    pub enterprise: Option<NamedTeam>,
    pub is_enterprise_install: bool,
    /// The Slack user who approved.
    pub authed_user: Option<String>,
}

/// The owner of a token (auth.test).
#[derive(Debug, Clone)]
pub struct AuthTest {
    /// Address of the workspace.
    pub url: Option<String>,
    /// Name of the workspace.
    pub team: Option<String>,
    pub team_id: Option<String>,
    /// The bot's user name.
    pub user: Option<String>,
    /// The bot's user id.
    pub user_id: Option<String>,
    pub bot_id: Option<String>,
    pub app_id: Option<String>,
    pub enterprise_id: Option<String>,
    pub is_enterprise_install: bool,
    /// The current scopes of the token; None if the answer did not say.
    pub scopes: Option<Vec<String>>,
    /// Slack's time, to the second; None if the answer did not say.
    pub at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct WireAccess {
    access_token: Secret,
    #[serde(default, deserialize_with = "wire::lenient")]
    refresh_token: Option<Secret>,
    #[serde(default, deserialize_with = "wire::lenient")]
    expires_in: Option<u64>,
    #[serde(default, deserialize_with = "wire::lenient")]
    scope: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    app_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    bot_user_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    team: Option<NamedTeam>,
    #[serde(default, deserialize_with = "wire::lenient")]
    enterprise: Option<NamedTeam>,
    #[serde(default, deserialize_with = "wire::lenient")]
    is_enterprise_install: Option<bool>,
    #[serde(default, deserialize_with = "wire::lenient")]
    authed_user: Option<NamedTeam>,
}

#[derive(Deserialize)]
struct WireTest {
    #[serde(default, deserialize_with = "wire::lenient")]
    url: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    team: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    team_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    user: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    bot_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    app_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    enterprise_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    is_enterprise_install: Option<bool>,
}

impl Client {
    /// The address to which an administrator's browser is sent.
    #[must_use]
    pub fn authorize_url(&self, ask: &Authorize<'_>) -> Url {
        let mut url = self.authorize_page();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("client_id", ask.client_id)
                .append_pair("scope", &ask.scopes.join(","))
                .append_pair("redirect_uri", ask.redirect_uri)
                .append_pair("state", ask.state);
            if let Some(team) = ask.team_id {
                query.append_pair("team", team);
            }
            if let Some(challenge) = ask.challenge {
                query
                    .append_pair("code_challenge", challenge)
                    .append_pair("code_challenge_method", "S256");
            }
        }
        url
    }

    /// Exchanges the code of the redirect for tokens. A code works once: after [`Error::Unknown`]
    /// the person has to start again.
    pub async fn oauth_v2_access(
        &self,
        app: &AppCredentials,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<Access, Error> {
        let mut fields = vec![("code", code.to_owned()), ("redirect_uri", redirect_uri.to_owned())];
        fields.extend(verifier.map(|verifier| ("code_verifier", verifier.to_owned())));
        self.access(app, fields).await
    }

    async fn access(
        &self,
        app: &AppCredentials,
        fields: Vec<(&'static str, String)>,
    ) -> Result<Access, Error> {
        let call = |secret, fields| {
            self.call::<WireAccess>(MethodCall {
                method: Method::OauthV2Access,
                effect: Effect::Once,
                auth: Auth::Basic(&app.client_id, secret),
                body: Body::Form(fields),
            })
        };
        let answer = match &app.previous_client_secret {
            None => call(&app.client_secret, fields).await,
            // Slack refuses the secret before it looks at the code.
            Some(previous) => match call(&app.client_secret, fields.clone()).await {
                Err(Error::Rejected { code, .. }) if code == BAD_SECRET => {
                    call(previous, fields).await
                }
                answer => answer,
            },
        };
        let wire = answer?.value;
        if wire.access_token.is_empty() {
            return Err(Effect::Once.ambiguous("unreadable_answer"));
        }
        Ok(Access {
            access_token: wire.access_token,
            refresh_token: wire.refresh_token.filter(|token| !token.is_empty()),
            expires_in: wire.expires_in.map(Duration::from_secs),
            scopes: wire::scopes(&wire.scope.unwrap_or_default()),
            app_id: wire::some(wire.app_id),
            bot_user_id: wire::some(wire.bot_user_id),
            team: wire.team,
            enterprise: wire.enterprise,
            is_enterprise_install: wire.is_enterprise_install.unwrap_or(false),
            authed_user: wire::some(wire.authed_user.map(|user| user.id)),
        })
    }

    /// Asks whose `token` is, what it may do, and whether it is valid.
    pub async fn auth_test(&self, token: &Secret) -> Result<AuthTest, Error> {
        let call = MethodCall {
            method: Method::AuthTest,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Form(Vec::new()),
        };
        let answer = self.call::<WireTest>(call).await?;
        let wire = answer.value;
        Ok(AuthTest {
            url: wire::some(wire.url),
            team: wire::some(wire.team),
            team_id: wire::some(wire.team_id),
            user: wire::some(wire.user),
            user_id: wire::some(wire.user_id),
            bot_id: wire::some(wire.bot_id),
            app_id: wire::some(wire.app_id),
            enterprise_id: wire::some(wire.enterprise_id),
            is_enterprise_install: wire.is_enterprise_install.unwrap_or(false),
            scopes: answer.scopes,
            at: answer.at,
        })
    }
}
