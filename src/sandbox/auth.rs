//! Tokens, their states, and `auth.test` and `auth.revoke`.
#![expect(clippy::unnecessary_wraps, reason = "every method has the one signature")]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::state::{Call, Error};

/// One token the sandbox gave out.
pub(super) struct Token {
    pub(super) scopes: Arc<BTreeSet<String>>,
    /// The error code it answers with, once it is dead.
    pub(super) dead: Option<String>,
    /// When it expires, microseconds; only with rotation.
    pub(super) expires: Option<i64>,
    /// Numbered as they were given out.
    pub(super) order: u64,
}

/// Every token, by its text.
#[derive(Default)]
pub(super) struct Tokens {
    pub(super) by_text: HashMap<String, Token>,
    /// Refresh tokens not used yet.
    pub(super) refresh: HashMap<String, BTreeSet<String>>,
}

impl Tokens {
    /// The scopes of a live token, or the code of what is wrong with it.
    pub(super) fn check(&self, token: &str, now: i64) -> Result<Arc<BTreeSet<String>>, Error> {
        let held = self.by_text.get(token).ok_or("invalid_auth")?;
        if let Some(code) = &held.dead {
            return Err(Error::code(code.clone()));
        }
        if held.expires.is_some_and(|at| at <= now) {
            return Err("token_expired".into());
        }
        Ok(Arc::clone(&held.scopes))
    }

    /// Makes one token, or every one, answer `code` from now on.
    pub(super) fn kill(&mut self, token: Option<&str>, code: &str) {
        for (text, held) in &mut self.by_text {
            if token.is_none_or(|token| token == text) {
                held.dead = Some(code.to_owned());
            }
        }
        // An expired token can still be refreshed; any other end is the end of the chain.
        if token.is_none() && code != "token_expired" {
            self.refresh.clear();
        }
    }

    /// The live token without expiry, which a second installation gets again.
    pub(super) fn standing(&mut self) -> Option<(&String, &mut Token)> {
        self.by_text.iter_mut().find(|(_, held)| held.dead.is_none() && held.expires.is_none())
    }

    /// Replaces the scopes of every live token.
    pub(super) fn set_scopes(&mut self, scopes: BTreeSet<String>) {
        let scopes = Arc::new(scopes);
        for held in self.by_text.values_mut() {
            held.scopes = Arc::clone(&scopes);
        }
    }
}

/// What the log says about the token of a request.
pub(super) fn kind(token: Option<&str>, known: bool) -> &'static str {
    match token {
        None => "none",
        Some(_) if !known => "unknown",
        Some(token) if token.starts_with("xoxp-") => "user",
        Some(_) => "bot",
    }
}

pub(super) fn test(call: &mut Call<'_>) -> Result<Value, Error> {
    let state = &*call.state;
    let mut answer = json!({
        "url": format!("https://{}.slack.com/", state.team.domain()),
        "team": state.team.name, "user": state.app.bot_name(),
        "team_id": state.team.id, "user_id": state.app.bot_user_id, "bot_id": state.app.bot_id,
        "is_enterprise_install": false, "app_id": state.app.id, "app_name": state.app.name,
    });
    if let Some(enterprise) = &state.team.enterprise_id {
        answer["enterprise_id"] = json!(enterprise);
    }
    let expires = state.tokens.by_text.get(&call.token).and_then(|held| held.expires);
    if let Some(at) = expires {
        answer["expires_in"] = json!(state.unscaled_seconds(at - call.now));
    }
    Ok(answer)
}

pub(super) fn revoke(call: &mut Call<'_>) -> Result<Value, Error> {
    let dry = call.args.flag("test");
    if !dry {
        call.state.tokens.kill(Some(&call.token), "token_revoked");
    }
    Ok(json!({ "revoked": !dry }))
}
