//! The page on which an administrator of a workspace decides on requests to install apps.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::consent::{escape, fields, page};
use crate::sandbox::world::kept::Approval;
use crate::sandbox::world::workspace::Workspace;

/// `GET /admin/apps`.
pub(in crate::sandbox) async fn show(
    Shared(workspace): Shared<Arc<Workspace>>,
) -> impl IntoResponse {
    let requests = workspace.with(|state| state.approvals.requests.clone());
    let mut body = "<h1>Requests to install apps</h1>".to_owned();
    if requests.is_empty() {
        body.push_str("<p>There is no request.</p>");
    }
    for request in requests.iter().rev() {
        list(&mut body, request);
    }
    Html(page("Manage apps", &body))
}

fn list(body: &mut String, request: &Approval) {
    let (app, team) = (escape(&request.app_name), escape(&request.team_name));
    write!(body, "<section><h2>{app} for {team}</h2><ul>").unwrap_or_default();
    for scope in &request.scopes {
        write!(body, "<li><code>{}</code></li>", escape(scope)).unwrap_or_default();
    }
    body.push_str("</ul>");
    match request.approved {
        Some(true) => body.push_str("<p>Approved. The person can install the app now.</p>"),
        Some(false) => body.push_str("<p>Denied.</p>"),
        None => write!(
            body,
            "<form method=\"post\" action=\"/admin/apps/{}\">\
             <button name=\"decision\" value=\"deny\">Deny</button>\
             <button name=\"decision\" value=\"approve\" class=\"allow\">Approve</button></form>",
            escape(&request.id)
        )
        .unwrap_or_default(),
    }
    body.push_str("</section>");
}

/// `POST /admin/apps/{id}`: `decision` is `approve` or `deny`. The app is not notified.
pub(in crate::sandbox) async fn decide(
    Shared(workspace): Shared<Arc<Workspace>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let approved = match fields(&body).get("decision").map(String::as_str) {
        Some("approve") => true,
        Some("deny") => false,
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    match workspace.with(|state| state.decide_approval(&id, approved)) {
        Some(_) => Redirect::to("/admin/apps").into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
