//! From the outbox to Slack: lanes are claimed, their first message is checked once more, sent, and
//! settled.
//!
//! Seven loops, each a separate task:
//!
//! - `claim` takes lanes that are due and gives each of them one turn (`worker`);
//! - `resolve` finds the member for deliveries that were accepted before the member list was read;
//! - `held` wakes those that wait until their person appears;
//! - `feed` numbers the changes of deliveries for their watchers, and looks for changes that other
//!   replicas numbered (two loops);
//! - `clock` corrects stored times after the database's clock stepped back;
//! - `upkeep` repairs, expires and archives.
//!
//! A turn touches only the head of its lane: `judge` finds out whether it may still be sent,
//! `request` chooses the request to Slack, `domain::delivery::next` interprets the answer,
//! `settle` writes how the turn ended, and `probe` finds out whether Slack stored a message
//! although its answer was lost.
//!
//! No essential state is kept here: a process that dies is replaced when its leases run out.

mod asks;
mod clock;
mod config;
mod feed;
mod held;
mod liveness;
mod rests;
mod retry_writes;
mod slots;
mod suspects;
mod upkeep;

mod claim;
mod turn;

mod explain;
mod probe;
mod request;
mod settle;

mod judge;
mod resolve;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::directory::Directory;
use crate::domain::ids::DeliveryId;
use crate::store::Store;
use crate::telemetry::{Metrics, Rounds};
use crate::workspace::Workspaces;
use asks::Asks;
use config::Timing;
use liveness::Liveness;
use slots::Slots;
use suspects::Suspects;

/// Positions in long histories that are remembered, and for how long.
const CURSORS: u64 = 10_000;
const CURSOR_KEPT: Duration = Duration::from_secs(600);

/// The longest time that a round of a loop, or a step of one, takes in good health; beyond it the
/// loop counts as stalled. A round may wait for several statements that reach their time-out, and
/// for Slack.
const ROUND: Duration = Duration::from_secs(60);

/// Sends accepted messages. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    workspaces: Workspaces,
    directory: Directory,
    metrics: Metrics,
    workers: usize,
    /// Workers that one tenant may keep busy.
    tenant_cap: usize,
    /// Turns that may wait for a slow Slack, beyond the workers.
    most_slow: usize,
    timing: Timing,
    liveness: Liveness,
    /// Whether the database's clock can be trusted about how much time has passed.
    steady: clock::Steady,
    asks: Asks,
    suspects: Suspects,
    /// Positions from which looks into long histories continue. They are lost with the process,
    /// which costs another look.
    cursors: Cache<DeliveryId, probe::HistoryPosition>,
}

impl Delivery {
    pub fn new(
        store: Store,
        workspaces: Workspaces,
        directory: Directory,
        metrics: Metrics,
        config: &Config,
    ) -> Self {
        store.observe(metrics.clone());
        let timing = Timing::of(config, workspaces.time_scale());
        let liveness = Liveness::new(timing.confirm_after);
        let workers = usize::try_from(config.workers).unwrap_or(usize::MAX);
        let share = usize::try_from(config.tenant_share).unwrap_or(100);
        let suspects = Suspects::new(timing.retry);
        let inner = Inner {
            store,
            workspaces,
            directory,
            metrics,
            workers,
            tenant_cap: (workers.saturating_mul(share) / 100).max(1),
            most_slow: usize::try_from(config.slow_requests).unwrap_or(usize::MAX),
            timing,
            liveness,
            steady: clock::Steady::default(),
            asks: Asks::default(),
            suspects,
            cursors: Cache::builder().max_capacity(CURSORS).time_to_live(CURSOR_KEPT).build(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn slots(&self) -> Arc<Slots> {
        let inner = &self.inner;
        Slots::new(inner.workers, inner.tenant_cap, inner.most_slow, slots::SLOW)
    }

    /// Watches a loop that rests for at most `rest` between two rounds.
    fn watch(&self, name: &'static str, rest: Duration) -> Rounds {
        self.inner.metrics.watchdog().watch(name, rest + ROUND)
    }

    /// Works until stopped: then it claims no more, and returns when the turns under way have
    /// ended. The caller bounds that wait by dropping the future: the leases of the interrupted
    /// turns run out, and another replica finds out what became of their messages.
    ///
    /// # Panics
    /// If one of its loops panicked: without them nothing is delivered, so the process must not
    /// continue as if nothing had happened. A panic in a single turn is not passed on.
    pub async fn run(self, stop: CancellationToken) {
        let mut loops = JoinSet::new();
        loops.spawn(self.clone().claim(stop.clone()));
        loops.spawn(self.clone().resolve(stop.clone()));
        loops.spawn(self.clone().hold(stop.clone()));
        loops.spawn(self.clone().number_changes(stop.clone()));
        loops.spawn(self.clone().follow_feeds(stop.clone()));
        loops.spawn(self.clone().follow_clock(stop.clone()));
        loops.spawn(self.upkeep(stop));
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}
