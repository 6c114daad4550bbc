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
use super::page::Page;
use super::{connected, outcome, whose};
use crate::app::{self, App, Callback, ChosenTeam, ConnectEnd, Connected, LinkUse, TEAM, Unusable};

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

/// The query of a choice among the workspaces of an organization. No `Debug`, as below.
#[derive(Deserialize)]
struct Choice {
    state: Option<String>,
    team: Option<String>,
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
        .route(&format!("/{CONNECT_PATH}/{TEAM}"), get(choose).head(looked))
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
            whose::start(&start, shared.app.display_name()).with_cookie(cookie)
        }
        Ok(LinkUse::Unusable(end)) => shared.ended(Ok(end)),
        Err(error) => shared.ended(Err(error)),
    }
}

async fn callback_of_none(
    State(shared): State<Shared>,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    match redirect {
        Ok(Query(redirect)) => complete(&shared, redirect, String::new(), None).await,
        Err(_) => shared.unknown(),
    }
}

async fn callback(
    State(shared): State<Shared>,
    Path(Place { app, attempt }): Path<Place>,
    headers: HeaderMap,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    let Ok(Query(redirect)) = redirect else { return shared.unknown() };
    let kept = shared.cookies.get(&headers, &attempt);
    let clear = kept.as_ref().and_then(|_| shared.cookies.clear(&attempt));
    let page = complete(&shared, redirect, app, kept).await;
    // A page that asks for a confirmation or a choice sets a cookie of its own.
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
    let app = shared.app.clone();
    let callback = Callback { state, code, error, browser, app_path };
    let answer = shared.finish(async move { app.complete_connect(callback).await }).await;
    if let (true, Some(Ok(ConnectEnd { connected: Connected::Refused { code }, .. }))) =
        (reported, &answer)
    {
        let code = if is_code(code) { code } else { "(not a code)" };
        tracing::warn!(code, "Slack's consent page refused to connect");
    }
    shared.answered(answer)
}

/// The person chose a workspace of an organization.
async fn choose(
    State(shared): State<Shared>,
    headers: HeaderMap,
    choice: Result<Query<Choice>, QueryRejection>,
) -> Page {
    let Ok(Query(Choice { state: Some(state), team: Some(team_id) })) = choice else {
        return shared.unknown();
    };
    let attempt = App::attempt_of(&state);
    let browser = shared.cookies.get(&headers, &attempt);
    let clear = browser.as_ref().and_then(|_| shared.cookies.clear(&attempt));
    let app = shared.app.clone();
    let chosen = ChosenTeam { state, team_id, browser };
    let answer = shared.finish(async move { app.choose_team(chosen).await }).await;
    let page = shared.answered(answer);
    if page.cookie.is_some() { page } else { page.with_cookie(clear) }
}

/// An answer of the application; `None`: it did not come in time.
type Answer = Option<Result<ConnectEnd, app::Error>>;

impl Shared {
    /// Runs in its own task: a code works once, and this future is dropped if the browser
    /// disconnects.
    async fn finish(
        &self,
        ending: impl Future<Output = Result<ConnectEnd, app::Error>> + Send + 'static,
    ) -> Answer {
        let task = self.tasks.spawn(ending.in_current_span());
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => Some(Err(app::Error::Internal(error.into()))),
            Err(_) => None,
        }
    }

    fn answered(&self, answer: Answer) -> Page {
        let Some(answer) = answer else {
            return connected::still_working(self.app.display_name());
        };
        let cookie = match &answer {
            Ok(ConnectEnd { connected: Connected::Confirm { start, .. }, .. }) => {
                self.cookies.set(&start.cookie)
            }
            Ok(ConnectEnd { connected: Connected::ChooseTeam { cookie, .. }, .. }) => {
                self.cookies.set(cookie)
            }
            _ => None,
        };
        self.ended(answer).with_cookie(cookie)
    }

    fn unknown(&self) -> Page {
        let unknown = Connected::Unusable(Unusable::UnknownState);
        self.ended(Ok(ConnectEnd { connected: unknown, back: None }))
    }

    /// The page of an outcome, from which the browser goes back to the platform if it may.
    fn ended(&self, answer: Result<ConnectEnd, app::Error>) -> Page {
        told(answer, self.app.display_name())
    }
}

/// Whether this looks like one of Slack's error codes. Anyone can write an address, and its text
/// must not get into the log.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn told(answer: Result<ConnectEnd, app::Error>, platform: &str) -> Page {
    match answer {
        // The person is asked something first.
        Ok(ConnectEnd { connected: asked @ Connected::Confirm { .. }, .. }) => {
            connected::of(&asked, platform)
        }
        Ok(ConnectEnd { connected, back }) => {
            let page = connected::of(&connected, platform);
            match back {
                Some(back) => page.way(&back, format!("Back to {platform}")).going_to(&back),
                None => page,
            }
        }
        Err(app::Error::Unavailable { .. } | app::Error::Exhausted { .. }) => {
            connected::unavailable(platform)
        }
        Err(app::Error::Internal(error)) => {
            tracing::error!(error = &*error, "connecting failed");
            connected::internal(platform)
        }
        Err(error) => {
            tracing::error!(%error, "connecting failed");
            connected::internal(platform)
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
        assert_eq!(told(Err(away), "Acme").status(), StatusCode::SERVICE_UNAVAILABLE);
        let broken = app::Error::Internal("the disk at /secret/place is gone".into());
        let page = told(Err(broken), "Acme");
        assert_eq!(page.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!page.html().unwrap().contains("secret"));
        let defect = app::Error::NotFound("tenant");
        assert_eq!(told(Err(defect), "Acme").status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn the_browser_goes_back_to_the_platform() {
        let back = url::Url::parse("https://p.example/s?status=denied").unwrap();
        let end = ConnectEnd { connected: Connected::Denied, back: Some(back) };
        let response = told(Ok(end), "Acme").into_response();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[header::LOCATION], "https://p.example/s?status=denied");
    }
}
