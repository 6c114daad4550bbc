//! The Web API over HTTP: decoding, the decision under the lock, the answer, and its faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::args::{self, Decoded};
use super::call::Call;
use super::methods::{self, Method, auth};
use super::net::Cut;
use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::faults::{Fault, FaultKind, When};
use crate::sandbox::world::log::{self, LogEntry};
use crate::sandbox::world::state::State;
use crate::sandbox::world::workspace::Workspace;
use crate::sandbox::world::{limits, scopes};

/// A decided call: the answer, and the fault that will change it.
struct Decided {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    fault: Option<FaultKind>,
}

/// `ANY /api/{method}`.
pub(in crate::sandbox) async fn api(
    Shared(workspace): Shared<Arc<Workspace>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let started = now_micros();
    let method = methods::find(&name);
    let query = query.unwrap_or_default();
    let decoded = args::decode(method.is_some_and(|m| m.json), &headers, &query, &body);
    let (decoded, malformed) = match decoded {
        Ok(decoded) => (decoded, None),
        Err(code) => (Decoded::default(), Some(code)),
    };
    let token = bearer(&headers).or_else(|| decoded.token.clone());
    let (fault, number) = workspace.with(|state| {
        let number = begin_refresh(state, &name, &decoded, cut.from);
        if state.faults.is_empty() {
            return (None, number);
        }
        state.enter_token(token.as_deref().unwrap_or_default(), None);
        let targets = targets(state, &decoded);
        (state.faults.strike(&name, &targets), number)
    });
    let refreshing = number.map(|number| Refreshing { workspace: Arc::clone(&workspace), number });
    if let Some(Fault { kind: FaultKind::Delay { seconds }, when: When::Before, .. }) = fault {
        pause(seconds).await;
    }
    let request = Request { name, method, headers, decoded, malformed, fault, started, number };
    let decided = workspace.with(|state| decide(state, request));
    let response = answer(decided, &cut).await;
    drop(refreshing);
    response
}

/// A refresh of a token that is under way; it ends when this is dropped, also because the client
/// has gone.
struct Refreshing {
    workspace: Arc<Workspace>,
    number: u64,
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.workspace.with(|state| state.refreshes.end(self.number));
    }
}

/// The number of the refresh that this request asks for, if it names a refresh token.
fn begin_refresh(
    state: &mut State,
    method: &str,
    decoded: &Decoded,
    from: SocketAddr,
) -> Option<u64> {
    let args = &decoded.args;
    let refreshes = args.text("grant_type") == Some("refresh_token");
    if method != "oauth.v2.access" || !refreshes {
        return None;
    }
    let held = state.tokens.refresh.get(args.text("refresh_token")?)?;
    let place = held.place.clone();
    Some(state.refreshes.begin(place, from))
}

/// A request that was read completely.
struct Request {
    name: String,
    method: Option<&'static Method>,
    headers: HeaderMap,
    decoded: Decoded,
    /// Why its body could not be read.
    malformed: Option<&'static str>,
    fault: Option<Fault>,
    started: i64,
    /// The number of the refresh that it asks for.
    number: Option<u64>,
}

