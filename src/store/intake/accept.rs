//! Accepting a notification in one transaction, which also makes the call idempotent.
//!
//! The unique key (tenant, principal, request id) decides: a concurrent call with the same key
//! waits for the first to commit and then replays its answer. Nothing about idempotency is cached
//! outside the transaction. The commit covers everything: the notification, all its deliveries, the
//! lanes they wait in, and the people and identities that came with the call.
//!
//! Calls that arrive while a transaction is under way share the next one ([`batch`]). Each gets its
//! own answer or its own error (docs/decisions/0010-group-commit.md).

mod batch;

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::Instrument as _;

use super::new::Accept;
use crate::domain::ids::{Principal, RequestId, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::store::database::group::{Bounds, Weight, breathe};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Patience, at_once};
use crate::store::ends::erase::erased_request;
use crate::store::records::notifications::place;
use crate::store::records::sealed::{seal_content, seal_trace};
use crate::store::seal::data_keys::Scope;
use crate::store::seal::person_keys::{KEY_ATTEMPTS, SealingKeys};
use crate::store::tenancy::people::{SealedIdentity, seal_identity, seal_record};
use crate::store::{Backend, Error, Outbox, Store};

pub(in crate::store) use batch::{Outcome, Stored};

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Stored and durable.
    New { created_at: Timestamp },
    /// The same call was accepted before; this was its answer.
    Replayed { answer: Vec<u8> },
    /// The request id was used for a different payload; nothing was stored.
    Mismatch,
}

/// An earlier call with the same request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// The same call; this was its answer.
    Same { answer: Vec<u8> },
    /// Another payload.
    Other,
}

/// The limits of one transaction's calls. Rows are counted over all tables; bytes are those of the
/// encrypted values. A transaction of this size takes long enough: twice as many rows would save
/// little and delay every call.
pub(in crate::store) fn bounds(backend: Backend) -> Bounds {
    Bounds { items: 128, rows: 512, bytes: 8 << 20, at_once: at_once(backend) }
}

impl Outbox<'_> {
    /// Stores a notification with everything that belongs to it, or replays the earlier answer.
    ///
    /// The transaction runs in its own task. If the caller goes away (cancelled, or past its
    /// deadline), a transaction that has begun still finishes and is never left half done; one that
    /// has not begun does not begin. On [`Error::Unavailable`] the notification may have been
    /// stored: repeat the call with the same request id to find out.
    pub async fn accept(self, accept: Accept) -> Result<Accepted, Error> {
        let span = tracing::info_span!("store.accept", deliveries = accept.deliveries.len());
        self.store.accept_whole(accept).instrument(span).await
    }

    /// The call accepted earlier under this request id, unless there was none or it is forgotten.
    pub async fn accepted_before(
        self,
        tenant: &TenantId,
        principal: &Principal,
        request_id: &RequestId,
        fingerprint: &[u8; 32],
    ) -> Result<Option<Before>, Error> {
        const SQL: &str = "SELECT fingerprint, id, answer FROM notifications \
            WHERE tenant = $1 AND principal = $2 AND request_id IN ($3, $4)";
        let keys = self.store.keys(&Scope::Tenant(tenant.clone())).await?;
        let erased = erased_request(&keys, principal.as_str(), request_id.as_str())?;
        let key = params![tenant.as_str(), principal.as_str(), request_id.as_str(), erased];
        let Some(row) = sql::one(self.store.reader(), SQL, key).await? else { return Ok(None) };
        if row.get::<Vec<u8>>(0)? != fingerprint {
            return Ok(Some(Before::Other));
        }
        let (id, answer): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let answer = self.store.open_column(tenant, &place(&id, "answer"), &answer).await?;
        Ok(Some(Before::Same { answer }))
    }
}

impl Store {
    async fn accept_whole(&self, mut accept: Accept) -> Result<Accepted, Error> {
        let tenant = accept.tenant.clone();
        for _ in 0..KEY_ATTEMPTS {
            // Before the transaction, because making a data key writes.
            let keys = self.keys_for(&tenant, &people_of(&accept)).await?;
            let sealed = seal(&accept, &keys).await?;
            match self.accept_in_a_batch(&tenant, (accept, sealed)).await? {
                Tried::Stored(stored) => return self.answered(&tenant, stored).await,
                Tried::KeyErased(call) => {
                    self.forget_keys(&tenant, &keys).await?;
                    accept = *call;
                }
            }
        }
        Err(Error::Contended("person_keys".into()))
    }

