//! Sends stored alerts to the webhook, each until it is accepted or given up.

use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Doctor;
use super::webhook::Webhook;
use crate::store::{self, WaitingAlert};

/// Alerts that are sent at the same time.
const AT_ONCE: u32 = 8;
/// The lease of an attempt; longer than one request.
const LEASE: Duration = Duration::from_secs(60);

impl Doctor {
    pub(super) async fn run_alerts(&self, stop: &CancellationToken) {
        let Some(webhook) = &self.inner.webhook else { return };
        let rounds = self.watch("alerts");
        let mut troubled = false;
        while !stop.is_cancelled() {
            rounds.next();
            let sent = self.send_due(webhook).await;
            match &sent {
                Ok(count) if *count == AT_ONCE as usize => continue,
                Err(error) if !troubled => {
                    tracing::warn!(%error, "alerts cannot be sent; retrying");
                }
                Ok(_) | Err(_) => {}
            }
            troubled = sent.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inner.alerted.notified() => {}
                () = tokio::time::sleep(self.inner.timing.look) => {}
            }
        }
    }

    /// Sends alerts that are due, each once; returns how many there were.
    async fn send_due(&self, webhook: &Webhook) -> Result<usize, store::Error> {
        let longest = self.inner.timing.longest_wait().max(LEASE);
        let due = self.inner.store.alerts().claim(AT_ONCE, LEASE, longest).await?;
        let sent = join_all(due.iter().map(|alert| self.send(webhook, alert))).await;
        sent.into_iter().collect::<Result<Vec<()>, _>>().map(|sent| sent.len())
    }

    async fn send(&self, webhook: &Webhook, alert: &WaitingAlert) -> Result<(), store::Error> {
        let (store, metrics) = (&self.inner.store, &self.inner.metrics);
        let id = alert.id;
        let why = match webhook.post(alert).await {
            Ok(()) => {
                metrics.alert("sent");
                return store.alerts().remove(alert).await;
            }
            Err(why) => why,
        };
        let attempts = alert.attempts;
        let Some(wait) = self.inner.timing.after_attempts(attempts) else {
            metrics.alert("given_up");
            tracing::error!(%id, %why, attempts, "an alert is given up");
            return store.alerts().remove(alert).await;
        };
        metrics.alert("failed");
        tracing::warn!(%id, %why, attempts, ?wait, "the webhook did not accept an alert");
        store.alerts().postpone(alert, wait).await
    }
}
