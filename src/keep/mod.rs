//! Keeps workspaces connected: exchanges tokens long before they expire, and looks after workspaces
//! that move into an organization.
//!
//! Every replica runs the loop. A lease in the store lets one of them exchange a token at a time
//! (`workspace/renew.rs`), and a claim lets one of them look at a move (`workspace/moving.rs`). So
//! the loop only finds what is due. It asks for the time of the next exchange, and sleeps until
//! then, but no longer than the poll interval.
//!
//! Crash points: a replica that dies after Slack gave the next tokens, and before they are
//! committed, leaves a lease that ends soon. The next holder uses the same refresh token, which
//! Slack accepts for a short time after its first use.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::domain::ids::InstallationId;
use crate::store::{self, Store};
use crate::telemetry::{Metrics, Rounds};
use crate::workspace::{self, Workspaces};

/// Tokens that one replica exchanges at the same time.
const AT_ONCE: usize = 16;
/// Tokens of one look.
const LOOKED_AT: u32 = 64;
/// The longest time between two looks.
const POLL: Duration = Duration::from_secs(5);
/// The shortest: a token that is due may be another replica's by then.
const SHORTEST: Duration = Duration::from_millis(20);
/// How often tokens without an end are looked for whose app may give tokens that expire by now.
const UNROTATED: Duration = Duration::from_secs(600);
/// Those of one look, and when an app whose token Slack did not exchange is tried again.
const UNROTATED_AT_ONCE: u32 = 16;
const UNROTATED_AGAIN: Duration = Duration::from_secs(86_400);
/// Pieces of work on moves in one round.
const MOVES: usize = 16;
/// The longest time that a round takes in good health.
const ROUND: Duration = Duration::from_secs(60);

/// Keeps the tokens of all workspaces. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    store: Store,
    workspaces: Workspaces,
    metrics: Metrics,
}

impl Keeper {
    pub fn new(store: Store, workspaces: Workspaces, metrics: Metrics) -> Self {
        Self { store, workspaces, metrics }
    }

    /// Runs until stopped, and returns when the exchanges under way have ended: their tokens would
    /// be lost with the process. The caller bounds that wait.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.renewals(&stop), self.moves(&stop));
    }

    async fn renewals(&self, stop: &CancellationToken) {
        let mut running = JoinSet::new();
        let mut troubled = false;
        let mut unrotated_at = Instant::now();
        let poll = self.scaled(POLL);
        let rounds = self.watch("tokens", poll);
        while !stop.is_cancelled() {
            rounds.next();
            let rest = match self.begin_due(&mut running, &mut unrotated_at).await {
                Ok(rest) => {
                    troubled = false;
                    rest
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "due tokens cannot be looked up; retrying");
                    }
                    troubled = true;
                    poll
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = running.join_next() => report(&ended),
                () = tokio::time::sleep(rest) => {}
            }
        }
        while let Some(ended) = running.join_next().await {
            report(&ended);
        }
    }

    /// Begins to exchange the tokens that are due. Returns when to look again, unless an
    /// exchange ends before that.
    async fn begin_due(
        &self,
        running: &mut JoinSet<()>,
        unrotated_at: &mut Instant,
    ) -> Result<Duration, store::Error> {
        let tokens = self.store.tokens();
        if Instant::now() >= *unrotated_at {
            *unrotated_at = Instant::now() + self.scaled(UNROTATED);
            let again = self.scaled(UNROTATED_AGAIN);
            let found = tokens.find_unrotated(UNROTATED_AT_ONCE, again).await?;
            if found > 0 {
                tracing::info!(found, "tokens without an end may be exchanged for expiring ones");
            }
        }
        let free = AT_ONCE.saturating_sub(running.len());
        let schedule = tokens.schedule(LOOKED_AT, self.workspaces.renewal_lease()).await?;
        let due = schedule.due.len();
        for id in schedule.due.into_iter().take(free) {
            let workspaces = self.workspaces.clone();
            running.spawn(async move { exchange(&workspaces, id).await });
        }
        let next = match due {
            0 => schedule.next.unwrap_or(POLL),
            // Those that have just begun are leased before the next look.
            _ if due <= free => SHORTEST,
            // The end of an exchange makes room, and is followed by the next look.
            _ => POLL,
        };
        Ok(next.clamp(SHORTEST, self.scaled(POLL).max(SHORTEST)))
    }

    async fn moves(&self, stop: &CancellationToken) {
        let mut troubled = false;
        let mut looks = tokio::time::interval(self.scaled(POLL));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = self.watch("moves", self.scaled(POLL));
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            let followed = self.follow_moves(&rounds, stop).await;
            if let Err(error) = &followed
                && !troubled
            {
                tracing::warn!(%error, "workspaces that move are not looked at; retrying");
            }
            troubled = followed.is_err();
        }
    }

    async fn follow_moves(
        &self,
        rounds: &Rounds,
        stop: &CancellationToken,
    ) -> Result<(), workspace::Error> {
        rounds.next();
        for _ in 0..MOVES {
            if stop.is_cancelled() || !self.workspaces.follow_migrations().await? {
                break;
            }
            rounds.next();
        }
        Ok(())
    }

    fn scaled(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.workspaces.time_scale()).max(Duration::from_millis(1))
    }

    /// Watches a loop that rests for at most `rest` between two rounds.
    fn watch(&self, name: &'static str, rest: Duration) -> Rounds {
        self.metrics.watchdog().watch(name, rest + ROUND)
    }
}

/// An exchange that fails is due again by itself.
async fn exchange(workspaces: &Workspaces, id: InstallationId) {
    if let Err(error) = workspaces.renew(id).await {
        tracing::warn!(workspace = %id, %error, "a token was not exchanged for the next one");
    }
}

/// An exchange that panicked is due again when its lease ends.
fn report(ended: &Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the exchange of a token panicked");
    }
}
