//! Links by which people prove which Slack member they are: each has a state, which is stored as a
//! hash only and works once.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::domain::ids::{TenantId, UserId};
use crate::domain::limits::IDENTITY_LINKS;
use crate::domain::time::micros;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Error, IdentityLinks};

/// A link, as its state finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundIdentityLink {
    /// It works for this long.
    Open {
        tenant: TenantId,
        user: UserId,
        left: Duration,
    },
    Used,
    Expired,
    Unknown,
}

impl IdentityLinks<'_> {
    /// Stores a link. `false`: too many of the tenant's can still be used, and nothing was stored.
    pub async fn begin(
        self,
        tenant: &TenantId,
        user: &UserId,
        state: &str,
        life: Duration,
    ) -> Result<bool, Error> {
        const FORGET: &str = "DELETE FROM identity_links
            WHERE tenant = $1 AND expires_at < {now} - 604800000000";
        const INSERT: &str = "INSERT INTO identity_links
                (tenant, state_hash, user_id, created_at, expires_at)
            VALUES ($1, $2, $3, {now}, {now} + $4)";
        let count = &format!(
            "SELECT COUNT(*)
                FROM (SELECT 1
                    FROM identity_links
                    WHERE tenant = $1 AND expires_at > {{now}} AND taken_at IS NULL
                    LIMIT {IDENTITY_LINKS}) AS open"
        );
        let values = &params![tenant.as_str(), hash(state), user.as_str(), micros(life)];
        let begun = self.store.transaction(|tx| {
            scoped(async move {
                sql::execute(tx, FORGET, values[..1].to_vec()).await?;
                let open = sql::one(tx, count, values[..1].to_vec()).await?;
                let open: i64 = open.map_or(Ok(0), |row| row.get(0))?;
                if open >= i64::from(IDENTITY_LINKS) {
                    return Ok(false);
                }
                sql::execute(tx, INSERT, values.clone()).await?;
                self.store.record(tx).await?;
                Ok(true)
            })
        });
        let begun = begun.await?;
        if begun {
            self.store.recorded();
        }
        Ok(begun)
    }

    /// Writes only the entries of this store: a link was used up without a proof.
    pub async fn note(self) -> Result<(), Error> {
        self.store.transaction(|tx| scoped(self.store.record(tx))).await?;
        self.store.recorded();
        Ok(())
    }

    /// The link with this state.
    pub async fn find(self, state: &str) -> Result<FoundIdentityLink, Error> {
        const FIND: &str = "SELECT tenant, user_id, expires_at - {now}, taken_at
            FROM identity_links
            WHERE state_hash = $1";
        match sql::one(self.store.reader(), FIND, params![hash(state)]).await? {
            Some(row) => found(&row),
            None => Ok(FoundIdentityLink::Unknown),
        }
    }

    /// The same, and the link is used up: of two answers with one state, only one finds it open.
    pub async fn take(self, state: &str) -> Result<FoundIdentityLink, Error> {
        const TAKE: &str = "UPDATE identity_links
            SET taken_at = {now}
            WHERE state_hash = $1 AND taken_at IS NULL AND expires_at > {now}
            RETURNING tenant, user_id, expires_at - {now}, NULL";
        if let Some(row) = sql::one(self.store.writer(), TAKE, params![hash(state)]).await? {
            return found(&row);
        }
        // It was taken, or expired, between the two statements.
        Ok(match self.find(state).await? {
            FoundIdentityLink::Open { .. } => FoundIdentityLink::Used,
            closed => closed,
        })
    }
}

/// Removes the links of a person who is being deleted.
pub(in crate::store) async fn erase(
    tx: &Tx,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(), Error> {
    const ERASE: &str = "DELETE FROM identity_links WHERE tenant = $1 AND user_id = $2";
    sql::execute(tx, ERASE, params![tenant.as_str(), user.as_str()]).await.map(drop)
}

/// Reads the tenant, the person, the time left and when it was taken.
fn found(row: &Row) -> Result<FoundIdentityLink, Error> {
    let mut columns = Columns::of(row);
    let (tenant, user) = (columns.id(TenantId::parse)?, columns.id(UserId::parse)?);
    let left: i64 = columns.take()?;
    if columns.optional_time()?.is_some() {
        return Ok(FoundIdentityLink::Used);
    }
    Ok(match u64::try_from(left) {
        Ok(left) if left > 0 => {
            FoundIdentityLink::Open { tenant, user, left: Duration::from_micros(left) }
        }
        _ => FoundIdentityLink::Expired,
    })
}

fn hash(state: &str) -> Vec<u8> {
    Sha256::digest(state.as_bytes()).to_vec()
}
