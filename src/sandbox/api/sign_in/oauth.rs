//! `oauth.v2.access`: exchanges codes and refresh tokens for tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::sandbox::api::call::Call;
use crate::sandbox::world::directory;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::kept::{Asked, Code};
use crate::sandbox::world::scopes;
use crate::sandbox::world::state::State;
use crate::sandbox::world::tokens::{Refresh, Token};

/// A code lives ten minutes and works once.
const CODE_SECONDS: f64 = 600.0;
/// A rotating token lives twelve hours.
const TOKEN_SECONDS: i64 = 43_200;
/// A used refresh token still works for a short time; Slack does not say how long.
const GRACE_SECONDS: f64 = 60.0;
/// Rotating tokens that are valid at the same time.
const ALIVE: usize = 2;

/// The result of an installation or a refresh.
pub(in crate::sandbox) struct Grant {
    pub(in crate::sandbox) token: String,
    scopes: BTreeSet<String>,
    refresh: Option<String>,
}

impl State {
    /// A code for these scopes, limited to `granted_scopes`.
    pub(super) fn new_code(&mut self, scopes: &BTreeSet<String>, asked: Asked, now: i64) -> String {
        let scopes = match &self.options.granted_scopes {
            Some(granted) if asked.sign_in.is_none() => {
                scopes.iter().filter(|s| granted.contains(s)).cloned().collect()
            }
            _ => scopes.clone(),
        };
        let expires = now + self.scaled_micros(CODE_SECONDS);
        let code = format!("{}.{:032x}", now / 1_000_000, rand::random::<u128>());
        self.codes.retain(|_, code| code.expires > now);
        self.codes.insert(code.clone(), Code { scopes, asked, expires });
        code
    }

    /// Installs the app with these scopes. Without rotation a second installation gets the same
    /// token with the scopes of both, unless the first was revoked.
    pub(in crate::sandbox) fn install(&mut self, mut scopes: BTreeSet<String>, now: i64) -> Grant {
        self.bot_joins();
        if self.options.token_rotation {
            return self.rotate(scopes, now);
        }
        if let Some((token, held)) = self.tokens.standing(self.options.org_wide) {
            scopes.extend(held.scopes.iter().cloned());
            held.scopes = Arc::new(scopes.clone());
            return Grant { token: token.clone(), scopes, refresh: None };
        }
        let token = format!("xoxb-{:012}-{:032x}", self.counter, rand::random::<u128>());
        self.keep_token(&token, &scopes, None, None);
        Grant { token, scopes, refresh: None }
    }

    /// Removes the app: its tokens answer `account_inactive`, and the app is notified.
    pub(in crate::sandbox) fn uninstall(&mut self) {
        self.tokens.kill(None, "account_inactive");
        self.event(json!({ "type": "tokens_revoked",
            "tokens": { "oauth": [], "bot": [self.app.bot_user_id] } }));
        self.event(json!({ "type": "app_uninstalled" }));
    }

    fn rotate(&mut self, scopes: BTreeSet<String>, now: i64) -> Grant {
        let token = format!("xoxe.xoxb-1-{:032x}", rand::random::<u128>());
        let refresh = format!("xoxe-1-{:032x}", rand::random::<u128>());
        #[expect(clippy::cast_precision_loss, reason = "a day in seconds")]
        let expires = now + self.scaled_micros(TOKEN_SECONDS as f64);
        self.keep_token(&token, &scopes, Some(expires), None);
        self.tokens
            .refresh
            .insert(refresh.clone(), Refresh { scopes: scopes.clone(), first_used: None });
        let live = |t: &&mut Token| t.dead.is_none() && t.expires.is_some_and(|at| at > now);
        let mut alive: Vec<_> = self.tokens.by_text.values_mut().filter(live).collect();
        alive.sort_by_key(|token| token.order);
        let excess = alive.len().saturating_sub(ALIVE);
        for token in &mut alive[..excess] {
            token.dead = Some("token_revoked".into());
        }
        Grant { token, scopes, refresh: Some(refresh) }
    }

    pub(super) fn keep_token(
        &mut self,
        token: &str,
        scopes: &BTreeSet<String>,
        expires: Option<i64>,
        user: Option<String>,
    ) {
        self.counter += 1;
        let scopes = Arc::new(scopes.clone());
        let (order, org_wide) = (self.counter, self.options.org_wide);
        let held = Token { scopes, dead: None, expires, order, org_wide, exchanged: false, user };
        self.tokens.by_text.insert(token.to_owned(), held);
    }

    /// The bot becomes a member at the first installation.
    fn bot_joins(&mut self) {
        if !self.directory.contains(&self.app.bot_user_id) {
            let app = &self.app;
            let bot = json!({ "id": app.bot_user_id, "is_bot": true, "real_name": app.name,
                "profile": { "real_name": app.name, "bot_id": app.bot_id, "api_app_id": app.id,
                    "always_active": true } });
            let id = app.bot_user_id.clone();
            self.directory.put(&id, &bot);
        }
    }

