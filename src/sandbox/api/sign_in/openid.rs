//! Sign in with Slack: its authorize page, `openid.connect.token` and `openid.connect.userInfo`.
//!
//! Arguments, keys and errors are those of Slack's reference of methods. Two points are guesses,
//! because Slack's pages do not cover them: which keys belong to the scopes `email` and `profile`,
//! and the lifetime of an id token. One difference: Slack signs id tokens with RS256 and keys that
//! it publishes; the sandbox has no such key and signs with HS256 and the app's client secret, as
//! OpenID Connect allows.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::consent::{
    Fields, Refused, challenge, choose_team, denied, enter, escape, fields, go_back, hide, page,
    redirect, refusal, refuse,
};
use super::oauth::{Issued, authenticate, take_code};
use crate::sandbox::api::call::Call;
use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::directory::{PICTURES, View, kind, shown};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::kept::{Asked, SignIn};
use crate::sandbox::world::scopes;
use crate::sandbox::world::state::State;
use crate::sandbox::world::team::Team;
use crate::sandbox::world::workspace::Workspace;

/// The valid scopes; `openid` is required.
const SCOPES: [&str; 3] = ["email", "openid", "profile"];
/// The beginning of the names of Slack's own claims.
const CLAIM: &str = "https://slack.com/";
/// Most people that the page offers.
const PEOPLE: usize = 50;
/// How long an id token is valid, seconds.
const ID_TOKEN_SECONDS: i64 = 300;

fn check(state: &mut State, fields: &Fields) -> Result<(), Refused> {
    enter(state, fields)?;
    let asked = scopes::parse(fields.get("scope").map_or("", String::as_str));
    if !asked.contains("openid") || asked.iter().any(|scope| !SCOPES.contains(&&**scope)) {
        return refuse(
            "invalid_scope",
            "The scopes are openid, email and profile; openid is needed.",
        );
    }
    if fields.get("response_type").is_some_and(|kind| kind != "code") {
        return refuse("invalid_response_type", "The response_type must be code.");
    }
    Ok(())
}

/// `GET /openid/connect/authorize`.
pub(in crate::sandbox) async fn show(
    Shared(workspace): Shared<Arc<Workspace>>,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = fields(query.unwrap_or_default().as_bytes());
    workspace.with(|state| {
        if let Err(refused) = check(state, &fields) {
            return refusal(&refused);
        }
        let (app, team) = (escape(&state.app.name), escape(&state.team.name));
        let mut body = format!(
            "<h1>Sign in to <b>{app}</b> with your <b>{team}</b> Slack account</h1>\
             <form method=\"post\" action=\"/openid/connect/authorize\">"
        );
        let kept = ["client_id", "scope", "redirect_uri", "state", "nonce", "response_type"];
        hide(&mut body, &fields, &kept);
        hide(&mut body, &fields, &["code_challenge", "code_challenge_method"]);
        choose_team(&mut body, state);
        choose_person(&mut body, state, fields.get("user"));
        body.push_str(
            "<button name=\"decision\" value=\"cancel\">Cancel</button>\
             <button name=\"decision\" value=\"allow\" class=\"allow\">Allow</button></form>",
        );
        Html(page(&format!("Sign in to {app}"), &body)).into_response()
    })
}

/// Lets the visitor choose which person of the workspace they are, in place of Slack's own sign-in.
fn choose_person(body: &mut String, state: &State, chosen: Option<&String>) {
    let installer = state.installer();
    let chosen = chosen.unwrap_or(&installer);
    let (members, _) = state.directory.page(None, PEOPLE).unwrap_or_default();
    body.push_str("<label>You are <select name=\"user\">");
    let people = members.iter().filter(|member| matches!(kind(member), "member" | "guest"));
    let listed = people.filter_map(|member| member["id"].as_str());
    let unlisted = Some(chosen.as_str()).filter(|id| !listed.clone().any(|other| other == *id));
    for id in unlisted.into_iter().chain(listed) {
        let selected = if id == chosen { " selected" } else { "" };
        let name = escape(&state.member_name(id));
        write!(body, "<option value=\"{}\"{selected}>{name}</option>", escape(id))
            .unwrap_or_default();
    }
    body.push_str("</select></label>");
}

