//! Accepting a notification: in one transaction, idempotent inside it.
//!
//! The unique key (tenant, principal, request id) decides: a concurrent call with the same key
//! waits for the first to commit and then replays its answer. Nothing about idempotency is cached
//! outside the transaction (lessons.md part 1). What commits is the whole: the notification, every
//! delivery, the lanes they wait in, the people and identities that came with the call.
//!
//! Calls that come while a transaction is under way share the next one ([`batch`]); each has its
//! own answer or its own error (docs/decisions/0010-group-commit.md).

mod batch;

use std::time::Duration;

use tracing::Instrument as _;

use super::deliveries::Kind;
use super::group::{Bounds, Weight};
use super::notifications::place;
use super::people::{SealedIdentity, seal_identity, seal_record};
use super::seal::{Place, Scope, ScopeKeys};
use super::subjects::About;
use super::transaction::at_once;
use super::{Backend, Error, Store};
use crate::domain::delivery::State;
use crate::domain::ids::{
    DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId, TenantId, UserId,
};
use crate::domain::person::Person;
use crate::domain::priority::Priority;
use crate::domain::reason::{Cancellation, Failure, NoMatch, Suppression};
use crate::domain::settings::Identity;
use crate::domain::time::Timestamp;

pub(in crate::store) use batch::Stored;

/// A Notify that was decided on, ready to be stored.
#[derive(Debug, Clone)]
pub struct Accept {
    pub id: NotificationId,
    pub tenant: TenantId,
    pub principal: Principal,
    pub request_id: RequestId,
    /// Of the canonical payload: the same request id with another one is a mistake of the caller.
    pub fingerprint: [u8; 32],
    pub event_type: EventType,
    /// Sealed as it is; deliveries that resolve later are rendered from it.
    pub data: Vec<u8>,
    pub link: Option<String>,
    /// What it is about, and when it may go out.
    pub about: About,
    /// The answer to the call, opaque here; sealed, and replayed verbatim.
    pub answer: Vec<u8>,
    pub deliveries: Vec<NewDelivery>,
    /// Records that came inline; each replaces the stored one.
    pub people: Vec<Person>,
    /// New unique matches to store.
    pub identities: Vec<(UserId, Identity)>,
    /// From the database's now.
    pub expires_in: Duration,
    /// W3C `traceparent` of the call.
    pub trace_context: Option<String>,
}

/// One recipient, or one channel.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub id: DeliveryId,
    /// Absent for posts to a channel.
    pub user: Option<UserId>,
    pub target: Target,
    /// Rendered, opaque here; sealed.
    pub content: Option<Vec<u8>>,
    pub kind: Kind,
    pub priority: Priority,
    /// Other recipients of the same call who are the same member: they share it.
    pub also: Vec<UserId>,
    /// Why it was decided so, opaque here; sealed.
    pub trace: Option<Vec<u8>>,
}

impl NewDelivery {
    /// Whether it waits for its turn, rather than ending at once.
    #[must_use]
    pub fn waits(&self) -> bool {
        !matches!(self.target, Target::Ended(_))
    }

    /// The lane where it is known.
    pub(in crate::store) fn lane(&self) -> Option<&str> {
        match &self.target {
            Target::Lane { lane, .. } => Some(lane),
            Target::Resolving
            | Target::ResolvingOrHeld
            | Target::Held { .. }
            | Target::Ended(_) => None,
        }
    }
}

/// Where a delivery starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At the tail of this lane: `U...` for direct messages, `C...` for channels.
    Lane { installation: InstallationId, lane: String },
    /// Which member it is for must be found out first.
    Resolving,
    /// The same; where nobody is found it waits until the person appears.
    ResolvingOrHeld,
    /// Waits until the person appears in Slack. Looked at again after this time, since the member
    /// list that held it back may be older than the store's.
    Held { reason: NoMatch, look_after: Duration },
    /// It ends here: recorded, so that every recipient is accounted for (invariant I1).
    Ended(End),
}

/// An end without any request to Slack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Suppressed(Suppression),
    Unreachable(NoMatch),
    /// It cannot be worded any more.
    Failed(Failure),
    Expired,
    Canceled(Cancellation),
}

impl End {
    /// The terminal state that it is.
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Self::Suppressed(_) => State::Suppressed,
            Self::Unreachable(_) => State::Unreachable,
            Self::Failed(_) => State::Failed,
            Self::Expired => State::Expired,
            Self::Canceled(_) => State::Canceled,
        }
    }

    /// The code of why; an expiry has none.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Suppressed(reason) => Some(reason.code()),
            Self::Unreachable(reason) => Some(reason.code()),
            Self::Failed(reason) => Some(reason.code()),
            Self::Canceled(reason) => Some(reason.code()),
            Self::Expired => None,
        }
    }
}

/// What became of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Stored: durable now.
    New { created_at: Timestamp },
    /// The same call was accepted before; this was its answer.
    Replayed { answer: Vec<u8> },
    /// The request id was used for another payload; nothing was stored.
    Mismatch,
}

