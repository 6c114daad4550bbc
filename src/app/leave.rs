//! Disconnect and DeleteTenant: a tenant leaves its workspace, or Herald. A tenant that is
//! connected to another workspace leaves its former one in the same way.
//!
//! The token is revoked before the connection ends. If the process dies in between, the tenant is
//! still connected, by a token that is found dead, and a repeated call continues. Installations
//! without tenants are found by every replica ([`App::run_leaving`]).

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::delivery::admission::Departure;
use crate::domain::ids::{InstallationId, TenantId};
use crate::store::{Left, SeenLink, Store, UseEnd};
use crate::telemetry::Rounds;
use crate::workspace::Revocation;

/// How often a connection is looked at again because its token was replaced meanwhile.
const TRIES: usize = 4;
/// Calls that began before a deletion end within this time, and so do requests to Slack.
const CALLS_END: Duration = Duration::from_secs(120);
/// How often to look for workspaces that no tenant uses and whose data is not erased yet.
const LOOK: Duration = Duration::from_secs(60);
/// Workspaces that one look takes.
const AT_ONCE: u32 = 10;
/// The longest time that the erasure of one workspace takes in one look.
const STEP: Duration = Duration::from_secs(60);

/// The fate of the tenant's data when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveTerms {
    /// Of messages that wait.
    pub departure: Departure,
    /// Whether Herald also forgets which Slack member each person is.
    pub forget_identities: bool,
}

impl Default for LeaveTerms {
    fn default() -> Self {
        Self { departure: Departure::Ends, forget_identities: false }
    }
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disconnected {
    /// Whether a workspace was connected, and is no longer.
    pub was_connected: bool,
    /// Messages that ended.
    pub ended_messages: u64,
    /// Whether the token no longer works. Other tenants of the workspace keep it.
    pub revoked: bool,
    /// Things that a person still has to do in Slack, or know, as a sentence; empty: nothing.
    pub remaining: &'static str,
}

/// The end of the connection itself.
enum Parting {
    NotConnected,
    /// It ended. `unused`: the installation that no tenant uses any more.
    Ended {
        unused: Option<InstallationId>,
        revocation: Option<Revocation>,
    },
    /// The tenant was connected again meanwhile, and stays connected.
    Reconnected,
}

impl App {
    /// Ends the tenant's connection. Repeating it is safe: it continues what was not finished.
    pub async fn disconnect(&self, call: &Call, terms: LeaveTerms) -> Result<Disconnected, Error> {
        call.may(&access::DISCONNECT)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let after = json!({
            "waiting_messages": terms.departure.code(),
            "forget_identities": terms.forget_identities,
        });
        let detail = AuditDetail { after: Some(after), ..AuditDetail::default() };
        let entry = Entry { detail, ..call.entry("Disconnect") };
        let store = self.store.noting(&entry).await?;
        // On the heap: this future is much larger than those of other calls.
        Box::pin(self.leave(&store, &call.tenant, terms)).await
    }

    /// Erases a part of everything of a tenant; returns the kinds of rows that remain. The first
    /// call ends the connection. A tenant that was deleted before has nothing left.
    pub async fn delete_tenant(&self, call: &Call) -> Result<Vec<&'static str>, Error> {
        call.may(&access::DELETE_TENANT)?;
        let tenant = &call.tenant;
        if !self.store.tenancy().tenant_exists(tenant).await? {
            let deleted = self.store.leaving().was_deleted(tenant).await?;
            return if deleted { Ok(Vec::new()) } else { Err(Error::NotFound("tenant")) };
        }
        let entry = call.entry("DeleteTenant");
        let store = self.store.noting(&entry).await?;
        let Some(since) = store.leaving().begin_deletion(tenant).await? else {
            return Ok(Vec::new());
        };
        Box::pin(self.leave(&self.store, tenant, LeaveTerms::default())).await?;
        let patience = CALLS_END.mul_f64(self.workspaces.time_scale());
        let store = self.store.noting(&entry).await?;
        Ok(store.leaving().erase_tenant(tenant, since, patience).await?)
    }

