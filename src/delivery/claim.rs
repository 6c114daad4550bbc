//! The claim loop: it claims lanes that are due in fair order and gives each of them one turn.
//!
//! It wakes when this process accepts a message, when a turn ends, when the next lane is due or its
//! workspace may post again, and at the poll interval for messages that other replicas accepted. A
//! turn ends by releasing its lane, so a long lane is claimed once for each message and never keeps
//! a worker from the others.
//!
//! Fair means: more urgent lanes come first. Among equally urgent lanes the tenants take turns, and
//! no tenant holds more than its share of the workers. A turn that waits for a slow Slack holds no
//! worker, and at most half of the workers wait for starts that were taken long before their time
//! (`slots`). Posts and changes of a workspace have separate budgets: while a budget is paused or
//! spent, the lanes that wait for it are skipped.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Delivery;
use super::rests::Rests;
use super::slots::Slots;
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::fairness::{self, Starts, split};
use crate::domain::capacity::pacing::{AHEAD, Account, Lookahead, Pace};
use crate::domain::capacity::priority::Class;
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;
use crate::store::{self, LaneClaim, Queue, QueueKey, QueuePlace, Queues};
use crate::workspace;

/// If the database's clock is coarser than ours, a lane may become due a moment later than it said:
/// the least time before the next look.
const SHORTEST: Duration = Duration::from_millis(1);
/// Queues looked at in one round; the next round continues after them.
const QUEUES: u32 = 500;
/// Queues for which the time of the last turn is remembered.
const REMEMBERED: usize = 10_000;

/// State of the loop between rounds.
struct Claimer {
    delivery: Delivery,
    stop: CancellationToken,
    turns: JoinSet<()>,
    slots: Arc<Slots>,
    /// When each queue was last served, counted in claims.
    served: HashMap<QueueKey, u64>,
    claims: u64,
    rests: Rests<QueueKey>,
    /// Accounts whose row is locked by another transaction, perhaps of a frozen replica.
    held_up: Rests<Funds>,
    round: Round,
    lookahead: Lookahead,
}

/// A pass over all queues, a bounded number at a time.
#[derive(Default)]
struct Round {
    /// How long its looks took so far.
    took: Duration,
    /// The place to continue from; `None` at the end of the pass.
    after: Option<QueuePlace>,
    /// The earliest time at which one of the queues passed so far can be served.
    soonest: Option<Instant>,
    /// A message entered a queue that may already have been passed: another round follows at once.
    again: bool,
}

impl Round {
    /// After a look, however it ended. Returns how long the looks of the pass took, if it is over.
    fn looked(&mut self, took: Duration) -> Option<Duration> {
        self.took += took;
        self.after.is_none().then_some(self.took)
    }
}

/// The state of a workspace's budget now.
struct Allowance {
    pace: Pace,
    starts: Starts,
    /// When the next start can be claimed, if there is none now.
    next: Timestamp,
    /// The same if no worker may wait for it for long.
    next_soon: Timestamp,
}

/// The key of a workspace's budget.
type Funds = (InstallationId, Budget);
type Allowances = BTreeMap<Funds, Allowance>;

impl Allowance {
    /// The starts of this look: those until the next one.
    fn of(account: &Account, now: Timestamp, ahead: Duration) -> Self {
        let soon = account.starts(now, now.plus(AHEAD));
        let later = account.starts(now, now.plus(ahead)).saturating_sub(soon);
        let next = |ahead| {
            if account.paused_until > now {
                account.paused_until
            } else {
                account.start(now, 0).minus(ahead)
            }
        };
        Self {
            pace: account.pace,
            starts: Starts { soon, later },
            next: next(ahead),
            next_soon: next(AHEAD),
        }
    }
}

fn funds(key: &QueueKey) -> Funds {
    (key.installation, key.budget)
}

impl Delivery {
    pub(super) async fn claim(self, stop: CancellationToken) {
        let delivery = self.clone();
        let mut claimer = Claimer {
            delivery,
            stop: stop.clone(),
            turns: JoinSet::new(),
            slots: self.slots(),
            served: HashMap::new(),
            claims: 0,
            rests: Rests::default(),
            held_up: Rests::default(),
            round: Round::default(),
            lookahead: Lookahead::default(),
        };
        let mut troubled = false;
        let rounds = self.watch("claim", self.inner.timing.poll);
        while !stop.is_cancelled() {
            rounds.next();
            let wait = match claimer.fill().await {
                Ok(wait) => {
                    troubled = false;
                    wait
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "lanes cannot be claimed; retrying");
                    }
                    troubled = true;
                    Some(self.pause_after(&error))
                }
            };
            // If all workers are busy, the end of a turn comes first.
            let due = tokio::time::sleep(wait.unwrap_or(self.inner.timing.poll).max(SHORTEST));
            tokio::select! {
                () = stop.cancelled() => {}
                // Its lane may be due, in a queue that the round has passed.
                Some(_) = claimer.turns.join_next() => claimer.round.again = true,
                () = claimer.slots.freed() => {}
                () = self.inner.store.lanes().woken().notified(), if !troubled => claimer.woken(),
                () = due => {}
            }
            // Turns that are about to end do so first: one claim for all of them.
            tokio::task::yield_now().await;
            while claimer.turns.try_join_next().is_some() {}
        }
        while claimer.turns.join_next().await.is_some() {}
    }
}

