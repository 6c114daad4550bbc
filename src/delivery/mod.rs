//! From the outbox to Slack: lanes are claimed, their first message is checked once more, sent,
//! and settled (design.md section 3).
//!
//! Five loops, each a task of its own: `claim` takes lanes that are due and gives each one turn
//! (`worker`); `resolve` finds the member for deliveries that were accepted before the member list
//! was read; `held` wakes those that wait until their person appears; `feed` numbers the changes of deliveries for those who watch them; `upkeep` mends, expires
//! and archives. A turn touches the head of its lane and nothing
//! else: `checks` decides whether it may still go out, `domain::delivery::next` what an answer
//! means, `probe` whether Slack stored a message although its answer was lost.
//!
//! Nothing here keeps state that matters: whoever dies is replaced when its leases run out.

mod checks;
mod claim;
mod config;
mod feed;
mod held;
mod liveness;
mod persist;
mod probe;
mod resolve;
mod upkeep;
mod worker;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::directory::Directory;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::workspace::Workspaces;
use config::Timing;
use liveness::Liveness;

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
    timing: Timing,
    liveness: Liveness,
}

impl Delivery {
    pub fn new(
        store: Store,
        workspaces: Workspaces,
        directory: Directory,
        metrics: Metrics,
        config: &Config,
    ) -> Self {
        let timing = Timing::of(config, workspaces.time_scale());
        let liveness = Liveness::new(timing.confirm_after);
        let workers = usize::try_from(config.workers).unwrap_or(usize::MAX);
        let inner = Inner { store, workspaces, directory, metrics, workers, timing, liveness };
        Self { inner: Arc::new(inner) }
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