/// One transaction's calls. Rows are those of all tables; the bytes are those of what is sealed.
pub(in crate::store) fn bounds(backend: Backend) -> Bounds {
    Bounds { items: 128, rows: 2_000, bytes: 8 << 20, at_once: at_once(backend) }
}

impl Store {
    /// Stores a notification with all that belongs to it, or replays the answer given before.
    ///
    /// The transaction runs in a task of its own: a caller that goes away (cancelled, past its
    /// deadline) leaves it to finish, never half-way; what had not begun is not begun. On
    /// [`Error::Unavailable`] it may have been stored: the same call again, with the same request
    /// id, finds out.
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, Error> {
        let span = tracing::info_span!("store.accept", deliveries = accept.deliveries.len());
        self.accept_whole(accept).instrument(span).await
    }

    async fn accept_whole(&self, accept: Accept) -> Result<Accepted, Error> {
        // Before the transaction: making a data key writes.
        let keys = self.keys(&Scope::Tenant(accept.tenant.clone())).await?;
        let sealed = seal(&accept, &keys)?;
        let (tenant, weight) = (accept.tenant.clone(), sealed.weight());
        let store = self.clone();
        let work = move |calls| {
            let store = store.clone();
            async move { store.accept_batch(calls).await }
        };
        let stored = self.inner.accepting.join((accept, sealed), weight, work).await;
        match stored
            .unwrap_or_else(|| Err(Error::Bug("accepting a notification panicked".into())))?
        {
            Stored::New { created_at, .. } => Ok(Accepted::New { created_at }),
            Stored::Before { id, answer } => {
                let answer = self.open_column(&tenant, &place(&id, "answer"), &answer).await?;
                Ok(Accepted::Replayed { answer })
            }
            Stored::Other => Ok(Accepted::Mismatch),
        }
    }
}

/// A call, and what of it is sealed.
pub(in crate::store) type Call = (Accept, Sealed);

/// The sealed columns; sealed once, whatever the number of tries.
pub(in crate::store) struct Sealed {
    data: Vec<u8>,
    link: Option<Vec<u8>>,
    answer: Vec<u8>,
    /// In the order of the deliveries.
    contents: Vec<Option<Vec<u8>>>,
    /// In the order of the deliveries.
    traces: Vec<Option<Vec<u8>>>,
    /// In the order of the people.
    records: Vec<Vec<u8>>,
    identities: Vec<SealedIdentity>,
}

impl Sealed {
    fn weight(&self) -> Weight {
        let contents = self.contents.iter().chain(&self.traces);
        let contents = contents.flatten().map(Vec::len).sum::<usize>();
        let records = self.records.iter().map(Vec::len).sum::<usize>();
        let link = self.link.as_ref().map_or(0, Vec::len);
        Weight {
            rows: 1 + self.contents.len() + self.records.len() + self.identities.len(),
            bytes: self.data.len() + link + self.answer.len() + contents + records,
        }
    }
}

fn seal(accept: &Accept, keys: &ScopeKeys) -> Result<Sealed, Error> {
    let row = accept.id.to_string();
    let link = accept.link.as_deref();
    let contents = accept.deliveries.iter().map(|delivery| {
        let content = delivery.content.as_deref();
        content.map(|content| seal_content(keys, delivery.id, content)).transpose()
    });
    let traces = accept.deliveries.iter().map(|delivery| {
        let trace = delivery.trace.as_deref();
        trace.map(|trace| seal_trace(keys, delivery.id, trace)).transpose()
    });
    let records = accept.people.iter().map(|person| seal_record(keys, person));
    let identities =
        accept.identities.iter().map(|(user, identity)| seal_identity(keys, user, identity));
    Ok(Sealed {
        data: keys.seal(&place(&row, "data"), &accept.data)?,
        link: link.map(|link| keys.seal(&place(&row, "link"), link.as_bytes())).transpose()?,
        answer: keys.seal(&place(&row, "answer"), &accept.answer)?,
        contents: contents.collect::<Result<_, _>>()?,
        traces: traces.collect::<Result<_, _>>()?,
        records: records.collect::<Result<_, _>>()?,
        identities: identities.collect::<Result<_, _>>()?,
    })
}

/// Seals the content of one delivery, in whichever of the two tables it stands.
pub(in crate::store) fn seal_content(
    keys: &ScopeKeys,
    delivery: DeliveryId,
    content: &[u8],
) -> Result<Vec<u8>, Error> {
    let row = delivery.to_string();
    keys.seal(&Place { table: "deliveries", row: &row, column: "content" }, content)
}

/// Seals the trace of one delivery, in whichever of the two tables it stands.
pub(in crate::store) fn seal_trace(
    keys: &ScopeKeys,
    delivery: DeliveryId,
    trace: &[u8],
) -> Result<Vec<u8>, Error> {
    let row = delivery.to_string();
    keys.seal(&Place { table: "deliveries", row: &row, column: "trace" }, trace)
}
