//! The routes that need no application, as used by a browser and a kubelet.

use axum::body::{Body, to_bytes};
use axum::response::IntoResponse as _;
use http::{HeaderMap, Method, Request, StatusCode, header};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::*;
use crate::listen::Protocol;
use crate::telemetry::Metrics;

/// All routes except the callback.
fn independent(readiness: watch::Receiver<Readiness>) -> Router {
    let exposition = Exposition::new(&crate::telemetry::OtlpConfig::default()).unwrap();
    exposition.metrics().lanes_claimed(3);
    let edge = Edge::new(&Config::default(), exposition.metrics());
    guard::guarded(public().merge(probes::router(readiness, exposition)), edge)
}

async fn ask(router: Router, method: Method, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_landing_page_says_what_this_is_and_no_more() {
    let (_hold, readiness) = watch::channel(Readiness::ready());
    let (status, headers, body) = ask(independent(readiness), Method::GET, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    for word in ["notifications to Slack", env!("CARGO_PKG_VERSION"), "href=\"healthz\""] {
        assert!(body.contains(word), "{word}");
    }
}

#[tokio::test]
async fn health_is_text_and_readiness_says_what_is_missing() {
    let (sender, readiness) = watch::channel(Readiness::waiting_for(["database", "migrations"]));
    let router = independent(readiness);
    let (status, _, body) = ask(router.clone(), Method::GET, "/healthz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));

    let (status, headers, body) = ask(router.clone(), Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(body, r#"{"ready":false,"waiting_for":["database","migrations"]}"#);

    sender.send_replace(Readiness::ready());
    let (status, _, body) = ask(router.clone(), Method::GET, "/readyz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"ready":true,"waiting_for":[]}"#));

    drop(sender);
    let (status, _, _) = ask(router, Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "no sender vouches for it any more");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let (_hold, readiness) = watch::channel(Readiness::ready());
    let (status, headers, body) = ask(independent(readiness), Method::GET, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    assert!(body.contains("herald_lanes_claimed_total 3"), "{body}");
}

#[tokio::test]
async fn every_answer_carries_the_headers_and_nothing_of_the_request() {
    let (_hold, readiness) = watch::channel(Readiness::ready());
    let router = independent(readiness);
    for (method, path, status) in [
        (Method::GET, "/?q=mirrored", 200),
        (Method::GET, "/healthz?q=mirrored", 200),
        (Method::GET, "/mirrored?q=mirrored", 404),
        (Method::POST, "/readyz?q=mirrored", 405),
    ] {
        let (answered, headers, body) = ask(router.clone(), method, path).await;
        assert_eq!(answered.as_u16(), status, "{path}");
        assert!(!body.contains("mirrored"), "{path}");
        assert_guarded(&headers);
    }
}

fn assert_guarded(headers: &HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        assert_eq!(headers[&name], value, "{name}");
    }
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn a_page_says_when_to_come_again() {
    let response = connected::unavailable("Herald").into_response();
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
}

#[tokio::test]
async fn serving_ends_when_it_is_told_to() {
    let (_hold, readiness) = watch::channel(Readiness::ready());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (metrics, config) = (Metrics::unobserved(), listen::Config::default());
    let port = Port::new("HTTP", listener, Protocol::Http, metrics, &config, 10);
    let served = tokio::spawn(serve(port, independent(readiness), stop.clone()));
    // An open, idle connection does not delay the end.
    let _idle = tokio::net::TcpStream::connect(address).await.unwrap();
    stop.cancel();
    served.await.unwrap();
}
