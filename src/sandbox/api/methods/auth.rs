//! `auth.test` and `auth.revoke`.
#![expect(clippy::unnecessary_wraps, reason = "every method has the one signature")]

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::world::error::Error;

/// The log's word for the kind of token of a request.
pub(in crate::sandbox) fn kind(token: Option<&str>, known: bool) -> &'static str {
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
        "is_enterprise_install": state.tokens.is_org_wide(&call.token),
        "app_id": state.app.id, "app_name": state.app.name,
    });
    if let Some(enterprise) = state.enterprise() {
        answer["enterprise_id"] = enterprise["id"].clone();
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
        let state = &mut *call.state;
        let held = state.tokens.by_text.get(&call.token);
        let place = held.map(|held| held.place.clone()).unwrap_or_default();
        state.tokens.kill(Some(&call.token), "token_revoked");
        state.event(json!({ "type": "tokens_revoked",
            "tokens": { "oauth": [], "bot": [state.app.bot_user_id] } }));
        // The bot leaves the workspace with its last token.
        if !state.tokens.is_installed(&place) {
            state.tokens.refresh.retain(|_, kept| kept.place != place);
            state.event(json!({ "type": "app_uninstalled" }));
        }
    }
    Ok(json!({ "revoked": !dry }))
}
