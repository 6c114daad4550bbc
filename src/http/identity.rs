//! The page that an identity link opens, and the address to which Slack sends the person back.
//! Readers of these pages are people of the platform, who know nothing about Herald.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::config::{APPS_PATH, CALLBACK_PATH, IDENTITY_PATH};
use super::cookies::Cookies;
use super::outcome;
use super::page::{Page, Tone, tidy};
use crate::app::identity_link::{IdentityCallback, IdentityStart, IdentityUse, Proved};
use crate::app::{self, App, Unusable};

/// How long the browser waits for Slack's answer, as in `connect`.
const PATIENCE: Duration = Duration::from_secs(25);
const AGAIN: &str = "Ask for a new link where you got this one, and open it.";
/// The same within a sentence.
const ASK_AGAIN: &str = "ask for a new link where you got this one, and open it.";

#[derive(Clone)]
struct Shared {
    app: App,
    cookies: Cookies,
    tasks: TaskTracker,
}

/// The query of an identity link. No `Debug`: `state` is a secret.
#[derive(Deserialize)]
struct Link {
    state: Option<String>,
}

/// The query of Slack's redirect. No `Debug`: `code` and `state` are secrets.
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
    attempt: String,
}

pub(super) fn router(app: App, cookies: Cookies, tasks: TaskTracker) -> Router {
    let of_app = format!("/{APPS_PATH}/{{app}}/oauth/callback/identity/{{attempt}}");
    Router::new()
        .route(&format!("/{IDENTITY_PATH}"), get(start))
        .route(&format!("/{CALLBACK_PATH}/identity/{{attempt}}"), get(callback).head(looked))
        .route(&of_app, get(callback).head(looked))
        .with_state(Shared { app, cookies, tasks })
}

/// Axum would run the GET handler for HEAD, and a client that only checks the link must not use it
/// up.
async fn looked() -> impl IntoResponse {
    ([(header::ALLOW, "GET")], outcome::wrong_method())
}

async fn start(State(shared): State<Shared>, link: Result<Query<Link>, QueryRejection>) -> Page {
    let state = link.ok().and_then(|Query(link)| link.state).unwrap_or_default();
    let page = match shared.app.start_identity(&state).await {
        Ok(IdentityUse::Usable(start)) => {
            let cookie = shared.cookies.set(&start.cookie);
            first(&start).with_cookie(cookie)
        }
        Ok(IdentityUse::Unusable(why)) => unusable(why),
        Err(error) => told(Err(error)),
    };
    page.of_platform(shared.app.display_name())
}

async fn callback(
    State(shared): State<Shared>,
    Path(Place { app: app_path, attempt }): Path<Place>,
    headers: HeaderMap,
    redirect: Result<Query<Redirect>, QueryRejection>,
) -> Page {
    let Ok(Query(Redirect { code, state, error })) = redirect else {
        return unusable(Unusable::UnknownState).of_platform(shared.app.display_name());
    };
    let browser = shared.cookies.get(&headers, &attempt);
    let clear = browser.as_ref().and_then(|_| shared.cookies.clear(&attempt));
    let answer = IdentityCallback { state, code, error, browser, app_path };
    // Runs in its own task: a code works once, and this future is dropped if the browser
    // disconnects.
    let app = shared.app.clone();
    let completing = async move { app.complete_identity(answer).await };
    let task = shared.tasks.spawn(completing.in_current_span());
    let page = match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(answer)) => told(answer),
        Ok(Err(error)) => {
            tracing::error!(%error, "proving an identity was interrupted");
            failed()
        }
        Err(_) => slow(),
    };
    page.with_cookie(clear).of_platform(shared.app.display_name())
}

fn told(answer: Result<Proved, app::Error>) -> Page {
    match answer {
        Ok(proved) => of(&proved),
        Err(app::Error::Unavailable { .. } | app::Error::Exhausted { .. }) => outcome::down(
            "Herald could not reach its own database, so your Slack account could not be linked.",
        )
        .step(format!("If it then says that the link was used already, {ASK_AGAIN}")),
        // The workspace was disconnected, or its token is dead.
        Err(app::Error::Precondition { .. }) => of(&Proved::NotConnected),
        Err(app::Error::Internal(error)) => {
            tracing::error!(error = &*error, "proving an identity failed");
            failed()
        }
        Err(error) => {
            tracing::error!(%error, "proving an identity failed");
            failed()
        }
    }
}

/// A defect.
fn failed() -> Page {
    outcome::broken("Your Slack account could not be linked. It is not your fault.").step(AGAIN)
}

/// Slack is slow; the exchange continues.
fn slow() -> Page {
    Page::new(StatusCode::GATEWAY_TIMEOUT, Tone::Plain, "Slack is slow")
        .say("Slack has not said yet who signed in. Herald continues without this page.")
        .step(format!("If notifications do not reach you in a few minutes, {ASK_AGAIN}"))
        .hint("Loading this page again does not help: each link works once.")
}

