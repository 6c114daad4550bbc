//! The only request path to Slack. The methods are in `oauth`, `users`, `conversations`,
//! `channels`, `chat` and `blocks`.
//!
//! A call is written at most once: no redirects, no proxy from the environment, and the HTTP
//! library retries only requests that it never wrote. Failures that certainly happened before
//! sending (name lookup, connect, TLS) are reported as *not sent*; after any later failure Slack
//! may have received the call (see [`answer`]). Memory is bounded: an answer is read up to
//! [`Config::body_limit_bytes`] after decompression; a longer one is dropped. Logs and metrics have
//! the method, the verdict and Slack's request id; never arguments.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::redirect;
use rustls_platform_verifier::BuilderVerifierExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::{Instrument, Span, field};
use url::Url;
use zeroize::Zeroizing;

use super::answer::{self, Effect};
use super::deadline::{BodyRefused, Timely, TooLate};
use super::{Config, ConfigError, Error};
use crate::domain::capacity::slack_method::Method;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::telemetry::Metrics;
use crate::web::{self, BodyError};

/// Calls Slack's methods. Cloning is cheap; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    /// Ends in `/`.
    api: Url,
    authorize: Url,
    sign_in: Url,
    body_limit: usize,
    time_scale: f64,
    metrics: Metrics,
}

/// One call. Debug is not implemented: it holds secrets.
pub(super) struct MethodCall<'a> {
    pub(super) method: Method,
    pub(super) effect: Effect,
    pub(super) auth: Auth<'a>,
    pub(super) body: Body,
}

/// The credentials of a call.
pub(super) enum Auth<'a> {
    /// A bot token.
    Bearer(&'a Secret),
    /// The app itself: client id and client secret.
    Basic(&'a str, &'a Secret),
}

/// The arguments: every method accepts a form, and some accept JSON (Slack's documentation: Web
/// API).
pub(super) enum Body {
    Form(Vec<(&'static str, String)>),
    Json(Value),
    /// JSON that must not be written from this time on: [`TooLate`].
    JsonBefore(Value, tokio::time::Instant),
}

/// An answer that says ok, or is a finding ([`answer::is_finding`]).
pub(super) struct SlackAnswer<T> {
    pub(super) value: T,
    /// The scopes of the token, if Slack reports them (`x-oauth-scopes`).
    pub(super) scopes: Option<Vec<String>>,
    /// Slack's time, to the second (`date`).
    pub(super) at: Option<Timestamp>,
}

/// Codes that mean that a member does not exist.
const ABSENT: [&str; 2] = ["users_not_found", "user_not_found"];
const JSON: &str = "application/json; charset=utf-8";

impl Client {
    /// Prepares a client without connecting. Fails if a setting is unusable, or if TLS finds no
    /// certificate authorities on this system.
    pub fn new(config: &Config, metrics: Metrics) -> Result<Self, ConfigError> {
        config.validate()?;
        Self::with_tls(config, metrics, tls(config)?)
    }

    /// The same as [`Client::new`], for a valid config, trusting the authorities in `tls`.
    pub(super) fn with_tls(
        config: &Config,
        metrics: Metrics,
        tls: rustls::ClientConfig,
    ) -> Result<Self, ConfigError> {
        let http = web::noticing_loss(reqwest::Client::builder())
            .tls_backend_preconfigured(tls)
            .https_only(config.base_url.scheme() == "https")
            .user_agent(&config.user_agent)
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .build()
            .map_err(|error| ConfigError::Tls(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            http,
            api: config.below("api/")?,
            authorize: config.below("oauth/v2/authorize")?,
            sign_in: config.below("openid/connect/authorize")?,
            body_limit: config.body_limit_bytes,
            time_scale: config.time_scale,
            metrics,
        })))
    }

    /// The factor by which every duration that Slack dictates is multiplied.
    #[must_use]
    pub fn time_scale(&self) -> f64 {
        self.0.time_scale
    }

    /// The page on which Slack asks an administrator of a workspace for consent, without its query.
    pub(super) fn authorize_page(&self) -> Url {
        self.0.authorize.clone()
    }

    /// The page of *Sign in with Slack*, without its query.
    pub(super) fn sign_in_page(&self) -> Url {
        self.0.sign_in.clone()
    }

