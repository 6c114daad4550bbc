//! Accepting a notification: one transaction, idempotent inside it.
//!
//! The unique key (tenant, principal, request id) decides: a concurrent call with the same key
//! waits for the first to commit and then replays its answer. Nothing about idempotency is cached
//! outside the transaction (lessons.md part 1). What commits is the whole: the notification, every
//! delivery, the lanes they wait in, the people and identities that came with the call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sea_orm::Value;
use tracing::Instrument as _;

use super::deliveries::Kind;
use super::notifications::place;
use super::people::{store_identity_in, upsert_people_in};
use super::rows::{Columns, chunks, tuples};
use super::seal::{Place, Scope, ScopeKeys};
use super::sql::{self, params};
use super::transaction::{Tx, scoped};
use super::{Backend, Error, Store};
use crate::domain::delivery::State;
use crate::domain::ids::{
    DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId, TenantId, UserId,
};
use crate::domain::person::Person;
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::settings::Identity;
use crate::domain::time::{Timestamp, micros};

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
    /// Larger is more urgent.
    pub priority: i16,
}

/// Where a delivery starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At the tail of this lane: `U...` for direct messages, `C...` for channels.
    Lane { installation: InstallationId, lane: String },
    /// Which member it is for must be found out first.
    Resolving,
    /// It ends here: recorded, so that every recipient is accounted for (invariant I1).
    Ended(End),
}

/// An end without any request to Slack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Suppressed(Suppression),
    Unreachable(NoMatch),
    Expired,
}

impl End {
    /// The terminal state that it is.
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Self::Suppressed(_) => State::Suppressed,
            Self::Unreachable(_) => State::Unreachable,
            Self::Expired => State::Expired,
        }
    }

    pub(in crate::store) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Suppressed(reason) => Some(reason.code()),
            Self::Unreachable(reason) => Some(reason.code()),
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

impl Store {
    /// Stores a notification with all that belongs to it, or replays the answer given before.
    ///
    /// Runs as a task of its own: a caller that goes away (cancelled, past its deadline) leaves the
    /// transaction to finish, never half-way. On [`Error::Unavailable`] it may have been stored:
    /// the same call again, with the same request id, finds out.
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, Error> {
        let store = self.clone();
        let span = tracing::info_span!("store.accept", deliveries = accept.deliveries.len());
        let whole = async move { store.accept_whole(accept).await };
        let task = tokio::spawn(whole.instrument(span));
        task.await.map_err(|_| Error::Bug("accepting a notification panicked".into()))?
    }

    async fn accept_whole(&self, accept: Accept) -> Result<Accepted, Error> {
        // Before the transaction: making a data key writes.
        let keys = self.keys(&Scope::Tenant(accept.tenant.clone())).await?;
        let sealed = seal(&accept, &keys)?;
        let (accept, sealed, keys) = (&accept, &sealed, &keys);
        let stored =
            self.transaction(|tx| scoped(self.accept_within(tx, accept, sealed, keys))).await?;
        match stored {
            Stored::New { created_at } => {
                self.wake();
                self.changed();
                Ok(Accepted::New { created_at })
            }
            Stored::Before { id, answer } => {
                let answer =
                    self.open_column(&accept.tenant, &place(&id, "answer"), &answer).await?;
                Ok(Accepted::Replayed { answer })
            }
            Stored::Other => Ok(Accepted::Mismatch),
        }
    }

    async fn accept_within(
        &self,
        tx: &Tx,
        accept: &Accept,
        sealed: &Sealed,
        keys: &ScopeKeys,
    ) -> Result<Stored, Error> {
        let Some(times) = self.insert_notification(tx, accept, sealed).await? else {
            return before(tx, accept).await;
        };
        upsert_people_in(tx, keys, &accept.tenant, &accept.people).await?;
        // In the order of their keys, so that calls about the same people do not deadlock.
        let identities: BTreeMap<&UserId, &Identity> =
            accept.identities.iter().map(|(user, identity)| (user, identity)).collect();
        for (user, identity) in identities {
            store_identity_in(tx, keys, &accept.tenant, user, identity).await?;
        }
        insert_deliveries(tx, accept, sealed, &times).await?;
        let lanes: BTreeSet<(InstallationId, &str)> = accept
            .deliveries
            .iter()
            .filter_map(|delivery| match &delivery.target {
                Target::Lane { installation, lane } => Some((*installation, lane.as_str())),
                Target::Resolving | Target::Ended(_) => None,
            })
            .collect();
        super::lanes::fill(tx, &lanes, times.created_at).await?;
        Ok(Stored::New { created_at: times.created_at })
    }

