//! Erasing a person: deliveries queued for them are canceled, and data about them is erased, with
//! the key that encrypts most of it (`person_keys`). Counts, states, times and fingerprints stay,
//! without the person.
//!
//! The data of a notification to several people is about a subject, and the other recipients got it
//! too: it stays, without the person's verdict. If the notification named no other recipient, its
//! data is erased.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::cancel::{Canceled, cancel_where};
use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, TenantId, UserId};
use crate::store::channels;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::{IN_FLIGHT, IN_LANE};
use crate::store::records::notifications::place;
use crate::store::records::sharers;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys};
use crate::store::seal::person_keys;
use crate::store::tenancy::{api_keys, previews};
use crate::store::{Ends, Error, Store};

/// Rows of the feed that one transaction changes.
const BATCH: u64 = 500;
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
    /// Erases a person: from the feed in batches, from everything else in one transaction.
    /// Deliveries in flight keep the person's name until they end: call it again then. Repeating it
    /// is safe, also after an error.
    pub async fn erase_person(
        self,
        tenant: &TenantId,
        user: &UserId,
        redact: Redact,
    ) -> Result<Erased, Error> {
        let keys = self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let keys = &keys;
        // Most of the feed, while no other locks are held.
        self.store.erase_from_feed(tenant, user).await?;
        let Erasure { erased, met, key } = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    let erasure = erase_within(self.store, tx, keys, tenant, user, redact).await?;
                    self.store.record(tx).await?;
                    Ok(erasure)
                })
            })
            .await?;
        self.store.recorded();
        self.store.forget_key(tenant, keys, user, key.as_deref()).await?;
        // The feed reports the cancellations with the person's name.
        self.store.erase_from_feed(tenant, user).await?;
        self.store.tidy_soon().await;
        Ok(Erased { canceled: self.store.tell_canceled(&met), ..erased })
    }
}

