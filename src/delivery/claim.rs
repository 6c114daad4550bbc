//! The claim loop: lanes that are due, each given one turn, in fair order.
//!
//! It wakes when this process accepted something, when a turn ends, when the next lane is due or its
//! workspace may post again, and at the poll interval for what other replicas accepted. Turns end by
//! releasing their lane, so a long lane is claimed once a message and never keeps a worker from the
//! others.
//!
//! Fair: more urgent lanes first; among those that are equally urgent the tenants take turns, and
//! none holds more than its share of the workers. Posts and changes of a workspace have budgets of their
//! own: where one is paused or spent, all that waits for it is passed over.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::domain::budget::Budget;
use crate::domain::fairness::{self, split};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::pacing::{Account, Pace};
use crate::domain::priority::Class;
use crate::domain::time::Timestamp;
use crate::store::{self, LaneClaim, Queue, QueueKey, Queues};
use crate::workspace;

/// Where the clock of the database is coarser than ours, a lane may be due a moment later than it
/// said: looked again not sooner than this.
const SHORTEST: Duration = Duration::from_millis(1);
/// Lanes are claimed so long before their request may start: the checks are done meanwhile, and a start
/// is not lost to a loop that was late.
const AHEAD: Duration = Duration::from_millis(100);
/// Queues looked at in one round; the next round goes on behind them.
const QUEUES: u32 = 500;
/// Queues of which it is remembered when they were served last.
const REMEMBERED: usize = 10_000;

/// What the loop knows from round to round.
struct Claimer {
    delivery: Delivery,
    stop: CancellationToken,
    turns: JoinSet<TenantId>,
    /// Workers that each tenant keeps busy.
    busy: HashMap<TenantId, usize>,
    /// When each queue was served last, counted in claims.
    served: HashMap<QueueKey, u64>,
    claims: u64,
    /// Where the next round begins to look.
    after: Option<QueueKey>,
}

/// What a budget of a workspace has now.
struct Allowance {
    pace: Pace,
    starts: u32,
    /// When there is another start, where there is none now.
    next: Timestamp,
}

/// By workspace and budget.
type Allowances = BTreeMap<(InstallationId, Budget), Allowance>;

impl Allowance {
    fn of(account: &Account, now: Timestamp) -> Self {
        Self {
            pace: account.pace,
            starts: account.starts(now, now.plus(AHEAD)),
            next: if account.paused_until > now {
                account.paused_until
            } else {
                account.start(now, 0).minus(AHEAD)
            },
        }
    }
}

fn funds(key: &QueueKey) -> (InstallationId, Budget) {
    (key.installation, key.budget)
}

impl Delivery {
    pub(super) async fn claim(self, stop: CancellationToken) {
        let delivery = self.clone();
        let mut claimer = Claimer {
            delivery,
            stop: stop.clone(),
            turns: JoinSet::new(),
            busy: HashMap::new(),
            served: HashMap::new(),
            claims: 0,
            after: None,
        };
        let mut troubled = false;
        while !stop.is_cancelled() {
            let wait = match claimer.fill().await {
                Ok(wait) => {
                    troubled = false;
                    wait
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "lanes cannot be claimed; trying on");
                    }
                    troubled = true;
                    Some(self.pause_after(&error))
                }
            };
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait.max(SHORTEST)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = claimer.turns.join_next() => claimer.ended(ended),
                () = self.inner.store.lanes_woken().notified(), if !troubled => {}
                () = due => {}
            }
            // Turns that are about to end do so first: one claim for all of them.
            tokio::task::yield_now().await;
            while let Some(ended) = claimer.turns.try_join_next() {
                claimer.ended(ended);
            }
        }
        while let Some(ended) = claimer.turns.join_next().await {
            claimer.ended(ended);
        }
    }
}

impl Claimer {
    /// Claims as many lanes as there are free workers. Answers when to look again: `None` where
    /// every worker is busy, so that the end of a turn comes first.
    async fn fill(&mut self) -> Result<Option<Duration>, store::Error> {
        if self.free() == 0 {
            return Ok(None);
        }
        let after = self.after.take();
        let queues = self.delivery.inner.store.queues(after.as_ref(), QUEUES).await?;
        self.after.clone_from(&queues.more_after);
        let allowances = self.allowances(&queues).await?;
        let mut starts = allowances.iter().map(|(funds, of)| (*funds, of.starts)).collect();
        for class in Class::ALL {
            let of_class = queues.queues.iter().filter(|queue| queue.key.class == class);
            let mut due: Vec<&Queue> =
                of_class.filter(|queue| queue.next_at <= queues.now).collect();
            due.sort_by_key(|queue| self.served.get(&queue.key).copied().unwrap_or(0));
            self.claim_class(class, due, &allowances, &mut starts).await?;
            if self.free() == 0 {
                return Ok(None);
            }
        }
        if self.after.is_some() {
            return Ok(Some(Duration::ZERO));
        }
        Ok(Some(self.next_look(&queues, &allowances)))
    }

