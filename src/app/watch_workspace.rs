//! WatchWorkspace and WatchWorkspaces: the state of one tenant's connection, or of all of them, now
//! and after each change.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::caller::may_beyond_tenants;
use super::get_workspace::Workspace;
use super::{App, Call, Caller, Error};
use crate::domain::access;
use crate::domain::connection::{self, ConnectionState};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::store::{ConnectAttempt, ConnectionCursor, ConnectionWatcher, StoredConnection};

/// How often to look for changes that other replicas made, or that came with time.
const LOOK: Duration = Duration::from_secs(1);
/// The least time between two looks.
const REST: Duration = Duration::from_millis(20);
/// The longest time that one look takes in good health.
const STEP: Duration = Duration::from_secs(30);
/// Most connections in a message.
const BATCH: usize = 100;
/// Connections that are read at once.
const PAGE: u32 = 200;

/// A connection as callers see it.
#[derive(Debug, Clone)]
pub struct ShownConnection {
    pub tenant: TenantId,
    pub state: ConnectionState,
    /// A stable code; empty if there is none.
    pub reason: String,
    /// Empty if the connection is well.
    pub sentence: String,
    pub workspace: Option<Workspace>,
    pub attempt: Option<ConnectAttempt>,
    pub changed_at: Option<Timestamp>,
}

impl ShownConnection {
    /// Whether a caller who got `before` must hear of this.
    fn differs(&self, before: &Told) -> bool {
        *before != Told::of(self)
    }
}

/// The parts of a connection whose changes a caller hears of, as they were sent last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    state: ConnectionState,
    reason: String,
    sentence: String,
    changed_at: Option<Timestamp>,
    attempt: Option<ConnectAttempt>,
    /// The workspace with the time of its connection: connecting again changes its scopes.
    workspace: Option<(String, Timestamp)>,
}

impl Told {
    fn of(shown: &ShownConnection) -> Self {
        let workspace = shown.workspace.as_ref().map(|workspace| {
            let installation = &workspace.installation;
            (installation.team_name.clone(), installation.installed_at)
        });
        Self {
            state: shown.state,
            reason: shown.reason.clone(),
            sentence: shown.sentence.clone(),
            changed_at: shown.changed_at,
            attempt: shown.attempt.clone(),
            workspace,
        }
    }
}

/// A watch over one connection.
pub struct ConnectionWatch {
    app: App,
    tenant: TenantId,
    watcher: ConnectionWatcher,
    told: Option<Told>,
}

impl ConnectionWatch {
    /// Waits for the next state; the first one comes at once. `None`: the tenant is gone.
    pub async fn next(&mut self) -> Result<Option<ShownConnection>, Error> {
        loop {
            self.watcher.heard();
            let Some(stored) = self.app.store.connections().of(&self.tenant).await? else {
                return Ok(None);
            };
            let shown = self.app.shown_connection(stored);
            if self.told.as_ref().is_none_or(|told| shown.differs(told)) {
                self.told = Some(Told::of(&shown));
                return Ok(Some(shown));
            }
            self.watcher.changed().await;
        }
    }
}

/// A watch over all connections: those that are not well, an empty message, then each change.
pub struct AllConnectionsWatch {
    app: App,
    watcher: ConnectionWatcher,
    cursor: ConnectionCursor,
    /// The states that the caller knows: of every connection that was sent.
    told: HashMap<TenantId, Told>,
    place: ListPlace,
    /// Changed connections that are still to be read.
    changed: VecDeque<TenantId>,
}

/// How far the list of those that are not well was sent.
enum ListPlace {
    After(Option<TenantId>),
    Ended,
}

