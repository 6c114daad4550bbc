//! Member lists: one compact snapshot per workspace and mapping in memory, built from the
//! generations that all replicas share in the store, which one replica at a time reads from Slack.
//!
//! Readers never wait for a refresh: they get the list in memory while newer pages load in the
//! background. Only the very first look at a workspace waits, once for all callers. Callers that
//! must not trust the cache use [`Directory::fresh`]. A list older than `max_stale_seconds` is
//! marked as stale ([`View::stale`]): it still answers questions, but no new people are identified
//! with it.
//!
//! Facts about single members that arrive between two readings, by Slack's events ([`inbox`]) or by
//! a lookup ([`miss`], [`fresh`]), are merged as changes ([`merge`]).

mod config;
mod evaluate;
mod follow;
mod turns;

mod load;

mod crawl;
mod fields;
mod merge;
mod view;

mod inbox;
mod miss;
mod refresher;

mod fresh;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::{Notify, Semaphore};

pub use config::Config;
pub use miss::Missed;
pub use turns::{TurnGuard, Turns};
pub use view::View;

use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, MappingError};
use crate::domain::settings::Settings;
use crate::store::{self, DirectoryState, ListBookings, Store};
use crate::telemetry::{Metrics, Rounds};
use crate::workspace::{self, Workspaces};
use load::{Loaded, lock};

/// Why a member list is not available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    /// A stored expression no longer compiles: set the mapping again.
    #[error("the stored mapping is not valid: {0}")]
    Mapping(#[from] MappingError),
    /// A load that several callers waited for failed.
    #[error("loading the member list failed: {0}")]
    Shared(Arc<Error>),
    /// The generation changed repeatedly while it was read: try again.
    #[error("the member list changes faster than it can be read")]
    Moving,
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
}

/// The key of a snapshot, besides its generation.
type Key = (InstallationId, Arc<str>);

/// Member lists of all workspaces. Cheap to clone; clones share the memory.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    workspaces: Workspaces,
    metrics: Metrics,
    config: Config,
    /// This replica's name as shown to administrators, only to tell replicas apart.
    holder: String,
    /// Snapshots, weighed by bytes.
    snapshots: Cache<Key, Arc<Loaded>>,
    /// Which generation is current, as of at most one poll interval ago.
    pointers: Cache<InstallationId, Arc<Option<DirectoryState>>>,
    /// Compiled mappings, by their two sources.
    mappings: Cache<(String, String), Arc<Mapping>>,
    /// Addresses that Slack was asked about a moment ago.
    asked: Cache<miss::Question, ()>,
    /// Keys whose newer snapshot is being loaded behind the stale one.
    reloading: Mutex<HashSet<Key>>,
    /// Bounds the snapshots being built: each holds a workspace's pages in memory.
    loads: Semaphore,
    /// The same for mappings whose Slack attribute is more than a path, so that their cost does not
    /// delay other tenants.
    searching_loads: Semaphore,
    /// Bounds the evaluations of user attributes that are more than a path.
    evaluating: Turns,
    noted: evaluate::Noted,
    /// Notified when this replica published a generation.
    published: Notify,
    /// Workspaces whose list arrived in memory, for the task that waits for that.
    arrived: Mutex<BTreeSet<InstallationId>>,
    /// Notified when `arrived` grows.
    arrival: Notify,
    /// Notified when a refresh is due sooner than planned.
    due: Notify,
    /// Notified when custom fields are due sooner than planned.
    fields_due: Notify,
    /// Members whose custom fields this replica's passes have still to fetch, by workspace.
    fields_missing: Mutex<HashMap<InstallationId, u64>>,
}

/// The longest time that a round of a loop takes in good health; beyond it the loop counts as
/// stalled. A round may wait for several statements that reach their time-out, and for Slack.
const ROUND: Duration = Duration::from_secs(60);
/// Snapshots built at the same time.
const LOADS: usize = 2;
/// The same for mappings whose Slack attribute is more than a path.
const SEARCHING_LOADS: usize = 1;
/// Mappings kept compiled.
const MAPPINGS: u64 = 10_000;
/// Arrived lists that are reported at once.
const ARRIVALS: usize = 100;
/// Pointers kept; a pointer is small.
const POINTERS: u64 = 100_000;

