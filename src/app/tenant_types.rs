//! The event types of tenants, in memory, and the places for which they have templates.
//!
//! Each call reads the version of its tenant's settings, which a change of an event type or of a
//! template increments in its transaction. Types are kept by tenant and version, so the next call
//! on any replica after a change reads the new ones, and no replica has to be notified.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::{App, Error};
use crate::domain::ids::{ContentId, EventType, TenantId};
use crate::domain::message::event::tenant_types::TenantTypes;
use crate::domain::message::template::Place;
use crate::store;

/// Bytes of all types in memory, as [`Catalogue::weight`] estimates them.
const BYTES: u64 = 64 << 20;
/// Bytes in memory of each place that has a template, at most about, besides its content id.
const PLACE_BYTES: usize = 256;
/// How long types are used. After a failover to a copy that lags, a version may be given twice.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// Types by tenant and version of the tenant's settings.
pub(super) type RecentTypes = Cache<(TenantId, i64), Arc<Catalogue>>;

/// The event types of a tenant, and the places for which it has templates.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    types: TenantTypes,
    worded: BTreeMap<EventType, Worded>,
}

/// The places for which a tenant has templates of one event type.
#[derive(Debug, Default)]
struct Worded {
    /// Whether there is one for all content items.
    everywhere: bool,
    contents: BTreeSet<ContentId>,
}

/// The templates that a notification may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordedFor<'c> {
    Nothing,
    /// Those for all content items.
    Everything,
    /// Those for this content item, and those for all.
    Content(&'c ContentId),
}

impl Deref for Catalogue {
    type Target = TenantTypes;

    fn deref(&self) -> &TenantTypes {
        &self.types
    }
}

impl Catalogue {
    fn new(types: TenantTypes, places: Vec<Place>) -> Self {
        let mut worded: BTreeMap<EventType, Worded> = BTreeMap::new();
        for place in places {
            let of = worded.entry(place.event).or_default();
            match place.content {
                Some(content) => {
                    of.contents.insert(content);
                }
                None => of.everywhere = true,
            }
        }
        Self { types, worded }
    }

    /// The templates that a notification of this type about this content item may have.
    pub(super) fn worded<'c>(
        &self,
        event: &EventType,
        content: Option<&'c ContentId>,
    ) -> WordedFor<'c> {
        let Some(of) = self.worded.get(event) else { return WordedFor::Nothing };
        match content.filter(|content| of.contents.contains(*content)) {
            Some(content) => WordedFor::Content(content),
            None if of.everywhere => WordedFor::Everything,
            None => WordedFor::Nothing,
        }
    }

    /// About how many bytes it takes in memory.
    fn weight(&self) -> u32 {
        let of = |worded: &Worded| {
            let contents = worded.contents.iter().map(|content| content.as_str().len());
            PLACE_BYTES + contents.map(|bytes| PLACE_BYTES + bytes).sum::<usize>()
        };
        let places: usize = self.worded.values().map(of).sum();
        self.types.weight().saturating_add(u32::try_from(places).unwrap_or(u32::MAX))
    }
}

pub(super) fn recent_types() -> RecentTypes {
    Cache::builder()
        .eviction_policy(EvictionPolicy::lru())
        .weigher(|_, types: &Arc<Catalogue>| types.weight())
        .max_capacity(BYTES)
        .time_to_live(KEPT)
        .build()
}

impl App {
    /// The event types of a tenant whose settings have this version. A tenant without templates
    /// costs one statement, once for each version.
    pub(super) async fn types_of(
        &self,
        tenant: &TenantId,
        version: i64,
    ) -> Result<Arc<Catalogue>, Error> {
        let load = async {
            let Some(found) = self.store.event_types().list(tenant).await? else {
                return Ok(Arc::default());
            };
            let places = if found.templates == 0 {
                Vec::new()
            } else {
                self.store.templates().places(tenant).await?
            };
            let types = TenantTypes::new(found.definitions).with_unread(found.unread);
            Ok::<_, store::Error>(Arc::new(Catalogue::new(types, places)))
        };
        let types = self.recent_types.try_get_with((tenant.clone(), version), load).await;
        types.map_err(|error: Arc<store::Error>| (*error).clone().into())
    }
}