impl AllConnectionsWatch {
    /// Waits for the next connections.
    pub async fn next(&mut self) -> Result<Vec<ShownConnection>, Error> {
        while let ListPlace::After(after) = &self.place {
            let page = self.app.store.connections().list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                self.place = ListPlace::Ended;
                // It ends the list.
                return Ok(Vec::new());
            };
            self.place = ListPlace::After(Some(last.tenant.clone()));
            let page = page.into_iter().map(|stored| self.app.shown_connection(stored));
            let unwell = page.filter(|shown| shown.state != ConnectionState::Active);
            self.changed.extend(unwell.map(|shown| shown.tenant));
            if let Some(batch) = self.batch().await? {
                return Ok(batch);
            }
        }
        loop {
            if let Some(batch) = self.batch().await? {
                return Ok(batch);
            }
            self.watcher.heard();
            let changed = self.app.store.connections().changed_since(&mut self.cursor).await?;
            if changed.is_empty() {
                self.watcher.changed().await;
            }
            self.changed.extend(changed);
        }
    }

    /// The next changed connections, as they are now; `None`: there is no news among them.
    async fn batch(&mut self) -> Result<Option<Vec<ShownConnection>>, Error> {
        while !self.changed.is_empty() {
            let count = self.changed.len().min(BATCH);
            let tenants: Vec<TenantId> = self.changed.iter().take(count).cloned().collect();
            let stored = self.app.store.connections().among(&tenants).await?;
            self.changed.drain(..count);
            let mut batch = Vec::new();
            for shown in stored.into_iter().map(|stored| self.app.shown_connection(stored)) {
                if self.told.get(&shown.tenant).is_none_or(|told| shown.differs(told)) {
                    self.told.insert(shown.tenant.clone(), Told::of(&shown));
                    batch.push(shown);
                }
            }
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl App {
    /// A stored connection, judged.
    pub(super) fn shown_connection(&self, stored: StoredConnection) -> ShownConnection {
        let installation = stored.installation.as_ref();
        let lacking = installation.map(|installation| self.lacking(&installation.scopes));
        let lacking = lacking.unwrap_or_default();
        let facts = stored.facts(lacking.iter().map(|feature| feature.name).collect());
        let (state, reason) = connection::state(&facts);
        let StoredConnection { tenant, installation, others, attempt, .. } = stored;
        ShownConnection {
            tenant,
            state,
            reason: reason.unwrap_or_default().to_owned(),
            sentence: connection::sentence(&facts).into_owned(),
            workspace: installation.map(|installation| self.bare_workspace(installation, others)),
            attempt,
            changed_at: connection::since(&facts),
        }
    }

    /// [`Error::NotFound`] for a tenant that no administrator ever named.
    pub async fn watch_workspace(&self, call: &Call) -> Result<ConnectionWatch, Error> {
        call.may(&access::WATCH_WORKSPACE)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let watcher = self.store.connections().watch(&call.tenant);
        let (app, tenant) = (self.clone(), call.tenant.clone());
        Ok(ConnectionWatch { app, tenant, watcher, told: None })
    }

    /// Only for callers for all tenants.
    pub async fn watch_workspaces(&self, caller: &Caller) -> Result<AllConnectionsWatch, Error> {
        may_beyond_tenants(&access::WATCH_WORKSPACES, caller)?;
        // Before the list is read: a change between the two is read twice rather than never.
        let watcher = self.store.connections().watch_all();
        let cursor = self.store.connections().cursor().await?;
        let (told, place) = (HashMap::new(), ListPlace::After(None));
        let (app, changed) = (self.clone(), VecDeque::new());
        Ok(AllConnectionsWatch { app, watcher, cursor, told, place, changed })
    }

    /// Wakes the watchers of connections, until stopped. Every replica does.
    pub async fn run_connections(self, stop: CancellationToken) {
        let rest = LOOK.mul_f64(self.workspaces.time_scale());
        let rounds = self.metrics.watchdog().watch("connections", rest + STEP);
        let (mut place, mut troubled) = (None, false);
        while !stop.is_cancelled() {
            rounds.next();
            let connections = self.store.connections();
            let followed = connections.follow(&mut place).await;
            if let Err(error) = &followed
                && !troubled
            {
                tracing::warn!(%error, "changes of connections were not read; retrying");
            }
            troubled = followed.is_err();
            let moved = async {
                tokio::time::sleep(REST).await;
                connections.moved().notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
                () = moved, if !troubled => {}
            }
        }
    }
}
