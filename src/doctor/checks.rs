//! Checks each connection once a day. Every replica claims connections that are due; a lease lets
//! only one of them check each.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Doctor;
use super::config::next_check;
use crate::domain::checkup::{CheckFinding, rows, worst};
use crate::store::{CheckLease, CheckRun};
use crate::workspace;

/// Checks of one replica at the same time.
const AT_ONCE: usize = 4;
/// The longest time that a check takes: a few requests to Slack, each with its wait for a budget.
const LIMIT: Duration = Duration::from_secs(240);
/// The lease of a check. In real time: the shorter durations of tests leave requests as they are.
const LEASE: Duration = Duration::from_secs(300);

impl Doctor {
    pub(super) async fn run_checks(&self, stop: &CancellationToken) {
        let Some(every) = self.inner.timing.every else { return };
        // No check is due later than this from now.
        let longest = every.max(LEASE).max(self.inner.timing.retry);
        let rounds = self.watch("connection checks");
        let mut checks = JoinSet::new();
        let mut troubled = false;
        while !stop.is_cancelled() {
            rounds.next();
            while checks.len() < AT_ONCE && !stop.is_cancelled() {
                let claimed = self.inner.store.checkups().claim(LEASE, longest).await;
                match claimed {
                    Ok(Some(lease)) => {
                        troubled = false;
                        let doctor = self.clone();
                        checks.spawn(async move { doctor.check(lease, every).await });
                    }
                    Ok(None) => {
                        troubled = false;
                        break;
                    }
                    Err(error) => {
                        if !troubled {
                            tracing::warn!(%error, "due checks cannot be looked up; retrying");
                        }
                        troubled = true;
                        break;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = checks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the check of a connection panicked");
                    }
                }
                () = tokio::time::sleep(self.inner.timing.look) => {}
            }
        }
        // Another replica repeats a check that is interrupted here, after its lease.
        checks.shutdown().await;
    }

    async fn check(&self, lease: CheckLease, every: Duration) {
        let store = &self.inner.store;
        let tenant = &lease.tenant;
        let checked = tokio::time::timeout(LIMIT, Box::pin(self.examine(&lease, every))).await;
        let why = match checked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        tracing::warn!(%tenant, %why, "a connection was not checked; retrying later");
        if let Err(error) = store.checkups().release(&lease, self.inner.timing.retry).await {
            tracing::debug!(%tenant, %error, "the lease of a check runs out by itself");
        }
    }

    async fn examine(&self, lease: &CheckLease, every: Duration) -> Result<(), workspace::Error> {
        let facts = self.inner.workspaces.examine(&lease.tenant).await?;
        let rows = rows(&facts);
        let next = next_check(every, lease.is_first, rand::random());
        let run = CheckRun { began: facts.now, rows: &rows, next };
        if !self.inner.store.checkups().finish(lease, &run).await? {
            tracing::debug!(tenant = %lease.tenant, "another check was faster");
            return Ok(());
        }
        if worst(&rows) == CheckFinding::Broken {
            let broken = rows.iter().filter(|row| row.finding == CheckFinding::Broken);
            let parts: Vec<&str> = broken.map(|row| row.part.code()).collect();
            tracing::warn!(tenant = %lease.tenant, ?parts, "a connection has broken parts");
        }
        Ok(())
    }
}
