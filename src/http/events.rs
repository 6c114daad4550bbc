//! `POST /slack/events`, and the same at the path of a tenant's app: receives Slack's events.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::bodies::{Bodies, Unread};
use super::config::{APPS_PATH, EVENTS_PATH};
use super::edge::CountedAddress;
use super::outcome;
use crate::app::{self, App, SignedRequest, Taken};
use crate::slack::events::BODY_BYTES;

/// The time for a request, from its headers to the stored event. Slack waits three seconds and
/// resends an event that is not stored by then.
const PATIENCE: Duration = Duration::from_millis(2500);

#[derive(Clone)]
struct Shared {
    app: App,
    bodies: Bodies,
}

pub(super) fn router(app: App, bodies: Bodies) -> Router {
    Router::new()
        .route(&format!("/{EVENTS_PATH}"), post(of_deployment))
        .route(&format!("/{APPS_PATH}/{{app}}/events"), post(of_tenant))
        .with_state(Shared { app, bodies })
}

async fn of_deployment(State(shared): State<Shared>, request: Request) -> Response {
    take(shared, "", request).await
}

async fn of_tenant(
    State(shared): State<Shared>,
    Path(app): Path<String>,
    request: Request,
) -> Response {
    take(shared, &app, request).await
}

async fn take(shared: Shared, app_path: &str, request: Request) -> Response {
    let until = Instant::now() + PATIENCE;
    let Shared { app, bodies } = shared;
    let (parts, body) = request.into_parts();
    // Requests without a connection occur only in tests.
    let address = parts.extensions.get::<CountedAddress>().map(|counted| counted.0);
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let body = match bodies.read(address, body, BODY_BYTES, until).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => return refused(StatusCode::PAYLOAD_TOO_LARGE),
        Err(Unread::Cut) => return refused(StatusCode::BAD_REQUEST),
        Err(Unread::Late) => return outcome::too_slow().into_response(),
        Err(Unread::NoRoom) => return outcome::overloaded().into_response(),
    };
    let headers = &parts.headers;
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = SignedRequest {
        app_path,
        timestamp: header("x-slack-request-timestamp"),
        signature: header("x-slack-signature"),
        body: &body.bytes,
    };
    match tokio::time::timeout_at(until, app.take_event(request)).await {
        Ok(Ok(Taken::Acknowledged)) => {
            let retried = header("x-slack-retry-reason");
            if !retried.is_empty() {
                note_retry(&app, app_path, retried, until).await;
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

/// Asks Slack not to resend, which would change nothing.
fn refused(status: StatusCode) -> Response {
    const NO_RETRY: HeaderName = HeaderName::from_static("x-slack-no-retry");
    (status, [(NO_RETRY, HeaderValue::from_static("1"))]).into_response()
}
