//! Apps, workspaces and the organization, under `/_sandbox/`: the pages on which Slack's
//! administrators and the developers of apps change them.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::refreshes::Refresh;
use crate::sandbox::world::state::State;
use crate::sandbox::world::team::{SandboxApp, Team};
use crate::sandbox::world::workspace::Workspace;

type Held = Shared<Arc<Workspace>>;

/// Most workspaces of a sandbox.
const TEAMS: usize = 20_000;

pub(in crate::sandbox) fn router() -> Router<Arc<Workspace>> {
    Router::new()
        .route("/_sandbox/apps", get(apps))
        .route("/_sandbox/apps/{id}/signing-secret", post(new_signing_secret))
        .route("/_sandbox/apps/{id}/client-secret", post(new_client_secret))
        .route("/_sandbox/teams", get(teams).post(add_teams))
        .route("/_sandbox/refreshes", get(refreshes))
        .route("/_sandbox/refreshes/now", get(refreshing))
        .route("/_sandbox/migration", post(migrate).delete(finish_migration))
}

async fn apps(Shared(workspace): Held) -> Json<Vec<SandboxApp>> {
    Json(workspace.with(|state| state.sandbox_apps()))
}

async fn new_signing_secret(Shared(workspace): Held, Path(id): Path<String>) -> Response {
    changed(workspace.with(|state| state.regenerate_signing_secret(&id)))
}

async fn new_client_secret(Shared(workspace): Held, Path(id): Path<String>) -> Response {
    changed(workspace.with(|state| state.regenerate_client_secret(&id, now_micros())))
}

fn changed(app: Option<SandboxApp>) -> Response {
    match app {
        Some(app) => Json(app).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn teams(Shared(workspace): Held) -> Json<Vec<Team>> {
    Json(workspace.with(|state| state.all_teams()))
}

#[derive(Deserialize)]
struct TeamCount {
    count: usize,
}

/// Adds workspaces until there are `count`.
async fn add_teams(
    Shared(workspace): Held,
    Json(TeamCount { count }): Json<TeamCount>,
) -> Json<Value> {
    workspace.with(|state| {
        state.add_teams(count.min(TEAMS), now_micros());
        Json(json!({ "count": state.teams.len() }))
    })
}

async fn refreshes(Shared(workspace): Held) -> Json<Vec<Refresh>> {
    Json(workspace.with(|state| state.refreshes.all()))
}

/// Where the refreshes under way come from, and the most that one installation ever had at once.
async fn refreshing(Shared(workspace): Held) -> Json<Value> {
    workspace.with(|state| {
        let refreshes = &state.refreshes;
        let (now, most) = (refreshes.under_way(), refreshes.most_at_once());
        Json(json!({ "under_way": now, "most_at_once": most }))
    })
}

#[derive(Deserialize)]
struct MoveInto {
    enterprise_id: String,
}

/// The workspaces begin to move into an organization.
async fn migrate(Shared(workspace): Held, Json(into): Json<MoveInto>) -> StatusCode {
    workspace.with(|state| state.begin_migration(&into.enterprise_id));
    StatusCode::NO_CONTENT
}

/// The workspaces have moved.
async fn finish_migration(Shared(workspace): Held) -> StatusCode {
    let moved = workspace.with(State::finish_migration);
    if moved { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT }
}
