//! The end of a tenant's connection.
//!
//! A connection is recognized by the time at which it was made and by the version of its token. A
//! tenant that was connected again since a caller looked stays connected.

use crate::domain::delivery::admission::Departure;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{Error, Leaving};

/// The reason for which an installation is dead that no tenant uses any more. Slack has no such
/// code.
pub const DISCONNECTED: &str = "disconnected";

/// A tenant's connection at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLink {
    pub installation: InstallationId,
    /// Whether no other tenant uses the workspace with the same app. Never for a workspace of an
    /// organization, because the organization's other workspaces use the same token.
    pub is_last: bool,
    linked_at: Timestamp,
    token_version: i64,
}

impl SeenLink {
    /// Whether it is the same connection, even if its token was replaced.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.installation, self.linked_at) == (other.installation, other.linked_at)
    }
}

/// The result of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The connection has ended. `unused`: no tenant uses the installation any more. Its token is
    /// removed, and its data is to be erased.
    Ended { unused: bool },
    /// The tenant was connected again, or the token was replaced, since the caller looked. Nothing
    /// was written.
    Changed,
}

/// The member list becomes an empty generation at once, so that replicas drop it from memory. A
/// crawl under way loses its lease.
const EMPTY_LIST: &str = "UPDATE directory SET generation = generation + 1,
        pages_gone = generation + 1, pages = 0, members = 0, changes_base = change_sequence,
        changes_gone = change_sequence, fields_sequence = fields_sequence + 1,
        epoch = epoch + 1, lease_until = 0, holder = NULL, refreshed_at = NULL,
        next_refresh_at = {now}, last_error = NULL, event_heard_at = NULL, events_lost_at = NULL,
        crawl_started_at = NULL, crawl_cursor = NULL, crawl_pages = 0, crawl_members = 0,
        crawl_restarts = 0, crawl_failures = 0,
        shrink_members = NULL, shrink_at = NULL, shrink_accepted = 0
    WHERE installation = $1";

/// A reading of custom fields under way loses its lease, too.
const NO_FIELDS: &str = "UPDATE field_passes SET epoch = epoch + 1, lease_until = 0, due_at = 0,
        soon_at = 0, needed = 0, wanted = 0, fetched = 0, unpublished = 0, started_at = NULL,
        last_error = NULL
    WHERE installation = $1";

impl Leaving<'_> {
    /// The tenant's connection; `None`: it has none.
    pub async fn link_of(self, tenant: &TenantId) -> Result<Option<SeenLink>, Error> {
        const SQL: &str = "SELECT l.installation, l.linked_at, i.token_version,
                CASE WHEN i.org IS NOT NULL OR EXISTS (SELECT 1 FROM tenant_links m
                    JOIN installations o ON o.id = m.installation
                    WHERE m.tenant <> l.tenant AND o.app_id = i.app_id AND o.team_id = i.team_id
                        AND (o.team_id <> '' OR o.enterprise_id = i.enterprise_id))
                THEN 0 ELSE 1 END
            FROM tenant_links l JOIN installations i ON i.id = l.installation
            WHERE l.tenant = $1";
        let Some(row) = sql::one(self.store.reader(), SQL, params![tenant.as_str()]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let installation = columns.uuid(InstallationId::parse)?;
        let (linked_at, token_version) = (columns.time()?, columns.take()?);
        let is_last = columns.take::<i32>()? != 0;
        Ok(Some(SeenLink { installation, is_last, linked_at, token_version }))
    }

    /// Ends the connection `seen`, and writes the entries of this store.
    pub async fn end_link(
        self,
        tenant: &TenantId,
        seen: &SeenLink,
        departure: Departure,
    ) -> Result<Left, Error> {
        let id = seen.installation.to_string();
        let keys = self.store.keys(&KeyScope::Installation(seen.installation)).await?;
        let cell = SealedCell { table: "installations", row: &id, column: "token" };
        let no_token = &keys.seal(&cell, b"")?;
        let left = self.store.transaction(|tx| {
            scoped(async move {
                let left = leave(tx, tenant, seen, departure, no_token).await?;
                if left != Left::Changed {
                    self.store.record(tx).await?;
                }
                Ok(left)
            })
        });
        let left = left.await?;
        if left != Left::Changed {
            self.store.recorded();
            self.store.hint(seen.installation);
            self.store.connection_moved();
        }
        Ok(left)
    }

    /// Changes what becomes of the waiting messages of a tenant that left before and was not
    /// connected since, and writes the entries of this store. Returns whether anything changed.
    pub async fn change_departure(
        self,
        tenant: &TenantId,
        departure: Departure,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE tenants SET departure = $2
            WHERE tenant = $1 AND departure IS NOT NULL AND departure <> $2";
        let values = &params![tenant.as_str(), departure.code()];
        let changed = self.store.transaction(|tx| {
            scoped(async move {
                let changed = sql::execute(tx, SQL, values.clone()).await? > 0;
                if changed {
                    self.store.record(tx).await?;
                }
                Ok(changed)
            })
        });
        let changed = changed.await?;
        if changed {
            self.store.recorded();
        }
        Ok(changed)
    }
}

