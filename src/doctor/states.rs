//! Computes the states of connections that changed, and stores an alert with a state that is news.
//! Every replica looks; the first write wins.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Doctor;
use crate::domain::alert::{self, AlertFacts};
use crate::domain::checkup::PartCheck;
use crate::domain::connection::{self, ConnectionState};
use crate::domain::time::Timestamp;
use crate::store::{self, Judgement, NewAlert, Unjudged};
use crate::telemetry::Rounds;

/// Connections that one statement reads.
const BATCH: u32 = 100;
/// Statements of one look: the next look continues.
const BATCHES: u32 = 100;

/// The states of connections with a workspace, which the metric shows even if they have none.
const SHOWN: [ConnectionState; 4] = [
    ConnectionState::Active,
    ConnectionState::Degraded,
    ConnectionState::Migrating,
    ConnectionState::ReconnectRequired,
];

impl Doctor {
    pub(super) async fn run_states(&self, stop: &CancellationToken) {
        let rounds = self.watch("connection states");
        let timing = &self.inner.timing;
        let (mut counted, mut troubled) = (None::<Instant>, false);
        while !stop.is_cancelled() {
            rounds.next();
            let mut done = self.judge_changed(&rounds, stop).await;
            if done.is_ok() && counted.is_none_or(|at| at.elapsed() >= timing.count) {
                done = self.count().await;
                counted = Some(Instant::now());
            }
            if let Err(error) = &done
                && !troubled
            {
                tracing::warn!(%error, "the states of connections cannot be computed; retrying");
            }
            troubled = done.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(timing.look) => {}
            }
        }
    }

    /// However many connections cannot be judged, they do not hold back the others; they are tried
    /// again at the next look, and the last error is returned.
    async fn judge_changed(
        &self,
        rounds: &Rounds,
        stop: &CancellationToken,
    ) -> Result<(), store::Error> {
        let checkups = || self.inner.store.checkups();
        for _ in 0..BATCHES {
            rounds.next();
            if checkups().enroll(BATCH).await? < u64::from(BATCH) {
                break;
            }
        }
        let mut outcome = Ok(());
        for _ in 0..BATCHES {
            rounds.next();
            let changed = checkups().unjudged(self.inner.webhook.is_some(), BATCH).await?;
            if changed.is_empty() || stop.is_cancelled() {
                break;
            }
            for one in &changed {
                if let Err(error) = self.judge(one).await {
                    outcome = Err(error);
                }
            }
            if outcome.is_err() {
                break;
            }
        }
        outcome
    }

    async fn judge(&self, of: &Unjudged) -> Result<(), store::Error> {
        // Read after the change: a later one is seen at the next look.
        let connection = self.inner.store.connections().of(&of.tenant).await?;
        let Some(connection) = connection else {
            // The tenant does not exist any more.
            let state = ConnectionState::Disconnected;
            let gone =
                Judgement { of, state, link: "", first_check: None, alert: None, is_told: true };
            return self.inner.store.checkups().judge(&gone).await.map(drop);
        };
        let installation = connection.installation.as_ref();
        let lacking = installation.map(|it| self.inner.workspaces.lacking_features(&it.scopes));
        let facts = connection.facts(lacking.unwrap_or_default());
        let (state, reason) = connection::state(&facts);
        let is_due = alert::is_due(&of.told, state);
        let alert = (is_due && self.inner.webhook.is_some()).then(|| {
            let checks = checks_of(of, state);
            let body = alert::body(&AlertFacts {
                tenant: &of.tenant,
                workspace: installation.map(|installation| installation.id),
                told: &of.told,
                state,
                reason: reason.unwrap_or_default(),
                sentence: &connection::sentence(&facts),
                checks: &checks,
                since: connection::since(&facts).unwrap_or(connection.read_at),
            });
            NewAlert { id: Uuid::now_v7(), body }
        });
        let connected_at =
            installation.map(|it| connection.linked_at.unwrap_or_default().max(it.installed_at));
        let link = installation.zip(connected_at).map(|(it, at)| format!("{}/{}", it.id, at.0));
        let first = connected_at.map(|at| self.first_check(connection.read_at, at));
        let is_told = alert.is_some() || !is_due;
        let has_alert = alert.is_some();
        let link = link.unwrap_or_default();
        let judgement = Judgement { of, state, link: &link, first_check: first, alert, is_told };
        if self.inner.store.checkups().judge(&judgement).await? && has_alert {
            tracing::info!(tenant = %of.tenant, state = state.code(), "a state is reported");
            self.inner.alerted.notify_one();
        }
        Ok(())
    }

    /// When a connection is checked first. Those that are older than the checks, as after an
    /// update, are spread.
    fn first_check(&self, now: Timestamp, connected_at: Timestamp) -> Duration {
        let timing = &self.inner.timing;
        match timing.every {
            Some(every) if now.since(connected_at) >= timing.first => every.mul_f64(rand::random()),
            _ => timing.first_check(rand::random()),
        }
    }

    async fn count(&self) -> Result<(), store::Error> {
        let counts = self.inner.store.checkups().count_by_state().await?;
        for state in SHOWN {
            let count = counts.iter().find(|(counted, _)| *counted == state);
            let count = count.map_or(0, |(_, count)| *count);
            self.inner.metrics.workspaces(state.code(), count);
        }
        Ok(())
    }
}

/// The rows of the last check, if they are about the present state. A newer release may have stored
/// rows that this one cannot read; then the alert names none.
fn checks_of(of: &Unjudged, state: ConnectionState) -> Vec<PartCheck> {
    if state != ConnectionState::Degraded {
        return Vec::new();
    }
    serde_json::from_str(&of.findings).unwrap_or_default()
}
