//! The chain: entries leave the inbox in one order, each with a hash of itself and of the previous
//! hash. One replica appends at a time; the others find the turn taken and return.
//!
//! The hashes are keyed, so write access to the database without the key is not enough to make a
//! valid chain. The row of the chain says where it begins and ends, in an encrypted value: without
//! it, the last entries could be cut off. A chain that is replaced as a whole by an older copy
//! would be valid again; the log lines, which contain number and hash, reveal that (docs/audit.md).

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Value};

use super::trail::COLUMNS;
use crate::store::database::rows::{chunks, tuples};
use crate::store::database::sql::{self, Row, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, ScopeKeys};
use crate::store::seal::person_keys::hex;
use crate::store::{Audit, Error, Store};

/// Entries that one statement reads while the chain is verified.
const PAGE: i64 = 500;
/// How often the verification restarts because old entries were removed under it.
const RESTARTS: u32 = 5;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries that were checked.
    pub entries: u64,
    /// The number and the hash of the last entry, to compare with the log.
    pub head: i64,
    pub hash: String,
    /// The defect; `None`: the chain is valid.
    pub broken: Option<String>,
}

/// The row of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    head: i64,
    hash: Vec<u8>,
    floor: i64,
    floor_hash: Vec<u8>,
    seal: Vec<u8>,
}

/// An entry that was appended, as it is logged.
struct Appended {
    sequence: i64,
    id: String,
    tenant: String,
    principal: String,
    action: String,
    outcome: String,
    reason: String,
    times: i64,
    hash: Vec<u8>,
}

impl Audit<'_> {
    /// Appends up to `limit` entries of the inbox to the chain and logs them; returns how many.
    /// `None`: another replica has the turn.
    pub async fn chain(self, limit: u32) -> Result<Option<u32>, Error> {
        const ANY: &str = "SELECT 1 FROM audit_inbox LIMIT 1";
        if sql::one(self.store.reader(), ANY, params![]).await?.is_none() {
            return Ok(Some(0));
        }
        let keys = &self.store.keys(&KeyScope::Audit).await?;
        let appended = self.store.transaction(|tx| scoped(append(tx, keys, limit))).await?;
        let Some(appended) = appended else { return Ok(None) };
        appended.iter().for_each(Appended::log);
        Ok(Some(u32::try_from(appended.len()).unwrap_or(u32::MAX)))
    }

    /// Removes up to `limit` entries older than `older_than` from the chain's beginning; returns
    /// how many.
    pub async fn prune(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        let keys = &self.store.keys(&KeyScope::Audit).await?;
        let older = crate::domain::time::micros(older_than);
        self.store.transaction(|tx| scoped(prune(tx, keys, older, limit))).await
    }

    /// Verifies the whole chain.
    pub async fn verify(self) -> Result<Verified, Error> {
        let keys = self.store.keys(&KeyScope::Audit).await?;
        let mut restarts = 0;
        loop {
            let chain = read(self.store.reader(), "").await?;
            let Some(chain) = chain else {
                return Err(Error::Bug("the audit trail has no chain".into()));
            };
            let verified = self.store.verify_from(&keys, &chain).await?;
            let now = read(self.store.reader(), "").await?;
            let moved = now.is_some_and(|now| now.floor > chain.floor);
            if verified.broken.is_none() || !moved || restarts >= RESTARTS {
                return Ok(verified);
            }
            restarts += 1;
        }
    }
}

