//! The layers around every request and answer: headers, limits, and the answers for unknown paths.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};

use super::edge::{self, Edge};
use super::{outcome, page};

/// Time limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Puts the guard around all routes. Routes added afterwards would not be guarded.
pub(super) fn guarded(routes: Router, edge: Edge) -> Router {
    within(routes, edge, TIMEOUT)
}

/// The same as [`guarded`], with another time limit.
pub(super) fn within(routes: Router, edge: Edge, timeout: Duration) -> Router {
    routes
        .fallback(async || outcome::not_found())
        .method_not_allowed_fallback(async || outcome::wrong_method())
        .layer(from_fn(move |request, next| bounded(request, next, timeout)))
        .layer(from_fn_with_state(edge, edge::pass))
        .layer(from_fn(headers))
}

async fn bounded(request: Request, next: Next, timeout: Duration) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => outcome::too_slow().into_response(),
    }
}

/// No answer is cached, indexed, framed, sniffed or sent to other sites as a referrer: the
/// callback's address holds a code. Pages may use their own style sheet and no script, unless they
/// have a policy of their own.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, HeaderValue); 5] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
    ];
    for (name, value) in fixed {
        headers.insert(name, value);
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert_with(page::policy);
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    fn edge() -> Edge {
        Edge::new(&crate::http::Config::default(), crate::telemetry::Metrics::unobserved())
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_given_up() {
        let silent = Router::new().route("/", get(std::future::pending::<()>));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response =
            within(silent, edge(), Duration::from_millis(1)).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::X_FRAME_OPTIONS], "DENY");
    }
}
