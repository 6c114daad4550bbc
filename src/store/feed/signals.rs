//! The watchers of tenants' feeds, and the signals that wake them.
//!
//! A watcher is woken only by changes of its own tenant. Changes that this process numbers are
//! published at once. Those that other replicas number are found by one statement per interval for
//! all tenants that are watched here ([`DeliveryFeed::follow`]), however many watchers there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sea_orm::ConnectionTrait as _;
use tokio::sync::watch;

use super::tables::{ALL, FeedOf};
use crate::domain::ids::TenantId;
use crate::store::database::era::ERA;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql;
use crate::store::{DeliveryFeed, Error, Store};

/// Hints within this process, for one feed.
#[derive(Default)]
pub(in crate::store) struct FeedSignals {
    /// Tenants that have watchers, and [`ALL`] if all tenants have one; at most as many as there
    /// are streams.
    watched: Mutex<HashMap<String, watch::Sender<FeedReach>>>,
}

/// How far a feed was last seen to reach. A hint: by the time it is read, the feed may reach
/// further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedReach {
    /// As [`FeedExtent::epoch`](super::pages::FeedExtent::epoch).
    pub epoch: i64,
    /// The last number.
    pub head: i64,
    /// How often the feed was found to end earlier than before: the database lost changes that it
    /// had numbered (a failover to a copy that lags, a restored backup).
    pub rewound: u64,
}

/// A watcher that waits for changes in the feed of a tenant, or of all. The tenant is removed when
/// its last watcher is dropped.
pub struct FeedWatcher {
    store: Store,
    of: FeedOf,
    tenant: String,
    reach: watch::Receiver<FeedReach>,
}

impl FeedWatcher {
    /// The reach known now; [`Self::changed`] waits for changes after it.
    pub fn reach(&mut self) -> FeedReach {
        *self.reach.borrow_and_update()
    }

    /// Waits until the feed was seen to have moved since [`Self::reach`].
    pub async fn changed(&mut self) {
        if self.reach.changed().await.is_err() {
            // The map holds the sender for as long as this watcher lives.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for FeedWatcher {
    fn drop(&mut self) {
        let mut watched = self.store.signals(self.of).watched();
        // This watcher's receiver still counts.
        if watched.get(&self.tenant).is_some_and(|reach| reach.receiver_count() <= 1) {
            watched.remove(&self.tenant);
        }
    }
}

impl FeedSignals {
    fn watched(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<FeedReach>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the last numbers that a commit of this process gave.
    pub(super) fn numbered(&self, epoch: i64, heads: &BTreeMap<String, i64>) {
        let watched = self.watched();
        if watched.is_empty() {
            return;
        }
        for (tenant, head) in heads {
            if let Some(reach) = watched.get(tenant) {
                reach.send_if_modified(|reach| advance(reach, epoch, *head));
            }
        }
    }
}

fn advance(reach: &mut FeedReach, epoch: i64, head: i64) -> bool {
    let further = (epoch, head) > (reach.epoch, reach.head);
    if further {
        (reach.epoch, reach.head) = (epoch, head);
    }
    further
}

impl DeliveryFeed<'_> {
    /// Registers a watcher of a tenant's feed.
    pub fn watch(self, tenant: &TenantId) -> FeedWatcher {
        self.store.watch_feed(FeedOf::Deliveries, tenant.as_str())
    }

    /// Registers a watcher of the feed of all tenants.
    pub fn watch_all(self) -> FeedWatcher {
        self.store.watch_feed(FeedOf::Deliveries, ALL)
    }

    /// Checks how far the watched feeds reach and wakes the watchers of those that moved. One
    /// statement for all of them, and none if there are no watchers.
    pub async fn follow(self) -> Result<(), Error> {
        self.store.follow_feeds(FeedOf::Deliveries).await
    }
}

impl Store {
    pub(super) fn signals(&self, of: FeedOf) -> &FeedSignals {
        match of {
            FeedOf::Deliveries => &self.inner.feed,
            FeedOf::Channels => &self.inner.channel_feed,
        }
    }

    /// As [`DeliveryFeed::watch`], for either feed; [`ALL`]: of all tenants.
    pub(in crate::store) fn watch_feed(&self, of: FeedOf, tenant: &str) -> FeedWatcher {
        let mut watched = self.signals(of).watched();
        let reach = watched.entry(tenant.to_owned()).or_default().subscribe();
        FeedWatcher { store: self.clone(), of, tenant: tenant.to_owned(), reach }
    }

    /// As [`DeliveryFeed::follow`], for either feed.
    pub(in crate::store) async fn follow_feeds(&self, of: FeedOf) -> Result<(), Error> {
        // Read before the statement: a head smaller than one seen earlier means that changes were
        // lost.
        let seen: Vec<_> = {
            let watched = self.signals(of).watched();
            watched.iter().map(|(tenant, reach)| (tenant.clone(), *reach.borrow())).collect()
        };
        let rows = seen.iter().map(|(tenant, _)| [tenant.as_str().into()]).collect();
        let seen: HashMap<_, _> = seen.iter().map(|(tenant, reach)| (tenant, reach)).collect();
        let heads = of.tables().heads;
        for (table, values) in given(self.reader().get_database_backend(), [Column::Text], rows) {
            let text = format!(
                "SELECT column1, {ERA}, COALESCE({heads}.head, 0)
                    FROM {table}
                    LEFT JOIN {heads} ON {heads}.tenant = column1"
            );
            let rows = sql::all(self.reader(), &text, values).await?;
            let watched = self.signals(of).watched();
            for row in &rows {
                let mut columns = Columns::of(row);
                let tenant: String = columns.take()?;
                let epoch: i64 = columns.take()?;
                let head = columns.take::<i64>()?.max(epoch);
                let before = seen.get(&tenant).copied().copied().unwrap_or_default();
                let Some(reach) = watched.get(&tenant) else { continue };
                reach.send_if_modified(|reach| {
                    let lost = (epoch, head) < (before.epoch, before.head);
                    if lost {
                        (reach.epoch, reach.head) = (epoch, head);
                        reach.rewound += 1;
                    }
                    lost || advance(reach, epoch, head)
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Config;

    #[tokio::test]
    async fn a_tenant_is_watched_until_its_last_watcher_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let store = Store::open(&config).await.unwrap();
        let [busy, quiet] = ["busy", "quiet"].map(|id| TenantId::parse(id).unwrap());
        let watched = || store.signals(FeedOf::Deliveries).watched().len();
        let (first, second) = (store.feed().watch(&busy), store.feed().watch(&busy));
        let quiet_one = store.feed().watch(&quiet);
        assert_eq!(watched(), 2);
        drop(first);
        assert_eq!(watched(), 2);
        drop((second, quiet_one));
        assert_eq!(watched(), 0, "no watcher is left");
    }
}
