//! Slack sends a person back after the consent page.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use serde::Deserialize;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::config::CALLBACK_PATH;
use super::outcome;
use super::page::Page;
use crate::app::{self, App, Callback, Connected};

/// How long the browser waits for Slack's answer: less than the limit of all requests, so that the
/// page can say that the work goes on.
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Clone)]
struct Shared {
    app: App,
    tasks: TaskTracker,
}

/// What Slack's redirect carries (slack-platform.md section 2). It has an `error_description` too,
/// which is anybody's text and is not read. No `Debug`: `code` and `state` are secrets.
#[derive(Deserialize)]
struct Redirect {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

pub(super) fn router(app: App, tasks: TaskTracker) -> Router {
    Router::new()
        // HEAD would run the GET, and whoever only looks must not use the link up.
        .route(&format!("/{CALLBACK_PATH}"), get(callback).head(async || outcome::wrong_method()))
        .with_state(Shared { app, tasks })
}

async fn callback(
    State(shared): State<Shared>,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    let Ok(Query(Redirect { code, state, error })) = redirect else {
        return outcome::of(&Connected::UnknownState);
    };
    // In a task of its own: a code works once, and a browser that goes away drops this future.
    let completing =
        async move { shared.app.complete_connect(Callback { state, code, error }).await };
    let task = shared.tasks.spawn(completing.in_current_span());
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(answer)) => told(answer),
        Ok(Err(error)) => {
            tracing::error!(%error, "connecting broke off");
            outcome::internal()
        }
        Err(_) => outcome::still_working(),
    }
}

fn told(answer: Result<Connected, app::Error>) -> Page {
    match answer {
        Ok(connected) => outcome::of(&connected),
        Err(app::Error::Unavailable { .. }) => outcome::unavailable(),
        Err(app::Error::Internal(error)) => {
            tracing::error!(error = &*error, "connecting failed");
            outcome::internal()
        }
        Err(error) => {
            tracing::error!(%error, "connecting failed");
            outcome::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_failure_is_told_without_its_cause() {
        let away = app::Error::Unavailable { what: "the database", retry_after: Duration::ZERO };
        assert_eq!(told(Err(away)).status(), StatusCode::SERVICE_UNAVAILABLE);
        let broken = app::Error::Internal("the disk at /secret/place is gone".into());
        let page = told(Err(broken));
        assert_eq!(page.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!page.html().unwrap().contains("secret"));
        let defect = app::Error::NotFound("tenant");
        assert_eq!(told(Err(defect)).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
