//! The page that a connect link opens, and the address to which Slack sends the person back from
//! its consent page.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, header};
use serde::Deserialize;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::config::{APPS_PATH, CALLBACK_PATH, CONNECT_PATH};
use super::cookies::Cookies;
use super::outcome;
use super::page::Page;
use super::whose;
use crate::app::{self, App, Callback, Connected, LinkUse, Unusable};

/// How long the browser waits for Slack's answer. It is below the time limit of all requests, so
/// that the page can say that the exchange continues.
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Clone)]
struct Shared {
    app: App,
    cookies: Cookies,
    tasks: TaskTracker,
}

/// The query of a connect link. No `Debug`, as below.
#[derive(Deserialize)]
struct Link {
    state: Option<String>,
}

/// The query of Slack's redirect (Slack's documentation: Installing with OAuth). It also has an
/// `error_description`, which anyone could have written and which is not read. No `Debug`: `code`
/// and `state` are secrets.
#[derive(Deserialize)]
struct Redirect {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// The parts of the address that Slack redirects to.
#[derive(Deserialize)]
struct Place {
    /// The path of a tenant's app; empty: the deployment's app.
    #[serde(default)]
    app: String,
    /// Empty: an address without an attempt.
    #[serde(default)]
    attempt: String,
}

pub(super) fn router(app: App, cookies: Cookies, tasks: TaskTracker) -> Router {
    let of_app = format!("/{APPS_PATH}/{{app}}/oauth/callback");
    Router::new()
        .route(&format!("/{CONNECT_PATH}"), get(start))
        // An address without an attempt belongs to no browser; the page says so.
        .route(&format!("/{CALLBACK_PATH}"), get(callback_of_none).head(looked))
        .route(&format!("/{CALLBACK_PATH}/{{attempt}}"), get(callback).head(looked))
        .route(&of_app, get(callback).head(looked))
        .route(&format!("{of_app}/{{attempt}}"), get(callback).head(looked))
        .with_state(Shared { app, cookies, tasks })
}

/// Axum would run the GET handler for HEAD, and a client that only checks the link must not use it
/// up.
async fn looked() -> impl IntoResponse {
    ([(header::ALLOW, "GET")], outcome::wrong_method())
}

/// The page that a link opens: the tenant's name, and the link to Slack.
async fn start(State(shared): State<Shared>, link: Result<Query<Link>, QueryRejection>) -> Page {
    let state = link.ok().and_then(|Query(link)| link.state).unwrap_or_default();
    match shared.app.start_connect(&state).await {
        Ok(LinkUse::Usable(start)) => {
            let cookie = shared.cookies.set(&start.cookie);
            whose::start(&start).with_cookie(cookie)
        }
        Ok(LinkUse::Unusable(unusable)) => outcome::of(&Connected::Unusable(unusable)),
        Err(error) => told(Err(error)),
    }
}

async fn callback_of_none(
    State(shared): State<Shared>,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    match redirect {
        Ok(Query(redirect)) => complete(&shared, redirect, String::new(), None).await,
        Err(_) => outcome::of(&Connected::Unusable(Unusable::UnknownState)),
    }
}

async fn callback(
    State(shared): State<Shared>,
    Path(Place { app, attempt }): Path<Place>,
    headers: HeaderMap,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    let Ok(Query(redirect)) = redirect else {
        return outcome::of(&Connected::Unusable(Unusable::UnknownState));
    };
    let kept = shared.cookies.get(&headers, &attempt);
    let clear = kept.as_ref().and_then(|_| shared.cookies.clear(&attempt));
    let page = complete(&shared, redirect, app, kept).await;
    // A page that asks for a confirmation begins an attempt of its own.
    if page.cookie.is_some() { page } else { page.with_cookie(clear) }
}

/// `app_path`: the path of the tenant's app in the address; `browser`: the state that the browser
/// kept.
async fn complete(
    shared: &Shared,
    redirect: Redirect,
    app_path: String,
    browser: Option<String>,
) -> Page {
    let Redirect { code, state, error } = redirect;
    let reported = error.is_some();
    // Runs in its own task: a code works once, and this future is dropped if the browser
    // disconnects.
    let app = shared.app.clone();
    let callback = Callback { state, code, error, browser, app_path };
    let completing = async move { app.complete_connect(callback).await };
    let task = shared.tasks.spawn(completing.in_current_span());
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(answer)) => {
            if let (true, Ok(Connected::Refused { code })) = (reported, &answer) {
                let code = if is_code(code) { code } else { "(not a code)" };
                tracing::warn!(code, "Slack's consent page refused to connect");
            }
            let cookie = match &answer {
                Ok(Connected::Confirm { start, .. }) => shared.cookies.set(&start.cookie),
                _ => None,
            };
            told(answer).with_cookie(cookie)
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "connecting was interrupted");
            outcome::internal()
        }
        Err(_) => outcome::still_working(),
    }
}

/// Whether this looks like one of Slack's error codes. Anyone can write an address, and its text
/// must not get into the log.
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
