//! Creates channels in Slack, and keeps them as callers wished.
//!
//! `claim` takes channels that are due, and gives each of them one turn. A turn holds a lease on
//! the channel's row. It asks `domain::channels::next` for the next step, carries it out, saves the
//! progress, and so on until there is nothing to do before a time or a change. Each write names the
//! epoch of the lease, so a replica whose lease was taken over changes nothing.
//!
//! Crash points:
//!
//! - `conversations.create` is the only request that must not be repeated. The attempt is committed
//!   before it, and it begins within the lease (`turn`). Whatever its outcome, the next step is to
//!   list the channels (`look`), never to create again.
//! - Members are marked as being invited before the request. A replica that finds such a mark
//!   at a claim reads the members of the channel (`read`), and invites only those who are missing.
//! - Every other request has the same effect if it is repeated.
//!
//! # Speed
//!
//! Slack allows 20 calls a minute to create a channel, and the same for its topic and for its
//! purpose; each method has its own budget, which all replicas share. Many new channels are limited
//! by the slowest method, and finish as early as the limits allow if that method never lacks work
//! and no other method is slower. Both hold here:
//!
//! - A channel makes its requests one after the other, but several channels of a workspace take
//!   turns at once, so that all budgets are used at the same time: while one channel is created,
//!   the one before it gets its topic, and those before are filled.
//! - A few channels of each replica wait in line for each budget (`lines`), so its next starts are
//!   always reserved. All others give their leases back until their turn is likely: a full line
//!   keeps no worker from another method or workspace.
//! - A channel that got its start at the slowest method finds the other lines empty, because they
//!   are as fast or faster. So the last channel is done a few requests after the last start.
//!
//! Messages do not wait for any of this: posts have budgets of their own, and no connection to the
//! database is held while a turn waits for Slack. Workspaces take turns at the claim.

mod config;
mod lines;

mod turn;

mod look;
mod people;
mod read;

mod members;

mod steps;

mod claim;

use std::sync::Arc;
use std::time::Duration;

pub use config::Config;

use crate::directory::Directory;
use crate::store::Store;
use crate::telemetry::{Metrics, Rounds};
use crate::workspace::Workspaces;
use config::ChannelTiming;
use lines::MethodLines;

/// The longest time that a round of a loop takes in good health; beyond it the loop counts as
/// stalled. A round may wait for several statements that reach their time-out.
const ROUND: Duration = Duration::from_secs(60);

/// Makes and keeps channels. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    workspaces: Workspaces,
    directory: Directory,
    metrics: Metrics,
    workers: usize,
    timing: ChannelTiming,
    lines: Arc<MethodLines>,
}

impl Channels {
    pub fn new(
        store: Store,
        workspaces: Workspaces,
        directory: Directory,
        metrics: Metrics,
        config: &Config,
    ) -> Self {
        let timing = ChannelTiming::of(config, workspaces.time_scale());
        let workers = config.workers as usize;
        let lines = Arc::default();
        Self {
            inner: Arc::new(Inner {
                store,
                workspaces,
                directory,
                metrics,
                workers,
                timing,
                lines,
            }),
        }
    }

    /// Watches a loop that rests for at most `rest` between two rounds.
    fn watch(&self, name: &'static str, rest: Duration) -> Rounds {
        self.inner.metrics.watchdog().watch(name, rest + ROUND)
    }
}
