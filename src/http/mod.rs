//! The HTTP side of `herald serve`: the addresses for Slack and browsers, the probes and the
//! metrics.
//!
//! - `GET /slack/oauth/connect` ([`connect`]): a connect link; the page names the tenant and leads
//!   to Slack. `GET /slack/oauth/callback/…`: Slack sends the person back; the page says what
//!   happened ([`connected`]), or the browser goes back to the platform.
//! - `GET /slack/identity` ([`identity`]): a link by which a person proves which Slack member they
//!   are; it leads to *Sign in with Slack*.
//! - `GET /slack/preview/…` ([`preview`]): a message that PreviewTemplate rendered.
//! - `POST /slack/events` ([`events`]): Slack reports changes of members and the app's removal.
//! - `POST /slack/interactions` ([`interactions`]): Slack reports pressed buttons.
//! - `/slack/apps/…`: the same callback, events and interactions for the Slack apps of tenants,
//!   each at a path of its own.
//! - `GET /`: a description of this server. It names no tenant and no workspace.
//! - `GET /healthz`, `/readyz`, `/metrics` ([`probes`]). An ingress needs to publish only
//!   `/slack/`. These three paths are internal, and do not exist for requests through a trusted
//!   proxy ([`edge`]).
//!
//! Every answer, including refusals, passes the [`guard`]: security headers, and a limit on the
//! time. Only the bodies of Slack's requests are read, by [`from_slack`] and [`bodies`]. No part of
//! a request is ever written into an answer. TLS is terminated by the ingress or by the port
//! itself.

mod bodies;
mod config;
mod page;
mod probes;

mod cookies;
mod outcome;
mod refusals;
mod whose;

mod connected;

mod connect;
mod edge;
mod from_slack;
mod identity;
mod preview;

mod events;
mod guard;
mod interactions;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::get;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Config, ConfigError, ForwardedHeader};
pub use cookies::Cookies;
pub use edge::Edge;
pub use probes::Readiness;

use self::bodies::Bodies;
use crate::app::App;
use crate::listen::{self, Port};
use crate::telemetry::Exposition;

/// State shared by the routes. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// Answers the requests.
    pub app: App,
    /// The state that `/readyz` reports; the code that starts and drains the server sends it.
    pub readiness: watch::Receiver<Readiness>,
    /// The source of `/metrics`.
    pub exposition: Exposition,
    /// Identifies clients and limits their rate.
    pub edge: Edge,
    /// How browsers are recognized.
    pub cookies: Cookies,
    /// Connecting continues here if the browser disconnects: a code works once, so an exchange that
    /// has begun must be finished. Close the tracker and wait for it when draining.
    pub tasks: TaskTracker,
}

/// All routes.
pub fn router(state: HttpState) -> Router {
    let HttpState { app, readiness, exposition, edge, cookies, tasks } = state;
    let bodies = Bodies::new(exposition.metrics());
    guard::guarded(
        public()
            .merge(probes::router(readiness, exposition))
            .merge(events::router(app.clone(), bodies.clone()))
            .merge(interactions::router(app.clone(), bodies))
            .merge(preview::router(app.clone()))
            .merge(identity::router(app.clone(), cookies, tasks.clone()))
            .merge(connect::router(app, cookies, tasks)),
        edge,
    )
}

/// Serves until `stop`, then takes no new connections and returns when the open ones are done.
/// The caller bounds that wait: it drops this future at the end of its grace period.
pub async fn serve(port: Port, router: Router, stop: CancellationToken) {
    listen::serve(port, router, stop).await;
}

/// Routes that need no state.
fn public() -> Router {
    Router::new().route("/", get(async || outcome::landing()))
}
