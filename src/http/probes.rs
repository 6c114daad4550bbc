//! Health, readiness and metrics, for Kubernetes and Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use tokio::sync::watch;

use crate::telemetry::Exposition;

/// Whether this server takes work.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// The parts that are not ready, such as `database`; anyone who can reach the port may read
    /// them.
    pub waiting_for: Vec<&'static str>,
}

impl Readiness {
    /// The server takes work.
    #[must_use]
    pub fn ready() -> Self {
        Self { ready: true, waiting_for: Vec::new() }
    }

    /// The server takes no work until these parts are ready.
    #[must_use]
    pub fn waiting_for(parts: impl Into<Vec<&'static str>>) -> Self {
        Self { ready: false, waiting_for: parts.into() }
    }
}

pub(super) fn router(readiness: watch::Receiver<Readiness>, exposition: Exposition) -> Router {
    Router::new()
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(exposition))
        .route("/healthz", get(healthz))
}

/// Reports that the runtime is alive. It depends on nothing else, because a restart would fix
/// nothing else.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(readiness): State<watch::Receiver<Readiness>>) -> Response {
    // The sender is gone, so a change could not be reported any more.
    let abandoned = readiness.has_changed().is_err();
    let said = readiness.borrow().clone();
    let readiness = if abandoned && said.ready { Readiness::waiting_for(["server"]) } else { said };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(exposition): State<Exposition>) -> Response {
    match exposition.text() {
        Ok(text) => ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page of metrics cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be printed\n").into_response()
        }
    }
}
