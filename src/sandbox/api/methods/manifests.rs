//! `apps.manifest.*`: apps created from a manifest, with an app configuration token.

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::scopes;

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
    let scopes = manifest["oauth_config"]["scopes"]["bot"].as_array().cloned().unwrap_or_default();
    for (at, scope) in scopes.iter().enumerate() {
        if !scope.as_str().is_some_and(scopes::is_known) {
            let pointer = format!("/oauth_config/scopes/bot/{at}");
            wrong(format!("Illegal bot scopes found '{scope}'"), &pointer);
        }
    }
    let urls = &manifest["oauth_config"]["redirect_urls"];
    for (at, url) in urls.as_array().into_iter().flatten().enumerate() {
        if !url.as_str().is_some_and(|url| url.starts_with("https://")) {
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
    if !call.state.manifests.contains_key(id) {
        return Err("invalid_app_id".into());
    }
    Ok(id.to_owned())
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Value, Error> {
    let manifest = accepted(call)?;
    let id = call.state.new_id('A');
    call.state.manifests.insert(id.clone(), manifest);
    let secret = || format!("{:032x}", rand::random::<u128>());
    let client_id = format!("{}.{}", call.now / 1_000_000, call.now % 1_000_000);
    let authorize = format!("{}oauth/v2/authorize?client_id={client_id}", call.state.base);
    Ok(json!({
        "app_id": id, "oauth_authorize_url": authorize,
        "credentials": { "client_id": client_id, "client_secret": secret(),
            "verification_token": secret(), "signing_secret": secret() },
    }))
}

pub(super) fn update(call: &mut Call<'_>) -> Result<Value, Error> {
    let (id, manifest) = (app_id(call)?, accepted(call)?);
    let scopes = |manifest: &Value| manifest["oauth_config"]["scopes"].clone();
    let wanted = scopes(&manifest);
    let before = call.state.manifests.insert(id.clone(), manifest).unwrap_or_default();
    Ok(json!({ "app_id": id, "permissions_updated": scopes(&before) != wanted }))
}

pub(super) fn validate(call: &mut Call<'_>) -> Result<Value, Error> {
    accepted(call)?;
    Ok(json!({ "errors": [] }))
}

pub(super) fn export(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = app_id(call)?;
    Ok(json!({ "manifest": call.state.manifests.get(&id) }))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = app_id(call)?;
    call.state.manifests.remove(&id);
    Ok(json!({}))
}
