//! From the outbox to Slack: lanes are claimed, their first message is checked once more, sent,
//! and settled.
//!
//! Seven loops, each a task of its own: `claim` takes lanes that are due and gives each one turn
//! (`worker`); `resolve` finds the member for deliveries that were accepted before the member list
//! was read; `held` wakes those that wait until their person appears; `feed` numbers the changes
//! of deliveries for those who watch them, and looks for what other replicas numbered; `clock`
//! follows the database's clock where it steps back; `upkeep` repairs, expires and archives. A turn
//! touches the head of its lane and nothing
//! else: `checks` decides whether it may still go out, `deed` what is asked of Slack,
//! `domain::delivery::next` what an answer means, `probe` whether Slack stored a message although
//! its answer was lost.
//!
//! Nothing here keeps state that matters: whoever dies is replaced when its leases run out.

mod asks;
mod checks;
mod claim;
mod clock;
mod config;
mod deed;
mod feed;
mod held;
mod liveness;
mod persist;
mod probe;
mod resolve;
mod rests;
mod send;
mod slots;
mod turn;
mod upkeep;
mod why;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::Semaphore;
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

/// Looks into long histories that are remembered, and for how long.
const CURSORS: u64 = 10_000;
const CURSOR_KEPT: Duration = Duration::from_secs(600);

/// The longest that a round of a loop, or a step of one, takes in good health; beyond it the loop
/// counts as standing still. It may wait for several statements that use up their time, and for
/// Slack.
const ROUND: Duration = Duration::from_secs(60);

/// Sends what was accepted. Cheap to clone.
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
    /// Turns that may wait for a slow Slack besides.
    most_slow: usize,
    timing: Timing,
    liveness: Liveness,
    /// Whether the database's clock can be trusted about how much time has passed.
    steady: clock::Steady,
    asks: Asks,
    /// Taken while a message is sent that a worker died on before: one of these at a time, so that
    /// the one that kills is told from those that were under way beside it.
    suspects: Semaphore,
    /// Where looks into long histories go on. Lost with the process, which costs another look.
    cursors: Cache<DeliveryId, probe::Reached>,
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
            suspects: Semaphore::new(1),
            cursors: Cache::builder().max_capacity(CURSORS).time_to_live(CURSOR_KEPT).build(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn slots(&self) -> Arc<Slots> {
        let inner = &self.inner;
        Slots::new(inner.workers, inner.tenant_cap, inner.most_slow, slots::SLOW)
    }

    /// Watches a loop that rests at most so long between two rounds.
    fn watch(&self, name: &'static str, rest: Duration) -> Rounds {
        self.inner.metrics.watchdog().watch(name, rest + ROUND)
    }

    /// Works until stopped: then claims no more, and returns when what is under way has ended. The
    /// caller bounds that wait by dropping the future: leases of what was cut run out, and another
    /// replica finds out what became of it.
    ///
    /// # Panics
    /// Where one of its loops did: without them nothing is delivered, so the process must not go on
    /// as if nothing had happened. A panic in a single turn is not passed on.
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
