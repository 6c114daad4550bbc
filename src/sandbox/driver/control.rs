//! The control API under `/_sandbox/`, which the page and tests in other processes use.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Extension, Json, Router};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::channels::NewChannel;
use super::fixture;
use super::interact::{self, Press, Pressed};
use super::place::Place;
use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::conversation::{Conversation, Kind, Message, ts_text};
use crate::sandbox::world::directory;
use crate::sandbox::world::faults::Fault;
use crate::sandbox::world::messages::HumanMessage;
use crate::sandbox::world::push::{self, PushError, Sender};
use crate::sandbox::world::scopes;
use crate::sandbox::world::state::State;
use crate::sandbox::world::workspace::Workspace;

/// Most members that `state` returns; those in conversations are always included.
const MEMBERS: usize = 1_000;

type Held = Shared<Arc<Workspace>>;

pub(in crate::sandbox) fn router() -> Router<Arc<Workspace>> {
    Router::new()
        .route("/_sandbox/state", get(state))
        .route("/_sandbox/settings", get(settings).patch(set_settings))
        .route("/_sandbox/conversations", get(conversations).post(create_conversation))
        .route("/_sandbox/conversations/{id}/messages", get(conversation_messages))
        .route("/_sandbox/messages", get(messages).post(post_as))
        .route("/_sandbox/log", get(log))
        .route("/_sandbox/events", get(changes).post(push_event))
        .route("/_sandbox/deliveries", get(deliveries))
        .route("/_sandbox/faults", post(script).delete(clear_faults))
        .route("/_sandbox/members", post(add_members))
        .route("/_sandbox/members/{id}", patch(update_member))
        .route("/_sandbox/members/{id}/fields", patch(set_fields))
        .route("/_sandbox/tokens", post(tokens))
        .route("/_sandbox/views/{user}", get(home_view))
        .route("/_sandbox/press", post(press))
        .route("/_sandbox/responses/{id}", post(interact::respond))
}

async fn state(Shared(workspace): Held) -> Json<Value> {
    workspace.with(|state| {
        let (page, _) = state.directory.page(None, MEMBERS).unwrap_or_default();
        let mut seen = HashSet::new();
        let talked = state.conversations.iter().filter_map(|c| c.user.as_deref());
        let talked = talked.filter_map(|id| state.directory.get(id));
        let members: Vec<_> = (page.into_iter().chain(talked))
            .filter(|member| seen.insert(member["id"].to_string()))
            .map(|member| {
                json!({ "id": member["id"], "kind": directory::kind(&member),
                    "display_name": member["profile"]["display_name"],
                    "real_name": real_name(&member) })
            })
            .collect();
        let app = &state.app;
        Json(json!({
            "team": { "id": state.team.id, "name": state.team.name },
            "app": { "id": app.id, "name": app.name, "bot_user_id": app.bot_user_id },
            "member_count": state.directory.len(), "members": members,
        }))
    })
}

fn real_name(member: &Value) -> &Value {
    if member["real_name"].is_string() {
        &member["real_name"]
    } else {
        &member["profile"]["real_name"]
    }
}

async fn settings(Shared(workspace): Held) -> Json<Value> {
    workspace.with(|state| Json(json!(state.options)))
}

