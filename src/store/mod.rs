//! The store: everything that must survive a crash, in PostgreSQL or in one SQLite file.
//!
//! One concrete [`Store`]; entities and SQL stay in this module. Times are the database's
//! ([`Store::now`]), so that replicas with wrong clocks agree. Secret and personal values are
//! encrypted before they are written (`seal`).
//!
//! Callers reach its methods through handles, such as `store.outbox().accept(…)` (`handles`).
//!
//! Modules, in the order of a delivery's life:
//!
//! - `database`: connections, transactions, statements and rows. `seal`: encryption.
//! - `tenancy`: tenants, their workspaces and people. `member_lists`: the members of workspaces.
//! - `intake`: accepted and replayed notifications become deliveries. `waiting`: deliveries that
//!   are not yet in a lane. `lanes`: the order of a conversation, and claims. `turns`: the writes
//!   before and after a request to Slack. `budgets`: when requests may start.
//! - `records`: deliveries and notifications as they are read back. `ends`: canceling, erasing and
//!   retention. `feed`: the changes of deliveries. `channels`: the channels that Herald keeps in
//!   Slack, and their feed. `keep`: the tokens of workspaces that are kept connected. `checkups`:
//!   checks of connections, and alerts.
//! - `audit`: the audit trail. `upkeep`: clock steps, recoveries, health. `leaving`: the end of a
//!   tenant's connection, and of a tenant.

mod config;
mod error;
mod handles;

mod database;

mod seal;

mod records;

mod budgets;

mod lanes;

mod audit;
mod feed;
mod member_lists;
mod tenancy;

mod channels;
mod checkups;
mod keep;

mod ends;
mod upkeep;
mod waiting;

mod intake;

mod turns;

mod leaving;

#[cfg(test)]
mod plans;
#[cfg(test)]
mod tests_of_transactions;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::domain::ids::{DeliveryId, InstallationId, TenantId};
use crate::domain::time::Timestamp;
use audit::trail;
use database::pulse::Beside;
use database::{apart, connection, group, pool, sql, tidy, unreadable};
use feed::signals;
use intake::accept;
use lanes::claim;
use member_lists::hints;
use seal::{data_keys, kek, person_keys};
use tenancy::{connection_signals, shared_reads, tokens};
use turns::{intend, settle};