impl Store {
    async fn verify_from(&self, keys: &ScopeKeys, chain: &Chain) -> Result<Verified, Error> {
        const OUTSIDE: &str = "SELECT MIN(sequence) FROM audit_log WHERE sequence <= $1";
        let mut verified =
            Verified { entries: 0, head: chain.head, hash: hex(&chain.hash), broken: None };
        let broken = |verified: Verified, why: String| Verified { broken: Some(why), ..verified };
        if !chain.holds(keys)? {
            return Ok(broken(verified, "the chain's own row was altered".into()));
        }
        let outside = sql::one(self.reader(), OUTSIDE, params![chain.floor]).await?;
        if let Some(sequence) = outside.and_then(|row| row.get::<i64>(0).ok()) {
            return Ok(broken(verified, format!("entry {sequence} was inserted")));
        }
        let (mut last, mut hash) = (chain.floor, chain.floor_hash.clone());
        let text = format!(
            "SELECT sequence, {COLUMNS}, hash
                FROM audit_log
                WHERE sequence > $1 AND sequence <= $2
                ORDER BY sequence
                LIMIT {PAGE}"
        );
        loop {
            let rows = sql::all(self.reader(), &text, params![last, chain.head]).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let sequence: i64 = row.get(0)?;
                if sequence != last + 1 {
                    return Ok(broken(verified, format!("entry {} is missing", last + 1)));
                }
                let values = values(row, 1)?;
                hash = hash_of(keys, &hash, sequence, &values)?;
                if hash != row.get::<Vec<u8>>(14)? {
                    return Ok(broken(verified, format!("entry {sequence} was altered")));
                }
                last = sequence;
                verified.entries += 1;
            }
        }
        if last != chain.head {
            return Ok(broken(verified, format!("entry {} is missing", last + 1)));
        }
        if hash != chain.hash {
            return Ok(broken(verified, "the chain's last entry is a different one".into()));
        }
        Ok(verified)
    }
}

impl Chain {
    fn sealed(&self, keys: &ScopeKeys) -> Result<Vec<u8>, Error> {
        let (head, floor) = (self.head.to_be_bytes(), self.floor.to_be_bytes());
        let mac = keys.mac("audit chain", &[&head, &self.hash, &floor, &self.floor_hash])?;
        Ok(mac.to_vec())
    }

    /// Whether the row is unaltered. A new one has no seal.
    fn holds(&self, keys: &ScopeKeys) -> Result<bool, Error> {
        if self.seal.is_empty() {
            return Ok(self.head == 0 && self.floor == 0);
        }
        Ok(self.seal == self.sealed(keys)?)
    }

    /// Writes it back; with a new seal if `held`. Otherwise the old seal stays, so that the
    /// alteration continues to show.
    async fn save(&self, tx: &Tx, keys: &ScopeKeys, held: bool) -> Result<(), Error> {
        const SQL: &str = "UPDATE audit_chain
            SET head = $1, hash = $2, floor = $3, floor_hash = $4, seal = $5
            WHERE id = 1";
        let altered = || vec![0];
        let seal = if held { self.sealed(keys)? } else { altered() };
        let values =
            params![self.head, self.hash.clone(), self.floor, self.floor_hash.clone(), seal];
        sql::execute(tx, SQL, values).await.map(drop)
    }
}

impl Appended {
    fn log(&self) {
        tracing::info!(
            target: "audit",
            sequence = self.sequence,
            entry = self.id,
            tenant = self.tenant,
            principal = self.principal,
            action = self.action,
            outcome = self.outcome,
            reason = self.reason,
            times = self.times,
            hash = hex(&self.hash),
            "audited"
        );
    }
}

/// The chain's row, locked if `lock` says so.
async fn read(db: &impl sea_orm::ConnectionTrait, lock: &str) -> Result<Option<Chain>, Error> {
    let text =
        format!("SELECT head, hash, floor, floor_hash, seal FROM audit_chain WHERE id = 1 {lock}");
    let row = sql::one(db, &text, params![]).await?;
    row.map(|row| {
        Ok(Chain {
            head: row.get(0)?,
            hash: row.get(1)?,
            floor: row.get(2)?,
            floor_hash: row.get(3)?,
            seal: row.get(4)?,
        })
    })
    .transpose()
}