impl Claimer {
    /// Claims as many lanes as there are places. Returns the time until the next look: `None` if
    /// there is no place, so that the end of a turn comes first.
    async fn fill(&mut self) -> Result<Option<Duration>, store::Error> {
        if self.slots.are_full() {
            return Ok(None);
        }
        let began = Instant::now();
        let looked = self.look().await;
        if let Some(took) = self.round.looked(began.elapsed()) {
            self.lookahead = self.lookahead.after(took);
        }
        looked
    }

    /// One look, while there is a place; the rest as in [`Self::fill`].
    async fn look(&mut self) -> Result<Option<Duration>, store::Error> {
        let after = self.round.after.take();
        if after.is_none() {
            self.round = Round::default();
        }
        let queues = self.delivery.inner.store.lanes().queues(after.as_ref(), QUEUES).await?;
        self.round.after.clone_from(&queues.more_after);
        let allowances = self.allowances(&queues).await?;
        let mut starts = allowances.iter().map(|(funds, of)| (*funds, of.starts)).collect();
        for class in Class::ALL {
            let now = Instant::now();
            let of_class = queues.queues.iter().filter(|queue| queue.key.class == class);
            let mut due: Vec<&Queue> = of_class
                .filter(|queue| queue.next_at <= queues.now)
                .filter(|queue| self.left(&queue.key, now).is_zero())
                .collect();
            due.sort_by_key(|queue| self.served.get(&queue.key).copied().unwrap_or(0));
            let (slow, quick): (Vec<_>, Vec<_>) =
                due.into_iter().partition(|queue| self.slots.is_slow(queue.key.installation));
            for (apart, due) in [(false, quick), (true, slow)] {
                self.claim_class(class, apart, due, &allowances, &mut starts).await?;
            }
            if self.slots.are_full() {
                // The queues that were passed are looked at again when there is a place.
                self.round.again = true;
                return Ok(None);
            }
        }
        let next = Instant::now() + self.next_look(&queues, &allowances);
        let soonest = self.round.soonest.map_or(next, |soonest| soonest.min(next));
        self.round.soonest = Some(soonest);
        if self.round.after.is_some() || self.round.again {
            return Ok(Some(Duration::ZERO));
        }
        Ok(Some(soonest.saturating_duration_since(Instant::now())))
    }

    /// A message entered a lane.
    fn woken(&mut self) {
        self.rests.news();
        self.round.again = true;
    }

    /// Splits the free places of one kind over the queues of one class, then splits again the
    /// places that these queues left unused.
    async fn claim_class(
        &mut self,
        class: Class,
        apart: bool,
        mut due: Vec<&Queue>,
        allowances: &Allowances,
        starts: &mut HashMap<Funds, Starts>,
    ) -> Result<(), store::Error> {
        while !due.is_empty() {
            let given = self.give(class, apart, &due, starts);
            let mut left = Vec::new();
            for (queue, limit) in due.into_iter().zip(given) {
                // The next queue does not wait again for a row that was found locked.
                if limit == 0 || !self.left(&queue.key, Instant::now()).is_zero() {
                    continue;
                }
                let allowed = allowances.get(&funds(&queue.key)).filter(|_| class.posts());
                let claims = self.claim_some(&queue.key, limit, allowed.map(|of| of.pace)).await?;
                let claimed = u32::try_from(claims.len()).unwrap_or(u32::MAX);
                if let Some(starts) = starts.get_mut(&funds(&queue.key))
                    && class.posts()
                {
                    starts.take(claimed);
                }
                for claim in claims {
                    self.begin(claim, apart);
                }
                if claimed == limit {
                    left.push(queue);
                }
            }
            due = left;
        }
        Ok(())
    }

    /// The number of lanes that each queue may have now.
    fn give(
        &self,
        class: Class,
        apart: bool,
        due: &[&Queue],
        starts: &HashMap<Funds, Starts>,
    ) -> Vec<u32> {
        let of = |queue: &&Queue| queue.key.installation;
        let free = self.slots.free(apart, due.iter().map(of));
        let queues = due.iter().map(|queue| fairness::WaitingQueue {
            installation: queue.key.installation,
            tenant: &queue.key.tenant,
            budget: queue.key.budget,
        });
        // Pauses and budgets of messages do not hold back lanes that only read.
        let none = HashMap::new();
        let bounds = fairness::SplitBounds {
            free: free.places,
            cap: free.cap,
            busy: &free.busy,
            starts: if class.posts() { starts } else { &none },
            waits: free.waits,
            room: &free.room,
        };
        split(&queues.collect::<Vec<_>>(), &bounds)
    }

