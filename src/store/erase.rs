//! Forgetting a person: what is queued for them is canceled, what was written about them erased.
//! Counts, states, times and fingerprints stay, without the person (design.md section 8).
//!
//! What a notification to several people says is about a thing, and the others got it too: its data
//! stays, without the person's verdict. Where it named nobody else it is erased.

use super::cancel::{Canceled, cancel_where};
use super::notifications::place;
use super::seal::{Scope, ScopeKeys};
use super::sql::{self, params};
use super::transaction::{Tx, scoped};
use super::{Error, Store};
use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, TenantId, UserId};

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Whether there was a record of them.
    pub known: bool,
    /// Deliveries that were canceled, and those whose request to Slack is under way: these name the
    /// person until they end.
    pub canceled: Canceled,
    /// Deliveries that ended and do not name them any more.
    pub erased: u64,
}

/// A stored answer without a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    pub answer: Vec<u8>,
    /// Whether it names anybody else, or a channel.
    pub names_others: bool,
}

/// Takes a person out of a stored answer, which is opaque here.
pub type Redact = fn(answer: &[u8], user: &UserId) -> Redacted;

impl Store {
    /// Forgets a person, in one transaction. What is in flight keeps their name until it ended:
    /// call it again then. Repeating it is safe.
    pub async fn erase_person(
        &self,
        tenant: &TenantId,
        user: &UserId,
        redact: Redact,
    ) -> Result<Erased, Error> {
        let keys = self.keys(&Scope::Tenant(tenant.clone())).await?;
        let keys = &keys;
        let (erased, met) =
            self.transaction(|tx| scoped(erase_within(tx, keys, tenant, user, redact))).await?;
        Ok(Erased { canceled: self.tell_canceled(&met), ..erased })
    }
}

async fn erase_within(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
    redact: Redact,
) -> Result<(Erased, Vec<(DeliveryId, State)>), Error> {
    const RECORD: &str = "DELETE FROM people WHERE tenant = $1 AND user_id = $2";
    const CHOICES: &str = "DELETE FROM preferences WHERE tenant = $1 AND user_id = $2";
    const CONTENT: &str = "UPDATE deliveries SET content = NULL WHERE tenant = $1 AND user_id = $2";
    let key = params![tenant.as_str(), user.as_str()];
    let mut erased = Erased::default();
    erase_notifications(tx, keys, tenant, user, redact).await?;
    super::sharers::leave(tx, tenant, user).await?;
    let met = cancel_where(tx, "tenant = $1 AND user_id = $2", key.clone(), "NULL").await?;
    for table in ["deliveries", "deliveries_history"] {
        erased.erased += erase_deliveries(tx, table, &key).await?;
    }
    // What is in flight must not be sent once more.
    sql::execute(tx, CONTENT, key.clone()).await?;
    for table in ["feed_inbox", "delivery_changes"] {
        let text = format!(
            "UPDATE {table} SET user_id = NULL, channel = NULL, ts = NULL \
             WHERE tenant = $1 AND user_id = $2"
        );
        sql::execute(tx, &text, key.clone()).await?;
    }
    erased.known = sql::execute(tx, RECORD, key.clone()).await? > 0;
    sql::execute(tx, CHOICES, key).await?;
    Ok((erased, met))
}

/// Takes the person, the words and the place out of deliveries that ended.
async fn erase_deliveries(tx: &Tx, table: &str, key: &[sea_orm::Value]) -> Result<u64, Error> {
    let text = format!(
        "UPDATE {table} SET user_id = NULL, content = NULL, lane = NULL, slack_channel = NULL, \
         slack_ts = NULL, trace_context = NULL, trace = NULL, deferred_lane = NULL, \
         subject_key = NULL \
         WHERE tenant = $1 AND user_id = $2 AND state NOT IN ('sending', 'unknown')"
    );
    sql::execute(tx, &text, key.to_vec()).await
}

/// Takes the person out of the answers to the calls that named them, and erases the data of those
/// that named nobody else.
async fn erase_notifications(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
    redact: Redact,
) -> Result<(), Error> {
    const FIND: &str = "SELECT id, answer FROM notifications WHERE tenant = $1 AND id IN \
        (SELECT notification FROM deliveries WHERE tenant = $1 AND user_id = $2 \
         UNION SELECT notification FROM deliveries_history WHERE tenant = $1 AND user_id = $2 \
         UNION SELECT notification FROM delivery_sharers WHERE tenant = $1 AND user_id = $2) \
        ORDER BY id {for_update}";
    const ANSWER: &str = "UPDATE notifications SET answer = $2 WHERE id = $1";
    const DATA: &str = "UPDATE notifications SET data = $2, link = NULL WHERE id = $1";
    for row in sql::all(tx, FIND, params![tenant.as_str(), user.as_str()]).await? {
        let (id, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let at = place(&id, "answer");
        let redacted = redact(&keys.open(&at, &sealed)?, user);
        sql::execute(tx, ANSWER, params![id.as_str(), keys.seal(&at, &redacted.answer)?]).await?;
        if !redacted.names_others {
            let nothing = keys.seal(&place(&id, "data"), b"{}")?;
            sql::execute(tx, DATA, params![id.as_str(), nothing]).await?;
        }
    }
    Ok(())
}
