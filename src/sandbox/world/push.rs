//! Requests that Slack sends to the app: signed events and interactions.
//!
//! An event is sent at once. If the answer is not 2xx, it is sent up to three more times: at once,
//! after one minute, and after five (scaled), with `x-slack-retry-num` and `x-slack-retry-reason`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::clock::now_micros;
use super::state::State;
use super::team::App;
use crate::domain::secret::Secret;

/// How long the app has to answer; not scaled, since it includes the network's time.
const ANSWER: Duration = Duration::from_secs(3);
/// Seconds before each retry.
const RETRIES: [f64; 3] = [0.0, 60.0, 300.0];
/// Most deliveries remembered.
const KEPT: usize = 10_000;

/// One event to be sent.
pub(in crate::sandbox) struct Push {
    pub(in crate::sandbox) id: String,
    body: Value,
    to: Receiver,
    team_id: String,
}

/// The app to which a request is sent.
pub(in crate::sandbox) struct Receiver {
    app_id: String,
    /// Its address; without one nothing is sent.
    url: Option<Url>,
    signing_secret: Secret,
}

impl Receiver {
    /// The app's address for events.
    fn of_events(app: &App) -> Self {
        Self::new(app, app.events_url.clone())
    }

    /// The app's address for interactions.
    pub(in crate::sandbox) fn of_interactions(app: &App) -> Self {
        Self::new(app, app.interactions_url.clone())
    }

    fn new(app: &App, url: Option<Url>) -> Self {
        Self { app_id: app.id.clone(), url, signing_secret: app.signing_secret.clone() }
    }
}

/// One attempt to deliver an event.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    pub event_id: String,
    pub app_id: String,
    pub team_id: String,
    /// The inner type: `user_change`.
    pub event_type: String,
    /// 0 for the first attempt, then 1 to 3 as in `x-slack-retry-num`.
    pub attempt: u32,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
    pub at_micros: i64,
}

/// Wraps an inner event for the app and the workspace of this step as Slack does;
/// `url_verification` and `app_rate_limited` are flat. An inner `_event_time`, which is removed, is
/// the second in which it happened, for events that are late.
pub(in crate::sandbox) fn envelope(state: &mut State, mut inner: Value, now: i64) -> Push {
    let id = state.new_id('E').replacen("E0", "Ev0", 1);
    let (to, team_id) = (Receiver::of_events(&state.app), state.team.id.clone());
    let kind = inner["type"].as_str().unwrap_or_default().to_owned();
    if matches!(kind.as_str(), "url_verification" | "app_rate_limited") {
        inner["token"] = json!("sandbox-verification-token");
        if kind == "url_verification" && inner["challenge"].is_null() {
            inner["challenge"] = json!(id);
        }
        return Push { id, body: inner, to, team_id };
    }
    let given = inner.as_object_mut().and_then(|inner| inner.remove("_event_time"));
    let now = given.and_then(|given| given.as_i64()).map_or(now, |second| second * 1_000_000);
    if inner["event_ts"].is_null() {
        inner["event_ts"] = json!(super::conversation::ts_text(now));
    }
    let (team, app) = (&state.team, &state.app);
    let mut body = json!({
        "token": "sandbox-verification-token", "team_id": team.id,
        "context_team_id": team.id, "context_enterprise_id": team.enterprise_id,
        "api_app_id": app.id, "event": inner, "type": "event_callback", "event_id": id,
        "event_time": now / 1_000_000, "event_context": format!("4-{id}"),
        "is_ext_shared_channel": false,
        "authorizations": [{ "enterprise_id": team.enterprise_id, "team_id": team.id,
            "user_id": app.bot_user_id, "is_bot": true,
            "is_enterprise_install": state.is_installed_org_wide() }],
    });
    if let Some(enterprise) = state.enterprise() {
        for key in ["enterprise_id", "context_enterprise_id"] {
            body[key] = enterprise["id"].clone();
        }
        body["authorizations"][0]["enterprise_id"] = enterprise["id"].clone();
    }
    Push { id, body, to, team_id }
}

/// `X-Slack-Signature`: HMAC-SHA256 over `v0:timestamp:body`.
pub(in crate::sandbox) fn sign(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    // HMAC accepts keys of any length; the error cannot occur.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(format!("v0:{timestamp}:").as_bytes());
    mac.update(body);
    let mut text = String::from("v0=");
    for byte in mac.finalize().into_bytes() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}

/// Sends to the addresses of apps.
#[derive(Clone)]
pub(in crate::sandbox) struct Sender {
    client: reqwest::Client,
    time_scale: f64,
    deliveries: Arc<Mutex<VecDeque<Delivery>>>,
    /// Fires at each attempt.
    pub(in crate::sandbox) attempts: watch::Sender<u64>,
}