    /// Makes one call and reads its answer as a `T`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        call: MethodCall<'_>,
    ) -> Result<SlackAnswer<T>, Error> {
        let method = call.method.name();
        let span = tracing::info_span!(
            "slack.call",
            method,
            status = field::Empty,
            outcome = field::Empty,
            code = field::Empty,
            slack_req_id = field::Empty,
            duration_ms = field::Empty,
        );
        let started = Instant::now();
        let result = self.exchange(call).instrument(span.clone()).await;
        let took = started.elapsed();

        let outcome = result.as_ref().map_or_else(Error::label, |_| "ok");
        self.0.metrics.slack_request(method, outcome, took);
        span.record("outcome", outcome);
        span.record("duration_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        match &result {
            Ok(_) => span.in_scope(|| tracing::debug!("Slack answered")),
            Err(error) => {
                span.record("code", error.code());
                span.in_scope(|| match error {
                    // A normal answer: there is no such member.
                    Error::Rejected { code, .. } if ABSENT.contains(&code.as_str()) => {
                        tracing::debug!("Slack has no such member");
                    }
                    Error::Rejected { .. }
                    | Error::Unauthorized { .. }
                    | Error::MissingScope { .. } => tracing::info!("Slack refused a call"),
                    Error::Throttled { .. } => tracing::info!("Slack asked to wait"),
                    Error::Transient { .. } | Error::Unknown { .. } => {
                        tracing::info!("Slack's answer to a call is missing or unclear");
                    }
                });
            }
        }
        result
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        call: MethodCall<'_>,
    ) -> Result<SlackAnswer<T>, Error> {
        let (method, effect) = (call.method, call.effect);
        let refused = BodyRefused::default();
        let request = self.request(call, &refused)?;
        let mut response = request.send().await.map_err(|error| {
            if refused.was() { TooLate::error() } else { unsent(effect, &error) }
        })?;

        let status = response.status();
        let headers = response.headers().clone();
        Span::current().record("status", status.as_u16());
        if let Some(id) = headers.get("x-slack-req-id").and_then(request_id) {
            Span::current().record("slack_req_id", id);
        }
        if let Some(error) = answer::throttled(status, &headers, self.0.time_scale) {
            return Err(error);
        }
        let read = web::body(&mut response, self.0.body_limit)
            .await
            .map_err(|unread| answer::unreadable(effect, status, fault(&unread)))?;
        // A repaired copy is wiped, too: tokens arrive in answers.
        let repaired = Zeroizing::new(match super::wire::readable(&read) {
            Cow::Borrowed(_) => None,
            Cow::Owned(repaired) => Some(repaired),
        });
        let body: &[u8] = repaired.as_deref().unwrap_or(&read);
        if let Err(error) = answer::judge(effect, status, &headers, body, self.0.time_scale)
            && !answer::is_finding(method, &error, body)
        {
            return Err(error);
        }
        let value = serde_json::from_slice(body)
            .map_err(|_| answer::unreadable(effect, status, "unreadable_answer"))?;
        Ok(SlackAnswer { value, scopes: scopes(&headers), at: date(&headers) })
    }

    fn request(
        &self,
        call: MethodCall<'_>,
        refused: &BodyRefused,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let mut url = self.0.api.clone();
        url.set_path(&format!("{}{}", self.0.api.path(), call.method.name()));
        let request = self.0.http.post(url);
        let request = match call.auth {
            Auth::Bearer(token) => request.header(AUTHORIZATION, bearer(token)?),
            Auth::Basic(id, secret) => request.basic_auth(id, Some(secret.expose())),
        };
        let json = |request: reqwest::RequestBuilder| request.header(CONTENT_TYPE, JSON);
        Ok(match call.body {
            Body::Form(fields) => request.form(&fields),
            Body::Json(value) => json(request).body(value.to_string()),
            Body::JsonBefore(value, time) => {
                let body = Timely::new(value.to_string(), time, refused.clone());
                json(request).body(reqwest::Body::wrap(body))
            }
        })
    }
}

/// ring and the system's certificate authorities, set here so that no process-wide default applies.
fn tls(config: &Config) -> Result<rustls::ClientConfig, ConfigError> {
    let refused = |error: rustls::Error| ConfigError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let mut tls = if config.base_url.scheme() == "https" {
        builder.with_platform_verifier().map_err(refused)?.with_no_client_auth()
    } else {
        // Never used: the base URL is plain http on this host.
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn bearer(token: &Secret) -> Result<HeaderValue, Error> {
    // A token that no header can hold cannot come from Slack.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| Error::Unauthorized { code: "unusable_token".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The verdict if no answer came: not sent if no connection was established, otherwise ambiguous.
fn unsent(effect: Effect, error: &reqwest::Error) -> Error {
    let not_sent = |code: &str| Error::Transient { code: code.to_owned() };
    let verdict = if error.is_builder() {
        not_sent("unsendable_request")
    } else if error.is_connect() {
        not_sent(match (error.is_dns(), error.is_timeout()) {
            (true, _) => "dns_failed",
            (_, true) => "connect_timeout",
            _ => "connect_failed",
        })
    } else if error.is_timeout() {
        effect.ambiguous("timeout")
    } else {
        effect.ambiguous("connection_lost")
    };
    // Repairing the fault needs the cause, which names hosts and TLS errors.
    tracing::info!(cause = %causes(error), "no answer from Slack");
    verdict
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    // The outermost error is reqwest's own, which contains the whole address.
    let mut source = error.source();
    while let (Some(cause), true) = (source, text.len() < 300) {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The code of an answer whose body was not read.
fn fault(unread: &BodyError) -> &'static str {
    match unread {
        BodyError::TooLong => "body_too_large",
        BodyError::Broken(error) if error.is_timeout() => "timeout",
        BodyError::Broken(error) => {
            tracing::info!(cause = %causes(error), "Slack's answer was cut off");
            "body_cut"
        }
    }
}

fn scopes(headers: &HeaderMap) -> Option<Vec<String>> {
    let text = headers.get("x-oauth-scopes")?.to_str().ok()?;
    Some(super::wire::scopes(text))
}

/// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp(at.as_microsecond()))
}

fn request_id(value: &HeaderValue) -> Option<&str> {
    let id = value.to_str().ok()?;
    let shape = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (id.len() <= 64 && id.bytes().all(shape)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_as_http_writes_it() {
        let of = |text: &'static str| {
            date(&HeaderMap::from_iter([(DATE, HeaderValue::from_static(text))]))
        };
        let at = of("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at, Timestamp(784_111_777_000_000));
        for text in ["", "yesterday", "1994-11-06T08:49:37Z"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(date(&HeaderMap::new()), None);
    }
}