    /// `None`: the request id is taken.
    async fn insert_notification(
        &self,
        tx: &Tx,
        accept: &Accept,
        sealed: &Sealed,
    ) -> Result<Option<Times>, Error> {
        // The number in the lanes' order is drawn with the insert, to save a round trip.
        let position = match self.backend() {
            Backend::Postgres => "nextval('delivery_positions')",
            Backend::Sqlite => "0",
        };
        let text = format!(
            "INSERT INTO notifications (id, tenant, principal, request_id, fingerprint, \
             event_type, data, link, answer, created_at, expires_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, clock.now, clock.now + $10 \
             FROM (SELECT {{now}} AS now) AS clock WHERE TRUE \
             ON CONFLICT (tenant, principal, request_id) DO NOTHING \
             RETURNING created_at, expires_at, {position}"
        );
        let values = params![
            accept.id.to_string(),
            accept.tenant.as_str(),
            accept.principal.as_str(),
            accept.request_id.as_str(),
            accept.fingerprint.to_vec(),
            accept.event_type.as_str(),
            sealed.data.clone(),
            sealed.link.clone(),
            sealed.answer.clone(),
            micros(accept.expires_in),
        ];
        let Some(row) = sql::one(tx, &text, values).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        let (created_at, expires_at) = (columns.time()?, columns.time()?);
        let position = match self.backend() {
            Backend::Postgres => columns.take()?,
            Backend::Sqlite => self.fresh_position(tx).await?,
        };
        Ok(Some(Times { created_at, expires_at, position }))
    }
}

/// As [`Accepted`], the answer still sealed.
enum Stored {
    New { created_at: Timestamp },
    Before { id: String, answer: Vec<u8> },
    Other,
}

/// What the database decided for a new notification.
struct Times {
    created_at: Timestamp,
    expires_at: Timestamp,
    /// One for all deliveries of the call; within a lane `sequence` orders those.
    position: i64,
}

/// The sealed columns; sealed once, whatever the number of tries.
struct Sealed {
    data: Vec<u8>,
    link: Option<Vec<u8>>,
    answer: Vec<u8>,
    /// In the order of the deliveries.
    contents: Vec<Option<Vec<u8>>>,
}

fn seal(accept: &Accept, keys: &ScopeKeys) -> Result<Sealed, Error> {
    let row = accept.id.to_string();
    let link = accept.link.as_deref();
    let contents = accept.deliveries.iter().map(|delivery| {
        let content = delivery.content.as_deref();
        content.map(|content| seal_content(keys, delivery.id, content)).transpose()
    });
    Ok(Sealed {
        data: keys.seal(&place(&row, "data"), &accept.data)?,
        link: link.map(|link| keys.seal(&place(&row, "link"), link.as_bytes())).transpose()?,
        answer: keys.seal(&place(&row, "answer"), &accept.answer)?,
        contents: contents.collect::<Result<_, _>>()?,
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

/// What was accepted under the same request id.
async fn before(tx: &Tx, accept: &Accept) -> Result<Stored, Error> {
    const SQL: &str = "SELECT fingerprint, id, answer FROM notifications \
        WHERE tenant = $1 AND principal = $2 AND request_id = $3";
    let values =
        params![accept.tenant.as_str(), accept.principal.as_str(), accept.request_id.as_str()];
    let Some(row) = sql::one(tx, SQL, values).await? else {
        // Retention took it between the two statements: from the start.
        return Err(Error::Contended("notifications_request".into()));
    };
    let mut columns = Columns::of(&row);
    if columns.take::<Vec<u8>>()? != accept.fingerprint {
        return Ok(Stored::Other);
    }
    Ok(Stored::Before { id: columns.take()?, answer: columns.take()? })
}

const COLUMNS: &str = "id, tenant, notification, user_id, installation, lane, position, state, \
    attempt, probes, crashes, due_at, expires_at, reason, content, priority, kind, event_type, \
    trace_context, created_at, updated_at";
const COLUMN_COUNT: usize = 21;

async fn insert_deliveries(
    tx: &Tx,
    accept: &Accept,
    sealed: &Sealed,
    times: &Times,
) -> Result<(), Error> {
    let rows: Vec<_> = accept.deliveries.iter().zip(&sealed.contents).collect();
    for chunk in chunks(&rows) {
        let values = chunk
            .iter()
            .flat_map(|(delivery, content)| row(accept, times, delivery, content.as_ref()))
            .collect();
        let text = format!(
            "INSERT INTO deliveries ({COLUMNS}) VALUES {}",
            tuples(chunk.len(), COLUMN_COUNT)
        );
        sql::execute(tx, &text, values).await?;
    }
    Ok(())
}

/// The values of [`COLUMNS`].
fn row(
    accept: &Accept,
    times: &Times,
    delivery: &NewDelivery,
    content: Option<&Vec<u8>>,
) -> [Value; COLUMN_COUNT] {
    let (state, place, reason) = match &delivery.target {
        Target::Lane { installation, lane } => {
            (State::Pending, Some((installation.to_string(), lane.clone())), None)
        }
        Target::Resolving => (State::Resolving, None, None),
        Target::Ended(end) => (end.state(), None, end.reason()),
    };
    let (installation, lane) = place.unzip();
    let created_at = times.created_at.0;
    [
        delivery.id.to_string().into(),
        accept.tenant.as_str().into(),
        accept.id.to_string().into(),
        delivery.user.as_ref().map(UserId::as_str).into(),
        installation.into(),
        lane.into(),
        times.position.into(),
        state.code().into(),
        0i64.into(),
        0i64.into(),
        0i64.into(),
        created_at.into(),
        times.expires_at.0.into(),
        reason.into(),
        content.cloned().into(),
        i64::from(delivery.priority).into(),
        delivery.kind.code().into(),
        accept.event_type.as_str().into(),
        accept.trace_context.as_deref().into(),
        created_at.into(),
        created_at.into(),
    ]
}