/// Locks the installation, then the tenant, as connecting does. `no_token` replaces the token.
async fn leave(
    tx: &Tx,
    tenant: &TenantId,
    seen: &SeenLink,
    departure: Departure,
    no_token: &[u8],
) -> Result<Left, Error> {
    const INSTALLATION: &str = "SELECT token_version FROM installations WHERE id = $1 {for_update}";
    const TENANT: &str = "SELECT 1 FROM tenants WHERE tenant = $1 {for_update}";
    const LINK: &str = "DELETE FROM tenant_links
        WHERE tenant = $1 AND installation = $2 AND linked_at = $3";
    const GONE: &str = "UPDATE tenants
        SET disconnected_at = {now}, departure = $2, left_installation = $3 WHERE tenant = $1";
    const USED: &str = "SELECT 1 FROM tenant_links WHERE installation = $1 LIMIT 1";
    let id = seen.installation.to_string();
    let Some(row) = sql::one(tx, INSTALLATION, params![id.as_str()]).await? else {
        return Ok(Left::Changed);
    };
    sql::one(tx, TENANT, params![tenant.as_str()]).await?;
    if row.get::<i64>(0)? != seen.token_version {
        return Ok(Left::Changed);
    }
    let link = params![tenant.as_str(), id.as_str(), seen.linked_at.0];
    if sql::execute(tx, LINK, link).await? == 0 {
        return Ok(Left::Changed);
    }
    let values = params![tenant.as_str(), departure.code(), id.as_str()];
    sql::execute(tx, GONE, values).await?;
    let unused = sql::one(tx, USED, params![id.as_str()]).await?.is_none();
    if unused {
        abandon(tx, &id, no_token).await?;
    }
    Ok(Left::Ended { unused })
}

/// No tenant uses the installation any more: its token is removed, its lanes sleep, its member list
/// is emptied, and the rest is to be erased.
async fn abandon(tx: &Tx, id: &str, no_token: &[u8]) -> Result<(), Error> {
    const END: &str = "UPDATE installations SET state = 'dead', state_reason = $3,
            state_changed_at = {now}, token = $2, refresh_token = NULL, token_expires_at = NULL,
            token_version = token_version + 1, installed_by = NULL, org = NULL,
            refresh_due_at = NULL, migrating_since = NULL
        WHERE id = $1";
    const SLEEP: &str = "UPDATE lanes SET asleep = 1, next_at = NULL
        WHERE installation = $1 AND next_at IS NOT NULL AND lease_token IS NULL";
    const ERASE: &str = "INSERT INTO workspace_erasures (installation, started_at)
        VALUES ($1, {now}) ON CONFLICT (installation)
        DO UPDATE SET started_at = excluded.started_at";
    const NAMELESS: &str = "UPDATE posting SET limited_lane = NULL WHERE installation = $1";
    sql::execute(tx, END, params![id, no_token.to_vec(), DISCONNECTED]).await?;
    for text in [SLEEP, NAMELESS, ERASE, EMPTY_LIST, NO_FIELDS] {
        sql::execute(tx, text, params![id]).await?;
    }
    Ok(())
}
