//! The event types of tenants, in memory.
//!
//! Each call reads the version of its tenant's settings, which a change of an event type increments
//! in its transaction. Types are kept by tenant and version, so the next call on any replica after
//! a change reads the new ones, and no replica has to be notified.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::{App, Error};
use crate::domain::ids::TenantId;
use crate::domain::message::event::tenant_types::TenantTypes;
use crate::store;

/// Bytes of all types in memory, as [`TenantTypes::weight`] estimates them.
const BYTES: u64 = 64 << 20;
/// How long types are used. After a failover to a copy that lags, a version may be given twice.
const KEPT: Duration = Duration::from_secs(60);

/// Types by tenant and version of the tenant's settings.
pub(super) type RecentTypes = Cache<(TenantId, i64), Arc<TenantTypes>>;

pub(super) fn recent_types() -> RecentTypes {
    Cache::builder()
        .eviction_policy(EvictionPolicy::lru())
        .weigher(|_, types: &Arc<TenantTypes>| types.weight())
        .max_capacity(BYTES)
        .time_to_live(KEPT)
        .build()
}

impl App {
    /// The event types of a tenant whose settings have this version.
    pub(super) async fn types_of(
        &self,
        tenant: &TenantId,
        version: i64,
    ) -> Result<Arc<TenantTypes>, Error> {
        let load = async {
            let found = self.store.event_types().list(tenant).await?;
            let types =
                found.map(|found| TenantTypes::new(found.definitions).with_unread(found.unread));
            Ok::<_, store::Error>(Arc::new(types.unwrap_or_default()))
        };
        let types = self.recent_types.try_get_with((tenant.clone(), version), load).await;
        types.map_err(|error: Arc<store::Error>| (*error).clone().into())
    }
}
