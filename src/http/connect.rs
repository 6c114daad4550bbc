//! Slack sends a person back after the consent page.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use http::header;
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
        .route(
            &format!("/{CALLBACK_PATH}"),
            get(callback).head(async || ([(header::ALLOW, "GET")], outcome::wrong_method())),
        )
        .with_state(Shared { app, tasks })
}

async fn callback(
    State(shared): State<Shared>,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    let Ok(Query(Redirect { code, state, error })) = redirect else {
        return outcome::of(&Connected::UnknownState);
    };
    let reported = error.is_some();
    // In a task of its own: a code works once, and a browser that goes away drops this future.
    let completing =
        async move { shared.app.complete_connect(Callback { state, code, error }).await };
    let task = shared.tasks.spawn(completing.in_current_span());
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(answer)) => {
            if let (true, Ok(Connected::Refused { code })) = (reported, &answer) {
                let code = if is_code(code) { code } else { "(not a code)" };
                tracing::warn!(code, "Slack's consent page refused to connect");
            }
            told(answer)
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "connecting broke off");
            outcome::internal()
        }
        Err(_) => outcome::still_working(),
    }
}

/// Whether this looks as Slack's error codes do: the address is anybody's text, and the log is not.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn told(answer: Result<Connected, app::Error>) -> Page {
    match answer {
        Ok(connected) => outcome::of(&connected),
        Err(app::Error::Unavailable { .. } | app::Error::Exhausted { .. }) => {
            outcome::unavailable()
        }
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
    fn what_is_logged_of_the_address_is_a_code_or_nothing() {
        assert!(is_code("invalid_team_for_non_distributed_app"));
        for text in ["", "two words", "a@b", "line\nbreak", &"a".repeat(65)] {
            assert!(!is_code(text), "{text:?}");
        }
    }

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