impl Sender {
    pub(in crate::sandbox) fn new(time_scale: f64) -> std::io::Result<Self> {
        // reqwest was built without a provider; a second installation has no effect.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::limited(2))
            .user_agent("Slackbot 1.0 (+https://api.slack.com/robots)")
            .build()
            .map_err(std::io::Error::other)?;
        let deliveries = Arc::default();
        let attempts = watch::channel(0).0;
        Ok(Self { client, time_scale, deliveries, attempts })
    }

    pub(in crate::sandbox) fn deliveries(&self) -> Vec<Delivery> {
        let held = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().cloned().collect()
    }

    /// Delivers events in order, first attempts one after the other, until `stop`.
    pub(in crate::sandbox) async fn run(
        self,
        mut pushes: mpsc::UnboundedReceiver<Push>,
        stop: CancellationToken,
    ) {
        loop {
            let push = tokio::select! {
                () = stop.cancelled() => return,
                push = pushes.recv() => push,
            };
            let Some(push) = push else { return };
            let Some(url) = push.to.url.clone() else { continue };
            let failed = self.attempt(&url, &push, 0, None).await;
            if let Some(reason) = failed {
                let (sender, stop) = (self.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = sender.retry(&url, &push, reason) => {}
                    }
                });
            }
        }
    }

    async fn retry(&self, url: &Url, push: &Push, mut reason: &'static str) {
        for (wait, number) in RETRIES.into_iter().zip(1..) {
            let wait = Duration::try_from_secs_f64(wait * self.time_scale);
            tokio::time::sleep(wait.unwrap_or_default()).await;
            match self.attempt(url, push, number, Some(reason)).await {
                Some(again) => reason = again,
                None => return,
            }
        }
    }

    /// Makes one attempt; returns the reason if Slack would retry.
    async fn attempt(
        &self,
        url: &Url,
        push: &Push,
        number: u32,
        reason: Option<&'static str>,
    ) -> Option<&'static str> {
        let body = push.body.to_string().into_bytes();
        let secret = &push.to.signing_secret;
        let mut request = self.signed(url, secret, "application/json", body);
        if let Some(reason) = reason {
            request = request.header("x-slack-retry-num", number.to_string());
            request = request.header("x-slack-retry-reason", reason);
        }
        let answer = request.send().await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        self.remember(push, number, status);
        match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => {
                let stop = answer.headers().get("x-slack-no-retry").is_some_and(|v| v == "1");
                (!stop).then_some("http_error")
            }
            Err(error) if error.is_timeout() => Some("http_timeout"),
            Err(error) if error.is_redirect() => Some("too_many_redirects"),
            Err(error) if error.is_connect() => Some("connection_failed"),
            Err(_) => Some("unknown_error"),
        }
    }

    /// Posts an interaction's payload; returns the status of the answer. Slack does not retry
    /// these.
    pub(in crate::sandbox) async fn interact(
        &self,
        to: &Receiver,
        payload: &Value,
    ) -> Result<u16, PushError> {
        let url = to.url.as_ref().ok_or(PushError::NoUrl)?;
        let body = {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("payload", &payload.to_string()).finish().into_bytes()
        };
        let form = "application/x-www-form-urlencoded";
        let request = self.signed(url, &to.signing_secret, form, body);
        let answer =
            request.send().await.map_err(|error| PushError::NoAnswer(error.to_string()))?;
        Ok(answer.status().as_u16())
    }

    fn signed(
        &self,
        url: &Url,
        secret: &Secret,
        content_type: &str,
        body: Vec<u8>,
    ) -> reqwest::RequestBuilder {
        let timestamp = (now_micros() / 1_000_000).to_string();
        let signature = sign(secret, &timestamp, &body);
        (self.client.post(url.clone()))
            .header("content-type", content_type)
            .header("x-slack-request-timestamp", timestamp)
            .header("x-slack-signature", signature)
            .body(body)
    }

    fn remember(&self, push: &Push, attempt: u32, status: Option<u16>) {
        let inner = push.body.get("event").unwrap_or(&push.body);
        let event_type = inner["type"].as_str().unwrap_or_default().to_owned();
        let (event_id, at_micros) = (push.id.clone(), now_micros());
        let (app_id, team_id) = (push.to.app_id.clone(), push.team_id.clone());
        let mut held = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() == KEPT {
            held.pop_front();
        }
        held.push_back(Delivery {
            event_id,
            app_id,
            team_id,
            event_type,
            attempt,
            status,
            at_micros,
        });
        drop(held);
        self.attempts.send_modify(|count| *count += 1);
    }
}

/// Why an event or an interaction was not sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("the app has no URL for interactions: start the sandbox with --interactions-url")]
    NoUrl,
    #[error("the app has no URL for events: start the sandbox with --events-url")]
    NoEventsUrl,
    #[error("there is no such message, element, app or workspace")]
    NotFound,
    #[error("the app did not answer: {0}")]
    NoAnswer(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_signature_vector() {
        let secret = Secret::new("8f742231b10e8888abcd99yyyzzz85a5");
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
                    &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA\
                    &user_name=roadrunner\
                    &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com\
                    %2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        assert_eq!(sign(&secret, "1531420618", body.as_bytes()), expected);
    }
}
