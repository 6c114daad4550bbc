//! The store: everything that must survive a crash, in PostgreSQL or in one SQLite file.
//!
//! One [`Store`], concrete; entities and SQL stay in here. One file per aggregate. Times are the
//! database's ([`Store::now`]), so that replicas with wrong clocks agree. What is secret or
//! personal is sealed before it is written (`seal`).
//!
//! Reading order: `connection` (pools), `transaction`, `sql`, `migrate`, `seal`, then the aggregates.

mod accept;
mod budgets;
mod cancel;
mod census;
mod claim;
mod config;
mod connect;
mod connection;
mod conversations;
mod crawl;
mod deferred;
mod deliveries;
mod directory;
mod entity;
mod erase;
mod error;
mod events;
mod facts;
mod failed;
mod feed;
mod field_pass;
mod fields;
mod group;
mod held;
mod hints;
mod history;
mod installations;
mod intend;
mod kek;
mod lanes;
mod listing;
mod merge;
mod migrate;
mod notifications;
mod outlook;
mod people;
mod posting;
mod preferences;
mod publish;
mod queue;
mod replay;
mod resolving;
mod retention;
mod rows;
mod seal;
mod settle;
mod sharers;
mod sql;
mod subjects;
mod tenants;
mod transaction;

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

use crate::domain::ids::{DeliveryId, InstallationId, TenantId};
use crate::domain::time::Timestamp;

pub use accept::{Accept, Accepted, End, NewDelivery, Target};
pub use budgets::{Booked, Reservation};
pub use cancel::Canceled;
pub use census::DirectoryCensus;
pub use claim::{Head, LaneClaim, lease_token};
pub use config::Config;
pub use connect::{ConnectAttempt, ConnectOutcome, ConnectStatus, TakenConnect};
pub use connection::Backend;
pub use crawl::{Checkpoint, CrawlLease, CrawledPage, Saved};
pub use deliveries::{AttemptRecord, DeliveryRecord, Kind};
pub use directory::{
    CrawlProgress, DirectoryChange, DirectoryPointer, DirectoryState, PendingShrink,
};
pub use erase::{Erased, Redact, Redacted};
pub use error::Error;
pub use events::{ClaimedEvent, EventDone, NewEvent};
pub use facts::{PeopleFacts, TenantFacts};
pub use failed::{FailedFilter, FailedPage, FailedPosition};
pub use feed::{DeliveryChange, FeedExtent};
pub use field_pass::{FieldsEnd, FieldsLease, FieldsProgress};
pub use fields::{FieldsRow, MemberFields};
pub use held::HeldSweep;
pub use hints::Hint;
pub use installations::{Installation, InstallationState, NewInstallation, Token};
pub use intend::RecoverOutcome;
pub use lanes::Backlog;
pub use listing::{
    NotificationFilter, NotificationPage, NotificationPosition, NotificationSummary,
};
pub use merge::{Basis, MemberChange, Merged, Settlement};
pub use migrate::SchemaStatus;
pub use notifications::NotificationRecord;
pub use outlook::Outlook;
pub use people::StoredPerson;
pub use posting::{Posting, Throttled};
pub use publish::Resume;
pub use queue::{Queue, QueueKey, Queues};
pub use replay::{Replay, ReplayOutcome, Replayed, Skip, Which};
pub use resolving::{Resolved, Resolving};
pub use retention::{IDEMPOTENCY, OutboxHealth};
pub use settle::{Acted, Note, Pace, Settle, WaitScope};
pub use subjects::{About, SubjectConversation};

/// Ended deliveries that a slow receiver may fall behind.
const ENDED_KEPT: usize = 1024;

