//! The limit on one tenant's waiting messages (`delivery.max_waiting`), so that a tenant that sends
//! without end does not fill the table and the disk for all tenants.
//!
//! Messages are counted at intervals, not for each call: between two counts this replica adds the
//! messages that it accepted. Messages that other replicas accept appear in the next count, so the
//! limit can be exceeded by the messages of a few seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::{App, Error};
use crate::domain::ids::TenantId;
use crate::store;

/// How long a count is used.
const COUNTED_FOR: Duration = Duration::from_secs(2);
/// Tenants whose counts are kept.
const TENANTS: u64 = 10_000;
/// The wait before another call: a backlog takes time to shrink.
const RETRY: Duration = Duration::from_secs(10);

/// Counts by tenant.
pub(super) type Counts = Cache<TenantId, Room>;

/// A tenant's waiting messages: as last counted, plus those added since.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicU64>);

impl Room {
    pub(super) fn take(&self, deliveries: u64) {
        self.0.fetch_add(deliveries, Ordering::Relaxed);
    }

    /// How many more may wait.
    pub(super) fn left(&self, most: u64) -> u64 {
        most.saturating_sub(self.0.load(Ordering::Relaxed))
    }
}

pub(super) fn counts() -> Counts {
    Cache::builder()
        .eviction_policy(EvictionPolicy::lru())
        .max_capacity(TENANTS)
        .time_to_live(COUNTED_FOR)
        .build()
}

impl App {
    /// Refuses more messages than the tenant has room for.
    pub(super) async fn room(&self, tenant: &TenantId, more: u64) -> Result<Room, Error> {
        let most = self.config.max_waiting;
        let count = async {
            let waiting = self.store.records().count_waiting(tenant, most).await?;
            Ok::<_, store::Error>(Room(Arc::new(AtomicU64::new(waiting))))
        };
        let room = self.backlogs.try_get_with_by_ref(tenant, count).await;
        let room = room.map_err(|error: Arc<store::Error>| (*error).clone())?;
        // Deliveries that end at once add nothing.
        if more > 0 && more > room.left(most) {
            return Err(full());
        }
        Ok(room)
    }
}

/// More messages would wait than may.
pub(super) fn full() -> Error {
    Error::Exhausted {
        reason: "BACKLOG_FULL",
        limit: "delivery.max_waiting",
        sentence: "too many messages of this tenant wait already; try again later",
        retry_after: RETRY,
    }
}
