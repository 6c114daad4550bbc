//! API keys that are made at run time. Every replica reads them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::access::api_key::{ApiKey, Hash, fingerprint};
use crate::domain::access::caller::{Caller, Reach, Role};
use crate::domain::ids::{ApiKeyId, Principal, TenantId, UserId};
use crate::domain::limits;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{ApiKeys, Error, new_uuid};

const COLUMNS: &str = "k.id, k.fingerprint, k.principal, k.role, k.user_id, k.reach, k.acts, \
    k.created_at, k.created_by, k.expires_at, k.revoked_at";
/// The keys that work.
const LIVE: &str = "revoked_at IS NULL AND expires_at > {now}";

/// A key to be made.
pub struct NewApiKey<'a> {
    /// The tenant whose administrators manage it; `None`: no tenant.
    pub tenant: Option<&'a TenantId>,
    pub hash: Hash,
    pub caller: &'a Caller,
    pub created_by: &'a Principal,
    pub life: Duration,
}

/// The outcome of [`ApiKeys::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyMade {
    Made(ApiKey),
    /// The caller already has these valid keys.
    Occupied(Vec<ApiKeyId>),
    /// The tenant has as many keys as it may.
    Full,
}

/// A key as shown in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedApiKey {
    pub key: ApiKey,
    /// Accurate to within an hour.
    pub last_used_at: Option<Timestamp>,
}

/// A position in the list: the last key of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyPosition {
    pub created_at: Timestamp,
    pub id: ApiKeyId,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyPage {
    /// Newest first.
    pub keys: Vec<ListedApiKey>,
    /// Where the next page begins; `None`: there are no more.
    pub more_after: Option<ApiKeyPosition>,
}

/// A key and the hash that finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownApiKey {
    pub hash: Hash,
    /// The version of its last change: later changes have greater ones.
    pub version: i64,
    pub key: ApiKey,
}

/// A position in the order of changes: the last change of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyChange {
    version: i64,
    /// `None`: all changes of this version are before it.
    id: Option<String>,
}

impl ApiKeyChange {
    /// The last change of a version; of version 0, the beginning.
    #[must_use]
    pub fn last_of(version: i64) -> Self {
        Self { version, id: None }
    }
}

/// Keys that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedApiKeys {
    pub keys: Vec<KnownApiKey>,
    /// Keys that only a newer release can read. Earlier values of them are out of date.
    pub unread: Vec<Hash>,
    /// Where the next page begins; `None`: there are no more.
    pub more_after: Option<ApiKeyChange>,
}

/// The state of the store's keys, to tell whether they changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeysState {
    pub now: Timestamp,
    /// The version of the last change.
    pub version: i64,
    /// If it differs from before, keys were removed before their time.
    pub erased: i64,
}

