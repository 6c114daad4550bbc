//! Erasing a person: deliveries queued for them are canceled, and data about them is erased, with
//! the key that encrypts most of it (`person_keys`). Counts, states, times and fingerprints stay,
//! without the person.
//!
//! The data of a notification to several people is about a subject, and the other recipients got it
//! too: it stays, without the person's verdict. If the notification named no other recipient, its
//! data is erased.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sea_orm::{ConnectionTrait as _, Value};

use super::cancel::{Canceled, cancel_where};
use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, TenantId, UserId};
use crate::store::channels;
use crate::store::database::rows::{Column, given};
use crate::store::database::sql::{self, by_key, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::lanes::lane::LaneKey;
use crate::store::records::deliveries::{IN_FLIGHT, IN_LANE};
use crate::store::records::notifications::place;
use crate::store::records::sharers::{self, PersonRows};
use crate::store::seal::data_keys::{KeyScope, ScopeKeys};
use crate::store::seal::person_keys;
use crate::store::tenancy::{api_keys, identity_links, previews};
use crate::store::{Ends, Error, Store};

/// Rows of the feed that one transaction changes.
const BATCH: u64 = 500;
/// Notifications that one transaction takes from each table that names the person.
const NOTIFICATIONS: u32 = 50;
/// Channels that one transaction takes the person out of: each is counted again.
const CHANNELS: u32 = 100;
/// Such transactions of one call; a repeated call continues.
const TRANSACTIONS: usize = 200;
/// The prefix of a request id that replaces an erased one.
const ERASED: &str = "erased:";

/// The result of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Whether there was a record of them.
    pub known: bool,
    /// Deliveries that were canceled, and those whose request to Slack is under way: these
    /// name the person until they end.
    pub canceled: Canceled,
    /// Ended deliveries that no longer name the person.
    pub erased: u64,
}

/// A stored answer without the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    pub answer: Vec<u8>,
    /// Whether it names any other person, or a channel.
    pub names_others: bool,
}

/// Removes a person from a stored answer, which is opaque here.
pub type Redact = fn(answer: &[u8], user: &UserId) -> Redacted;

impl Ends<'_> {
    /// Erases a person: from the feed, their messages and their channels in batches, and then from
    /// everything in one transaction, with their key. Deliveries in flight keep the person's name
    /// until they end: call it again then. Repeating it is safe, also after an error: it continues.
    /// [`Error::Unfinished`]: they have more messages, or channels, than one call erases.
    pub async fn erase_person(
        self,
        tenant: &TenantId,
        user: &UserId,
        redact: Redact,
    ) -> Result<Erased, Error> {
        let keys = self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let erasing = &Erasing { store: self.store, keys: &keys, redact };
        // Most of the feed and of the messages, while no other locks are held.
        self.store.erase_from_feed(tenant, user).await?;
        let all = &PersonRows { tenant, user, notifications: None };
        let mut parts = erasing.in_parts(all).await?;
        let recorded = erasing.out_of_channels(all, parts.recorded).await?;
        let Erasure { erased, met, key } = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    let erasure = erasing.within(tx, all).await?;
                    if !recorded {
                        self.store.record(tx).await?;
                    }
                    Ok(erasure)
                })
            })
            .await?;
        self.store.recorded();
        self.store.forget_key(tenant, &keys, user, key.as_deref()).await?;
        // The feed reports the cancellations with the person's name.
        self.store.erase_from_feed(tenant, user).await?;
        self.store.tidy_soon().await;
        let mut canceled = self.store.tell_canceled(&met);
        canceled.canceled += parts.canceled;
        // Marked before, and ended since.
        for (delivery, _) in &met {
            parts.marked.remove(delivery);
        }
        canceled.in_flight += u32::try_from(parts.marked.len()).unwrap_or(u32::MAX);
        Ok(Erased { canceled, erased: erased.erased + parts.erased, ..erased })
    }
}