pub use crate::domain::delivery::{Acted, DeliveryKind, End, Settle, WaitScope};
pub use audit::chain::Verified;
pub use audit::trail::{AuditFilter, AuditPage, AuditPosition};
pub use budgets::methods::{Booked, BudgetStart, Reservation};
pub use budgets::posts::{Posting, Throttled};
pub use channels::{
    ChannelChange, ChannelChangeKind, ChannelCounts, ChannelEdit, ChannelLease, ChannelObservation,
    ChannelSave, ChannelSaved, ChannelTotals, ManagedChannel, MemberCounts, MemberRecord,
    MemberUpdate, MembersChange, NoticePlace, NoticesDue, Released, WishedMember,
};
pub use checkups::{
    CheckEvidence, CheckLease, CheckRun, Judgement, NewAlert, Unjudged, WaitingAlert,
};
pub use config::{Config, Pooler};
pub use database::backend::Backend;
pub use database::exclusive::Exclusive;
pub use database::in_turn::{HeldTurn, InTurn};
pub use database::migrate::SchemaStatus;
pub use database::protection::Protection;
pub use ends::cancel::Canceled;
pub use ends::erase::{Erased, Redact, Redacted};
pub use ends::retention::IDEMPOTENCY;
pub use ends::succession::{RenameIn, RenameOutcome, Succession};
pub use ends::unused_keys::KeyPosition;
pub use error::Error;
pub use feed::changes::{ChangePageOfAll, DeliveryChange};
pub use feed::pages::{ChangePage, ChangeSpan, FeedExtent};
pub use feed::signals::{FeedReach, FeedWatcher};
pub use handles::{
    Alerts, ApiKeys, Audit, Budgets, ChannelFeed, Channels, Checkups, Connections, CustomFields,
    DeliveryFeed, Ends, EventTypes, IdentityLinks, InstallationTokens, Lanes, Leaving, MemberLists,
    Operators, Outbox, People, Previews, Records, SlackApps, SlackEvents, Templates, Tenancy,
    Upkeep, Waiting,
};
pub use intake::accept::{Accepted, Before};
pub use intake::new::{Accept, ForChannel, NewDelivery, NotificationTerms, Target};
pub use intake::replay::{Replay, ReplayOutcome, ReplaySelection, Replayed, SkipReason};
pub use intake::subjects::SubjectConversation;
pub use keep::{
    Expiry, MetByRevocation, MigrationPace, MigrationStep, MigrationWork, OrgTeam, SealedPair,
    TokenExchange, TokenLease, TokenSchedule,
};
pub use lanes::backlog::WorkspaceBacklog;
pub use lanes::claim::{Head, LaneClaim, lease_token};
pub use lanes::lane::{Backlog, LaneKey};
pub use lanes::queue::{Queue, QueueKey, QueuePlace, Queues};
pub use lanes::repair::LaneRepair;
pub use leaving::{DISCONNECTED, Left, SeenLink, UseEnd};
pub use member_lists::changes::{ListBasis, MemberChange, Merged, Settlement};
pub use member_lists::crawl::{Checkpoint, CrawlLease, CrawledPage, Saved};
pub use member_lists::field_pass::{FieldsEnd, FieldsLease, FieldsProgress, SeenList};
pub use member_lists::hints::Hint;
pub use member_lists::profile_fields::{FieldsRow, MemberFields};
pub use member_lists::publish::Resume;
pub use member_lists::slack_events::{ClaimedEvent, EventDone, NewEvent};
pub use member_lists::state::{
    CrawlProgress, DirectoryChange, DirectoryPointer, DirectoryState, PendingShrink,
};
pub use member_lists::statistics::DirectoryStatistics;
pub use records::dead_letters::{FailedFilter, FailedPage, FailedPosition};
pub use records::deliveries::{AttemptRecord, DeliveryRecord};
pub use records::notification_list::{
    NotificationFilter, NotificationPage, NotificationPosition, NotificationSummary,
};
pub use records::notifications::NotificationRecord;
pub use seal::rotate::Rotated;
pub use tenancy::api_keys::{
    ApiKeyChange, ApiKeyMade, ApiKeyPage, ApiKeyPosition, ApiKeysState, ChangedApiKeys,
    KnownApiKey, ListedApiKey, NewApiKey,
};
pub use tenancy::connect_attempts::{
    BegunConnect, ConnectAttempt, ConnectCompletion, ConnectGrant, ConnectOutcome, ConnectStatus,
    ConnectTerms, TakenConnect,
};
pub use tenancy::connection_signals::ConnectionWatcher;
pub use tenancy::connections::{ConnectionCursor, StoredConnection};
pub use tenancy::event_types::{DefinedTypes, DefinitionChange};
pub use tenancy::identity_links::FoundIdentityLink;
pub use tenancy::installations::{Installation, InstallationState, MIGRATING, NewInstallation};
pub use tenancy::members::PeopleOfMember;
pub use tenancy::operators::{ListedTenant, ListedWorkspace, WorkspaceFilter};
pub use tenancy::people::StoredPerson;
pub use tenancy::previews::{NewPreview, PreviewSaved, ShownNotification, StoredPreview};
pub use tenancy::shared_reads::{PeopleFacts, TenantFacts};
pub use tenancy::slack_apps::{SlackAppChange, SlackAppDeletion, StoredSlackApp};
pub use tenancy::templates::{
    KeptWords, TemplateChange, TemplateEdit, TemplateFilter, TemplatePage, TemplateVersion,
    TemplatesOf,
};
pub use tenancy::tokens::{ACCESS_NOT_GRANTED, Token, TokenState};
pub use turns::intend::RecoverOutcome;
pub use turns::settle::{DeliveryTrace, LanePace, LoggedRequest, SettleContext};
pub use upkeep::ahead::TimesMoved;
pub use upkeep::clock::{ClockPass, ListBookings};
pub use upkeep::health::OutboxHealth;
pub use upkeep::recovery::Recovery;
pub use waiting::channels::KeyedChannel;
pub use waiting::held::HeldSweep;
pub use waiting::resolving::{ResolveOutcome, Resolving};

