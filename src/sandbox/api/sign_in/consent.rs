//! The authorize page, which an administrator sees when installing the app.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use url::Url;

use crate::domain::loopback::is_loopback;
use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::kept::Asked;
use crate::sandbox::world::scopes;
use crate::sandbox::world::state::State;
use crate::sandbox::world::workspace::Workspace;

/// Most workspaces that are listed; of more, the person enters the id.
const CHOICES: usize = 100;

/// The checked parameters of the address.
struct Ask {
    scopes: BTreeSet<String>,
    /// The URL to which the person is sent back.
    redirect: Url,
    asked: Asked,
    state: Option<String>,
}

/// An error shown on the page; the person is not sent back.
pub(in crate::sandbox) struct Refused {
    code: &'static str,
    sentence: String,
}

pub(super) fn refuse<T>(code: &'static str, sentence: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, sentence: sentence.into() })
}

pub(in crate::sandbox) type Fields = HashMap<String, String>;

pub(super) fn fields(bytes: &[u8]) -> Fields {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

/// Enters the app and the workspace that the address names. As in Slack, a workspace that the
/// person is not in is ignored.
pub(super) fn enter(state: &mut State, fields: &Fields) -> Result<(), Refused> {
    let app = fields.get("client_id").and_then(|client_id| state.app_by_client(client_id));
    let Some(app) = app else {
        return refuse("invalid_client_id", "There is no app with this client_id.");
    };
    state.app = app;
    if let Some(team) = fields.get("team") {
        state.enter_team(team);
    }
    Ok(())
}

fn check(state: &mut State, fields: &Fields) -> Result<Ask, Refused> {
    enter(state, fields)?;
    let scopes = scopes::parse(fields.get("scope").map_or("", String::as_str));
    if scopes.is_empty() {
        return refuse("invalid_scope", "The app asks for no scope.");
    }
    let scopes = chosen(state, scopes, fields);
    if let Some(scope) = scopes.iter().find(|scope| !scopes::is_known(scope)) {
        return refuse("invalid_scope", format!("There is no bot scope {scope}."));
    }
    let challenge = challenge(fields)?;
    let (redirect, named) = redirect(state, fields)?;
    let asked = Asked { redirect_uri: named, challenge, sign_in: None };
    Ok(Ask { scopes, redirect, asked, state: fields.get("state").cloned() })
}

/// The scopes without the optional ones that the person refused on the page. If the form did not
/// offer the choice, none was refused.
fn chosen(state: &State, scopes: BTreeSet<String>, fields: &Fields) -> BTreeSet<String> {
    if !fields.contains_key("choice") {
        return scopes;
    }
    let taken = |scope: &String| fields.contains_key(&format!("optional {scope}"));
    scopes.into_iter().filter(|scope| !state.is_optional(scope) || taken(scope)).collect()
}

/// The S256 challenge of PKCE. Other methods are refused: it is a guess that Slack refuses them
/// too.
pub(super) fn challenge(fields: &Fields) -> Result<Option<String>, Refused> {
    let challenge = fields.get("code_challenge").filter(|text| !text.is_empty()).cloned();
    let way = fields.get("code_challenge_method").map_or("S256", String::as_str);
    if challenge.is_some() && way != "S256" {
        return refuse("invalid_code_challenge_method", "The code_challenge_method must be S256.");
    }
    Ok(challenge)
}

/// The URL to which the person is sent back, and the one that the address named.
pub(super) fn redirect(state: &State, fields: &Fields) -> Result<(Url, Option<String>), Refused> {
    let named = fields.get("redirect_uri").filter(|uri| !uri.is_empty()).cloned();
    let registered = &state.app.redirect_urls;
    let Some(target) = named.as_ref().or(registered.first()) else {
        return refuse("bad_redirect_uri", "No redirect_uri was given and none is registered.");
    };
    let Ok(redirect) = Url::parse(target) else {
        return refuse("bad_redirect_uri", "The redirect_uri is not a URL.");
    };
    let loopback = is_loopback(&redirect);
    let fits = registered.is_empty() || registered.iter().any(|base| below(base, target));
    if redirect.fragment().is_some() || !(redirect.scheme() == "https" || loopback) || !fits {
        let sentence = "The redirect_uri must be HTTPS (or local), without fragment, and equal to \
                        or below a registered one.";
        return refuse("bad_redirect_uri", sentence);
    }
    Ok((redirect, named))
}

/// Whether `target` is `base`, or a path or query below it.
fn below(base: &str, target: &str) -> bool {
    target.strip_prefix(base).is_some_and(|rest| {
        rest.is_empty() || base.ends_with('/') || rest.starts_with('/') || rest.starts_with('?')
    })
}

/// `GET /oauth/v2/authorize`.
pub(in crate::sandbox) async fn show(
    Shared(workspace): Shared<Arc<Workspace>>,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = fields(query.unwrap_or_default().as_bytes());
    workspace.with(|state| match check(state, &fields) {
        Ok(ask) => Html(consent(state, &ask, &fields)).into_response(),
        Err(refused) => refusal(&refused),
    })
}

/// `POST /oauth/v2/authorize`: `decision` is `allow`, `cancel` or, if an approval is needed,
/// `request`; `team` is the workspace that the person chose.
pub(in crate::sandbox) async fn decide(
    Shared(workspace): Shared<Arc<Workspace>>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let mut fields = fields(query.unwrap_or_default().as_bytes());
    fields.extend(url::form_urlencoded::parse(&body).into_owned());
    let now = now_micros();
    workspace.with(|state| {
        let ask = match check(state, &fields) {
            Ok(ask) => ask,
            Err(refused) => return refusal(&refused),
        };
        let mut back = ask.redirect.clone();
        match fields.get("decision").map(String::as_str) {
            Some("request" | "allow") if state.needs_approval(ask.scopes.iter()) => {
                state.request_approval(ask.scopes.iter().cloned().collect());
                return Html(requested(state)).into_response();
            }
            Some("allow") => {
                let code = state.new_code(&ask.scopes, ask.asked, now);
                back.query_pairs_mut().append_pair("code", &code);
            }
            _ => denied(&mut back),
        }
        go_back(back, ask.state.as_deref())
    })
}

pub(super) fn denied(back: &mut Url) {
    let said = "The user has denied your access request";
    let mut pairs = back.query_pairs_mut();
    pairs.append_pair("error", "access_denied").append_pair("error_description", said);
}

/// Sends the browser back, with the app's state.
pub(super) fn go_back(mut back: Url, state: Option<&str>) -> Response {
    if let Some(state) = state {
        back.query_pairs_mut().append_pair("state", state);
    }
    (StatusCode::FOUND, [(header::LOCATION, String::from(back))]).into_response()
}

pub(super) fn refusal(refused: &Refused) -> Response {
    let body = format!(
        "<h1>Something went wrong when authorizing this app.</h1><p>{}</p>\
         <p class=\"code\">{}</p>",
        escape(&refused.sentence),
        refused.code
    );
    (StatusCode::BAD_REQUEST, Html(page("Error", &body))).into_response()
}

fn consent(state: &State, ask: &Ask, fields: &Fields) -> String {
    let (app, team) = (escape(&state.app.name), escape(&state.team.name));
    let mut body = format!(
        "<div class=\"logo\">{}</div><h1><b>{app}</b> is requesting permission to access the \
         <b>{team}</b> Slack workspace</h1><h2>What will {app} be able to do?</h2><ul>",
        app.chars().next().unwrap_or('A')
    );
    if state.installs_org_wide() {
        body = body.replacen("Slack workspace</h1>", "Slack organization</h1>", 1);
    }
    for scope in ask.scopes.iter().filter(|scope| !state.is_optional(scope)) {
        write!(body, "<li><code>{}</code></li>", escape(scope)).unwrap_or_default();
    }
    body.push_str("</ul><form method=\"post\" action=\"/oauth/v2/authorize\">");
    offer(&mut body, state, ask);
    let kept = ["client_id", "scope", "user_scope", "redirect_uri", "state"];
    hide(&mut body, fields, &kept);
    hide(&mut body, fields, &["code_challenge", "code_challenge_method"]);
    choose_team(&mut body, state);
    body.push_str(if state.needs_approval(ask.scopes.iter()) {
        "<p>This workspace requires an administrator's approval to install apps.</p>\
         <button name=\"decision\" value=\"request\" class=\"allow\">Request to install</button>"
    } else {
        "<button name=\"decision\" value=\"cancel\">Cancel</button>\
         <button name=\"decision\" value=\"allow\" class=\"allow\">Allow</button>"
    });
    body.push_str("</form>");
    page(&format!("Install {app}"), &body)
}

/// Offers the optional scopes, all of them chosen.
fn offer(body: &mut String, state: &State, ask: &Ask) {
    let mut optional = ask.scopes.iter().filter(|scope| state.is_optional(scope)).peekable();
    if optional.peek().is_none() {
        return;
    }
    body.push_str("<h2>Optional</h2><input type=\"hidden\" name=\"choice\" value=\"1\">");
    for scope in optional {
        let scope = escape(scope);
        write!(
            body,
            "<label><input type=\"checkbox\" name=\"optional {scope}\" value=\"1\" checked> \
             <code>{scope}</code></label>"
        )
        .unwrap_or_default();
    }
}

/// Lets the person choose the workspace if there are several.
pub(super) fn choose_team(body: &mut String, state: &State) {
    if state.teams.len() < 2 {
        return;
    }
    body.push_str("<label>Workspace ");
    if state.teams.len() > CHOICES {
        write!(body, "<input name=\"team\" value=\"{}\">", escape(&state.team.id))
            .unwrap_or_default();
    } else {
        body.push_str("<select name=\"team\">");
        for team in state.all_teams() {
            let selected = if team.id == state.team.id { " selected" } else { "" };
            let (id, name) = (escape(&team.id), escape(&team.name));
            write!(body, "<option value=\"{id}\"{selected}>{name}</option>").unwrap_or_default();
        }
        body.push_str("</select>");
    }
    body.push_str("</label>");
}

/// Copies the address's parameters into hidden fields of the form.
pub(super) fn hide(body: &mut String, fields: &Fields, keys: &[&str]) {
    for key in keys {
        if let Some(value) = fields.get(*key) {
            let value = escape(value);
            write!(body, "<input type=\"hidden\" name=\"{key}\" value=\"{value}\">")
                .unwrap_or_default();
        }
    }
}

fn requested(state: &State) -> String {
    let body = format!(
        "<h1>Your request to install <b>{}</b> was sent</h1><p>An administrator of {} will look \
         at it. Nothing else happens here: the app is not notified.</p>\
         <p><a href=\"/admin/apps\">The administrator's page</a></p>",
        escape(&state.app.name),
        escape(&state.team.name)
    );
    page("Request sent", &body)
}

pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} | Slack in \
         a box</title><meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" \
         href=\"/_sandbox/page.svg\"><style>{STYLE}</style>\
         </head><body><main>{body}</main><footer>Slack in a box: a fake workspace. Nothing here \
         reaches slack.com.</footer></body></html>"
    )
}