impl Store {
    /// Removes the person from the feed, a few rows at a time: the sequencer, which numbers the
    /// changes of all tenants, waits for locked rows of the inbox. A change that is numbered
    /// meanwhile moves from the inbox to the feed; the inbox is cleared first, so the change no
    /// longer names the person.
    async fn erase_from_feed(&self, tenant: &TenantId, user: &UserId) -> Result<(), Error> {
        for (inbox, set) in [("feed_inbox", OF_DELIVERY), ("channel_feed_inbox", OF_CHANNEL)] {
            self.change_inbox(inbox, set, &[tenant.as_str().into(), user.as_str().into()]).await?;
        }
        for (table, set) in [("delivery_changes", OF_DELIVERY), ("channel_changes", OF_CHANNEL)] {
            let text = &out_of(table, "sequence", set);
            loop {
                let values = &params![tenant.as_str(), user.as_str()];
                let work = self.transaction(|tx| scoped(sql::execute(tx, text, values.clone())));
                if work.await? < BATCH {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Changes a person's rows of an inbox; `whose`: the tenant, the person, and values for `set`.
    ///
    /// An inbox has no index by person, which every change would have to write: the rows that are
    /// there now are gone through by their key.
    pub(in crate::store) async fn change_inbox(
        &self,
        inbox: &str,
        set: &str,
        whose: &[Value],
    ) -> Result<(), Error> {
        let last = format!("SELECT MAX(id) FROM {inbox}");
        let (lower, upper) = (whose.len() + 1, whose.len() + 2);
        let change = &format!(
            "UPDATE {inbox}
                SET {set}
                WHERE tenant = $1 AND user_id = $2 AND id > ${lower} AND id <= ${upper}"
        );
        let page = format!(
            "SELECT MAX(id)
                FROM (
                    SELECT id
                    FROM {inbox}
                    WHERE id > $1 AND id <= $2
                    ORDER BY id
                    LIMIT {BATCH}) AS page"
        );
        let mut after = 0;
        let Some(last) = self.highest(&last, params![]).await? else { return Ok(()) };
        while let Some(until) = self.highest(&page, params![after, last]).await? {
            let values = &[whose, &[after.into(), until.into()]].concat();
            self.transaction(|tx| scoped(sql::execute(tx, change, values.clone()))).await?;
            after = until;
        }
        Ok(())
    }

    async fn highest(&self, text: &str, values: Vec<Value>) -> Result<Option<i64>, Error> {
        let row = sql::one(self.reader(), text, values).await?;
        row.map_or(Ok(None), |row| row.get(0))
    }
}

/// Clears the person in a change of a delivery, whose conversation is theirs.
pub(in crate::store) const OF_DELIVERY: &str = "user_id = NULL, channel = NULL, ts = NULL";
/// The same in a change of a channel, which is not theirs.
pub(in crate::store) const OF_CHANNEL: &str = "user_id = NULL";

/// Clears the person (`$2`) in some of the tenant's (`$1`) rows of a feed table.
pub(in crate::store) fn out_of(table: &str, key: &str, set: &str) -> String {
    format!(
        "UPDATE {table}
            SET {set}
            WHERE tenant = $1 AND {key} IN (
                SELECT {key}
                FROM {table}
                WHERE tenant = $1 AND user_id = $2
                LIMIT {BATCH})"
    )
}

/// The result of the last transaction.
struct Erasure {
    erased: Erased,
    /// The deliveries that were canceled or marked, with their states.
    met: Vec<(DeliveryId, State)>,
    /// The person's key; `None`: there was none, or it was damaged.
    key: Option<Arc<ScopeKeys>>,
}

/// The result of the transactions before the last.
#[derive(Default)]
struct PartsErased {
    canceled: u32,
    /// Deliveries whose request was under way.
    marked: HashSet<DeliveryId>,
    erased: u64,
    /// Whether one of them wrote the entry of the audit trail.
    recorded: bool,
}

/// The result for some rows.
struct RowsErased {
    met: Vec<(DeliveryId, State)>,
    erased: u64,
}

/// An erasure of a person under way.
struct Erasing<'a> {
    store: &'a Store,
    /// The tenant's.
    keys: &'a Arc<ScopeKeys>,
    redact: Redact,
}

impl Erasing<'_> {
    /// Cancels and erases the person's messages, except those in flight, a few notifications in
    /// each transaction: one transaction for thousands of them would be ended by PostgreSQL's limit
    /// each time, and on SQLite hold up all other writes. Erased rows no longer name the person, so
    /// a repeated call continues after them. The person's key exists until the last transaction: it
    /// is needed for deliveries that another person takes over.
    async fn in_parts(&self, all: &PersonRows<'_>) -> Result<PartsErased, Error> {
        let mut done = PartsErased::default();
        for _ in 0..TRANSACTIONS {
            let some = self.some_notifications(all).await?;
            if some.is_empty() {
                return Ok(done);
            }
            let (tenant, user) = (all.tenant, all.user);
            let rows = &PersonRows { tenant, user, notifications: Some(some.as_slice()) };
            let first = !done.recorded;
            let part = self.store.transaction(|tx| {
                scoped(async move {
                    let lanes = lock_lanes(tx, rows).await?;
                    let theirs = person_keys::stored(tx, self.keys, tenant, user).await?;
                    let part = self.rows(tx, theirs.as_ref(), rows).await?;
                    erase_lanes(tx, &lanes).await?;
                    if first {
                        self.store.record(tx).await?;
                    }
                    Ok(part)
                })
            });
            let RowsErased { met, erased } = part.await?;
            self.store.recorded();
            done.recorded = true;
            done.canceled += self.store.tell_canceled(&met).canceled;
            let marked = met.iter().filter(|(_, state)| *state != State::Canceled);
            done.marked.extend(marked.map(|(delivery, _)| *delivery));
            done.erased += erased;
        }
        Err(Error::Unfinished("a person has more messages".into()))
    }

    /// Takes the person out of their channels, a few in each transaction. `recorded`: whether the
    /// entry of the audit trail is written; returns whether it is now.
    async fn out_of_channels(
        &self,
        all: &PersonRows<'_>,
        mut recorded: bool,
    ) -> Result<bool, Error> {
        for _ in 0..TRANSACTIONS {
            let (tenant, user, first) = (all.tenant, all.user, !recorded);
            let part = self.store.transaction(|tx| {
                scoped(async move {
                    let left = channels::erase(tx, tenant, user, CHANNELS).await?;
                    if first && left > 0 {
                        self.store.record(tx).await?;
                    }
                    Ok(left)
                })
            });
            let left = part.await?;
            if left > 0 {
                self.store.recorded();
                recorded = true;
            }
            if left < CHANNELS {
                return Ok(recorded);
            }
        }
        Err(Error::Unfinished("a person is in more channels".into()))
    }

    /// Some of the notifications with rows that can be erased.
    async fn some_notifications(&self, all: &PersonRows<'_>) -> Result<Vec<String>, Error> {
        let of = all.of("");
        let some = |table: &str, which: &str| {
            format!(
                "SELECT notification
                    FROM (
                        SELECT notification
                        FROM {table}
                        WHERE {of} AND {which}
                        LIMIT {NOTIFICATIONS}) AS {table}_found"
            )
        };
        let text = format!(
            "{} UNION {} UNION {}",
            some("deliveries", &format!("NOT ({IN_FLIGHT})")),
            some("deliveries_history", &format!("NOT ({IN_FLIGHT})")),
            some("delivery_sharers", "TRUE")
        );
        let rows = sql::all(self.store.reader(), &text, all.values()).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Erases everything that is left, with the person's key.
    async fn within(&self, tx: &Tx, all: &PersonRows<'_>) -> Result<Erasure, Error> {
        const RECORD: &str = "DELETE FROM people WHERE tenant = $1 AND user_id = $2";
        const CHOICES: &str = "DELETE FROM preferences WHERE tenant = $1 AND user_id = $2";
        const CONTENT: &str =
            "UPDATE deliveries SET content = NULL WHERE tenant = $1 AND user_id = $2";
        let (tenant, user, key) = (all.tenant, all.user, all.values());
        // First, because a transaction that works on a lane locks the lane before its deliveries.
        lock_lanes(tx, all).await?;
        // Before the other rows are searched: a write with this key that is under way ends first,
        // and its rows are found. Later writes find no key.
        let theirs = person_keys::erase(tx, self.keys, tenant, user).await?;
        let lanes = lock_lanes(tx, all).await?;
        let RowsErased { met, erased } = self.rows(tx, theirs.as_ref(), all).await?;
        erase_lanes(tx, &lanes).await?;
        let mut erased = Erased { erased, ..Erased::default() };
        // Deliveries in flight must not be sent again.
        sql::execute(tx, CONTENT, key.clone()).await?;
        api_keys::erase(tx, tenant, user).await?;
        identity_links::erase(tx, tenant, user).await?;
        // Only those since the parts before.
        channels::erase(tx, tenant, user, u32::MAX).await?;
        erased.known = sql::execute(tx, RECORD, key.clone()).await? > 0;
        sql::execute(tx, CHOICES, key).await?;
        previews::erase(tx, tenant).await?;
        Ok(Erasure { erased, met, key: theirs })
    }

    /// Erases the notifications and the deliveries of these rows, whose lanes are locked. `theirs`
    /// is the person's key.
    async fn rows(
        &self,
        tx: &Tx,
        theirs: Option<&Arc<ScopeKeys>>,
        rows: &PersonRows<'_>,
    ) -> Result<RowsErased, Error> {
        self.notifications(tx, rows).await?;
        sharers::leave(self.store, tx, self.keys, theirs, rows).await?;
        let met = cancel_where(tx, &rows.of(""), rows.values(), "NULL").await?;
        let mut erased = 0;
        for table in ["deliveries", "deliveries_history"] {
            erased += erase_deliveries(tx, table, rows).await?;
        }
        Ok(RowsErased { met, erased })
    }

    /// Removes the person from the answers to the calls that named them, and erases the data of
    /// calls that named no other recipient.
    async fn notifications(&self, tx: &Tx, rows: &PersonRows<'_>) -> Result<(), Error> {
        let of = rows.of("");
        let named = ["deliveries", "deliveries_history", "delivery_sharers"]
            .map(|table| format!("SELECT notification FROM {table} WHERE {of}"))
            .join(" UNION ");
        let find = format!(
            "SELECT id, answer, principal, request_id
                FROM notifications
                WHERE tenant = $1 AND id IN ({named})
                ORDER BY id {{for_update}}"
        );
        let mut answers: Vec<[Value; 3]> = Vec::new();
        let mut alone: Vec<[Value; 2]> = Vec::new();
        for row in sql::all(tx, &find, rows.values()).await? {
            let (id, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let at = place(&id, "answer");
            let redacted = (self.redact)(&self.keys.open(&at, &sealed)?, rows.user);
            let (principal, request): (String, String) = (row.get(2)?, row.get(3)?);
            let request = erased_request(self.keys, &principal, &request)?;
            let answer = self.keys.seal(&at, &redacted.answer)?;
            answers.push([id.as_str().into(), answer.into(), request.into()]);
            if !redacted.names_others {
                let nothing = self.keys.seal(&place(&id, "data"), b"{}")?;
                alone.push([id.as_str().into(), nothing.into()]);
            }
        }
        let backend = tx.get_database_backend();
        let row = by_key(backend, "notifications.id", "column1");
        for (table, values) in given(backend, [Column::Text, Column::Bytes, Column::Text], answers)
        {
            let text = format!(
                "UPDATE notifications
                    SET answer = column2, request_id = column3
                    FROM {table}
                    WHERE {row}"
            );
            sql::execute(tx, &text, values).await?;
        }
        for (table, values) in given(backend, [Column::Text, Column::Bytes], alone) {
            let text = format!(
                "UPDATE notifications SET data = column2, link = NULL FROM {table} WHERE {row}"
            );
            sql::execute(tx, &text, values).await?;
        }
        Ok(())
    }
}

/// Removes the person, the content and the destination from deliveries that ended.
async fn erase_deliveries(tx: &Tx, table: &str, rows: &PersonRows<'_>) -> Result<u64, Error> {
    let text = format!(
        "UPDATE {table}
            SET user_id = NULL, content = NULL, lane = NULL, slack_channel = NULL, slack_ts = NULL,
                trace_context = NULL, trace = NULL, deferred_lane = NULL, subject_key = NULL,
                thread_ts = NULL
            WHERE {} AND NOT ({IN_FLIGHT})",
        rows.of("")
    );
    sql::execute(tx, &text, rows.values()).await
}

/// Locks the lanes that the person's messages went to.
pub(in crate::store) async fn lock_lanes(
    tx: &Tx,
    rows: &PersonRows<'_>,
) -> Result<Vec<LaneKey>, Error> {
    let of = rows.of("");
    let theirs = format!(
        "SELECT installation, lane
            FROM lanes
            WHERE (installation, lane) IN (
                SELECT installation, COALESCE(lane, deferred_lane)
                FROM deliveries
                WHERE {of}
                UNION
                SELECT installation, COALESCE(lane, deferred_lane)
                FROM deliveries_history
                WHERE {of}
                UNION
                SELECT installation, slack_user_id
                FROM people
                WHERE tenant = $1 AND user_id = $2)
            ORDER BY installation, lane {{for_update}}"
    );
    let found = sql::all(tx, &theirs, rows.values()).await?;
    found.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Removes the lanes without waiting deliveries: they name the member and the conversation. A lane
/// stays while a message in it waits or is under way, for this person or another. A worker that has
/// just ended the last one finds its lane gone and has nothing to give back.
async fn erase_lanes(tx: &Tx, lanes: &[LaneKey]) -> Result<(), Error> {
    let backend = tx.get_database_backend();
    let keys = lanes.iter();
    let keys = keys.map(|(installation, lane)| {
        [Value::from(installation.as_str()), Value::from(lane.as_str())]
    });
    for (table, values) in given(backend, [Column::Text; 2], keys.collect()) {
        let remove = format!(
            "DELETE FROM lanes
                WHERE (installation, lane) IN (SELECT column1, column2 FROM {table})
                    AND NOT EXISTS (
                        SELECT 1
                        FROM deliveries
                        WHERE {IN_LANE} AND deliveries.installation = lanes.installation
                            AND deliveries.lane = lanes.lane)"
        );
        let limited = format!(
            "UPDATE posting
                SET limited_lane = NULL
                WHERE (installation, limited_lane) IN (SELECT column1, column2 FROM {table})"
        );
        sql::execute(tx, &remove, values.clone()).await?;
        sql::execute(tx, &limited, values).await?;
    }
    Ok(())
}

/// The replacement for a request id that may name a person. It is derived from the request id, so a
/// repeated call is still found by it. Applying it again yields the same.
pub(in crate::store) fn erased_request(
    keys: &ScopeKeys,
    principal: &str,
    request: &str,
) -> Result<String, Error> {
    if request.len() == ERASED.len() + 43 && request.starts_with(ERASED) {
        return Ok(request.to_owned());
    }
    let mac = keys.mac("request id", &[principal.as_bytes(), request.as_bytes()])?;
    Ok(format!("{ERASED}{}", BASE64_URL_SAFE_NO_PAD.encode(mac)))
}