impl ApiKeys<'_> {
    /// Makes a key, unless the caller already has [`limits::API_KEYS_OF_CALLER`] valid ones, or the
    /// tenant has [`limits::API_KEYS_OF_TENANT`].
    pub async fn create(self, new: &NewApiKey<'_>) -> Result<ApiKeyMade, Error> {
        let made = self.store.transaction(|tx| {
            scoped(async move {
                let made = create(tx, new).await?;
                if matches!(made, ApiKeyMade::Made(_)) {
                    self.store.record(tx).await?;
                }
                Ok(made)
            })
        });
        let made = made.await?;
        self.store.recorded();
        Ok(made)
    }

    /// Revokes a key of a tenant (`None`: of no tenant) from now on, and returns the key. `None`:
    /// there is no such key.
    pub async fn revoke(
        self,
        tenant: Option<&TenantId>,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, Error> {
        const REVOKE: &str = "UPDATE api_keys
            SET revoked_at = {now}, version = $3
            WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL";
        let find = format!("SELECT {COLUMNS} FROM api_keys k WHERE tenant = $1 AND id = $2");
        let (find, home) = (&find, &home(tenant));
        let revoked = self.store.transaction(|tx| {
            scoped(async move {
                let version = next_version(tx).await?;
                let at = params![home.as_str(), id.to_string()];
                let mut values = at.clone();
                values.push(version.into());
                sql::execute(tx, REVOKE, values).await?;
                let Some(row) = sql::one(tx, find, at).await? else { return Ok(None) };
                self.store.record(tx).await?;
                read(&mut Columns::of(&row)).map(Some)
            })
        });
        let revoked = revoked.await?;
        self.store.recorded();
        Ok(revoked)
    }

    /// Up to `limit` keys of a tenant (`None`: of no tenant) after a position.
    pub async fn list(
        self,
        tenant: Option<&TenantId>,
        after: Option<ApiKeyPosition>,
        limit: u32,
    ) -> Result<ApiKeyPage, Error> {
        let mut values = params![home(tenant)];
        let beyond = match after {
            None => "",
            Some(position) => {
                values.extend(params![position.created_at.0, position.id.to_string()]);
                " AND (k.created_at, k.id) < ($2, $3)"
            }
        };
        let text = format!(
            "SELECT {COLUMNS},
                    (SELECT u.seen_at
                        FROM key_uses u
                        WHERE u.principal = k.principal AND u.key = k.fingerprint)
                FROM api_keys k
                WHERE k.tenant = $1{beyond}
                ORDER BY k.created_at DESC, k.id DESC
                LIMIT {}",
            limit + 1
        );
        let mut rows = sql::all(self.store.reader(), &text, values).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let keys: Vec<_> = rows.iter().filter_map(|row| listed(row).ok()).collect();
        self.store.pass_over(UnreadableRow::ApiKey, (rows.len() - keys.len()) as u64);
        let mut positions = rows.iter().rev().filter_map(|row| position(row).ok());
        Ok(ApiKeyPage { keys, more_after: positions.next().filter(|_| more) })
    }

    /// The state that shows whether any key changed.
    pub async fn state(self) -> Result<ApiKeysState, Error> {
        const STATE: &str = "SELECT {now}, version, erased FROM api_key_version WHERE id = 1";
        let row = sql::one(self.store.reader(), STATE, params![]).await?;
        let row = row.ok_or_else(|| Error::Bug("api_key_version has no row".into()))?;
        let mut columns = Columns::of(&row);
        Ok(ApiKeysState { now: columns.time()?, version: columns.take()?, erased: columns.take()? })
    }

    /// Up to `limit` keys that changed after a position, in the order of their changes.
    pub async fn list_changed(
        self,
        after: &ApiKeyChange,
        limit: u32,
    ) -> Result<ChangedApiKeys, Error> {
        let text = format!(
            "SELECT k.hash, k.version, {COLUMNS}
                FROM api_keys k
                WHERE (k.version, k.id) > ($1, $2)
                ORDER BY k.version, k.id
                LIMIT {limit}"
        );
        // No UUID sorts after this, in any collation.
        let id = after.id.as_deref().unwrap_or("z");
        let rows = sql::all(self.store.reader(), &text, params![after.version, id]).await?;
        let (mut keys, mut unread) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in &rows {
            match known(row) {
                Ok(known) => keys.push(known),
                Err(_) => unread.extend(hash(row).ok()),
            }
        }
        self.store.pass_over(UnreadableRow::ApiKey, (rows.len() - keys.len()) as u64);
        let last = rows.last().filter(|_| rows.len() == limit as usize);
        let change = |row: &Row| {
            Ok::<_, Error>(ApiKeyChange { version: row.get(1)?, id: Some(row.get(2)?) })
        };
        Ok(ChangedApiKeys { keys, unread, more_after: last.map(change).transpose()? })
    }

    /// The key with this hash, and the database's time. A key that only a newer release can read
    /// is unknown to this one.
    pub async fn get(self, hash: &Hash) -> Result<Option<(KnownApiKey, Timestamp)>, Error> {
        let text =
            format!("SELECT k.hash, k.version, {COLUMNS}, {{now}} FROM api_keys k WHERE hash = $1");
        let row = sql::one(self.store.reader(), &text, params![hash.to_vec()]).await?;
        let Some(row) = row else { return Ok(None) };
        let Ok(known) = known(&row) else {
            self.store.pass_over(UnreadableRow::ApiKey, 1);
            return Ok(None);
        };
        Ok(Some((known, Timestamp(row.get(13)?))))
    }

    /// Removes up to `limit` keys that ended more than `older` ago; returns how many.
    pub async fn forget(self, older: Duration, limit: u32) -> Result<u64, Error> {
        let text = format!(
            "DELETE FROM api_keys
                WHERE id IN (
                    SELECT id
                    FROM api_keys
                    WHERE COALESCE(revoked_at, expires_at) <= {{now}} - $1
                    LIMIT {limit})"
        );
        sql::execute(self.store.writer(), &text, params![micros(older)]).await
    }
}