const STYLE: &str = ":root{color-scheme:light dark;--back:#f8f8f8;--card:#fff;--text:#1d1c1d;\
--soft:#616061;--line:#ddd;--edge:#bbb}@media(prefers-color-scheme:dark){:root{--back:#121016;\
--card:#1a1d21;--text:#d1d2d3;--soft:#ababad;--line:#35373b;--edge:#565856}}\
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;background:var(--back);\
color:var(--text);margin:0;padding:clamp(1rem,8vw,4rem) 1rem}main{max-width:34rem;margin:auto;\
background:var(--card);border:1px solid var(--line);border-radius:12px;\
padding:clamp(1.25rem,6vw,2.5rem);overflow-wrap:anywhere}h1{font-size:1.5rem;font-weight:400;\
line-height:1.3}h2{font-size:1rem}.logo{width:3.5rem;height:3.5rem;border-radius:12px;\
background:#4a154b;color:#fff;display:grid;place-items:center;font-size:1.75rem;font-weight:700}\
ul{display:grid;grid-template-columns:repeat(auto-fill,minmax(12.5rem,1fr));gap:0 1rem;\
padding-left:1.25rem}button{font:inherit;font-weight:700;padding:.6rem 1.6rem;border-radius:6px;\
border:1px solid var(--edge);background:var(--card);color:inherit;margin:1rem .5rem 0 0;\
cursor:pointer}select,input{font:inherit;max-width:100%;padding:.4rem;\
border-radius:6px;border:1px solid var(--edge);background:var(--card);color:inherit}\
label{display:block;margin-top:1rem}a{color:inherit}\
.allow{background:#007a5a;color:#fff;border-color:#007a5a}\
.code{font-family:monospace;color:var(--soft)}footer{text-align:center;color:var(--soft);\
margin-top:1.5rem;font-size:.85rem}";

pub(super) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page works on a telephone and in dark mode, and names an icon so that browsers do not
    /// request another.
    #[test]
    fn a_page_is_for_any_screen() {
        let html = page("Install", "<p>a</p>");
        for part in [
            "name=\"viewport\" content=\"width=device-width\"",
            "rel=\"icon\" href=\"/_sandbox/page.svg\"",
            "color-scheme:light dark",
            "@media(prefers-color-scheme:dark)",
            // As many columns as fit; the longest word is broken rather than overflowing the card.
            "repeat(auto-fill,minmax(12.5rem,1fr))",
            "overflow-wrap:anywhere",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }

    #[test]
    fn a_redirect_is_equal_or_below() {
        assert!(below("https://a.example/cb", "https://a.example/cb"));
        assert!(below("https://a.example/cb", "https://a.example/cb/x"));
        assert!(!below("https://a.example/cb", "https://a.example/cbx"));
        assert!(!below("https://a.example", "https://a.example.org/"));
    }
}
