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
use crate::sandbox::world::refreshes::GivenToken;
use crate::sandbox::world::scopes;
use crate::sandbox::world::state::State;
use crate::sandbox::world::tokens::{RefreshToken, Token, place};

/// A code lives ten minutes and works once.
const CODE_SECONDS: f64 = 600.0;
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

/// A token to be kept.
pub(super) struct Issued {
    pub(super) scopes: BTreeSet<String>,
    pub(super) expires: Option<i64>,
    /// The person, if it is a person's.
    pub(super) user: Option<String>,
    /// The workspace; `None` stands for the whole organization.
    pub(super) team: Option<String>,
}

impl State {
    /// A code for these scopes, limited to `granted_scopes`, for the app in its workspace.
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
        let (app, team) = (self.app.id.clone(), self.team.id.clone());
        self.codes.insert(code.clone(), Code { app, team, scopes, asked, expires });
        code
    }

    /// Installs the app in its workspace, or in the whole organization, with these scopes. Without
    /// rotation a second installation gets the same token with the scopes of both, unless the first
    /// was revoked.
    pub(in crate::sandbox) fn install(&mut self, mut scopes: BTreeSet<String>, now: i64) -> Grant {
        self.bot_joins();
        let team = (!self.installs_org_wide()).then(|| self.team.id.clone());
        if self.rotates() {
            return self.rotate(scopes, team, now);
        }
        let place = self.place_of(team.as_deref());
        if let Some((token, held)) = self.tokens.standing(&place) {
            scopes.extend(held.scopes.iter().cloned());
            held.scopes = Arc::new(scopes.clone());
            return Grant { token: token.clone(), scopes, refresh: None };
        }
        let token = format!("xoxb-{:012}-{:032x}", self.counter, rand::random::<u128>());
        let issued = Issued { scopes: scopes.clone(), expires: None, user: None, team };
        self.keep_token(&token, issued);
        Grant { token, scopes, refresh: None }
    }

    /// Removes the app from its workspace, or from the whole organization: its tokens answer
    /// `account_inactive`, and the app is notified.
    pub(in crate::sandbox) fn uninstall(&mut self) {
        let org_wide = self.is_installed_org_wide();
        let place = if org_wide { self.org_place() } else { self.here() };
        self.tokens.kill_at(&place, "account_inactive");
        self.event(json!({ "type": "tokens_revoked",
            "tokens": { "oauth": [], "bot": [self.app.bot_user_id] } }));
        self.event(json!({ "type": "app_uninstalled" }));
    }

    /// The installation of the app in this workspace; `None` stands for the whole organization.
    fn place_of(&self, team: Option<&str>) -> String {
        team.map_or_else(|| self.org_place(), |team| place(&self.app.id, team))
    }

    fn rotate(&mut self, scopes: BTreeSet<String>, team: Option<String>, now: i64) -> Grant {
        let token = format!("xoxe.xoxb-1-{:032x}", rand::random::<u128>());
        let refresh = format!("xoxe-1-{:032x}", rand::random::<u128>());
        let expires = now + self.scaled_micros(f64::from(self.options.token_seconds));
        let (place, app) = (self.place_of(team.as_deref()), self.app.id.clone());
        let issued = Issued {
            scopes: scopes.clone(),
            expires: Some(expires),
            user: None,
            team: team.clone(),
        };
        self.keep_token(&token, issued);
        let kept = RefreshToken {
            scopes: scopes.clone(),
            first_used: None,
            app,
            team,
            place: place.clone(),
            access: token.clone(),
            next: None,
        };
        self.tokens.refresh.insert(refresh.clone(), kept);
        self.tokens.limit(&place, ALIVE, now);
        Grant { token, scopes, refresh: Some(refresh) }
    }

    /// Keeps a new token of the app.
    pub(super) fn keep_token(&mut self, token: &str, issued: Issued) {
        self.counter += 1;
        let held = Token {
            scopes: Arc::new(issued.scopes),
            dead: None,
            expires: issued.expires,
            order: self.counter,
            app: self.app.id.clone(),
            place: self.place_of(issued.team.as_deref()),
            team: issued.team,
            exchanged: false,
            user: issued.user,
        };
        self.tokens.insert(token, held);
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

/// Checks an app's id and secret, from Basic or from the form. The call is about this app then.
pub(super) fn authenticate(call: &mut Call<'_>) -> Result<(), Error> {
    let (id, secret) = match &call.basic {
        Some((id, secret)) => (id.as_str(), secret.as_str()),
        None => (
            call.args.text("client_id").unwrap_or_default(),
            call.args.text("client_secret").unwrap_or_default(),
        ),
    };
    let app = call.state.app_by_client(id).ok_or("invalid_client_id")?;
    if !app.accepts(secret, call.now) {
        return Err("bad_client_secret".into());
    }
    call.state.app = app;
    Ok(())
}

pub(in crate::sandbox) fn uninstall(call: &mut Call<'_>) -> Result<Value, Error> {
    let of_token = call.state.app.id.clone();
    authenticate(call)?;
    if call.state.app.id != of_token {
        return Err("client_id_token_mismatch".into());
    }
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
        Some("refresh_token") => refresh(call)?,
        Some(_) => return Err("invalid_grant_type".into()),
    };
    Ok(answer(call, &grant))
}