    /// The person who pressed Allow: the first administrator, or the first member if there is none.
    pub(in crate::sandbox) fn installer(&self) -> String {
        let page = self.directory.page(None, 50).map(|(members, _)| members).unwrap_or_default();
        let people = || page.iter().filter(|m| directory::kind(m) == "member");
        let admin = people().find(|m| m["is_admin"] == Value::Bool(true));
        let found = admin.or_else(|| people().next()).and_then(|m| m["id"].as_str());
        found.unwrap_or("U0SANDBOX0").to_owned()
    }
}

/// Checks the app's own id and secret, from Basic or from the form.
pub(super) fn authenticate(call: &Call<'_>) -> Result<(), Error> {
    let (id, secret) = match &call.basic {
        Some((id, secret)) => (id.as_str(), secret.as_str()),
        None => (
            call.args.text("client_id").unwrap_or_default(),
            call.args.text("client_secret").unwrap_or_default(),
        ),
    };
    if id != call.state.client_id {
        return Err("invalid_client_id".into());
    }
    if secret != call.state.client_secret.expose() {
        return Err("bad_client_secret".into());
    }
    Ok(())
}

pub(in crate::sandbox) fn uninstall(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    call.state.uninstall();
    // Slack's page of the method requires the key. The types of Slack's SDKs, which are made from
    // recorded answers, do not have it. It is a guess that a bot may do this: the page also names
    // `no_permission` for granular bots.
    Ok(json!({ "uninstalled": true }))
}

pub(in crate::sandbox) fn access(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    let grant = match call.args.text("grant_type") {
        None | Some("authorization_code") => exchange(call)?,
        Some("refresh_token") => {
            let grace = call.state.scaled_micros(GRACE_SECONDS);
            let text = call.args.text("refresh_token").unwrap_or_default();
            let held = call.state.tokens.refresh.get_mut(text).ok_or("invalid_refresh_token")?;
            if call.now - *held.first_used.get_or_insert(call.now) > grace {
                return Err("invalid_refresh_token".into());
            }
            let scopes = held.scopes.clone();
            call.state.rotate(scopes, call.now)
        }
        Some(_) => return Err("invalid_grant_type".into()),
    };
    Ok(answer(call, &grant))
}

/// `oauth.v2.exchange`: replaces a token that does not expire with an expiring one and its refresh
/// token.
pub(in crate::sandbox) fn exchange_token(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    if !call.state.options.token_rotation {
        return Err("token_rotation_not_enabled".into());
    }
    let held = call.state.tokens.by_text.get_mut(&call.token).ok_or("invalid_token")?;
    if held.exchanged || held.expires.is_some() {
        return Err("token_already_exchanged".into());
    }
    if held.dead.is_some() {
        return Err("authorization_not_found".into());
    }
    (held.exchanged, held.dead) = (true, Some("token_revoked".into()));
    let scopes = (*held.scopes).clone();
    let grant = call.state.rotate(scopes, call.now);
    let mut answer = answer(call, &grant);
    for key in ["authed_user", "is_enterprise_install"] {
        if let Some(answer) = answer.as_object_mut() {
            answer.remove(key);
        }
    }
    Ok(answer)
}

/// The code of the call, which is spent by this.
pub(super) fn take_code(call: &mut Call<'_>) -> Result<Code, Error> {
    let code = call.args.text("code").ok_or("invalid_code")?;
    // Removed before anything else is checked: a code works once, even if it is used wrongly.
    let code = call.state.codes.remove(code).ok_or("invalid_code")?;
    if code.expires <= call.now {
        return Err("invalid_code".into());
    }
    if code.asked.redirect_uri.as_deref() != call.args.text("redirect_uri") {
        return Err("bad_redirect_uri".into());
    }
    let verifier = call.args.text("code_verifier");
    if verifier.is_some() && !call.state.options.pkce {
        return Err("pkce_not_allowed".into());
    }
    if let Some(challenge) = &code.asked.challenge
        && verifier.map(challenge_of).as_ref() != Some(challenge)
    {
        return Err("invalid_code_verifier".into());
    }
    Ok(code)
}

/// The S256 challenge of a verifier (RFC 7636, section 4.2).
pub(super) fn challenge_of(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

fn exchange(call: &mut Call<'_>) -> Result<Grant, Error> {
    let code = take_code(call)?;
    if code.asked.sign_in.is_some() {
        return Err("oauth_authorization_url_mismatch".into());
    }
    if code.scopes.is_empty() {
        return Err("no_scopes".into());
    }
    Ok(call.state.install(code.scopes, call.now))
}

fn answer(call: &Call<'_>, grant: &Grant) -> Value {
    let state = &*call.state;
    let org_wide = state.tokens.is_org_wide(&grant.token);
    let team = json!({ "id": state.team.id, "name": state.team.name });
    let mut answer = json!({
        "app_id": state.app.id, "token_type": "bot", "access_token": grant.token,
        "scope": scopes::join(&grant.scopes), "bot_user_id": state.app.bot_user_id,
        "team": if org_wide { Value::Null } else { team },
        "enterprise": state.enterprise(), "is_enterprise_install": org_wide,
        "authed_user": { "id": state.installer() },
    });
    if let Some(refresh) = &grant.refresh {
        answer["refresh_token"] = json!(refresh);
        answer["expires_in"] = json!(TOKEN_SECONDS);
    }
    answer
}