impl Directory {
    pub fn new(store: Store, workspaces: Workspaces, metrics: Metrics, config: Config) -> Self {
        let poll = poll_interval(&config, &workspaces);
        let snapshots = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_: &Key, loaded: &Arc<Loaded>| loaded.weight())
            .max_capacity(config.memory_bytes)
            .build();
        let pointers = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(POINTERS)
            .time_to_live(poll)
            .build();
        let mappings =
            Cache::builder().eviction_policy(EvictionPolicy::lru()).max_capacity(MAPPINGS).build();
        let absent = Duration::from_secs(config.absent_seconds).mul_f64(workspaces.time_scale());
        let asked = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(miss::ANSWERS)
            .time_to_live(absent)
            .build();
        Self {
            inner: Arc::new(Inner {
                store,
                workspaces,
                metrics,
                config,
                holder: format!("{:08x}", rand::random::<u32>()),
                snapshots,
                pointers,
                mappings,
                asked,
                reloading: Mutex::default(),
                loads: Semaphore::new(LOADS),
                searching_loads: Semaphore::new(SEARCHING_LOADS),
                evaluating: Turns::new(),
                noted: evaluate::noted(),
                published: Notify::new(),
                arrived: Mutex::default(),
                arrival: Notify::new(),
                due: Notify::new(),
                fields_due: Notify::new(),
                fields_missing: Mutex::default(),
            }),
        }
    }

    /// The compiled mapping of these settings; limits are checked again, since a stored text may be
    /// older than a limit. Its cost shows when it is evaluated.
    pub async fn mapping(&self, settings: &Settings) -> Result<Arc<Mapping>, Error> {
        let sources = (settings.user_attribute.clone(), settings.slack_attribute.clone());
        if let Some(mapping) = self.inner.mappings.get(&sources).await {
            return Ok(mapping);
        }
        let mapping = Arc::new(Mapping::load(&sources.0, &sources.1)?);
        self.inner.mappings.insert(sources, mapping.clone()).await;
        Ok(mapping)
    }

    /// The member list from memory, or from the shared store; never from Slack. It may be stale,
    /// and states when it was read; it is empty if the workspace was never read.
    pub async fn view(&self, id: InstallationId, mapping: &Mapping) -> Result<View, Error> {
        let state = self.pointer(id).await?;
        let key: Key = (id, mapping.slack.source().into());
        let loaded = match self.inner.snapshots.get(&key).await {
            Some(loaded) if loaded.is_current(state.as_ref().as_ref()) => loaded,
            Some(stale) if stale.snapshot.is_some() => {
                self.reload_behind(key, mapping.clone(), stale.clone());
                stale
            }
            // There was no list to serve, and now there is. It is worth waiting for, since a
            // message that cannot be resolved yet delays all later messages to the same person.
            Some(_) => self.load_over_nothing(key, mapping.clone()).await?,
            None => self.load_shared(key, mapping.clone()).await?,
        };
        Ok(View::of(&loaded).aged(state.as_ref().as_ref(), self.max_stale()))
    }

    /// Like [`Directory::view`], but never older than the store at the time of the call; waits for
    /// the load if memory is older.
    pub async fn current_view(&self, id: InstallationId, mapping: &Mapping) -> Result<View, Error> {
        let loaded = self.current(id, mapping).await?;
        let state = self.pointer(id).await?;
        Ok(View::of(&loaded).aged(state.as_ref().as_ref(), self.max_stale()))
    }

    /// Waits until a workspace's list becomes usable for decisions here: its first reading, or a
    /// newer one. At most [`ARRIVALS`] at once; the others are kept. For a single waiting task.
    pub async fn lists_arrived(&self) -> BTreeSet<InstallationId> {
        loop {
            let taken = {
                let mut arrived = lock(&self.inner.arrived);
                let later = arrived.iter().nth(ARRIVALS).copied();
                let later = later.map(|first| arrived.split_off(&first)).unwrap_or_default();
                std::mem::replace(&mut *arrived, later)
            };
            if !taken.is_empty() {
                return taken;
            }
            self.inner.arrival.notified().await;
        }
    }

    fn arrived(&self, id: InstallationId) {
        lock(&self.inner.arrived).insert(id);
        self.inner.arrival.notify_one();
    }

    /// Requests a reading of the workspace from Slack soon, after it was connected.
    pub async fn refresh_soon(&self, id: InstallationId) -> Result<(), Error> {
        self.inner.store.member_lists().request_refresh(id).await?;
        self.inner.pointers.invalidate(&id).await;
        self.inner.due.notify_one();
        // A tenant that joins a workspace may be the first whose mapping reads custom fields.
        self.fields_soon(id).await
    }

    /// After the Slack attribute was changed: soon fetches the custom fields that it needs. All
    /// other data is in the store.
    pub async fn attribute_changed(
        &self,
        id: InstallationId,
        settings: &Settings,
    ) -> Result<(), Error> {
        if self.mapping(settings).await?.slack.reads_profile_fields() {
            self.fields_soon(id).await?;
        }
        Ok(())
    }

    /// The store's state of a workspace's list, for display; `None` before the first reading was
    /// tried.
    pub async fn status(&self, id: InstallationId) -> Result<Option<DirectoryState>, Error> {
        Ok(self.inner.store.member_lists().state(id).await?)
    }

    /// How far ahead the readings of lists and of custom fields are booked at most: a time further
    /// ahead is by the database's clock before it stepped back. If Slack asks for a longer wait,
    /// the method's budget keeps it.
    #[must_use]
    pub fn longest_bookings(&self) -> ListBookings {
        let seconds = |seconds| self.scaled(Duration::from_secs(seconds));
        let (late, unneeded) = (self.scaled(fields::LATE), self.scaled(fields::UNNEEDED));
        ListBookings {
            lease: self.hold().max(Duration::from_secs(1)) * 2,
            reading: seconds(self.inner.config.refresh_seconds).max(self.scaled(crawl::LATE)),
            fields: seconds(self.inner.config.fields_refresh_seconds).max(late),
            fields_soon: late,
            no_fields: unneeded,
        }
    }

    /// The age beyond which a list identifies no new people.
    fn max_stale(&self) -> Duration {
        self.scaled(Duration::from_secs(self.inner.config.max_stale_seconds))
    }

    fn poll_interval(&self) -> Duration {
        poll_interval(&self.inner.config, &self.inner.workspaces)
    }

    /// The member list as the store has it now: for callers that just changed it, or that decide
    /// whether a fact is news.
    async fn current(&self, id: InstallationId, mapping: &Mapping) -> Result<Arc<Loaded>, Error> {
        let state = self.inner.store.member_lists().state(id).await?;
        let key: Key = (id, mapping.slack.source().into());
        let known = self.inner.snapshots.get(&key).await;
        if let Some(known) = &known
            && known.is_current(state.as_ref())
        {
            return Ok(Arc::clone(known));
        }
        let loaded = Arc::new(match known {
            Some(known) => self.newer(id, mapping, &known).await?,
            None => self.load(id, mapping).await?,
        });
        self.inner.pointers.invalidate(&id).await;
        self.put(key, Arc::clone(&loaded)).await;
        Ok(loaded)
    }

    async fn pointer(&self, id: InstallationId) -> Result<Arc<Option<DirectoryState>>, Error> {
        let load = async {
            let state = self.inner.store.member_lists().state(id).await?;
            Ok::<_, Error>(Arc::new(state))
        };
        self.inner.pointers.try_get_with(id, load).await.map_err(Error::Shared)
    }

    /// Watches a loop that rests for at most `rest` between two rounds.
    fn watch(&self, name: &'static str, rest: Duration) -> Rounds {
        self.inner.metrics.watchdog().watch(name, rest + ROUND)
    }

    fn scaled(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.inner.workspaces.time_scale())
    }
}

fn poll_interval(config: &Config, workspaces: &Workspaces) -> Duration {
    config.poll_interval.mul_f64(workspaces.time_scale())
}