async fn set_settings(Shared(workspace): Held, Json(change): Json<Value>) -> Response {
    workspace.with(|state| {
        let mut options = json!(state.options);
        for (key, value) in change.as_object().into_iter().flatten() {
            options[key] = value.clone();
        }
        match serde_json::from_value(options) {
            Ok(options) => {
                state.options = options;
                Json(json!(state.options)).into_response()
            }
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    })
}

fn summary(state: &State, conversation: &Conversation) -> Value {
    let c = conversation;
    let mut summary = json!({
        "id": c.id, "kind": c.kind.name(), "title": c.name, "user_id": c.user,
        "real_name": null, "display_name": null, "image_color": null,
        "last_ts": c.messages.last().map(|m| ts_text(m.ts)),
        "count": c.messages.iter().filter(|m| !m.deleted && m.subtype.is_none()).count(),
        "is_private": c.kind == Kind::Private, "is_archived": c.archived,
        "topic": c.topic.value, "member_count": c.members.len(),
    });
    if let Some(member) = c.user.as_deref().and_then(|id| state.directory.get(id)) {
        summary["title"] = json!(state.member_name(c.user.as_deref().unwrap_or_default()));
        summary["real_name"] = real_name(&member).clone();
        summary["display_name"] = member["profile"]["display_name"].clone();
        summary["image_color"] = member["color"].clone();
    }
    summary
}

/// `#general` is left out until it has a message: it always exists and would only be noise.
async fn conversations(Shared(workspace): Held) -> Json<Vec<Value>> {
    workspace.with(|state| {
        let shown = state.conversations.iter();
        let shown = shown.filter(|c| !c.general || !c.messages.is_empty());
        Json(shown.map(|c| summary(state, c)).collect())
    })
}

/// A person makes a channel; answers `{id}`.
async fn create_conversation(Shared(workspace): Held, Json(new): Json<NewChannel>) -> Json<Value> {
    workspace.with(|state| Json(json!({ "id": state.make_channel(&new, now_micros()) })))
}

/// A message as the page receives it.
fn shown(state: &State, conversation: &Conversation, message: &Message) -> Value {
    let app = state.app_of_bot(&message.author);
    let name = message.username.clone().or_else(|| app.map(|app| app.name.clone()));
    json!({
        "conversation": conversation.id, "ts": ts_text(message.ts), "user": message.author,
        "bot_name": name, "text": message.text, "blocks": message.blocks,
        "attachments": message.attachments, "thread_ts": message.thread.map(ts_text),
        "metadata": message.metadata, "edited": message.edited.is_some(),
        "deleted": message.deleted,
    })
}

async fn conversation_messages(Shared(workspace): Held, Path(id): Path<String>) -> Response {
    workspace.with(|state| match state.conversations.get(&id) {
        Some(c) => {
            let messages: Vec<_> = c.messages.iter().map(|m| shown(state, c, m)).collect();
            Json(messages).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

#[derive(Deserialize)]
struct OfTeam {
    /// The workspace; all if absent.
    team: Option<String>,
}

async fn messages(Shared(workspace): Held, Query(query): Query<OfTeam>) -> Json<Value> {
    workspace.with(|state| Json(json!(state.stored_messages(query.team.as_deref()))))
}

/// A person posts a message.
async fn post_as(Shared(workspace): Held, Json(new): Json<HumanMessage>) -> Response {
    let now = now_micros();
    workspace.with(|state| match state.write_as(&new, now) {
        Some(ts) => Json(json!({ "ts": ts })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn log(Shared(workspace): Held, Query(query): Query<After>) -> Json<Value> {
    workspace.with(|state| {
        Json(json!({ "dropped": state.log.dropped, "entries": state.log.after(query.after) }))
    })
}

type Events = Result<Event, std::convert::Infallible>;

/// Server-sent events: each message stored, changed or deleted, and each change of a channel. A
/// reader that falls behind is disconnected; when it reconnects, it reads everything again.
async fn changes(Shared(workspace): Held) -> Sse<impl Stream<Item = Events>> {
    let receiver = workspace.changes.subscribe();
    let events = stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Ok(change) => {
                let event = Event::default().event(change.kind.name());
                Some((Ok(event.data(json!(change).to_string())), receiver))
            }
            Err(RecvError::Lagged(_) | RecvError::Closed) => None,
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Pushes an event to the sandbox's own app in the first workspace, or to the place in the query.
async fn push_event(
    Shared(workspace): Held,
    Query(at): Query<Place>,
    Json(inner): Json<Value>,
) -> Response {
    match workspace.push(&at, inner) {
        Ok(id) => Json(json!({ "event_id": id })).into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

async fn deliveries(Extension(sender): Extension<Sender>) -> Json<Value> {
    Json(json!(sender.deliveries()))
}

async fn script(Shared(workspace): Held, Json(faults): Json<OneOrMany<Fault>>) -> StatusCode {
    workspace.with(|state| {
        for fault in faults.into_vec() {
            state.faults.script(fault);
        }
    });
    StatusCode::NO_CONTENT
}

async fn clear_faults(Shared(workspace): Held) -> StatusCode {
    workspace.with(|state| state.faults.clear());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![one],
        }
    }
}

/// A member, a list of members, or `{"generate": n}` for generated ones.
async fn add_members(
    Shared(workspace): Held,
    Json(members): Json<OneOrMany<Value>>,
) -> Json<Value> {
    let mut ids = Vec::new();
    for member in members.into_vec() {
        if let Some(count) = member["generate"].as_u64() {
            let generated = (0..count).map(fixture::generated_member);
            for member in generated {
                workspace.with(|state| state.add_member(member));
            }
        } else {
            ids.push(workspace.with(|state| state.add_member(member)));
        }
    }
    Json(json!({ "ids": ids }))
}

async fn update_member(
    Shared(workspace): Held,
    Path(id): Path<String>,
    Json(change): Json<Value>,
) -> StatusCode {
    let done = workspace.with(|state| state.update_member(&id, &change, now_micros()));
    if done.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn set_fields(
    Shared(workspace): Held,
    Path(id): Path<String>,
    Json(fields): Json<Value>,
) -> StatusCode {
    workspace.with(|state| state.directory.set_fields(&id, &fields));
    StatusCode::NO_CONTENT
}

/// The person's App Home, or null.
async fn home_view(Shared(workspace): Held, Path(user): Path<String>) -> Json<Value> {
    workspace
        .with(|state| Json(state.views.get(&state.home_key(&user)).cloned().unwrap_or_default()))
}

/// A change of tokens. As JSON: `{"do":"issue","scopes":["chat:write"]}` answers `{token}`,
/// `{"do":"kill","token":"all","code":"token_revoked"}`, `{"do":"set_scopes","scopes":[…]}`,
/// `{"do":"uninstall"}`, `{"do":"issue_configuration"}` (for `apps.manifest.*`). The query may name
/// another app and workspace than the first.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum TokenChange {
    Issue { scopes: Vec<String> },
    Kill { token: String, code: String },
    SetScopes { scopes: Vec<String> },
    Uninstall,
    IssueConfiguration,
}

async fn tokens(
    Shared(workspace): Held,
    Query(at): Query<Place>,
    Json(change): Json<TokenChange>,
) -> Response {
    let now = now_micros();
    let change = |state: &mut State| match change {
        TokenChange::Issue { scopes } => {
            let grant = state.install(scopes::parse(&scopes.join(",")), now);
            Json(json!({ "token": grant.token }))
        }
        TokenChange::Kill { token, code } => {
            state.tokens.kill(Some(token.as_str()).filter(|t| *t != "all"), &code);
            Json(json!({}))
        }
        TokenChange::SetScopes { scopes } => {
            state.tokens.set_scopes(scopes.into_iter().collect());
            Json(json!({}))
        }
        TokenChange::Uninstall => {
            state.uninstall();
            Json(json!({}))
        }
        TokenChange::IssueConfiguration => {
            Json(json!({ "token": state.tokens.issue_configuration() }))
        }
    };
    workspace.with(|state| {
        if at.enter(state) {
            change(state).into_response()
        } else {
            StatusCode::NOT_FOUND.into_response()
        }
    })
}

async fn press(
    Shared(workspace): Held,
    Extension(sender): Extension<Sender>,
    Json(press): Json<Press>,
) -> Response {
    let pressed = workspace.with(|state| state.press(&press, now_micros()));
    let answered = match pressed {
        Ok(Pressed { to, payload }) => sender.interact(&to, &payload).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(status) if (200..300).contains(&status) => {
            Json(json!({ "status": status })).into_response()
        }
        Ok(status) => (StatusCode::BAD_GATEWAY, Json(json!({ "status": status }))).into_response(),
        Err(error) => {
            let status = match error {
                PushError::NotFound => StatusCode::NOT_FOUND,
                PushError::NoUrl | PushError::NoEventsUrl => StatusCode::CONFLICT,
                PushError::NoAnswer(_) => StatusCode::BAD_GATEWAY,
            };
            (status, error.to_string()).into_response()
        }
    }
}

impl Workspace {
    /// Sends an event to an app in a workspace, by default the sandbox's own in the first one;
    /// returns its `event_id`.
    pub(in crate::sandbox) fn push(&self, at: &Place, inner: Value) -> Result<String, PushError> {
        self.with(|state| {
            if !at.enter(state) {
                return Err(PushError::NotFound);
            }
            if state.app.events_url.is_none() {
                return Err(PushError::NoEventsUrl);
            }
            let push = push::envelope(state, inner, now_micros());
            let id = push.id.clone();
            // This fails only while the sandbox is stopping.
            drop(self.pushes.send(push));
            Ok(id)
        })
    }
}
