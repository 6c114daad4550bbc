//! Requests that Slack sends: read within the time that Slack waits, and not yet verified.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::bodies::{Bodies, Unread, Whole};
use super::edge::CountedAddress;
use super::outcome;
use crate::app::SignedRequest;

/// The time for a request, from its headers to the answer. Slack waits three seconds. It resends an
/// event that is not stored by then, and shows a warning beside a button.
const PATIENCE: Duration = Duration::from_millis(2500);

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