/// A handle on the store. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    connections: connection::Connections,
    keyring: seal::Keyring,
    lanes_woken: Notify,
    events_taken: Notify,
    deliveries_ended: broadcast::Sender<DeliveryId>,
    feed: feed::FeedSignals,
    hints: hints::Hints,
    /// Calls of Notify that share transactions.
    accepting: group::Group<accept::Call, Result<accept::Stored, Error>>,
    /// Turns that share transactions: before their requests, and after.
    intending: group::Group<intend::batch::Intention, intend::batch::Intended>,
    ending: group::Group<settle::batch::Sent, settle::batch::Ended>,
    /// Calls that share readings.
    reading_tenants: group::Group<TenantId, facts::Tenants>,
    reading_people: group::Group<facts::Asked, Result<facts::Rows, Error>>,
    reading_heads: group::Group<LaneClaim, claim::HeadRow>,
    reading_tokens: group::Group<InstallationId, Result<installations::SealedToken, Error>>,
}

impl Store {
    /// Connects and loads the key-encryption key; where the schema exists, proves that the key is
    /// the one the data was sealed with. Changes no schema: that is [`Store::migrate`].
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let connections = connection::Connections::open(config).await?;
        let in_use = seal::in_use(connections.reader()).await?;
        let kek = kek::load(config, connections.backend(), in_use)?;
        let keyring = seal::Keyring::new(kek);
        let backend = connections.backend();
        let store = Self {
            inner: Arc::new(Inner {
                connections,
                keyring,
                lanes_woken: Notify::new(),
                events_taken: Notify::new(),
                deliveries_ended: broadcast::Sender::new(ENDED_KEPT),
                feed: feed::FeedSignals::new(),
                hints: hints::Hints::new(),
                accepting: group::Group::new(accept::bounds(backend)),
                intending: group::Group::new(intend::batch::bounds(backend)),
                ending: group::Group::new(settle::batch::bounds(backend)),
                reading_tenants: group::Group::new(facts::bounds()),
                reading_people: group::Group::new(facts::bounds()),
                reading_heads: group::Group::new(facts::bounds()),
                reading_tokens: group::Group::new(facts::bounds()),
            }),
        };
        if in_use {
            store.verify_key().await?;
        }
        Ok(store)
    }

    pub fn backend(&self) -> Backend {
        self.inner.connections.backend()
    }

    /// The database's time.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let row = sql::one(self.reader(), "SELECT {now}", Vec::new()).await?;
        let row = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?;
        Ok(Timestamp(row.get(0)?))
    }

    /// Told after a commit that gave lanes work. A hint within this process; other replicas poll.
    pub fn lanes_woken(&self) -> &Notify {
        &self.inner.lanes_woken
    }

    /// Told after a commit that took an event of Slack's. A hint within this process; other replicas
    /// poll.
    pub fn events_taken(&self) -> &Notify {
        &self.inner.events_taken
    }

    /// Deliveries that ended by this process, for who waits for one. A hint: other replicas end
    /// deliveries too, and a receiver that lags misses some, so look at the row now and then.
    pub fn deliveries_ended(&self) -> broadcast::Receiver<DeliveryId> {
        self.inner.deliveries_ended.subscribe()
    }

    /// Tells this process's claimers that lanes have work; kept for one that is busy just now.
    fn wake(&self) {
        self.inner.lanes_woken.notify_one();
    }

    fn delivery_ended(&self, delivery: DeliveryId) {
        self.changed();
        // Nobody may be waiting.
        self.inner.deliveries_ended.send(delivery).ok();
    }

    /// Closes all connections, after those in use have been returned.
    pub async fn close(&self) {
        self.inner.connections.close().await;
    }

    /// For statements outside a transaction that read. SQLite: sees the last commit and refuses
    /// to write; while this task holds a transaction it may still be used.
    pub(in crate::store) fn reader(&self) -> &connection::Reader {
        self.inner.connections.reader()
    }

    /// For single statements that write. On SQLite this is the one writer: never while this task
    /// holds a transaction.
    pub(in crate::store) fn writer(&self) -> &sea_orm::DatabaseConnection {
        self.inner.connections.writer()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).finish_non_exhaustive()
    }
}

/// A new UUIDv7 whose time is the database's.
pub(in crate::store) fn new_uuid(now: Timestamp) -> uuid::Uuid {
    let millis = u64::try_from(now.0 / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}
