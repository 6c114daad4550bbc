//! `POST /slack/events`: receives Slack's events.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::config::EVENTS_PATH;
use crate::app::{self, App, SignedRequest, Taken};
use crate::slack::events::BODY_BYTES;

/// Slack waits three seconds and resends an event that is not stored by then.
const PATIENCE: Duration = Duration::from_millis(2500);

pub(super) fn router(app: App) -> Router {
    Router::new()
        .route(&format!("/{EVENTS_PATH}"), post(take).layer(DefaultBodyLimit::max(BODY_BYTES)))
        .with_state(app)
}

async fn take(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    // The body is too long, or was cut off.
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refused(rejection.status()),
    };
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = SignedRequest {
        timestamp: header("x-slack-request-timestamp"),
        signature: header("x-slack-signature"),
        body: &body,
    };
    match tokio::time::timeout(PATIENCE, app.take_event(request)).await {
        Ok(Ok(Taken::Acknowledged)) => StatusCode::OK.into_response(),
        Ok(Ok(Taken::Challenge(challenge))) => challenge.into_response(),
        Ok(Ok(Taken::Refused)) => refused(StatusCode::UNAUTHORIZED),
        Ok(Err(app::Error::Unavailable { .. })) | Err(_) => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "an event from Slack was not stored");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Asks Slack not to resend, which would change nothing.
fn refused(status: StatusCode) -> Response {
    const NO_RETRY: HeaderName = HeaderName::from_static("x-slack-no-retry");
    (status, [(NO_RETRY, HeaderValue::from_static("1"))]).into_response()
}