/// The page that a link opens.
fn first(start: &IdentityStart) -> Page {
    let tenant = tidy(start.tenant.as_str());
    let workspace = workspace(&start.workspace);
    Page::new(StatusCode::OK, Tone::Plain, "Show which Slack account is yours")
        .say(format!(
            "You are about to sign in to {workspace}. From then on the notifications that \
             “{tenant}” sends to you reach that Slack account."
        ))
        .say(
            "Continue only if this link was made for you. Otherwise another person’s \
             notifications would come to you: close this page.",
        )
        .way(&start.sign_in_url, "Sign in with Slack")
        .hint("Finish in this browser: elsewhere Slack’s answer does not count.")
}

fn of(proved: &Proved) -> Page {
    match proved {
        Proved::Done { member } => {
            let name = tidy(member);
            let who =
                if name.is_empty() { "your account".to_owned() } else { format!("“{name}”") };
            Page::new(StatusCode::OK, Tone::Done, "This is your Slack account")
                .say(format!("Notifications for you now reach {who} in Slack."))
                .say("You can close this page.")
        }
        Proved::Denied => Page::new(StatusCode::OK, Tone::Plain, "Nothing was changed")
            .say("You canceled in Slack, so your Slack account was not linked.")
            .step(format!("If that was not meant, {ASK_AGAIN}")),
        Proved::Unusable(why) => unusable(*why),
        Proved::OtherWorkspace { workspace: name } => {
            let name = workspace(name);
            Page::new(StatusCode::CONFLICT, Tone::Again, "This is another workspace")
                .say(format!(
                    "You signed in to another Slack workspace than {name}, from which your \
                     notifications come. Nothing was changed."
                ))
                .step(format!("{AGAIN} Choose {name} on Slack’s page."))
        }
        Proved::NotReachable => {
            Page::new(StatusCode::CONFLICT, Tone::Again, "This account cannot get messages")
                .say(
                    "The Slack account is a bot, or it was deactivated or removed. Nothing was \
                     changed.",
                )
                .step(format!("{AGAIN} Sign in with your own, active account."))
        }
        Proved::NotConnected => {
            Page::new(StatusCode::CONFLICT, Tone::Broken, "Slack is not connected")
                .say("The Slack workspace is not connected at the moment. Nothing was changed.")
                .step("Tell the person who gave you the link, and open it again later.")
        }
        Proved::Refused { .. } => {
            Page::new(StatusCode::BAD_GATEWAY, Tone::Broken, "Slack refused to sign you in")
                .say("Slack did not accept the request. Nothing was changed.")
                .step(format!("{AGAIN} If it happens again, tell the person who gave it to you."))
        }
        Proved::NoAnswer => Page::new(StatusCode::BAD_GATEWAY, Tone::Again, "Slack did not answer")
            .say("Slack did not say in time who signed in. Nothing was changed.")
            .step(format!("Wait a minute. {AGAIN}")),
    }
}

/// The page of a link or a redirect that cannot be used.
fn unusable(why: Unusable) -> Page {
    match why {
        Unusable::UnknownState => {
            Page::new(StatusCode::BAD_REQUEST, Tone::Again, "This link is not known")
                .say("The address may be incomplete, or the link came from another server.")
                .step(AGAIN)
        }
        Unusable::OtherBrowser => {
            Page::new(StatusCode::FORBIDDEN, Tone::Again, "This is another browser")
                .say(
                    "The link was not opened in this browser, so Slack’s answer does not count \
                     here: another person may have begun this. Nothing was changed.",
                )
                .step(
                    "If it was you, open the link again, in the browser in which you are signed in \
                     to Slack, and stay in it. Cookies must be allowed.",
                )
        }
        Unusable::AlreadyUsed => {
            Page::new(StatusCode::GONE, Tone::Again, "This link was used already")
                .say(
                    "Each link works once. If you have just signed in and this page was loaded \
                     again, your Slack account is linked.",
                )
                .step(format!("If it is not, {ASK_AGAIN}"))
        }
        Unusable::Expired => Page::new(StatusCode::GONE, Tone::Again, "This link has expired")
            .say("Too much time has passed since the link was made, so it no longer works.")
            .step(AGAIN),
    }
}

/// A workspace's name within a sentence.
fn workspace(name: &str) -> String {
    let name = tidy(name);
    if name.is_empty() { "the Slack workspace".to_owned() } else { format!("“{name}”") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_repeats_what_an_address_says() {
        let refused = of(&Proved::Refused { code: "<b>anything</b>".into() });
        assert!(!refused.html().unwrap().contains("anything"));
        let done = of(&Proved::Done { member: "<b>Ada</b>".into() });
        assert!(!done.html().unwrap().contains("<b>"));
    }

    #[test]
    fn each_page_says_what_to_do() {
        for proved in [
            Proved::Denied,
            Proved::Unusable(Unusable::UnknownState),
            Proved::Unusable(Unusable::OtherBrowser),
            Proved::Unusable(Unusable::AlreadyUsed),
            Proved::Unusable(Unusable::Expired),
            Proved::OtherWorkspace { workspace: String::new() },
            Proved::NotReachable,
            Proved::NotConnected,
            Proved::Refused { code: "x".into() },
            Proved::NoAnswer,
        ] {
            assert!(!of(&proved).steps.is_empty(), "{proved:?}");
        }
    }
}
