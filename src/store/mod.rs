//! The store: everything that must survive a crash, in PostgreSQL or in one SQLite file.
//!
//! One concrete [`Store`]; entities and SQL stay in this module. One file per aggregate. Times are
//! the database's ([`Store::now`]), so that replicas with wrong clocks agree. Secret and personal
//! values are encrypted before they are written (`seal`).
//!
//! Reading order: `connection`, `pool` and `postgres`, `transaction`, `sql`, `migrate`, `seal`,
//! then the aggregates.

mod accept;
mod apart;
mod api_keys;
mod audit;
mod backend;
mod backlog;
mod budgets;
mod cancel;
mod cipher;
mod claim;
mod clock;
mod config;
mod connect;
mod connection;
mod conversations;
mod crawl;
mod deferred;
mod deliveries;
mod directory;
mod entity;
mod era;
mod erase;
mod error;
mod events;
mod exclusive;
mod failed;
mod feed;
mod field_pass;
mod fields;
mod group;
mod held;
mod hints;
mod history;
mod idle;
mod installations;
mod intend;
mod kek;
mod lanes;
mod listing;
mod merge;
mod migrate;
mod new;
mod notifications;
mod order;
mod people;
mod person_keys;
#[cfg(test)]
mod plans;
mod pool;
mod postgres;
mod posting;
mod preferences;
mod protection;
mod publish;
mod pulse;
mod queue;
mod recovery;
mod replay;
mod resolving;
mod retention;
mod rotate;
mod rows;
mod seal;
mod session;
mod settle;
mod shared_reads;
mod sharers;
mod sql;
mod statistics;
mod subjects;
mod tenants;
mod tidy;
mod transaction;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::domain::ids::{DeliveryId, InstallationId, TenantId};
use crate::domain::time::Timestamp;

pub use crate::domain::delivery::{Acted, End, Kind, Settle, WaitScope};
pub use accept::{Accepted, Before};
pub use api_keys::{
    ApiKeyMade, ApiKeyPage, ApiKeyPosition, ApiKeysState, KnownApiKey, ListedApiKey, NewApiKey,
};
pub use audit::{AuditFilter, AuditPage, AuditPosition, Verified};
pub use backend::Backend;
pub use backlog::WorkspaceBacklog;
pub use budgets::{Booked, Reservation};
pub use cancel::Canceled;
pub use claim::{Head, LaneClaim, lease_token};
pub use config::{Config, Pooler};
pub use connect::{
    ConnectAttempt, ConnectCompletion, ConnectGrant, ConnectOutcome, ConnectStatus, TakenConnect,
};
pub use crawl::{Checkpoint, CrawlLease, CrawledPage, Saved};
pub use deliveries::{AttemptRecord, DeliveryRecord};
pub use directory::{
    CrawlProgress, DirectoryChange, DirectoryPointer, DirectoryState, PendingShrink,
};
pub use erase::{Erased, Redact, Redacted};
pub use error::Error;
pub use events::{ClaimedEvent, EventDone, NewEvent};
pub use exclusive::Exclusive;
pub use failed::{FailedFilter, FailedPage, FailedPosition};
pub use feed::{ChangePage, DeliveryChange, FeedExtent, FeedReach, FeedWatcher};
pub use field_pass::{FieldsEnd, FieldsLease, FieldsProgress};
pub use fields::{FieldsRow, MemberFields};
pub use held::HeldSweep;
pub use hints::Hint;
pub use idle::LaneKey;
pub use installations::{Installation, InstallationState, NewInstallation, Token};
pub use intend::RecoverOutcome;
pub use lanes::Backlog;
pub use listing::{
    NotificationFilter, NotificationPage, NotificationPosition, NotificationSummary,
};
pub use merge::{ListBasis, MemberChange, Merged, Settlement};
pub use migrate::SchemaStatus;
pub use new::{About, Accept, NewDelivery, Target};
pub use notifications::NotificationRecord;
pub use people::StoredPerson;
pub use posting::{Posting, Throttled};
pub use protection::Protection;
pub use publish::Resume;
pub use queue::{Queue, QueueKey, QueuePlace, Queues};
pub use recovery::Recovery;
pub use replay::{Replay, ReplayOutcome, ReplaySelection, Replayed, SkipReason};
pub use resolving::{Resolved, Resolving};
pub use retention::{IDEMPOTENCY, OutboxHealth};
pub use rotate::Rotated;
pub use settle::{DeliveryTrace, Pace, SettleContext};
pub use shared_reads::{PeopleFacts, TenantFacts};
pub use statistics::DirectoryStatistics;
pub use subjects::SubjectConversation;

/// Ended deliveries that a slow receiver may fall behind.
const ENDED_KEPT: usize = 1024;

/// A handle on the store. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Written with the next change that this handle makes ([`Store::noting`]).
    notes: Arc<[audit::Prepared]>,
}

struct Inner {
    connections: connection::Connections,
    keyring: seal::Keyring,
    person_keys: person_keys::PersonKeys,
    lanes_woken: Notify,
    events_taken: Notify,
    deliveries_ended: broadcast::Sender<DeliveryId>,
    feed: feed::FeedSignals,
    hints: hints::Hints,
    unreadable: unread::Unreadable,
    /// Notify calls that share transactions.
    accepting: group::Group<TenantId, accept::Call, accept::Outcome>,
    /// Sends that share transactions: the intent before the request, and the settlement after it.
    intending: group::Group<TenantId, intend::batch::Intention, intend::batch::Intended>,
    ending: group::Group<TenantId, settle::batch::Sent, settle::batch::Ended>,
    /// Calls held up by a locked row, apart from the shared transactions.
    apart: apart::Apart,
    /// Calls that share reads.
    reading_tenants: group::Group<TenantId, TenantId, shared_reads::Tenants>,
    reading_people: group::Group<TenantId, shared_reads::Asked, Result<shared_reads::Rows, Error>>,
    reading_heads: group::Group<TenantId, LaneClaim, claim::HeadRow>,
    reading_tokens:
        group::Group<InstallationId, InstallationId, Result<installations::SealedToken, Error>>,
    /// Notified after a commit that wrote to the audit trail.
    audited: Notify,
    untidy: tidy::Untidy,
}