    /// Ends installations that no tenant uses, erases the data of workspaces that were left, if a
    /// call did not finish it, and confirms tokens that a revocation may have met; until stopped.
    /// Every replica does.
    pub async fn run_leaving(self, stop: CancellationToken) {
        let rest = LOOK.mul_f64(self.workspaces.time_scale());
        let rounds = self.metrics.watchdog().watch("erasures of workspaces", rest + STEP);
        let mut troubled = false;
        while !stop.is_cancelled() {
            rounds.next();
            let erased = self.erase_left(&rounds, &stop).await;
            if let Err(error) = &erased
                && !troubled
            {
                tracing::warn!(%error, "the data of a left workspace is not erased; retrying");
            }
            troubled = erased.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn erase_left(&self, rounds: &Rounds, stop: &CancellationToken) -> Result<(), Error> {
        let leaving = self.store.leaving();
        self.workspaces.confirm_revoked().await?;
        rounds.next();
        self.end_unlinked(|| rounds.next()).await?;
        for workspace in leaving.unerased(AT_ONCE).await? {
            if stop.is_cancelled() {
                break;
            }
            rounds.next();
            leaving.erase_workspace(workspace).await?;
        }
        Ok(())
    }

    /// The tenant was connected: if it was connected to another workspace before, its messages
    /// there end, and so does an installation that no tenant uses now. [`App::run_leaving`]
    /// continues what fails here, and messages that are left end when their turn comes.
    pub(super) async fn leave_former(&self, tenant: &TenantId) {
        let leaving = self.store.leaving();
        let left = async {
            if let Some(former) = leaving.moved_from(tenant).await? {
                leaving.end_waiting(tenant, Some(former)).await?;
            }
            Box::pin(self.end_unlinked(|| {})).await
        };
        if let Err(error) = left.await {
            tracing::warn!(%tenant, %error, "a former workspace is left later");
        }
    }

    /// Ends installations that no tenant uses, as the last tenant that leaves does. `each` is
    /// called before each of them.
    async fn end_unlinked(&self, each: impl Fn()) -> Result<(), Error> {
        let _turn = self.ending.lock().await;
        let leaving = self.store.leaving();
        let choice = self.config.connect_link_lifetime;
        for workspace in leaving.unlinked(choice, AT_ONCE).await? {
            each();
            match self.part(&self.store, UseEnd::Unlinked(workspace)).await {
                Ok(Parting::Ended { unused: Some(workspace), .. }) => {
                    tracing::info!(%workspace, "a workspace without tenants was disconnected");
                    leaving.erase_workspace(workspace).await?;
                }
                Ok(_) => {}
                // The others are not kept waiting.
                Err(error) => {
                    tracing::warn!(%workspace, %error, "a workspace without tenants ends later");
                }
            }
        }
        Ok(())
    }

    /// `store` has the entry of the call.
    async fn leave(
        &self,
        store: &Store,
        tenant: &TenantId,
        terms: LeaveTerms,
    ) -> Result<Disconnected, Error> {
        let mut ended = Disconnected::default();
        let what = UseEnd::Link { tenant, departure: terms.departure };
        match self.part(store, what).await? {
            Parting::NotConnected => {
                store.leaving().change_departure(tenant, terms.departure).await?;
            }
            Parting::Ended { unused, revocation } => {
                ended = disconnected(revocation);
                tracing::info!(%tenant, "a tenant was disconnected from its workspace");
                if let Some(workspace) = unused
                    && let Err(error) = self.store.leaving().erase_workspace(workspace).await
                {
                    // The connection has ended, and `run_leaving` erases what is left.
                    tracing::warn!(%tenant, %workspace, %error, "a workspace is erased later");
                }
            }
            Parting::Reconnected => {
                let remaining = "The tenant was connected again during this call, and that \
                                 connection stays. Call Disconnect again to end it.";
                return Ok(Disconnected { remaining, ..ended });
            }
        }
        if terms.departure == Departure::Ends {
            ended.ended_messages = self.store.leaving().end_waiting(tenant, None).await?;
        }
        if terms.forget_identities {
            self.store.leaving().forget_identities(tenant).await?;
        }
        Ok(ended)
    }

    /// Revokes the token, if no other tenant uses it, and ends the connection.
    async fn part(&self, store: &Store, what: UseEnd<'_>) -> Result<Parting, Error> {
        let (leaving, mut revocation) = (store.leaving(), None);
        let Some(mut seen) = leaving.seen(what).await? else {
            return Ok(Parting::NotConnected);
        };
        for _ in 0..TRIES {
            if seen.is_last {
                let revoked = self.workspaces.revoke(seen.holder(), seen.generation()).await?;
                revocation = revoked.or(revocation);
            }
            if let Left::Ended { unused } = leaving.end(what, &seen).await? {
                if !unused {
                    // Another tenant may have joined while the token was revoked.
                    self.confirm_after(&seen, revocation).await;
                }
                let unused = unused.then_some(seen.installation);
                return Ok(Parting::Ended { unused, revocation });
            }
            let Some(now) = leaving.seen(what).await? else {
                self.confirm_after(&seen, revocation).await;
                return Ok(Parting::NotConnected);
            };
            if !now.is_same(&seen) {
                self.confirm_after(&now, revocation).await;
                return Ok(Parting::Reconnected);
            }
            seen = now;
        }
        Err(Error::Changed("connection"))
    }

    /// Slack may give a workspace that is connected again the token that was just revoked: then it
    /// is known to be dead at once.
    async fn confirm_after(&self, link: &SeenLink, revocation: Option<Revocation>) {
        if revocation.is_none() {
            return;
        }
        let workspace = link.installation;
        let confirmed = async {
            let now = self.store.now().await?;
            self.workspaces.confirm_alive(workspace, now).await
        };
        if let Err(error) = confirmed.await {
            tracing::warn!(%workspace, %error, "a token that may be revoked was not checked");
        }
    }
}

fn disconnected(revocation: Option<Revocation>) -> Disconnected {
    let (revoked, remaining) = match revocation {
        // Other tenants use the token.
        None => (false, ""),
        Some(Revocation::WasDead | Revocation::Revoked { rotates: false }) => (true, ""),
        Some(Revocation::Revoked { rotates: true }) => (
            true,
            "The app is still listed in Slack: an administrator of the workspace can remove it \
             under Manage apps.",
        ),
        Some(Revocation::Unclear) => (
            false,
            "Slack did not confirm that the token was revoked: an administrator of the workspace \
             must remove the app under Manage apps.",
        ),
    };
    Disconnected { was_connected: true, ended_messages: 0, revoked, remaining }
}
