//! Requests that Slack sends: their addresses, and how they are read within the time that Slack
//! waits. They are not yet verified.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::bodies::{Bodies, Unread, Whole};
use super::config::APPS_PATH;
use super::edge::CountedAddress;
use super::outcome;
use crate::app::{App, SignedRequest};

/// The time for a request, from its headers to the answer. Slack waits three seconds. It resends an
/// event that is not stored by then, and shows a warning beside a button.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The service and the room for bodies, for requests of every kind.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) app: App,
    pub(super) bodies: Bodies,
}

/// The two addresses for requests of one kind: `path` for the deployment's app, and `name` below
/// the path of a tenant's app. `take` is given that path; empty: the deployment's app.
pub(super) fn routes<Take, Answer>(shared: Shared, path: &str, name: &str, take: Take) -> Router
where
    Take: Fn(Shared, String, Request) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = Response> + Send + 'static,
{
    let take_for_tenant = take.clone();
    let of_deployment =
        move |State(shared): State<Shared>, request: Request| take(shared, String::new(), request);
    let of_tenant =
        move |State(shared): State<Shared>, Path(app): Path<String>, request: Request| {
            take_for_tenant(shared, app, request)
        };
    Router::new()
        .route(&format!("/{path}"), post(of_deployment))
        .route(&format!("/{APPS_PATH}/{{app}}/{name}"), post(of_tenant))
        .with_state(shared)
}

/// A request that has arrived.
#[derive(Debug)]
pub(super) struct FromSlack {
    headers: HeaderMap,
    body: Whole,
    /// By then it must be answered.
    pub(super) until: Instant,
}

impl FromSlack {
    /// Reads a request whose body has at most `most` bytes.
    pub(super) async fn read(
        bodies: &Bodies,
        request: Request,
        most: usize,
    ) -> Result<Self, Unread> {
        let until = Instant::now() + PATIENCE;
        let (parts, body) = request.into_parts();
        // Requests without a connection occur only in tests.
        let address = parts.extensions.get::<CountedAddress>().map(|counted| counted.0);
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let body = bodies.read(address, body, most, until).await?;
        Ok(Self { headers: parts.headers, body, until })
    }

    /// A header; empty if it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The parts over which its signature is checked. `app_path`: the path of the tenant's app that
    /// the address named; empty: the deployment's app.
    pub(super) fn signed<'a>(&'a self, app_path: &'a str) -> SignedRequest<'a> {
        SignedRequest {
            app_path,
            timestamp: self.header("x-slack-request-timestamp"),
            signature: self.header("x-slack-signature"),
            body: &self.body.bytes,
        }
    }
}

/// The answer to a request whose body was not read.
pub(super) fn unread(why: Unread) -> Response {
    match why {
        Unread::TooLarge => refused(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::Cut => refused(StatusCode::BAD_REQUEST),
        Unread::Late => outcome::too_slow().into_response(),
        Unread::NoRoom => outcome::overloaded().into_response(),
    }
}

/// Asks Slack not to resend, which would change nothing.
pub(super) fn refused(status: StatusCode) -> Response {
    const NO_RETRY: HeaderName = HeaderName::from_static("x-slack-no-retry");
    (status, [(NO_RETRY, HeaderValue::from_static("1"))]).into_response()
}