fn decide(state: &mut State, request: Request) -> Decided {
    let Request { name, method, headers, decoded, malformed, fault, started, number } = request;
    let headers = &headers;
    let token = bearer(headers).or(decoded.token);
    let known = token.as_ref().and_then(|token| state.tokens.by_text.get(token));
    let token_kind = auth::kind(token.as_deref(), known.is_some());
    let held = known.map(|known| scopes::join(known.scopes.iter())).unwrap_or_default();
    let kept = log::redact(&decoded.args.0);
    let before = fault.as_ref().is_some_and(replaces_work);

    let mut call = Call {
        state,
        args: decoded.args,
        token: String::new(),
        scopes: Arc::default(),
        now: now_micros(),
        basic: basic(headers),
        refreshing: number,
        stored: None,
        altered: altering(fault.as_ref()),
        act: None,
        warnings: decoded.warning.into_iter().collect(),
    };
    let result = match (before, malformed, method) {
        (true, ..) => Err(struck(fault.as_ref().map(|f| &f.kind))),
        (_, _, None) => Err("unknown_method".into()),
        (_, Some(code), _) => Err(code.into()),
        (_, None, Some(method)) => methods::run(method, &mut call, token.as_deref()),
    };
    let outcome = match &result {
        _ if before => "not run".to_owned(),
        Ok(_) => "ok".to_owned(),
        Err(error) => error.name().to_owned(),
    };
    let (stored, act, warnings) = (call.stored, call.act, call.warnings);
    let (app_id, team_id) = (call.state.app.id.clone(), call.state.team.id.clone());
    let name_of_fault = fault.as_ref().map(|fault| fault.kind.name());
    let decided = changed_by(fault, finish(result, &warnings, method, held));
    let (conversation, stored_ts) = stored.unzip();
    state.log.push(LogEntry {
        seq: 0,
        started_at_micros: started,
        began_at_micros: began(headers).unwrap_or(started),
        via: text(headers, &header::VIA).map(str::to_owned),
        ended_at_micros: now_micros(),
        method: name.chars().take(80).collect(),
        token_kind,
        app_id,
        team_id,
        args: kept,
        http_status: status(&decided),
        outcome,
        fault: name_of_fault,
        retry_after: retry_after(&decided),
        conversation,
        stored_ts,
        act,
    });
    decided
}

/// The answer with its fault.
fn changed_by(fault: Option<Fault>, mut decided: Decided) -> Decided {
    decided.fault = fault.and_then(|fault| match fault.kind {
        // The delay has already passed.
        FaultKind::Delay { .. } if fault.when == When::Before => None,
        kind if kind.alters_work() => None,
        kind => Some(kind),
    });
    if let Some(FaultKind::Error { code }) = &decided.fault {
        decided.status = 200;
        decided.body = Error::code(code.clone()).body().to_string().into_bytes();
    }
    decided
}

/// Whether the fault prevents the method from running.
fn replaces_work(fault: &Fault) -> bool {
    let works = fault.kind.alters_work() || matches!(fault.kind, FaultKind::Delay { .. });
    fault.when == When::Before && !works
}

/// The fault, if it changes the work of the method.
fn altering(fault: Option<&Fault>) -> Option<FaultKind> {
    fault.map(|fault| &fault.kind).filter(|kind| kind.alters_work()).cloned()
}

/// The error in the body if a fault replaces the work.
fn struck(fault: Option<&FaultKind>) -> Error {
    match fault {
        Some(FaultKind::Error { code }) => Error::code(code.clone()),
        _ => "internal_error".into(),
    }
}

fn status(decided: &Decided) -> u16 {
    match &decided.fault {
        Some(FaultKind::Status { code, .. }) => *code,
        Some(FaultKind::Reset | FaultKind::Hang { .. }) => 0,
        Some(FaultKind::Body { .. } | FaultKind::Huge { .. }) => 200,
        _ => decided.status,
    }
}

fn retry_after(decided: &Decided) -> Option<String> {
    match &decided.fault {
        Some(FaultKind::Status { retry_after, .. }) => retry_after.clone(),
        Some(FaultKind::Reset | FaultKind::Hang { .. } | FaultKind::Body { .. }) => None,
        _ => decided.headers.iter().find(|(name, _)| *name == "retry-after").map(|h| h.1.clone()),
    }
}

