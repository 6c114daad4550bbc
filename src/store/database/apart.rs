//! Calls held up by a locked row, run apart from the shared batches (`group`).
//!
//! A frozen replica keeps its transaction's row locks until PostgreSQL ends the transaction. A
//! batch waits for a row only briefly (`Patience::Shared`). After that, each of its calls is tried
//! separately here: briefly first, since most calls are not held up at all, and then for longer. A
//! tenant whose call did not get through stays apart for a while, so that its retries do not hold
//! up the next batches.
//!
//! Only a few calls run at a time, per tenant and in total: each holds a connection while it waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Value};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::sql::{self, Row};
use super::transaction::Patience;
use crate::domain::ids::TenantId;
use crate::store::{Error, Store};

/// How long a tenant stays apart after a row was locked for longer than [`Patience::Brief`]: longer
/// than a frozen transaction is allowed to live.
const STAYS: Duration = Duration::from_secs(10);
/// The longest wait for a turn. After it the call is refused, and its caller retries.
const LONGEST: Duration = Duration::from_secs(3);
/// Tenants that are remembered. Beyond this number, tenants that are not apart and have no call
/// running are forgotten.
const TENANTS: usize = 1_000;
/// Brief attempts, and likewise long attempts, of one tenant at the same time.
const OF_A_TENANT: usize = 2;

pub(in crate::store) struct Apart {
    tenants: Mutex<HashMap<TenantId, Tenant>>,
    brief: Semaphore,
    long: Semaphore,
}

#[derive(Clone)]
struct Tenant {
    brief: Arc<Semaphore>,
    long: Arc<Semaphore>,
    /// Until then its calls join no batch.
    apart_until: Option<Instant>,
}

impl Tenant {
    fn new() -> Self {
        let turns = || Arc::new(Semaphore::new(OF_A_TENANT));
        Self { brief: turns(), long: turns(), apart_until: None }
    }

    fn is_apart(&self, now: Instant) -> bool {
        self.apart_until.is_some_and(|until| until > now)
    }
}

impl Apart {
    /// A quarter of the connections may be held up briefly, and another quarter for long.
    pub(in crate::store) fn new(connections: u32) -> Self {
        let quarter = usize::try_from(connections / 4).unwrap_or(1).max(1);
        let turns = || Semaphore::new(quarter);
        Self { tenants: Mutex::default(), brief: turns(), long: turns() }
    }

    /// Whether the tenant's calls must stay out of batches for now.
    pub(in crate::store) fn is_apart(&self, tenant: &TenantId) -> bool {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).is_some_and(|tenant| tenant.is_apart(Instant::now()))
    }

    /// Runs one call's work by itself. [`Error::Locked`]: the row stayed locked, or no turn came
    /// free.
    pub(in crate::store) async fn run<T, W>(
        &self,
        tenant: &TenantId,
        work: impl Fn(Patience) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>>,
    {
        let turns = self.turns(tenant);
        for (own, of_all, patience) in [
            (&turns.brief, &self.brief, Patience::Brief),
            (&turns.long, &self.long, Patience::Long),
        ] {
            // The tenant's own turn first, so that a tenant that is held up takes no turn from
            // others.
            let turn = async { (own.acquire().await, of_all.acquire().await) };
            let Ok(_turn) = timeout(LONGEST, turn).await else { break };
            match work(patience).await {
                Err(Error::Locked(_)) => self.stays_apart(tenant),
                outcome => return outcome,
            }
        }
        Err(Error::Locked("a call waited for it for the longest time allowed".into()))
    }

    /// A long turn, for work that waits for rows with [`Patience::Long`]. Held until dropped.
    pub(in crate::store) async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        let closed = |_| Error::Bug("turns are no longer given".into());
        self.long.acquire().await.map_err(closed)
    }

    fn turns(&self, tenant: &TenantId) -> Tenant {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= TENANTS {
            let now = Instant::now();
            tenants.retain(|_, tenant| {
                tenant.is_apart(now)
                    || Arc::strong_count(&tenant.brief) + Arc::strong_count(&tenant.long) > 2
            });
        }
        tenants.entry(tenant.clone()).or_insert_with(Tenant::new).clone()
    }

    fn stays_apart(&self, tenant: &TenantId) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = tenants.entry(tenant.clone()).or_insert_with(Tenant::new);
        tenant.apart_until = Some(Instant::now() + STAYS);
    }
}

impl Store {
    /// Runs work that must not be given up if a row is locked: with this patience at first, and
    /// then as one of the few calls that may wait long.
    pub(in crate::store) async fn patiently<T, W, F>(
        &self,
        first: Patience,
        work: F,
    ) -> Result<T, Error>
    where
        F: Fn(Patience) -> W,
        W: Future<Output = Result<T, Error>>,
    {
        match work(first).await {
            Err(Error::Locked(_)) => {}
            done => return done,
        }
        let _turn = self.inner.apart.turn().await?;
        work(Patience::Long).await
    }

    /// Runs one statement that must not be given up if its row is locked ([`Store::patiently`]).
    /// `text` makes the statement, which reads from the clock that it is given.
    pub(in crate::store) async fn insist(
        &self,
        text: impl Fn(&str) -> String,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        let backend = self.writer().get_database_backend();
        let work = |patience: Patience| {
            let (text, values) = (text(&patience.clock(backend)), values.clone());
            async move { sql::all(self.writer(), &text, values).await }
        };
        self.patiently(Patience::Shared, work).await
    }
}