impl Store {
    /// Connects and loads the key-encryption key. If the schema exists, proves that the key is the
    /// one that the data was encrypted with. Does not change the schema: that is
    /// [`Store::migrate`].
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let connections = connection::Connections::open(config).await?;
        let in_use = seal::in_use(connections.reader()).await?;
        let keks = kek::keks(config, connections.backend(), in_use)?;
        let keyring = seal::Keyring::new(keks);
        let backend = connections.backend();
        let store = Self {
            inner: Arc::new(Inner {
                connections,
                keyring,
                person_keys: person_keys::PersonKeys::new(backend),
                lanes_woken: Notify::new(),
                events_taken: Notify::new(),
                deliveries_ended: broadcast::Sender::new(ENDED_KEPT),
                feed: feed::FeedSignals::new(),
                hints: hints::Hints::new(),
                unreadable: unread::Unreadable::default(),
                accepting: group::Group::new(accept::bounds(backend)),
                intending: group::Group::new(intend::batch::bounds(backend)),
                ending: group::Group::new(settle::batch::bounds(backend)),
                apart: apart::Apart::new(config.max_connections),
                reading_tenants: group::Group::new(shared_reads::bounds()),
                reading_people: group::Group::new(shared_reads::bounds()),
                reading_heads: group::Group::new(shared_reads::bounds()),
                reading_tokens: group::Group::new(shared_reads::bounds()),
                audited: Notify::new(),
                untidy: tidy::Untidy::default(),
            }),
            notes: Arc::default(),
        };
        if in_use {
            store.verify_key().await?;
        }
        Ok(store)
    }

    pub fn backend(&self) -> Backend {
        self.inner.connections.backend()
    }

    /// How the connections to PostgreSQL are protected; `None`: SQLite, a file.
    pub fn protection(&self) -> Option<Protection> {
        self.inner.connections.protection()
    }

    /// The same for connections that bypass a pooler; `None` without `store.direct_url`.
    pub fn direct_protection(&self) -> Option<Protection> {
        self.inner.connections.direct_protection()
    }

    /// The database's time.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let row = sql::one(self.reader(), "SELECT {now}", Vec::new()).await?;
        let row = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?;
        Ok(Timestamp(row.get(0)?))
    }

    /// Whether the database answers within `patience`: it answers a query of this call or, if no
    /// connection is free for that, any other call's. It may also report, over a new connection,
    /// that it is working for the others, which wait for rows: a busy database is not down.
    pub async fn answers(&self, patience: Duration) -> bool {
        let connections = &self.inner.connections;
        let in_the_pool = async {
            match self.now().await {
                Ok(_) => true,
                Err(Error::Busy) => std::future::pending().await,
                Err(_) => false,
            }
        };
        let apart = async {
            tokio::time::sleep(patience / 2).await;
            if !connections.is_at_work().await {
                std::future::pending::<()>().await;
            }
        };
        let answered = async {
            tokio::select! {
                answered = in_the_pool => answered,
                () = apart => true,
            }
        };
        let answered = tokio::time::timeout(patience, answered).await;
        answered.unwrap_or_else(|_| connections.pulse().felt_within(patience))
    }

    /// Notified after a commit that gave lanes work. A hint within this process; other replicas
    /// poll.
    pub fn lanes_woken(&self) -> &Notify {
        &self.inner.lanes_woken
    }

    /// Notified after a commit that stored an event from Slack. A hint within this process; other
    /// replicas poll.
    pub fn events_taken(&self) -> &Notify {
        &self.inner.events_taken
    }

    /// Deliveries that this process ended, for calls that wait for one. A hint: other replicas end
    /// deliveries too, and a receiver that lags misses some, so also read the row at intervals.
    pub fn deliveries_ended(&self) -> broadcast::Receiver<DeliveryId> {
        self.inner.deliveries_ended.subscribe()
    }

    /// Wakes this process's claimers because lanes have work; the wake-up is kept for a busy one.
    fn wake(&self) {
        self.inner.lanes_woken.notify_one();
    }

    fn delivery_ended(&self, delivery: DeliveryId) {
        self.changed();
        // There may be no receiver.
        self.inner.deliveries_ended.send(delivery).ok();
    }

    /// Closes all connections, after those in use have been returned.
    pub async fn close(&self) {
        self.inner.connections.close().await;
    }

    /// For read statements outside a transaction. SQLite: it sees the last commit and refuses to
    /// write; it may be used even while this task holds a transaction.
    pub(in crate::store) fn reader(&self) -> &pool::Reader {
        self.inner.connections.reader()
    }

    /// For single write statements. On SQLite this is the only writer: never use it while this task
    /// holds a transaction.
    pub(in crate::store) fn writer(&self) -> &pool::Pool {
        self.inner.connections.writer()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).finish_non_exhaustive()
    }
}

/// A new UUIDv7 with the database's time.
pub(in crate::store) fn new_uuid(now: Timestamp) -> uuid::Uuid {
    let millis = u64::try_from(now.0 / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}