/// Ended deliveries that a slow receiver may fall behind.
const ENDED_KEPT: usize = 1024;
/// Looks of one check whether other calls are answered.
const ROUNDS: usize = 4;

/// The store. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Written with the next change that this clone makes ([`Store::noting`]).
    notes: Arc<[trail::Prepared]>,
}

struct Inner {
    connections: connection::Connections,
    keyring: data_keys::Keyring,
    person_keys: person_keys::PersonKeys,
    lanes_woken: Notify,
    events_taken: Notify,
    deliveries_ended: broadcast::Sender<DeliveryId>,
    /// Notified after a commit that wrote to an inbox of a feed.
    changes_written: Notify,
    feed: signals::FeedSignals,
    channel_feed: signals::FeedSignals,
    channels_woken: Notify,
    connection_signals: connection_signals::ConnectionSignals,
    hints: hints::Hints,
    unreadable: unreadable::UnreadableRows,
    /// Notify calls that share transactions.
    accepting: group::Group<TenantId, accept::SealedCall, accept::AcceptOutcome>,
    /// Sends that share transactions: the intent before the request, and the settlement after it.
    intending: group::Group<TenantId, intend::batch::Intention, intend::batch::Intended>,
    ending: group::Group<TenantId, settle::batch::SentMessage, settle::batch::SentOutcome>,
    /// Calls held up by a locked row, apart from the shared transactions.
    apart: apart::Apart,
    /// Reservations in a budget take turns.
    reserving: InTurn<(InstallationId, String)>,
    /// Calls about the channels of a tenant take turns.
    channel_edits: InTurn<TenantId>,
    /// Calls that share reads.
    reading_tenants: group::Group<TenantId, TenantId, shared_reads::Tenants>,
    reading_people: group::Group<TenantId, shared_reads::Lookup, Result<shared_reads::Rows, Error>>,
    reading_heads: group::Group<TenantId, LaneClaim, claim::HeadRow>,
    reading_tokens:
        group::Group<InstallationId, InstallationId, Result<tokens::SealedToken, Error>>,
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
        let in_use = data_keys::in_use(connections.reader()).await?;
        let keks = kek::keks(config, connections.backend(), in_use)?;
        let keyring = data_keys::Keyring::new(keks);
        let backend = connections.backend();
        let store = Self {
            inner: Arc::new(Inner {
                connections,
                keyring,
                person_keys: person_keys::PersonKeys::new(backend, config.person_keys),
                lanes_woken: Notify::new(),
                events_taken: Notify::new(),
                deliveries_ended: broadcast::Sender::new(ENDED_KEPT),
                changes_written: Notify::new(),
                feed: signals::FeedSignals::default(),
                channel_feed: signals::FeedSignals::default(),
                channels_woken: Notify::new(),
                connection_signals: connection_signals::ConnectionSignals::default(),
                hints: hints::Hints::new(),
                unreadable: unreadable::UnreadableRows::default(),
                accepting: group::Group::new(accept::bounds(backend)),
                intending: group::Group::new(intend::batch::bounds(backend)),
                ending: group::Group::new(settle::batch::bounds(backend)),
                apart: apart::Apart::new(config.max_connections),
                reserving: InTurn::default(),
                channel_edits: InTurn::default(),
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
    /// connection is free for that, any other call's meanwhile. It may also report, over a new
    /// connection, that it is working for the others, which wait for rows: a busy database is not
    /// down.
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
        let mut answered = pin!(answered);
        let mut wait = patience;
        for _ in 0..ROUNDS {
            if let Ok(answered) = tokio::time::timeout(wait, &mut answered).await {
                return answered;
            }
            wait = match Beside::of(connections.pulse().silence(), patience) {
                Beside::Up => return true,
                Beside::Down => return false,
                // An answer that came early in the check must not hide an outage since.
                Beside::Unclear(left) => left,
            };
        }
        // Each time, another call had been answered since.
        true
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
    pub(in crate::store) fn reader(&self) -> &pool::ReadPool {
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
