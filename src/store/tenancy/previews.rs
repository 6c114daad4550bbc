//! Messages that a browser can show for a while, by a link.
//!
//! The link has a random id, of which only the hash is stored, and the message is encrypted: a
//! reader of the database gets neither. A tenant has a limited number of previews; the oldest make
//! room.
//!
//! The deletion of a person deletes all previews of the tenant: nothing says which of them show
//! something about the person, and each lasts for an hour at most.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::domain::ids::{NotificationId, TenantId, UserId};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::notifications;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::{Error, Previews};

/// Previews that a tenant has at most; calls at the same time may exceed it by as many as they are.
const KEPT: u32 = 100;

/// A preview before it is stored. No `Debug`: the id is a secret, and the content a message.
#[derive(Clone, Copy)]
pub struct NewPreview<'a> {
    pub tenant: &'a TenantId,
    /// The random id in the link.
    pub id: &'a str,
    pub content: &'a [u8],
    /// People whose stored records were used for it.
    pub people: &'a BTreeSet<UserId>,
    /// The notification whose data it shows.
    pub notification: Option<ShownNotification<'a>>,
    /// How long it can be read.
    pub lifetime: Duration,
}

/// A notification whose data a preview shows. No `Debug`: the data may be about a person.
#[derive(Clone, Copy)]
pub struct ShownNotification<'a> {
    pub id: NotificationId,
    /// Its data, as it was read.
    pub data: &'a [u8],
}

/// The outcome of storing a preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewSaved {
    /// It can be read until this time.
    Until(Timestamp),
    /// One of its people was deleted meanwhile, and nothing was stored.
    PersonGone,
    /// The data of its notification was erased meanwhile, and nothing was stored.
    DataGone,
}

/// A stored preview. No `Debug`: the content is a message.
pub struct StoredPreview {
    /// As it was given.
    pub content: Vec<u8>,
    pub expires_at: Timestamp,
}

impl Previews<'_> {
    /// Stores a preview, unless a person or the data that it shows was erased meanwhile.
    pub async fn save(self, preview: NewPreview<'_>) -> Result<PreviewSaved, Error> {
        const INSERT: &str = "INSERT INTO previews
                (id_hash, tenant, content, created_at, expires_at)
            VALUES ($1, $2, $3, {now}, {now} + $4) RETURNING expires_at";
        let NewPreview { tenant, id, content, people, notification, lifetime } = preview;
        let hash = hash(id);
        let keys = &self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let sealed = keys.seal(&place(&hash), content)?;
        let values = &params![hash.as_str(), tenant.as_str(), sealed, micros(lifetime)];
        let saved = self.store.transaction(|tx| {
            scoped(async move {
                // In the order in which a deletion locks: notifications, then people.
                if let Some(shown) = notification
                    && !is_unchanged(tx, keys, tenant, shown).await?
                {
                    return Ok(PreviewSaved::DataGone);
                }
                if !are_there(tx, tenant, people).await? {
                    return Ok(PreviewSaved::PersonGone);
                }
                make_room(tx, tenant).await?;
                let row = sql::one(tx, INSERT, values.clone()).await?;
                let row = row.ok_or_else(|| Error::Bug("a preview was not stored".into()))?;
                Ok(PreviewSaved::Until(Timestamp(row.get(0)?)))
            })
        });
        saved.await
    }

    /// The preview with this id; `None` if there is none, or no longer.
    pub async fn get(self, id: &str) -> Result<Option<StoredPreview>, Error> {
        const SQL: &str = "SELECT tenant, content, expires_at FROM previews
            WHERE id_hash = $1 AND expires_at > {now}";
        let hash = hash(id);
        let row = sql::one(self.store.reader(), SQL, params![hash.as_str()]).await?;
        let Some(row) = row else { return Ok(None) };
        let tenant = TenantId::parse(row.get::<String>(0)?)
            .map_err(|_| Error::Bug("a stored tenant id".into()))?;
        let sealed: Vec<u8> = row.get(1)?;
        let content = self.store.open_column(&tenant, &place(&hash), &sealed).await?;
        Ok(Some(StoredPreview { content, expires_at: Timestamp(row.get(2)?) }))
    }

    /// Deletes up to `limit` previews that have ended; returns how many.
    pub async fn forget(self, limit: u32) -> Result<u64, Error> {
        let text = format!(
            "DELETE FROM previews
                WHERE id_hash IN (
                    SELECT id_hash
                    FROM previews
                    WHERE expires_at <= {{now}}
                    LIMIT {limit})"
        );
        sql::execute(self.store.writer(), &text, params![]).await
    }
}

/// Whether the notification still has this data. It cannot be erased before the transaction ends: a
/// deletion that comes later finds the preview.
async fn is_unchanged(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    shown: ShownNotification<'_>,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT data FROM notifications WHERE tenant = $1 AND id = $2
        {for_key_share}";
    let id = shown.id.to_string();
    let Some(row) = sql::one(tx, SQL, params![tenant.as_str(), id.as_str()]).await? else {
        return Ok(false);
    };
    let sealed: Vec<u8> = row.get(0)?;
    match keys.open(&notifications::place(&id, "data"), &sealed) {
        Ok(data) => Ok(*data == *shown.data),
        // It could be read before: it was written again since, with a key made meanwhile.
        Err(Error::Sealed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the records of these people exist. They cannot be deleted before the transaction ends: a
/// deletion that comes later finds the preview.
async fn are_there(tx: &Tx, tenant: &TenantId, people: &BTreeSet<UserId>) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 FROM people WHERE tenant = $1 AND user_id = $2 {for_key_share}";
    for user in people {
        let values = params![tenant.as_str(), user.as_str()];
        if sql::one(tx, SQL, values).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes the oldest previews of the tenant, so that one more is not too many.
async fn make_room(tx: &Tx, tenant: &TenantId) -> Result<(), Error> {
    // SQLite knows OFFSET only after a LIMIT.
    let text = format!(
        "DELETE FROM previews
            WHERE tenant = $1 AND id_hash IN (
                SELECT id_hash
                FROM previews
                WHERE tenant = $1
                ORDER BY created_at DESC, id_hash DESC
                LIMIT 1000000 OFFSET {})",
        KEPT - 1
    );
    sql::execute(tx, &text, params![tenant.as_str()]).await.map(drop)
}

/// Deletes all previews of a tenant of which a person is deleted, after the person's record.
pub(in crate::store) async fn erase(tx: &Tx, tenant: &TenantId) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM previews WHERE tenant = $1";
    sql::execute(tx, SQL, params![tenant.as_str()]).await.map(drop)
}

/// The stored form of an id, which has 128 random bits: it needs no salt.
fn hash(id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(id.as_bytes()))
}

/// Binds the encrypted message of one preview.
fn place(hash: &str) -> SealedCell<'_> {
    SealedCell { table: "previews", row: hash, column: "content" }
}