    async fn answered(&self, tenant: &TenantId, stored: Stored) -> Result<Accepted, Error> {
        match stored {
            Stored::New { created_at, .. } => Ok(Accepted::New { created_at }),
            Stored::Before { id, answer } => {
                let answer = self.open_column(tenant, &place(&id, "answer"), &answer).await?;
                Ok(Accepted::Replayed { answer })
            }
            Stored::Other => Ok(Accepted::Mismatch),
        }
    }

    async fn accept_in_a_batch(&self, tenant: &TenantId, call: Call) -> Result<Tried, Error> {
        let panicked = || Error::Bug("accepting a notification panicked".into());
        let store = self.clone();
        let call = if self.inner.apart.is_apart(tenant) {
            call
        } else {
            let work = move |calls| {
                let store = store.clone();
                async move { store.accept_batch(calls).await }
            };
            let weight = call.1.weight();
            match self.inner.accepting.join(tenant.clone(), call, weight, work).await {
                Some(Outcome::Done(stored)) => return stored.map(Tried::Stored),
                Some(Outcome::KeyErased(call)) => return Ok(Tried::KeyErased(Box::new(call.0))),
                Some(Outcome::HeldUp(call)) => *call,
                None => return Err(panicked()),
            }
        };
        let (store, tenant, call) = (self.clone(), tenant.clone(), Arc::new(call));
        let kept = Arc::clone(&call);
        let apart = async move {
            let work = |patience: Patience| {
                let (store, call) = (store.clone(), Arc::clone(&call));
                async move { store.accept_one(&call, patience).await }
            };
            store.inner.apart.run(&tenant, work).await
        };
        match tokio::spawn(apart.in_current_span()).await.unwrap_or_else(|_| Err(panicked())) {
            Err(Error::KeyErased) => Ok(Tried::KeyErased(Box::new(kept.0.clone()))),
            stored => stored.map(Tried::Stored),
        }
    }
}

/// The outcome of trying to store a call.
enum Tried {
    Stored(Stored),
    /// Nothing was stored: a person of the call was deleted after the call was encrypted.
    KeyErased(Box<Accept>),
}

/// The people that parts of a call are about.
fn people_of(accept: &Accept) -> Vec<&UserId> {
    let recipients = accept.deliveries.iter().filter_map(|delivery| delivery.user.as_ref());
    let people = accept.people.iter().map(|person| &person.user_id);
    let matched = accept.identities.iter().map(|(user, _)| user);
    let all: BTreeSet<_> = recipients.chain(people).chain(matched).collect();
    all.into_iter().collect()
}

/// A call and its encrypted columns.
pub(in crate::store) type Call = (Accept, Sealed);

/// The encrypted columns, encrypted once however often the transaction is tried.
pub(in crate::store) struct Sealed {
    data: Vec<u8>,
    link: Option<Vec<u8>>,
    answer: Vec<u8>,
    /// The request id's replacement once a person of the call is deleted.
    erased_request: String,
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

async fn seal(accept: &Accept, keys: &SealingKeys) -> Result<Sealed, Error> {
    let row = accept.id.to_string();
    let link = accept.link.as_deref();
    let (mut contents, mut traces) = (Vec::new(), Vec::new());
    for (number, delivery) in accept.deliveries.iter().enumerate() {
        breathe(number).await;
        let key = keys.of(delivery.user.as_ref())?;
        let content = delivery.content.as_deref();
        contents.push(content.map(|content| seal_content(key, delivery.id, content)).transpose()?);
        let trace = delivery.trace.as_deref();
        traces.push(trace.map(|trace| seal_trace(key, delivery.id, trace)).transpose()?);
    }
    let mut records = Vec::with_capacity(accept.people.len());
    for (number, person) in accept.people.iter().enumerate() {
        breathe(number).await;
        records.push(seal_record(keys.of(Some(&person.user_id))?, person)?);
    }
    let mut identities = Vec::with_capacity(accept.identities.len());
    for (number, (user, identity)) in accept.identities.iter().enumerate() {
        breathe(number).await;
        identities.push(seal_identity(keys.of(Some(user))?, user, identity)?);
    }
    let keys = keys.tenant();
    Ok(Sealed {
        data: keys.seal(&place(&row, "data"), &accept.data)?,
        link: link.map(|link| keys.seal(&place(&row, "link"), link.as_bytes())).transpose()?,
        answer: keys.seal(&place(&row, "answer"), &accept.answer)?,
        erased_request: erased_request(
            keys,
            accept.principal.as_str(),
            accept.request_id.as_str(),
        )?,
        contents,
        traces,
        records,
        identities,
    })
}
