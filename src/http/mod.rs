//! The HTTP side of `herald serve`: what Slack and browsers come to, the probes and the metrics.
//!
//! - `GET /slack/oauth/connect` ([`connect`]): a connect link; the page names the tenant and leads
//!   to Slack. `GET /slack/oauth/callback/…`: Slack sends the person back; the page says what
//!   happened ([`outcome`]).
//! - `POST /slack/events` ([`events`]): Slack tells of members and of the app's end.
//! - `GET /`: what this is. It names no tenant and no workspace.
//! - `GET /healthz`, `/readyz`, `/metrics` ([`probes`]). An ingress needs to publish `/slack/`
//!   alone; these are for the inside, and not there for who comes by a listed proxy ([`edge`]).
//!
//! Every answer, also a refusal, passes the [`guard`]: security headers, a limit on the body and on
//! the time. Nothing of a request is ever written into an answer. TLS is the ingress's, or the
//! port's own.

mod config;
mod connect;
mod cookies;
mod edge;
mod events;
mod guard;
mod outcome;
mod page;
mod probes;
mod whose;

use axum::Router;
use axum::routing::get;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Config, ConfigError, ForwardedHeader};
pub use cookies::Cookies;
pub use edge::Edge;
pub use probes::Readiness;

use crate::app::App;
use crate::listen::{self, Port};
use crate::telemetry::Exposition;

/// What the routes share. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// Answers what is asked.
    pub app: App,
    /// What `/readyz` tells; whoever starts and drains the server sends it.
    pub readiness: watch::Receiver<Readiness>,
    /// What `/metrics` prints.
    pub exposition: Exposition,
    /// Who requests are from, and how often they may come.
    pub edge: Edge,
    /// How browsers are recognized.
    pub cookies: Cookies,
    /// Connecting goes on here when the browser goes away: a code works once, so an exchange that
    /// was begun must be finished. Close it and wait for it when draining.
    pub tasks: TaskTracker,
}

/// All routes.
pub fn router(state: State) -> Router {
    let State { app, readiness, exposition, edge, cookies, tasks } = state;
    guard::guarded(
        public()
            .merge(probes::router(readiness, exposition))
            .merge(events::router(app.clone()))
            .merge(connect::router(app, cookies, tasks)),
        edge,
    )
}

/// Serves until `stop`, then takes no new connections and returns when the open ones are done.
/// The caller bounds that wait: it drops this future at the end of its grace period.
pub async fn serve(port: Port, router: Router, stop: CancellationToken) {
    listen::serve(port, router, stop).await;
}

/// What needs no state.
fn public() -> Router {
    Router::new().route("/", get(async || outcome::landing()))
}

#[cfg(test)]
mod tests;