/// Exchanges a refresh token. If it was used a short time ago, the pair that it gave then dies with
/// its unused refresh token: of two replicas that refresh at once, one has a dead pair.
fn refresh(call: &mut Call<'_>) -> Result<Grant, Error> {
    let now = call.now;
    let grace = call.state.scaled_micros(GRACE_SECONDS);
    let text = call.args.text("refresh_token").unwrap_or_default();
    let state = &mut *call.state;
    if state.moving_into.is_some() {
        return Err("team_added_to_org".into());
    }
    let app = state.app.id.clone();
    let held = state.tokens.refresh.get_mut(text).filter(|held| held.app == app);
    let held = held.ok_or("invalid_refresh_token")?;
    let again = held.first_used.is_some();
    if now - *held.first_used.get_or_insert(now) > grace {
        return Err("invalid_refresh_token".into());
    }
    let (scopes, team) = (held.scopes.clone(), held.team.clone());
    let (place, former) = (held.place.clone(), held.next.take());
    if let Some(former) = former
        && state.tokens.refresh.get(&former).is_some_and(|kept| kept.first_used.is_none())
    {
        state.tokens.refresh.remove(&former);
    }
    if let Some(team) = &team {
        state.enter_team(team);
    }
    let grant = state.rotate(scopes, team.clone(), now);
    if let Some(held) = state.tokens.refresh.get_mut(text) {
        held.next.clone_from(&grant.refresh);
    }
    let fresh = |at: i64| now - at <= grace;
    state.tokens.refresh.retain(|_, kept| kept.first_used.is_none_or(fresh));
    let alive = state.tokens.unused(&place);
    let team_id = team.or_else(|| state.enterprise_id()).unwrap_or_default();
    let given = GivenToken { at: now, app_id: app, team_id, again, alive };
    if let Some(number) = call.refreshing {
        state.refreshes.gave(number, given);
    }
    Ok(grant)
}

/// `oauth.v2.exchange`: replaces a token that does not expire with an expiring one and its refresh
/// token.
pub(in crate::sandbox) fn exchange_token(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    if !call.state.rotates() {
        return Err("token_rotation_not_enabled".into());
    }
    let state = &mut *call.state;
    let app = &state.app.id;
    let held = state.tokens.by_text.get_mut(&call.token).filter(|held| held.app == *app);
    let held = held.ok_or("invalid_token")?;
    if held.exchanged || held.expires.is_some() {
        return Err("token_already_exchanged".into());
    }
    if held.dead.is_some() {
        return Err("authorization_not_found".into());
    }
    (held.exchanged, held.dead) = (true, Some("token_revoked".into()));
    let (scopes, team) = ((*held.scopes).clone(), held.team.clone());
    if let Some(team) = &team {
        state.enter_team(team);
    }
    let grant = state.rotate(scopes, team, call.now);
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
    if code.expires <= call.now || code.app != call.state.app.id {
        return Err("invalid_code".into());
    }
    call.state.enter_team(&code.team);
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
        answer["expires_in"] = json!(state.options.token_seconds);
    }
    answer
}
