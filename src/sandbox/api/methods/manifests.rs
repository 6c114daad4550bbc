//! `apps.manifest.*`: apps created from a manifest, with an app configuration token.

use std::sync::Arc;

use serde_json::{Value, json};
use url::Url;

use crate::domain::loopback::is_loopback;
use crate::sandbox::api::call::Call;
use crate::sandbox::world::change::Effect;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::scopes;
use crate::sandbox::world::team::App;

/// The manifest and its errors. Only the keys that every app needs are checked.
fn read(call: &Call<'_>) -> Result<(Value, Vec<Value>), Error> {
    let manifest = call.args.json("manifest").ok_or("invalid_arguments")?;
    let manifest = manifest.map_err(|()| "invalid_arguments")?;
    let mut errors = Vec::new();
    let mut wrong = |message: String, pointer: &str| {
        errors.push(json!({ "message": message, "pointer": pointer }));
    };
    let name = manifest["display_information"]["name"].as_str().unwrap_or_default();
    if !(1..=35).contains(&name.chars().count()) {
        let message = "must have between 1 and 35 characters".to_owned();
        wrong(message, "/display_information/name");
    }
    for key in ["bot", "bot_optional"] {
        let scopes = manifest["oauth_config"]["scopes"][key].as_array();
        for (at, scope) in scopes.into_iter().flatten().enumerate() {
            if !scope.as_str().is_some_and(scopes::is_known) {
                let pointer = format!("/oauth_config/scopes/{key}/{at}");
                wrong(format!("Illegal bot scopes found '{scope}'"), &pointer);
            }
        }
    }
    let urls = &manifest["oauth_config"]["redirect_urls"];
    for (at, url) in urls.as_array().into_iter().flatten().enumerate() {
        // Local addresses too, which Slack does not take: so that tests need no certificate.
        let url = url.as_str().and_then(|url| Url::parse(url).ok());
        let secure = url.is_some_and(|url| url.scheme() == "https" || is_loopback(&url));
        if !secure {
            wrong("must be a secure url".to_owned(), &format!("/oauth_config/redirect_urls/{at}"));
        }
    }
    let events = &manifest["settings"]["event_subscriptions"];
    let named = events["bot_events"].as_array().is_some_and(|events| !events.is_empty());
    let socket = manifest["settings"]["socket_mode_enabled"] == Value::Bool(true);
    if named && !socket && !events["request_url"].is_string() {
        let message = "requires the property \"request_url\"".to_owned();
        wrong(message, "/settings/event_subscriptions");
    }
    Ok((manifest, errors))
}

fn accepted(call: &Call<'_>) -> Result<Value, Error> {
    match read(call)? {
        (manifest, errors) if errors.is_empty() => Ok(manifest),
        (_, errors) => Err(Error::with("invalid_manifest", json!({ "errors": errors }))),
    }
}

/// The named app, which must exist.
fn app_id(call: &Call<'_>) -> Result<String, Error> {
    let id = call.args.required("app_id")?;
    if !call.state.apps.get(id).is_some_and(|app| app.manifest.is_object()) {
        return Err("invalid_app_id".into());
    }
    Ok(id.to_owned())
}

/// Asks the app's new address for events to prove that it is the app's.
fn verify(call: &mut Call<'_>, id: &str) {
    if call.state.enter_app(id) && call.state.app.events_url.is_some() {
        let (app, team) = (Arc::clone(&call.state.app), Arc::clone(&call.state.team));
        let inner = json!({ "type": "url_verification" });
        call.state.effects.push(Effect::Event { app, team, inner });
    }
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Value, Error> {
    let manifest = accepted(call)?;
    let id = call.state.new_id('A');
    let client_id = format!("{}.{:010}", call.now / 1_000_000, call.state.counter);
    let app = App::made(id.clone(), client_id.clone(), manifest);
    let list = |key: &str| {
        let listed = app.manifest["oauth_config"]["scopes"][key].as_array();
        listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut asked = list("bot");
    asked.extend(list("bot_optional"));
    let authorize = format!(
        "{}oauth/v2/authorize?client_id={client_id}&scope={}",
        call.state.base,
        asked.join(",")
    );
    let (secret, signing) = (app.client_secret.clone(), app.signing_secret.clone());
    call.state.apps.insert(id.clone(), Arc::new(app));
    verify(call, &id);
    let verification = App::new_secret();
    Ok(json!({
        "app_id": id, "oauth_authorize_url": authorize,
        "credentials": { "client_id": client_id, "client_secret": secret.expose(),
            "verification_token": verification.expose(), "signing_secret": signing.expose() },
    }))
}

pub(super) fn update(call: &mut Call<'_>) -> Result<Value, Error> {
    let (id, manifest) = (app_id(call)?, accepted(call)?);
    let before = call.state.apps.get(&id).map(|app| (app.manifest.clone(), app.events_url.clone()));
    let (before, url) = before.unwrap_or_default();
    let scopes = |manifest: &Value| manifest["oauth_config"]["scopes"].clone();
    let updated = scopes(&before) != scopes(&manifest);
    call.state.change_app(&id, |app| app.read(manifest));
    if call.state.apps.get(&id).is_some_and(|app| app.events_url != url) {
        verify(call, &id);
    }
    Ok(json!({ "app_id": id, "permissions_updated": updated }))
}

pub(super) fn validate(call: &mut Call<'_>) -> Result<Value, Error> {
    accepted(call)?;
    Ok(json!({ "errors": [] }))
}

pub(super) fn export(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = app_id(call)?;
    Ok(json!({ "manifest": call.state.apps.get(&id).map(|app| app.manifest.clone()) }))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = app_id(call)?;
    call.state.delete_app(&id);
    Ok(json!({}))
}