impl Store {
    /// Removes the person from the feed, a few rows at a time: the sequencer, which numbers the
    /// changes of all tenants, waits for locked rows of the inbox. A change that is numbered
    /// meanwhile moves from the inbox to the feed; the inbox is cleared first, so the change no
    /// longer names the person.
    async fn erase_from_feed(&self, tenant: &TenantId, user: &UserId) -> Result<(), Error> {
        for (table, key, set) in [
            ("feed_inbox", "id", OF_DELIVERY),
            ("delivery_changes", "sequence", OF_DELIVERY),
            ("channel_feed_inbox", "id", OF_CHANNEL),
            ("channel_changes", "sequence", OF_CHANNEL),
        ] {
            let text = &out_of(table, key, set);
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
}

/// Clears the person in a change of a delivery, whose conversation is theirs.
pub(in crate::store) const OF_DELIVERY: &str = "user_id = NULL, channel = NULL, ts = NULL";
/// The same in a change of a channel, which is not theirs.
pub(in crate::store) const OF_CHANNEL: &str = "user_id = NULL";

/// Clears the person (`$2`) in some of the tenant's (`$1`) rows of a feed table.
pub(in crate::store) fn out_of(table: &str, key: &str, set: &str) -> String {
    format!(
        "UPDATE {table} SET {set} \
         WHERE tenant = $1 AND {key} IN (SELECT {key} FROM {table} \
         WHERE tenant = $1 AND user_id = $2 LIMIT {BATCH})"
    )
}

/// The result of an erasing transaction.
struct Erasure {
    erased: Erased,
    /// The deliveries that were canceled or marked, with their states.
    met: Vec<(DeliveryId, State)>,
    /// The person's key; `None`: there was none, or it was damaged.
    key: Option<Arc<ScopeKeys>>,
}

async fn erase_within(
    store: &Store,
    tx: &Tx,
    keys: &Arc<ScopeKeys>,
    tenant: &TenantId,
    user: &UserId,
    redact: Redact,
) -> Result<Erasure, Error> {
    const RECORD: &str = "DELETE FROM people WHERE tenant = $1 AND user_id = $2";
    const CHOICES: &str = "DELETE FROM preferences WHERE tenant = $1 AND user_id = $2";
    const CONTENT: &str = "UPDATE deliveries SET content = NULL WHERE tenant = $1 AND user_id = $2";
    let key = params![tenant.as_str(), user.as_str()];
    let mut erased = Erased::default();
    // First, because a transaction that works on a lane locks the lane before its deliveries.
    lock_lanes(tx, &key).await?;
    // Before the other rows are searched: a write with this key that is under way ends first, and
    // its rows are found. Later writes find no key.
    let theirs = person_keys::erase(tx, keys, tenant, user).await?;
    let lanes = lock_lanes(tx, &key).await?;
    erase_notifications(tx, keys, tenant, user, redact).await?;
    sharers::leave(store, tx, (keys, theirs.as_ref()), tenant, user).await?;
    let met = cancel_where(tx, "tenant = $1 AND user_id = $2", key.clone(), "NULL").await?;
    for table in ["deliveries", "deliveries_history"] {
        erased.erased += erase_deliveries(tx, table, &key).await?;
    }
    erase_lanes(tx, &lanes).await?;
    // Deliveries in flight must not be sent again.
    sql::execute(tx, CONTENT, key.clone()).await?;
    api_keys::erase(tx, tenant, user).await?;
    channels::erase(tx, tenant, user).await?;
    erased.known = sql::execute(tx, RECORD, key.clone()).await? > 0;
    sql::execute(tx, CHOICES, key).await?;
    previews::erase(tx, tenant).await?;
    Ok(Erasure { erased, met, key: theirs })
}

/// Removes the person, the content and the destination from deliveries that ended.
async fn erase_deliveries(tx: &Tx, table: &str, key: &[sea_orm::Value]) -> Result<u64, Error> {
    let text = format!(
        "UPDATE {table} SET user_id = NULL, content = NULL, lane = NULL, slack_channel = NULL, \
         slack_ts = NULL, trace_context = NULL, trace = NULL, deferred_lane = NULL, \
         subject_key = NULL, thread_ts = NULL \
         WHERE tenant = $1 AND user_id = $2 AND NOT ({IN_FLIGHT})"
    );
    sql::execute(tx, &text, key.to_vec()).await
}

/// Locks the lanes that the person's messages went to; returns their workspaces and members.
async fn lock_lanes(tx: &Tx, key: &[sea_orm::Value]) -> Result<Vec<(String, String)>, Error> {
    const THEIRS: &str = "SELECT installation, lane FROM lanes WHERE (installation, lane) IN \
        (SELECT installation, COALESCE(lane, deferred_lane) FROM deliveries \
         WHERE tenant = $1 AND user_id = $2 \
         UNION SELECT installation, COALESCE(lane, deferred_lane) FROM deliveries_history \
         WHERE tenant = $1 AND user_id = $2 \
         UNION SELECT installation, slack_user_id FROM people \
         WHERE tenant = $1 AND user_id = $2) ORDER BY installation, lane {for_update}";
    let rows = sql::all(tx, THEIRS, key.to_vec()).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Removes the lanes without waiting deliveries: they name the member and the conversation. A lane
/// stays while a message in it waits or is under way, for this person or another. A worker that has
/// just ended the last one finds its lane gone and has nothing to give back.
async fn erase_lanes(tx: &Tx, lanes: &[(String, String)]) -> Result<(), Error> {
    const LIMITED: &str = "UPDATE posting SET limited_lane = NULL \
        WHERE installation = $1 AND limited_lane = $2";
    let remove = format!(
        "DELETE FROM lanes WHERE installation = $1 AND lane = $2 \
         AND NOT EXISTS (SELECT 1 FROM deliveries WHERE {IN_LANE} \
         AND deliveries.installation = lanes.installation AND deliveries.lane = lanes.lane)"
    );
    for (installation, lane) in lanes {
        let key = params![installation.as_str(), lane.as_str()];
        sql::execute(tx, &remove, key.clone()).await?;
        sql::execute(tx, LIMITED, key).await?;
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

/// Removes the person from the answers to the calls that named them, and erases the data of calls
/// that named no other recipient.
async fn erase_notifications(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
    redact: Redact,
) -> Result<(), Error> {
    const FIND: &str = "SELECT id, answer, principal, request_id FROM notifications \
        WHERE tenant = $1 AND id IN \
        (SELECT notification FROM deliveries WHERE tenant = $1 AND user_id = $2 \
         UNION SELECT notification FROM deliveries_history WHERE tenant = $1 AND user_id = $2 \
         UNION SELECT notification FROM delivery_sharers WHERE tenant = $1 AND user_id = $2) \
        ORDER BY id {for_update}";
    const ANSWER: &str = "UPDATE notifications SET answer = $2, request_id = $3 WHERE id = $1";
    const DATA: &str = "UPDATE notifications SET data = $2, link = NULL WHERE id = $1";
    for row in sql::all(tx, FIND, params![tenant.as_str(), user.as_str()]).await? {
        let (id, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let at = place(&id, "answer");
        let redacted = redact(&keys.open(&at, &sealed)?, user);
        let (principal, request): (String, String) = (row.get(2)?, row.get(3)?);
        let request = erased_request(keys, &principal, &request)?;
        let answer = keys.seal(&at, &redacted.answer)?;
        sql::execute(tx, ANSWER, params![id.as_str(), answer, request]).await?;
        if !redacted.names_others {
            let nothing = keys.seal(&place(&id, "data"), b"{}")?;
            sql::execute(tx, DATA, params![id.as_str(), nothing]).await?;
        }
    }
    Ok(())
}
