//! The doctor: checks each connection by itself, computes the states of connections after each
//! change, and reports those that are not well to the platform. It never depends on the Slack
//! workspace that is in trouble.
//!
//! - `checks`: each tenant with a workspace is checked once a day, by one replica, under a lease.
//! - `states`: after each change of a connection, whatever made it, its state is computed again.
//!   If it is news, an alert is stored in the same transaction.
//! - `alerts`: stored alerts are sent to the webhook, and repeated until it accepts them.
//!
//! Crash points: a check that is interrupted is claimed again after its lease. An alert that was
//! sent may be sent again if the replica dies before it is removed: it then has the same id.

mod webhook;

mod config;

mod alerts;
mod checks;
mod states;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use config::{AlertsConfig, Config};

use crate::store::Store;
use crate::telemetry::{Metrics, Rounds};
use crate::workspace::Workspaces;
use config::DoctorTiming;
use webhook::Webhook;

/// The longest time that a round of a loop takes in good health, apart from its rest.
const ROUND: Duration = Duration::from_secs(60);

/// Watches over connections. Cheap to clone.
#[derive(Clone)]
pub struct Doctor {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    workspaces: Workspaces,
    metrics: Metrics,
    timing: DoctorTiming,
    /// `None`: nothing is reported.
    webhook: Option<Webhook>,
    /// Notified after an alert was stored by this process.
    alerted: Notify,
}

impl Doctor {
    /// The error is a sentence that begins with the setting's name.
    pub fn new(
        store: Store,
        workspaces: Workspaces,
        metrics: Metrics,
        config: &Config,
        alerts: &AlertsConfig,
    ) -> Result<Self, String> {
        let timing = DoctorTiming::of(config, workspaces.time_scale());
        let webhook = alerts.webhook()?;
        let alerted = Notify::new();
        let inner = Inner { store, workspaces, metrics, timing, webhook, alerted };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Works until stopped. The caller bounds the wait for the work under way.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.run_checks(&stop), self.run_states(&stop), self.run_alerts(&stop));
    }

    /// Watches a loop that rests for at most one look between two rounds.
    fn watch(&self, name: &'static str) -> Rounds {
        self.inner.metrics.watchdog().watch(name, self.inner.timing.look + ROUND)
    }
}