async fn append(tx: &Tx, keys: &ScopeKeys, limit: u32) -> Result<Option<Vec<Appended>>, Error> {
    let Some(mut chain) = read(tx, "{skip_locked}").await? else { return Ok(None) };
    let held = chain.holds(keys)?;
    let text = format!("SELECT {COLUMNS} FROM audit_inbox ORDER BY at, id LIMIT {limit}");
    let (mut appended, mut rows) = (Vec::new(), Vec::new());
    for row in sql::all(tx, &text, params![]).await? {
        chain.head += 1;
        let values = values(&row, 0)?;
        chain.hash = hash_of(keys, &chain.hash, chain.head, &values)?;
        appended.push(Appended {
            sequence: chain.head,
            id: row.get(0)?,
            tenant: row.get(1)?,
            principal: row.get(3)?,
            action: row.get(4)?,
            outcome: row.get(5)?,
            reason: row.get(6)?,
            times: row.get(7)?,
            hash: chain.hash.clone(),
        });
        let mut columns = params![chain.head];
        columns.extend(values.into_iter().map(Part::into_value));
        columns.push(chain.hash.clone().into());
        rows.push(columns);
    }
    if rows.is_empty() {
        return Ok(Some(appended));
    }
    for chunk in chunks(&rows) {
        let text = format!(
            "INSERT INTO audit_log (sequence, {COLUMNS}, hash) VALUES {}",
            tuples(tx.get_database_backend(), chunk.len(), 15)
        );
        sql::execute(tx, &text, chunk.concat()).await?;
    }
    for chunk in appended.chunks(500) {
        let among = placeholders(1, chunk.len());
        let text = format!("DELETE FROM audit_inbox WHERE id IN ({among})");
        let ids = chunk.iter().map(|entry| Value::from(entry.id.as_str())).collect();
        sql::execute(tx, &text, ids).await?;
    }
    chain.save(tx, keys, held).await?;
    Ok(Some(appended))
}

async fn prune(tx: &Tx, keys: &ScopeKeys, older: i64, limit: u32) -> Result<u64, Error> {
    const REMOVE: &str = "DELETE FROM audit_log WHERE sequence <= $1";
    let Some(mut chain) = read(tx, "{skip_locked}").await? else { return Ok(0) };
    let held = chain.holds(keys)?;
    let text = format!(
        "SELECT sequence, hash, CASE WHEN at <= {{now}} - $2 THEN 1 ELSE 0 END
            FROM audit_log
            WHERE sequence > $1
            ORDER BY sequence
            LIMIT {limit}"
    );
    let mut moved = false;
    for row in sql::all(tx, &text, params![chain.floor, older]).await? {
        if row.get::<i32>(2)? == 0 {
            break;
        }
        (chain.floor, chain.floor_hash, moved) = (row.get(0)?, row.get(1)?, true);
    }
    if !moved {
        return Ok(0);
    }
    let removed = sql::execute(tx, REMOVE, params![chain.floor]).await?;
    chain.save(tx, keys, held).await?;
    Ok(removed)
}

/// A column of an entry.
enum Part {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
}

impl Part {
    fn into_value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.into(),
            Self::Bytes(bytes) => bytes.into(),
        }
    }
}

/// The columns of [`COLUMNS`], the first at `from`.
fn values(row: &Row, from: usize) -> Result<Vec<Part>, Error> {
    (from..from + 13)
        .map(|index| {
            Ok(match index - from {
                2 | 7 => Part::Number(row.get(index)?),
                8..=12 => Part::Bytes(row.get(index)?),
                _ => Part::Text(row.get(index)?),
            })
        })
        .collect()
}

fn hash_of(
    keys: &ScopeKeys,
    before: &[u8],
    sequence: i64,
    values: &[Part],
) -> Result<Vec<u8>, Error> {
    let mut parts = vec![before.to_vec(), sequence.to_be_bytes().to_vec()];
    parts.extend(values.iter().map(|value| match value {
        Part::Text(text) => text.as_bytes().to_vec(),
        Part::Number(number) => number.to_be_bytes().to_vec(),
        Part::Bytes(bytes) => bytes.clone(),
    }));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    keys.mac("audit entry", &parts).map(|mac| mac.to_vec())
}
