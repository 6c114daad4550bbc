//! `oauth.v2.access`: codes and refresh tokens become tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::auth::Token;
use super::scopes;
use super::state::{Call, Error, State};

/// A code lives ten minutes and works once.
const CODE_SECONDS: f64 = 600.0;
/// A rotating token lives twelve hours.
const TOKEN_SECONDS: i64 = 43_200;
/// Rotating tokens alive at once.
const ALIVE: usize = 2;

/// A code given to the callback.
pub(super) struct Code {
    scopes: BTreeSet<String>,
    /// Given at the authorize page; then it must be given here too.
    redirect_uri: Option<String>,
    expires: i64,
}

/// What an installation or a refresh yields.
pub(super) struct Grant {
    pub(super) token: String,
    scopes: BTreeSet<String>,
    refresh: Option<String>,
}

impl State {
    /// A code for these scopes, of which `granted_scopes` may take some away.
    pub(super) fn new_code(
        &mut self,
        asked: &BTreeSet<String>,
        redirect: Option<String>,
        now: i64,
    ) -> String {
        let scopes = match &self.options.granted_scopes {
            Some(granted) => asked.iter().filter(|s| granted.contains(s)).cloned().collect(),
            None => asked.clone(),
        };
        let expires = now + self.scaled_micros(CODE_SECONDS);
        let code = format!("{}.{:032x}", now / 1_000_000, rand::random::<u128>());
        self.codes.retain(|_, code| code.expires > now);
        self.codes.insert(code.clone(), Code { scopes, redirect_uri: redirect, expires });
        code
    }

    /// Installs the app with these scopes. Without rotation a second installation gets the same
    /// token with the scopes of both, unless the first was revoked.
    pub(super) fn install(&mut self, mut scopes: BTreeSet<String>, now: i64) -> Grant {
        self.bot_joins();
        if self.options.token_rotation {
            return self.rotate(scopes, now);
        }
        if let Some((token, held)) = self.tokens.standing() {
            scopes.extend(held.scopes.iter().cloned());
            held.scopes = Arc::new(scopes.clone());
            return Grant { token: token.clone(), scopes, refresh: None };
        }
        let token = format!("xoxb-{:012}-{:032x}", self.counter, rand::random::<u128>());
        self.keep_token(&token, &scopes, None);
        Grant { token, scopes, refresh: None }
    }

    /// Removes the app: its tokens answer `account_inactive`, and the app is told.
    pub(super) fn uninstall(&mut self) {
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
        self.keep_token(&token, &scopes, Some(expires));
        self.tokens.refresh.insert(refresh.clone(), scopes.clone());
        let live = |t: &&mut Token| t.dead.is_none() && t.expires.is_some_and(|at| at > now);
        let mut alive: Vec<_> = self.tokens.by_text.values_mut().filter(live).collect();
        alive.sort_by_key(|token| token.order);
        let excess = alive.len().saturating_sub(ALIVE);
        for token in &mut alive[..excess] {
            token.dead = Some("token_revoked".into());
        }
        Grant { token, scopes, refresh: Some(refresh) }
    }

    fn keep_token(&mut self, token: &str, scopes: &BTreeSet<String>, expires: Option<i64>) {
        self.counter += 1;
        let scopes = Arc::new(scopes.clone());
        let held = Token { scopes, dead: None, expires, order: self.counter };
        self.tokens.by_text.insert(token.to_owned(), held);
    }

    /// The bot becomes a member with the first installation.
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

    /// Who pressed Allow: the first administrator, else the first member.
    fn installer(&self) -> String {
        let page = self.directory.page(None, 50).map(|(members, _)| members).unwrap_or_default();
        let people = || page.iter().filter(|m| super::directory::kind(m) == "member");
        let admin = people().find(|m| m["is_admin"] == Value::Bool(true));
        let found = admin.or_else(|| people().next()).and_then(|m| m["id"].as_str());
        found.unwrap_or("U0SANDBOX0").to_owned()
    }
}

/// The app's own id and secret, by Basic or in the form.
fn authenticate(call: &Call<'_>) -> Result<(), Error> {
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

pub(super) fn uninstall(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    call.state.uninstall();
    Ok(json!({}))
}

pub(super) fn access(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    let grant = match call.args.text("grant_type") {
        None | Some("authorization_code") => exchange(call)?,
        Some("refresh_token") => {
            let text = call.args.text("refresh_token").unwrap_or_default();
            let scopes = call.state.tokens.refresh.remove(text).ok_or("invalid_refresh_token")?;
            call.state.rotate(scopes, call.now)
        }
        Some(_) => return Err("invalid_grant_type".into()),
    };
    Ok(answer(call, &grant))
}

fn exchange(call: &mut Call<'_>) -> Result<Grant, Error> {
    let code = call.args.text("code").ok_or("invalid_code")?;
    // Taken out before anything else is checked: a code works once, even wrongly.
    let code = call.state.codes.remove(code).ok_or("invalid_code")?;
    if code.expires <= call.now {
        return Err("invalid_code".into());
    }
    if code.redirect_uri.as_deref() != call.args.text("redirect_uri") {
        return Err("bad_redirect_uri".into());
    }
    if code.scopes.is_empty() {
        return Err("no_scopes".into());
    }
    Ok(call.state.install(code.scopes, call.now))
}

fn answer(call: &Call<'_>, grant: &Grant) -> Value {
    let state = &*call.state;
    let enterprise = state.team.enterprise_id.as_ref();
    let enterprise = enterprise.map(|id| json!({ "id": id, "name": state.team.name }));
    let mut answer = json!({
        "app_id": state.app.id, "token_type": "bot", "access_token": grant.token,
        "scope": scopes::join(&grant.scopes), "bot_user_id": state.app.bot_user_id,
        "team": { "id": state.team.id, "name": state.team.name },
        "enterprise": enterprise, "is_enterprise_install": false,
        "authed_user": { "id": state.installer() },
    });
    if let Some(refresh) = &grant.refresh {
        answer["refresh_token"] = json!(refresh);
        answer["expires_in"] = json!(TOKEN_SECONDS);
    }
    answer
}