/// `POST /openid/connect/authorize`: `decision` is `allow` or `cancel`; `user` is the person, an
/// administrator by default.
pub(in crate::sandbox) async fn decide(
    Shared(workspace): Shared<Arc<Workspace>>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let mut fields = fields(query.unwrap_or_default().as_bytes());
    fields.extend(url::form_urlencoded::parse(&body).into_owned());
    let now = now_micros();
    let decided = workspace.with(|state| {
        check(state, &fields)?;
        let challenge = challenge(&fields)?;
        let (mut back, redirect_uri) = redirect(state, &fields)?;
        if fields.get("decision").is_some_and(|decision| decision == "allow") {
            let user = fields.get("user").cloned().unwrap_or_else(|| state.installer());
            let sign_in = Some(SignIn { user, nonce: fields.get("nonce").cloned() });
            let asked = Asked { redirect_uri, challenge, sign_in };
            let scopes = scopes::parse(fields.get("scope").map_or("", String::as_str));
            let code = state.new_code(&scopes, asked, now);
            back.query_pairs_mut().append_pair("code", &code);
        } else {
            denied(&mut back);
        }
        Ok(go_back(back, fields.get("state").map(String::as_str)))
    });
    decided.unwrap_or_else(|refused| refusal(&refused))
}

pub(in crate::sandbox) fn token(call: &mut Call<'_>) -> Result<Value, Error> {
    authenticate(call)?;
    if call.args.text("grant_type").is_some_and(|kind| kind != "authorization_code") {
        // Rotation of people's tokens is not implemented.
        return Err("invalid_grant_type".into());
    }
    let code = take_code(call)?;
    let Some(SignIn { user, nonce }) = code.asked.sign_in else {
        return Err("oauth_authorization_url_mismatch".into());
    };
    let token = format!("xoxp-{:012}-{:032x}", call.state.counter, rand::random::<u128>());
    let (scopes, team) = (code.scopes.clone(), Some(code.team.clone()));
    let issued = Issued { scopes, expires: None, user: Some(user.clone()), team };
    call.state.keep_token(&token, issued);
    call.token.clone_from(&token);
    call.scopes = Arc::new(code.scopes);
    let issued = call.now / 1_000_000;
    let mut claims = claims(call, &user)?;
    claims.extend([
        ("iss".to_owned(), json!("https://slack.com")),
        ("aud".to_owned(), json!(call.state.app.client_id)),
        ("iat".to_owned(), json!(issued)),
        ("exp".to_owned(), json!(issued + ID_TOKEN_SECONDS)),
        ("auth_time".to_owned(), json!(issued)),
    ]);
    claims.extend(nonce.map(|nonce| ("nonce".to_owned(), json!(nonce))));
    let id_token = signed(&Value::Object(claims), call.state.app.client_secret.expose())?;
    Ok(json!({ "access_token": token, "token_type": "Bearer", "id_token": id_token }))
}

pub(in crate::sandbox) fn user_info(call: &mut Call<'_>) -> Result<Value, Error> {
    let user = call.state.tokens.user_of(&call.token).cloned().ok_or("invalid_auth")?;
    claims(call, &user).map(Value::Object)
}

/// The claims about a person that the scopes allow the app to see.
fn claims(call: &Call<'_>, user: &str) -> Result<Map<String, Value>, Error> {
    let state = &*call.state;
    let member = state.directory.get(user).ok_or("user_not_found")?;
    let member = shown(member, &state.team, View { email: true, locale: true });
    let profile = &member["profile"];
    let mut claims = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            claims.insert(key.to_owned(), value);
        }
    };
    put("sub", json!(user));
    put("https://slack.com/user_id", json!(user));
    put("https://slack.com/team_id", json!(state.team.id));
    if let Some(enterprise) = state.enterprise() {
        put("https://slack.com/enterprise_id", enterprise["id"].clone());
        put("https://slack.com/enterprise_name", enterprise["name"].clone());
    }
    if call.scopes.contains("email") {
        let verified = profile["email"].is_string();
        put("email", profile["email"].clone());
        put("email_verified", json!(verified));
        put("date_email_verified", if verified { json!(1_700_000_000) } else { Value::Null });
    }
    if call.scopes.contains("profile") {
        for (key, from) in [("given_name", "first_name"), ("family_name", "last_name")] {
            put(key, profile[from].clone());
        }
        put("name", profile["real_name"].clone());
        put("locale", member["locale"].clone());
        put("picture", profile["image_512"].clone());
        for size in PICTURES {
            put(&format!("{CLAIM}user_image_{size}"), profile[format!("image_{size}")].clone());
        }
        for size in Team::PICTURES {
            put(&format!("{CLAIM}team_image_{size}"), json!(Team::picture(size)));
        }
        put("https://slack.com/team_name", json!(state.team.name));
        put("https://slack.com/team_domain", json!(state.team.domain()));
    }
    Ok(claims)
}

/// The claims as a JSON web token.
fn signed(claims: &Value, secret: &str) -> Result<String, Error> {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| "internal_error")?;
    mac.update(text.as_bytes());
    Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}