    /// Splits the free workers over the queues of one class, and what they leave once more.
    async fn claim_class(
        &mut self,
        class: Class,
        mut due: Vec<&Queue>,
        allowances: &Allowances,
        starts: &mut HashMap<(InstallationId, Budget), u32>,
    ) -> Result<(), store::Error> {
        let cap = self.delivery.inner.tenant_cap;
        while !due.is_empty() && self.free() > 0 {
            let queues: Vec<_> = due
                .iter()
                .map(|queue| fairness::Queue {
                    installation: queue.key.installation,
                    tenant: &queue.key.tenant,
                    budget: queue.key.budget,
                })
                .collect();
            // No pause and no budget of messages holds back who only reads.
            let none = HashMap::new();
            let limits = if class.posts() { &*starts } else { &none };
            let given = split(&queues, self.free(), cap, &self.busy, limits);
            let mut left = Vec::new();
            for (queue, limit) in due.into_iter().zip(given) {
                if limit == 0 {
                    continue;
                }
                let allowed = allowances.get(&funds(&queue.key)).filter(|_| class.posts());
                let claims = self.claim_some(&queue.key, limit, allowed.map(|of| of.pace)).await?;
                let claimed = u32::try_from(claims.len()).unwrap_or(u32::MAX);
                if let Some(starts) = starts.get_mut(&funds(&queue.key))
                    && class.posts()
                {
                    *starts = starts.saturating_sub(claimed);
                }
                for claim in claims {
                    self.begin(claim);
                }
                if claimed == limit {
                    left.push(queue);
                }
            }
            due = left;
        }
        Ok(())
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
        match inner.store.claim_queue(key, token, limit, inner.timing.lease, pace).await {
            Ok(claims) => {
                inner.metrics.lanes_claimed(claims.len() as u64);
                Ok(claims)
            }
            Err(error) => {
                // The claim may have been committed: nobody else would touch its lanes until the
                // lease ended.
                tokio::spawn(self.delivery.clone().disclaim(key.clone(), token));
                Err(error)
            }
        }
    }

    fn begin(&mut self, claim: LaneClaim) {
        *self.busy.entry(claim.tenant.clone()).or_default() += 1;
        let (delivery, stop, tenant) =
            (self.delivery.clone(), self.stop.clone(), claim.tenant.clone());
        self.turns.spawn(async move {
            let turn = AssertUnwindSafe(delivery.clone().turn(claim.clone(), stop)).catch_unwind();
            if turn.await.is_err() {
                tracing::error!(workspace = %claim.installation, "a worker panicked");
                delivery.panicked(&claim).await;
            }
            tenant
        });
    }

    fn ended(&mut self, ended: Result<TenantId, JoinError>) {
        let Ok(tenant) = ended else { return };
        if let Some(busy) = self.busy.get_mut(&tenant) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&tenant);
            }
        }
    }

    fn free(&self) -> usize {
        self.delivery.inner.workers.saturating_sub(self.turns.len())
    }

    /// What each budget has that somebody waits for.
    async fn allowances(&self, queues: &Queues) -> Result<Allowances, store::Error> {
        let now = queues.now;
        let mut allowances = BTreeMap::new();
        for queue in queues.queues.iter().filter(|queue| queue.key.class.posts()) {
            let funds = funds(&queue.key);
            if allowances.contains_key(&funds) {
                continue;
            }
            if queue.next_at <= now {
                self.prepare(queue, now).await?;
            }
            let (posting, booked) = (queue.posting.as_ref(), queue.booked);
            let account = self.delivery.inner.workspaces.account(funds.1, posting, booked);
            allowances.insert(funds, Allowance::of(&account, now));
        }
        Ok(allowances)
    }

    /// Before something is taken from a budget: posts are counted by the minute, changes have a row.
    async fn prepare(&self, queue: &Queue, now: Timestamp) -> Result<(), store::Error> {
        let (inner, id) = (&self.delivery.inner, queue.key.installation);
        match queue.key.budget {
            Budget::Posts => {
                match inner.workspaces.count_minute(id, queue.posting.as_ref(), now).await {
                    Ok(()) => Ok(()),
                    Err(workspace::Error::Store(error)) => Err(error),
                    Err(error) => {
                        tracing::warn!(workspace = %id, %error, "posts are not counted");
                        Ok(())
                    }
                }
            }
            budget if queue.booked.is_none() => inner.store.open_budget(id, budget).await,
            Budget::Updates | Budget::Deletions => Ok(()),
        }
    }

    /// How long nothing can be claimed, as far as is known.
    fn next_look(&self, queues: &Queues, allowances: &Allowances) -> Duration {
        let at = |queue: &Queue| {
            let allowed = allowances.get(&funds(&queue.key));
            let next = allowed.map(|of| of.next).filter(|_| queue.key.class.posts());
            queue.next_at.max(next.unwrap_or(Timestamp(0)))
        };
        let cap = self.delivery.inner.tenant_cap;
        let poll = self.delivery.inner.timing.poll;
        queues
            .queues
            .iter()
            // Whose share is used up waits for the end of a turn of its own.
            .filter(|queue| self.busy.get(&queue.key.tenant).is_none_or(|busy| *busy < cap))
            .map(|queue| at(queue).since(queues.now))
            .min()
            .map_or(poll, |next| next.min(poll))
    }
}