/// The time at which a proxy in front received the request, in microseconds since the epoch.
fn began(headers: &HeaderMap) -> Option<i64> {
    text(headers, &HeaderName::from_static("x-request-start"))?.strip_prefix("t=")?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The body and headers of an answer without faults.
fn finish(
    result: Result<Value, Error>,
    warnings: &[&'static str],
    method: Option<&'static Method>,
    held: String,
) -> Decided {
    let mut headers = vec![("x-slack-req-id", format!("{:032x}", rand::random::<u128>()))];
    if let Some(method) = method {
        headers.push(("x-accepted-oauth-scopes", method.scopes.join(",")));
    }
    if !held.is_empty() {
        headers.push(("x-oauth-scopes", held));
    }
    let (status, body) = match result {
        Ok(mut body) => {
            body["ok"] = json!(true);
            if !warnings.is_empty() {
                body["warning"] = json!(warnings.join(","));
                body["response_metadata"]["warnings"] = json!(warnings);
            }
            (200, body)
        }
        Err(error) => {
            let mut status = 200;
            if let Error::Limited(wait) = error {
                status = 429;
                headers.push(("retry-after", limits::retry_after(wait).to_string()));
            }
            (status, error.body())
        }
    };
    Decided { status, headers, body: body.to_string().into_bytes(), fault: None }
}

/// The names of the conversation of a call: its id, its person's id, and a new channel's name.
fn targets(state: &State, decoded: &Decoded) -> Vec<String> {
    let mut targets = decoded.args.list("users");
    targets.extend(decoded.args.text("user").map(str::to_owned));
    targets.extend(decoded.args.text("name").map(str::to_owned));
    if let Some(channel) = decoded.args.text("channel") {
        targets.push(channel.to_owned());
        let person = state.conversations.get(channel).and_then(|c| c.user.clone());
        let direct = state.direct_with(&[channel.to_owned()]).cloned();
        targets.extend(person.into_iter().chain(direct));
    }
    targets
}

fn authorization(headers: &HeaderMap, scheme: &str) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (given, rest) = text.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim().to_owned())
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    authorization(headers, "Bearer")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let coded = authorization(headers, "Basic")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// Sends the answer, changed by the fault if there is one.
async fn answer(decided: Decided, cut: &Cut) -> Response<Body> {
    let Decided { status, headers, body, fault } = decided;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let held = response.headers_mut();
    held.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            held.insert(name, value);
        }
    }
    match fault {
        None
        | Some(
            FaultKind::Error { .. }
            | FaultKind::NameRace
            | FaultKind::InviteErrors { .. }
            | FaultKind::InvitePart { .. },
        ) => *response.body_mut() = Body::from(body),
        Some(FaultKind::Delay { seconds }) => {
            pause(seconds).await;
            *response.body_mut() = Body::from(body);
        }
        Some(FaultKind::Reset) => cut.reset(),
        Some(FaultKind::Hang { seconds }) => {
            pause(seconds).await;
            cut.reset();
        }
        Some(FaultKind::Status { code, body, retry_after }) => {
            *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
            if let Some(Ok(value)) = retry_after.map(|text| HeaderValue::from_str(&text)) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            *response.body_mut() = Body::from(body);
        }
        Some(FaultKind::Body { body, headers }) => {
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::try_from(name), HeaderValue::try_from(value))
                {
                    response.headers_mut().insert(name, value);
                }
            }
            *response.body_mut() = Body::from(body.into_bytes());
        }
        Some(FaultKind::Huge { bytes }) => {
            let text = format!("{{\"ok\":true,\"padding\":\"{}\"}}", "x".repeat(bytes));
            *response.body_mut() = Body::from(text);
        }
        Some(FaultKind::Slow { bytes_per_second }) => {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            *response.body_mut() = slow(body, bytes_per_second);
        }
        Some(FaultKind::Truncate) => {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            *response.body_mut() = half(body);
        }
    }
    response
}

async fn pause(seconds: f64) {
    let length = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    tokio::time::sleep(length).await;
}

fn slow(body: Vec<u8>, bytes_per_second: u32) -> Body {
    // Ten pieces a second; below ten bytes a second, one byte at a time.
    let rate = bytes_per_second.max(1);
    let piece = (rate / 10).max(1);
    let gap = f64::from(piece) / f64::from(rate);
    let piece = usize::try_from(piece).unwrap_or(1);
    Body::from_stream(stream::unfold(Bytes::from(body), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        pause(gap).await;
        let next = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, std::io::Error>(next), rest))
    }))
}

fn half(mut body: Vec<u8>) -> Body {
    body.truncate(body.len() / 2);
    let parts = stream::unfold(Some(Bytes::from(body)), |rest| async move {
        if let Some(bytes) = rest {
            return Some((Ok(bytes), None));
        }
        // Gives the first half time to be sent.
        pause(0.02).await;
        Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), None))
    });
    Body::from_stream(parts)
}