/// Removes the keys of a person who is being deleted.
pub(in crate::store) async fn erase(
    tx: &Tx,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(), Error> {
    const ERASE: &str = "DELETE FROM api_keys WHERE tenant = $1 AND user_id = $2";
    let gone = sql::execute(tx, ERASE, params![tenant.as_str(), user.as_str()]).await?;
    if gone > 0 { read_anew(tx).await } else { Ok(()) }
}

/// Makes the keys of a person those of another id.
pub(in crate::store) async fn rename(
    tx: &Tx,
    tenant: &TenantId,
    from: &UserId,
    to: &UserId,
) -> Result<(), Error> {
    const RENAME: &str = "UPDATE api_keys SET user_id = $3 WHERE tenant = $1 AND user_id = $2";
    let names = params![tenant.as_str(), from.as_str(), to.as_str()];
    if sql::execute(tx, RENAME, names).await? > 0 { read_anew(tx).await } else { Ok(()) }
}

/// Every replica reads all keys again.
pub(in crate::store) async fn read_anew(tx: &Tx) -> Result<(), Error> {
    const TELL: &str = "UPDATE api_key_version SET erased = erased + 1 WHERE id = 1";
    sql::execute(tx, TELL, params![]).await.map(drop)
}

/// Takes the lock under which keys change.
async fn next_version(tx: &Tx) -> Result<i64, Error> {
    const NEXT: &str =
        "UPDATE api_key_version SET version = version + 1 WHERE id = 1 RETURNING version";
    let row = sql::one(tx, NEXT, params![]).await?;
    row.ok_or_else(|| Error::Bug("api_key_version has no row".into()))?.get(0)
}

async fn create(tx: &Tx, new: &NewApiKey<'_>) -> Result<ApiKeyMade, Error> {
    const INSERT: &str = "
        INSERT INTO api_keys (id, hash, fingerprint, tenant, principal, role, user_id, reach, acts,
            created_at, created_by, expires_at, version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let version = next_version(tx).await?;
    let home = home(new.tenant);
    let live =
        format!("SELECT {{now}}, (SELECT count(*) FROM api_keys WHERE tenant = $1 AND {LIVE})");
    let row = sql::one(tx, &live, params![home.as_str()]).await?;
    let row = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?;
    let (now, live) = (Timestamp(row.get(0)?), row.get::<i64>(1)?);
    let occupied = occupied(tx, &home, new.caller).await?;
    if occupied.len() >= limits::API_KEYS_OF_CALLER {
        return Ok(ApiKeyMade::Occupied(occupied));
    }
    if usize::try_from(live).unwrap_or(usize::MAX) >= limits::API_KEYS_OF_TENANT {
        return Ok(ApiKeyMade::Full);
    }
    let key = ApiKey {
        id: ApiKeyId(new_uuid(now)),
        fingerprint: fingerprint(&new.hash),
        caller: new.caller.clone(),
        created_at: now,
        created_by: new.created_by.clone(),
        expires_at: now.plus(new.life),
        revoked_at: None,
    };
    let (role, user) = role_code(&key.caller.role);
    let values = params![
        key.id.to_string(),
        new.hash.to_vec(),
        key.fingerprint.as_str(),
        home,
        key.caller.principal.as_str(),
        role,
        user,
        reach_text(&key.caller.reach),
        acts(&key.caller),
        key.created_at.0,
        key.created_by.as_str(),
        key.expires_at.0,
        version,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(ApiKeyMade::Made(key))
}

/// The caller's keys that work, oldest first.
async fn occupied(tx: &Tx, home: &str, caller: &Caller) -> Result<Vec<ApiKeyId>, Error> {
    let text = format!(
        "SELECT id
            FROM api_keys
            WHERE tenant = $1 AND principal = $2 AND {LIVE}
            ORDER BY created_at, id"
    );
    let rows = sql::all(tx, &text, params![home, caller.principal.as_str()]).await?;
    rows.iter().map(|row| Columns::of(row).uuid(ApiKeyId::parse)).collect()
}

fn home(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned())
}

fn known(row: &Row) -> Result<KnownApiKey, Error> {
    let mut columns = Columns::of(row);
    columns.take::<Vec<u8>>()?;
    Ok(KnownApiKey { hash: hash(row)?, version: columns.take()?, key: read(&mut columns)? })
}

/// The first column.
fn hash(row: &Row) -> Result<Hash, Error> {
    row.get::<Vec<u8>>(0)?.try_into().map_err(|_| damaged())
}

fn listed(row: &Row) -> Result<ListedApiKey, Error> {
    let mut columns = Columns::of(row);
    let key = read(&mut columns)?;
    Ok(ListedApiKey { key, last_used_at: columns.optional_time()? })
}

/// The position of a row of [`COLUMNS`].
fn position(row: &Row) -> Result<ApiKeyPosition, Error> {
    let id = Columns::of(row).uuid(ApiKeyId::parse)?;
    Ok(ApiKeyPosition { created_at: Timestamp(row.get(7)?), id })
}

/// Reads [`COLUMNS`].
fn read(columns: &mut Columns<'_>) -> Result<ApiKey, Error> {
    let id = columns.uuid(ApiKeyId::parse)?;
    let fingerprint = columns.take()?;
    let principal = columns.id(Principal::parse)?;
    let role: String = columns.take()?;
    let user = columns.optional_id(UserId::parse)?;
    let role = match (role.as_str(), user) {
        ("service", None) => Role::Service,
        ("administrator", None) => Role::Administrator,
        ("user", Some(user)) => Role::User(user),
        _ => return Err(damaged()),
    };
    let reach: String = columns.take()?;
    let reach = if reach == "*" { Reach::All } else { tenants(&reach)? };
    let acts: i32 = columns.take()?;
    Ok(ApiKey {
        id,
        fingerprint,
        caller: Caller {
            principal,
            role,
            reach,
            may_act_for_users: acts >= 1,
            may_administer_for_users: acts == 2,
        },
        created_at: columns.time()?,
        created_by: columns.id(Principal::parse)?,
        expires_at: columns.time()?,
        revoked_at: columns.optional_time()?,
    })
}

fn tenants(text: &str) -> Result<Reach, Error> {
    let parsed: Result<BTreeSet<_>, _> = text.split(' ').map(TenantId::parse).collect();
    parsed.map(Reach::Only).map_err(|_| damaged())
}

fn reach_text(reach: &Reach) -> String {
    match reach {
        Reach::All => "*".to_owned(),
        Reach::Only(tenants) => {
            let tenants: Vec<_> = tenants.iter().map(TenantId::as_str).collect();
            tenants.join(" ")
        }
    }
}

fn role_code(role: &Role) -> (&'static str, Option<&str>) {
    match role {
        Role::Service => ("service", None),
        Role::User(user) => ("user", Some(user.as_str())),
        Role::Administrator => ("administrator", None),
    }
}

fn acts(caller: &Caller) -> i32 {
    match (caller.may_act_for_users, caller.may_administer_for_users) {
        (true, true) => 2,
        (true, false) => 1,
        (false, _) => 0,
    }
}

fn damaged() -> Error {
    Error::Bug("a stored API key cannot be parsed".into())
}
