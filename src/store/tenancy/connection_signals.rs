//! The watchers of tenants' connections, and the signals that wake them.
//!
//! A watcher is woken only by changes of its own tenant, or of any, as it asked. One statement per
//! interval finds the changes for all watchers of this process ([`Connections::follow`]); a commit
//! of this process asks for it at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::connections::ConnectionCursor;
use crate::domain::ids::TenantId;
use crate::store::{Connections, Error, Store};

/// Signals within this process.
#[derive(Default)]
pub(in crate::store) struct ConnectionSignals {
    /// Tenants that have watchers; at most as many as there are streams.
    watched: Mutex<HashMap<TenantId, watch::Sender<u64>>>,
    /// For the watchers of all connections.
    all: watch::Sender<u64>,
    moved: Notify,
}

/// Waits for changes of a tenant's connection, or of all. The tenant is removed when its last
/// watcher is dropped.
pub struct ConnectionWatcher {
    store: Store,
    /// `None`: all tenants.
    tenant: Option<TenantId>,
    changes: watch::Receiver<u64>,
}

impl ConnectionWatcher {
    /// A reading made from now on covers all changes until now.
    pub fn heard(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits until there may be a change after [`Self::heard`].
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The store holds the sender for as long as this watcher lives.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for ConnectionWatcher {
    fn drop(&mut self) {
        let Some(tenant) = &self.tenant else { return };
        let mut watched = self.store.inner.connection_signals.watched();
        // This watcher's receiver still counts.
        if watched.get(tenant).is_some_and(|changes| changes.receiver_count() <= 1) {
            watched.remove(tenant);
        }
    }
}

impl ConnectionSignals {
    fn watched(&self) -> MutexGuard<'_, HashMap<TenantId, watch::Sender<u64>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_watchers(&self) -> bool {
        self.all.receiver_count() > 0 || !self.watched().is_empty()
    }

    fn wake(&self, changed: &[TenantId]) {
        let more = |count: &mut u64| *count = count.wrapping_add(1);
        let watched = self.watched();
        for changes in changed.iter().filter_map(|tenant| watched.get(tenant)) {
            changes.send_modify(more);
        }
        if !changed.is_empty() {
            self.all.send_modify(more);
        }
    }
}

impl Store {
    /// Looks for changes soon, after a commit that may have made some.
    pub(in crate::store) fn connection_moved(&self) {
        self.inner.connection_signals.moved.notify_one();
    }
}

impl<'a> Connections<'a> {
    /// Notified after a commit of this process that may have changed a connection.
    pub fn moved(self) -> &'a Notify {
        &self.store.inner.connection_signals.moved
    }

    /// Registers a watcher of a tenant's connection.
    pub fn watch(self, tenant: &TenantId) -> ConnectionWatcher {
        let mut watched = self.store.inner.connection_signals.watched();
        let changes = watched.entry(tenant.clone()).or_default().subscribe();
        ConnectionWatcher { store: self.store.clone(), tenant: Some(tenant.clone()), changes }
    }

    /// Registers a watcher of all connections.
    pub fn watch_all(self) -> ConnectionWatcher {
        let changes = self.store.inner.connection_signals.all.subscribe();
        ConnectionWatcher { store: self.store.clone(), tenant: None, changes }
    }

    /// Wakes the watchers of the connections that changed. No statement if there are no watchers.
    /// `place` is `None` before the first look, and is kept between looks.
    pub async fn follow(self, place: &mut Option<ConnectionCursor>) -> Result<(), Error> {
        let signals = &self.store.inner.connection_signals;
        if !signals.has_watchers() {
            *place = None;
            return Ok(());
        }
        let mut cursor = match place.take() {
            Some(cursor) => cursor,
            None => self.cursor().await?,
        };
        let changed = self.changed_since(&mut cursor).await;
        *place = Some(cursor);
        signals.wake(&changed?);
        Ok(())
    }
}