    async fn claim_some(
        &mut self,
        key: &QueueKey,
        limit: u32,
        pace: Option<Pace>,
    ) -> Result<Vec<LaneClaim>, store::Error> {
        let (inner, token) = (&self.delivery.inner, store::lease_token());
        self.claims += 1;
        if self.served.len() >= REMEMBERED {
            self.served.clear();
        }
        self.served.insert(key.clone(), self.claims);
        match inner.store.lanes().claim_queue(key, token, limit, inner.timing.lease, pace).await {
            Ok(claims) => {
                inner.metrics.lanes_claimed(claims.len() as u64);
                if pace.is_some() {
                    self.held_up.served(&funds(key));
                }
                if claims.is_empty() {
                    self.rests.in_vain(key, Instant::now(), rand::random());
                } else {
                    self.rests.served(key);
                }
                Ok(claims)
            }
            // Nothing was claimed.
            Err(store::Error::Locked(_)) => {
                self.held_up.in_vain(&funds(key), Instant::now(), rand::random());
                Ok(Vec::new())
            }
            Err(error) => {
                // The claim may have been committed: nothing else would touch its lanes until the
                // lease ended.
                tokio::spawn(self.delivery.clone().disclaim(key.clone(), token));
                Err(error)
            }
        }
    }

    fn begin(&mut self, claim: LaneClaim, apart: bool) {
        let early = claim.start.is_some_and(|start| start.at.since(claim.now) > AHEAD);
        let slot = self.slots.take(&claim.tenant, claim.installation, apart, early);
        let (delivery, stop) = (self.delivery.clone(), self.stop.clone());
        self.turns.spawn(async move {
            let turn = Box::pin(delivery.clone().turn(claim.clone(), &slot, stop));
            if AssertUnwindSafe(turn).catch_unwind().await.is_err() {
                tracing::error!(workspace = %claim.installation, "a worker panicked");
                delivery.panicked(&claim).await;
            }
            drop(slot);
        });
    }

    /// The state of each budget that a queue waits for.
    async fn allowances(&mut self, queues: &Queues) -> Result<Allowances, store::Error> {
        let now = queues.now;
        let mut allowances = BTreeMap::new();
        for queue in queues.queues.iter().filter(|queue| queue.key.class.posts()) {
            let funds = funds(&queue.key);
            if allowances.contains_key(&funds) {
                continue;
            }
            if queue.next_at <= now && self.held_up.left(&funds, Instant::now()).is_zero() {
                match self.prepare(queue, now).await {
                    Err(store::Error::Locked(_)) => {
                        self.held_up.in_vain(&funds, Instant::now(), rand::random());
                    }
                    prepared => prepared?,
                }
            }
            let (posting, booked) = (queue.posting.as_ref(), queue.booked);
            let account = self.delivery.inner.workspaces.account(funds.1, posting, booked);
            allowances.insert(funds, Allowance::of(&account, now, self.lookahead.time()));
        }
        Ok(allowances)
    }

    /// Prepares a budget before a start is taken from it: posts are counted by the minute, changes
    /// have a row.
    async fn prepare(&self, queue: &Queue, now: Timestamp) -> Result<(), store::Error> {
        let (inner, id) = (&self.delivery.inner, queue.key.installation);
        match queue.key.budget {
            Budget::Posts => {
                match inner.workspaces.count_minute(id, queue.posting.as_ref(), now).await {
                    Ok(()) => Ok(()),
                    Err(workspace::Error::Store(error)) => Err(error),
                    Err(error) => {
                        tracing::warn!(workspace = %id, %error, "recent posts were not counted");
                        Ok(())
                    }
                }
            }
            budget if queue.booked.is_none() => inner.store.budgets().open(id, budget).await,
            Budget::Updates | Budget::Deletions => Ok(()),
        }
    }

    /// How long a queue is left untouched from now on.
    fn left(&self, key: &QueueKey, now: Instant) -> Duration {
        let rest = self.rests.left(key, now);
        // Lanes that do not post take nothing from an account.
        if key.class.posts() { rest.max(self.held_up.left(&funds(key), now)) } else { rest }
    }

    /// The time until something may be claimed, as far as is known.
    fn next_look(&self, queues: &Queues, allowances: &Allowances) -> Duration {
        let at = |queue: &Queue| {
            let allowed = allowances.get(&funds(&queue.key)).filter(|_| queue.key.class.posts());
            let may_wait = self.slots.may_wait(queue.key.installation);
            let next = allowed.map(|of| if may_wait { of.next } else { of.next_soon });
            queue.next_at.max(next.unwrap_or(Timestamp(0)))
        };
        let (poll, now) = (self.delivery.inner.timing.poll, Instant::now());
        queues
            .queues
            .iter()
            // A queue without a free place waits for the end of a turn.
            .filter(|queue| self.slots.has_room(&queue.key.tenant, queue.key.installation))
            .map(|queue| at(queue).since(queues.now).max(self.left(&queue.key, now)))
            .min()
            .map_or(poll, |next| next.min(poll))
    }
}
