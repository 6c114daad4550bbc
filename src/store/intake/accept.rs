//! Accepting a notification in one transaction, which also makes the call idempotent.
//!
//! The unique key (tenant, principal, request id) decides: a concurrent call with the same key
//! waits for the first to commit and then replays its answer. Nothing about idempotency is cached
//! outside the transaction. The commit covers everything: the notification, all its deliveries, the
//! lanes they wait in, and the people and identities that came with the call.
//!
//! Calls that arrive while a transaction is under way share the next one. Each gets its own answer
//! or its own error (docs/decisions/0010-group-commit.md). `sealed` encrypts a call, and `batch`
//! has the statements of the transaction.

mod sealed;

mod batch;

use std::sync::Arc;

use tracing::Instrument as _;

use super::new::Accept;
use super::subjects::Overtaken;
use crate::domain::ids::{Principal, RequestId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::group::Bounds;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Patience, at_once, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::ends::erase::erased_request;
use crate::store::records::notifications::place;
use crate::store::seal::data_keys::KeyScope;
use crate::store::seal::person_keys::KEY_ATTEMPTS;
use crate::store::{Backend, Error, Outbox, Store};

pub(in crate::store) use sealed::SealedCall;
use sealed::{people_of, seal};

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

/// Like [`Accepted`], with the answer still encrypted.
#[derive(Debug, Clone)]
pub(in crate::store) enum StoredCall {
    /// With the deliveries that it overtook.
    New {
        created_at: Timestamp,
        overtaken: Overtaken,
    },
    Before {
        id: String,
        answer: Vec<u8>,
    },
    Other,
}

/// The outcome of one call of a batch.
pub(in crate::store) enum AcceptOutcome {
    Done(Result<StoredCall, Error>),
    /// A locked row held the batch up: nothing was written, and the call is tried by itself.
    HeldUp(Box<SealedCall>),
    /// A key of a person of the call was erased: nothing was written, and the call must be
    /// encrypted again.
    KeyErased(Box<SealedCall>),
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
        const SQL: &str = "SELECT fingerprint, id, answer
            FROM notifications
            WHERE tenant = $1 AND principal = $2 AND request_id IN ($3, $4)";
        let keys = self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
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

    async fn answered(&self, tenant: &TenantId, stored: StoredCall) -> Result<Accepted, Error> {
        match stored {
            StoredCall::New { created_at, .. } => Ok(Accepted::New { created_at }),
            StoredCall::Before { id, answer } => {
                let answer = self.open_column(tenant, &place(&id, "answer"), &answer).await?;
                Ok(Accepted::Replayed { answer })
            }
            StoredCall::Other => Ok(Accepted::Mismatch),
        }
    }

    async fn accept_in_a_batch(&self, tenant: &TenantId, call: SealedCall) -> Result<Tried, Error> {
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
                Some(AcceptOutcome::Done(stored)) => return stored.map(Tried::Stored),
                Some(AcceptOutcome::KeyErased(call)) => {
                    return Ok(Tried::KeyErased(Box::new(call.0)));
                }
                Some(AcceptOutcome::HeldUp(call)) => *call,
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

    /// Stores the calls of a batch in one transaction. If that fails for a reason that may lie in
    /// one of them, each is stored by itself: here, or apart from the batches (`apart`) if a locked
    /// row may hold one up again.
    async fn accept_batch(&self, calls: Vec<SealedCall>) -> Vec<AcceptOutcome> {
        let stored = self.accept_together(&calls, Patience::Shared).await;
        let outcomes: Vec<_> = match stored {
            Ok(stored) => stored.into_iter().map(Ok).collect(),
            Err(Error::Locked(_)) => {
                return calls
                    .into_iter()
                    .map(|call| AcceptOutcome::HeldUp(Box::new(call)))
                    .collect();
            }
            Err(Error::KeyErased) if calls.len() == 1 => {
                return calls
                    .into_iter()
                    .map(|call| AcceptOutcome::KeyErased(Box::new(call)))
                    .collect();
            }
            Err(error) if calls.len() == 1 || error.concerns_all() => {
                calls.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => {
                let mut outcomes = Vec::with_capacity(calls.len());
                for call in calls {
                    match self.accept_one(&call, Patience::Shared).await {
                        Err(Error::Locked(_)) => {
                            outcomes.push(AcceptOutcome::HeldUp(Box::new(call)));
                        }
                        Err(Error::KeyErased) => {
                            outcomes.push(AcceptOutcome::KeyErased(Box::new(call)));
                        }
                        stored => outcomes.push(AcceptOutcome::Done(stored)),
                    }
                }
                return outcomes;
            }
        };
        outcomes.into_iter().map(AcceptOutcome::Done).collect()
    }

    /// Stores one call in its own transaction.
    async fn accept_one(&self, call: &SealedCall, wait: Patience) -> Result<StoredCall, Error> {
        let stored = self.accept_together(std::slice::from_ref(call), wait).await;
        stored.and_then(|mut stored| {
            stored.pop().ok_or_else(|| Error::Bug("a call without an outcome".into()))
        })
    }

    /// Stores all or none of these calls; notifies the tasks that wait for the commit.
    async fn accept_together(
        &self,
        calls: &[SealedCall],
        wait: Patience,
    ) -> Result<Vec<StoredCall>, Error> {
        let stored = self.transaction(|tx| scoped(batch::accept_within(tx, calls, wait))).await?;
        if stored.iter().any(|stored| matches!(stored, StoredCall::New { .. })) {
            self.wake();
            self.changed();
        }
        for stored in &stored {
            if let StoredCall::New { overtaken, .. } = stored {
                self.tell_canceled(&overtaken.met);
                self.pass_over(UnreadableRow::Subject, overtaken.unread);
            }
        }
        Ok(stored)
    }
}

/// The outcome of trying to store a call.
enum Tried {
    Stored(StoredCall),
    /// Nothing was stored: a person of the call was deleted after the call was encrypted.
    KeyErased(Box<Accept>),
}
