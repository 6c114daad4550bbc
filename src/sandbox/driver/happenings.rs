//! Actions of people and administrators of the workspace, under `/_sandbox/`, and the events that
//! follow.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::channels::ChannelChange;
use super::place::Place;
use crate::sandbox::api::methods;
use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::workspace::Workspace;

type Held = Shared<Arc<Workspace>>;

pub(in crate::sandbox) fn router() -> Router<Arc<Workspace>> {
    Router::new()
        .route("/_sandbox/conversations/{id}", get(show).patch(change).delete(delete))
        .route("/_sandbox/messages/{conversation}/{ts}", axum::routing::delete(delete_message))
        .route("/_sandbox/methods", get(method_names))
        .route("/_sandbox/triggers", post(trigger))
        .route("/_sandbox/approvals", get(approvals))
        .route("/_sandbox/approvals/{id}", post(decide))
        .route("/_sandbox/usergroups", post(add_usergroup))
        .route("/_sandbox/members/{id}/dnd", patch(set_dnd))
        .route("/_sandbox/members/{id}/home", post(open_home))
        .route("/_sandbox/team-access", post(team_access))
}

async fn show(Shared(workspace): Held, Path(id): Path<String>) -> Response {
    workspace.with(|state| match state.conversations.get(&id) {
        Some(channel) => Json(state.describe_channel(channel)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn change(
    Shared(workspace): Held,
    Path(id): Path<String>,
    Json(change): Json<ChannelChange>,
) -> StatusCode {
    let done = workspace.with(|state| state.change_channel(&id, &change, now_micros()));
    if done.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn delete(Shared(workspace): Held, Path(id): Path<String>) -> StatusCode {
    let done = workspace.with(|state| state.delete_channel(&id, now_micros()));
    if done.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn delete_message(
    Shared(workspace): Held,
    Path((conversation, ts)): Path<(String, String)>,
) -> StatusCode {
    let deleted = workspace.with(|state| state.delete_message(&conversation, &ts));
    if deleted.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// The names of the Web API methods served here.
async fn method_names() -> Json<Vec<&'static str>> {
    Json(methods::names().collect())
}

/// A person performs an action that lets the app open a modal, as a shortcut would.
async fn trigger(Shared(workspace): Held) -> Json<Value> {
    workspace.with(|state| Json(json!({ "trigger_id": state.new_trigger(now_micros()) })))
}

async fn approvals(Shared(workspace): Held) -> Json<Value> {
    workspace.with(|state| Json(json!(state.approvals.requests)))
}

#[derive(Deserialize)]
struct Approve {
    approve: bool,
}

async fn decide(
    Shared(workspace): Held,
    Path(id): Path<String>,
    Json(Approve { approve }): Json<Approve>,
) -> Response {
    match workspace.with(|state| state.decide_approval(&id, approve)) {
        Some(decided) => Json(decided).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Deserialize)]
struct NewUsergroup {
    name: String,
    handle: String,
    #[serde(default)]
    users: Vec<String>,
}

async fn add_usergroup(Shared(workspace): Held, Json(new): Json<NewUsergroup>) -> Json<Value> {
    let id = workspace.with(|state| state.add_usergroup(&new.name, &new.handle, &new.users));
    Json(json!({ "id": id }))
}

async fn set_dnd(
    Shared(workspace): Held,
    Path(user): Path<String>,
    Json(settings): Json<Value>,
) -> StatusCode {
    workspace.with(|state| state.set_dnd(&user, &settings));
    StatusCode::NO_CONTENT
}

/// A person opens the Home tab of an app; the query names the app and the workspace.
async fn open_home(
    Shared(workspace): Held,
    Path(user): Path<String>,
    Query(at): Query<Place>,
) -> StatusCode {
    workspace.with(|state| {
        let opened = if at.enter(state) { state.open_home(&user, now_micros()) } else { None };
        if opened.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
    })
}

#[derive(Deserialize)]
struct TeamAccess {
    granted: bool,
}

/// The organization adds an app to a workspace, or removes it; the query names them.
async fn team_access(
    Shared(workspace): Held,
    Query(at): Query<Place>,
    Json(access): Json<TeamAccess>,
) -> StatusCode {
    workspace.with(|state| {
        if !at.enter(state) {
            return StatusCode::NOT_FOUND;
        }
        state.grant_team(access.granted);
        StatusCode::NO_CONTENT
    })
}
