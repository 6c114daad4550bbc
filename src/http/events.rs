//! `POST /slack/events`, and the same at the path of a tenant's app: receives Slack's events.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::time::Instant;

use super::bodies::Bodies;
use super::config::EVENTS_PATH;
use super::from_slack::{self, FromSlack, Shared};
use crate::app::{self, App, Taken};
use crate::slack::events::BODY_BYTES;

pub(super) fn router(app: App, bodies: Bodies) -> Router {
    from_slack::routes(Shared { app, bodies }, EVENTS_PATH, "events", take)
}

async fn take(shared: Shared, app_path: String, request: Request) -> Response {
    let Shared { app, bodies } = shared;
    let request = match FromSlack::read(&bodies, request, BODY_BYTES).await {
        Ok(request) => request,
        Err(why) => return from_slack::unread(why),
    };
    let until = request.until;
    match tokio::time::timeout_at(until, app.take_event(request.signed(&app_path))).await {
        Ok(Ok(Taken::Acknowledged)) => {
            let retried = request.header("x-slack-retry-reason");
            if !retried.is_empty() {
                note_retry(&app, &app_path, retried, until).await;
            }
            StatusCode::OK.into_response()
        }
        Ok(Ok(Taken::Challenge(challenge))) => challenge.into_response(),
        // Slack repeats the request after one minute and after five: by then Herald may have a
        // secret that was exchanged in Slack.
        Ok(Ok(Taken::Refused)) => StatusCode::UNAUTHORIZED.into_response(),
        Ok(Err(app::Error::Unavailable { .. })) | Err(_) => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "an event from Slack was not stored");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Notes that Slack had to send an event again, for CheckConnection. The event itself is stored.
async fn note_retry(app: &App, app_path: &str, reason: &str, until: Instant) {
    match tokio::time::timeout_at(until, app.note_retry(app_path, reason)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a repetition by Slack was not noted"),
        Err(_) => tracing::debug!("a repetition by Slack was not noted in time"),
    }
}
