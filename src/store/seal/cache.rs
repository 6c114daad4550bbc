//! Unwrapped keys in memory.

use std::hash::Hash;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

/// Keys in memory.
const CACHED: u64 = 10_000;

/// A cache that forgets each key after `kept`, and earlier the one that was used longest ago.
pub(super) fn cache<K, V>(kept: Duration) -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(CACHED)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(kept)
        .build()
}
