//! The end of a tenant's connection.
//!
//! A connection is recognized by the time at which it was made and by the version of its token. A
//! tenant that was connected again since a caller looked stays connected.

use sea_orm::ConnectionTrait;

use crate::domain::delivery::admission::Departure;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::tenancy::installations::TABLE;
use crate::store::tenancy::tokens;
use crate::store::{Error, Leaving};

/// The reason for which an installation is dead that no tenant uses any more. Slack has no such
/// code.
pub const DISCONNECTED: &str = "disconnected";

/// A tenant's connection at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLink {
    pub installation: InstallationId,
    /// Whether no other tenant uses the workspace with the same app, nor, if it uses the token of
    /// its organization, another workspace of that.
    pub is_last: bool,
    linked_at: Timestamp,
    /// Counts connects of the workspace, and of its organization.
    token_version: i64,
    /// The installation for the organization whose token it uses.
    org: Option<InstallationId>,
}

impl SeenLink {
    /// Whether it is the same connection, even if its token was replaced.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.installation, self.linked_at) == (other.installation, other.linked_at)
    }

    /// The installation that the token was issued for: this one, or its organization's.
    #[must_use]
    pub fn holder(&self) -> InstallationId {
        self.org.unwrap_or(self.installation)
    }

    /// Whether nothing has changed that leaving depends on. A tenant that joined since may keep a
    /// token that was revoked; one that left since may have been the reason not to revoke it.
    fn is_as_seen(&self, seen: &Self) -> bool {
        let same_token = (self.token_version, self.org) == (seen.token_version, seen.org);
        self.is_same(seen) && same_token && (seen.is_last || !self.is_last)
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
const EMPTY_LIST: &str = "UPDATE directory
    SET generation = generation + 1,
        pages_gone = generation + 1, pages = 0, members = 0, changes_base = change_sequence,
        changes_gone = change_sequence, fields_sequence = fields_sequence + 1,
        epoch = epoch + 1, lease_until = 0, holder = NULL, refreshed_at = NULL,
        next_refresh_at = {now}, last_error = NULL, event_heard_at = NULL, events_lost_at = NULL,
        crawl_started_at = NULL, crawl_cursor = NULL, crawl_pages = 0, crawl_members = 0,
        crawl_restarts = 0, crawl_failures = 0,
        shrink_members = NULL, shrink_at = NULL, shrink_accepted = 0
    WHERE installation = $1";

/// A reading of custom fields under way loses its lease, too.
const NO_FIELDS: &str = "UPDATE field_passes
    SET epoch = epoch + 1, lease_until = 0, due_at = 0,
        soon_at = 0, needed = 0, wanted = 0, fetched = 0, unpublished = 0, started_at = NULL,
        last_error = NULL
    WHERE installation = $1";

impl Leaving<'_> {
    /// The tenant's connection; `None`: it has none.
    pub async fn link_of(self, tenant: &TenantId) -> Result<Option<SeenLink>, Error> {
        link_of(self.store.reader(), tenant).await
    }

    /// Ends the connection `seen`, and writes the entries of this store.
    pub async fn end_link(
        self,
        tenant: &TenantId,
        seen: &SeenLink,
        departure: Departure,
    ) -> Result<Left, Error> {
        let workspace = &self.tokenless(seen.installation).await?;
        let org = match seen.org {
            Some(org) if seen.is_last => Some(self.tokenless(org).await?),
            _ => None,
        };
        let org = org.as_ref();
        let left = self.store.transaction(|tx| {
            scoped(async move {
                let left = leave(tx, tenant, seen, departure, workspace, org).await?;
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

    async fn tokenless(self, id: InstallationId) -> Result<Tokenless, Error> {
        let keys = self.store.keys(&KeyScope::Installation(id)).await?;
        let id = id.to_string();
        let cell = SealedCell { table: TABLE, row: &id, column: "token" };
        let token = keys.seal(&cell, b"")?;
        Ok(Tokenless { id, token })
    }

    /// Changes what becomes of the waiting messages of a tenant that left before and was not
    /// connected since, and writes the entries of this store. Returns whether anything changed.
    pub async fn change_departure(
        self,
        tenant: &TenantId,
        departure: Departure,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE tenants
            SET departure = $2
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

/// An installation that is to lose its token, with the encrypted cell that replaces it.
struct Tokenless {
    id: String,
    token: Vec<u8>,
}

async fn link_of(db: &impl ConnectionTrait, tenant: &TenantId) -> Result<Option<SeenLink>, Error> {
    const SQL: &str = "SELECT l.installation, l.linked_at,
            i.token_version + COALESCE(w.token_version, 0), i.org,
            CASE
                WHEN EXISTS (SELECT 1
                    FROM tenant_links m
                    JOIN installations o ON o.id = m.installation
                    WHERE m.tenant <> l.tenant AND (o.org = i.org
                        OR (o.app_id = i.app_id AND o.team_id = i.team_id
                            AND (o.team_id <> '' OR o.enterprise_id = i.enterprise_id))))
                    THEN 0
                ELSE 1 END
        FROM tenant_links l
        JOIN installations i ON i.id = l.installation
        LEFT JOIN installations w ON w.id = i.org
        WHERE l.tenant = $1";
    let Some(row) = sql::one(db, SQL, params![tenant.as_str()]).await? else {
        return Ok(None);
    };
    let mut columns = Columns::of(&row);
    let installation = columns.uuid(InstallationId::parse)?;
    let (linked_at, token_version) = (columns.time()?, columns.take()?);
    let org = columns.take::<Option<String>>()?.as_deref().map(parse_id).transpose()?;
    let is_last = columns.take::<i32>()? != 0;
    Ok(Some(SeenLink { installation, is_last, linked_at, token_version, org }))
}

/// Locks the organization, the installation and the tenant, in the order of everyone who locks two
/// of them. `org`: the organization, if this was its last tenant.
async fn leave(
    tx: &Tx,
    tenant: &TenantId,
    seen: &SeenLink,
    departure: Departure,
    workspace: &Tokenless,
    org: Option<&Tokenless>,
) -> Result<Left, Error> {
    const INSTALLATION: &str = "SELECT 1 FROM installations WHERE id = $1 {for_update}";
    const TENANT: &str = "SELECT 1 FROM tenants WHERE tenant = $1 {for_update}";
    const LINK: &str = "DELETE FROM tenant_links WHERE tenant = $1 AND installation = $2";
    const GONE: &str = "UPDATE tenants
        SET disconnected_at = {now}, departure = $2, left_installation = $3
        WHERE tenant = $1";
    const USED: &str = "SELECT 1 FROM tenant_links WHERE installation = $1 LIMIT 1";
    let id = seen.installation.to_string();
    for locked in seen.org.map(|org| org.to_string()).iter().chain([&id]) {
        sql::one(tx, INSTALLATION, params![locked.as_str()]).await?;
    }
    sql::one(tx, TENANT, params![tenant.as_str()]).await?;
    // Another tenant may have left meanwhile: then this one is the last, and revokes the token.
    let now = link_of(tx, tenant).await?.filter(|now| now.is_as_seen(seen));
    let Some(now) = now else { return Ok(Left::Changed) };
    sql::execute(tx, LINK, params![tenant.as_str(), id.as_str()]).await?;
    let values = params![tenant.as_str(), departure.code(), id.as_str()];
    sql::execute(tx, GONE, values).await?;
    let unused = sql::one(tx, USED, params![id.as_str()]).await?.is_none();
    if unused {
        abandon(tx, workspace).await?;
    }
    if let Some(org) = org.filter(|_| now.is_last) {
        // Its other workspaces, which no tenant uses, have no token any more.
        tokens::kill(tx, &org.id, DISCONNECTED).await?;
        abandon(tx, org).await?;
    }
    Ok(Left::Ended { unused })
}

/// No tenant uses the installation any more: its token is removed, its lanes sleep, its member list
/// is emptied, and the rest is to be erased.
async fn abandon(tx: &Tx, installation: &Tokenless) -> Result<(), Error> {
    const END: &str = "UPDATE installations
        SET state = 'dead', state_reason = $3,
            state_changed_at = {now}, token = $2, refresh_token = NULL, token_expires_at = NULL,
            token_version = token_version + 1, installed_by = NULL, org = NULL,
            refresh_due_at = NULL, migrating_since = NULL
        WHERE id = $1";
    const ERASE: &str = "INSERT INTO workspace_erasures (installation, started_at)
        VALUES ($1, {now})
        ON CONFLICT (installation) DO UPDATE
        SET started_at = excluded.started_at";
    const NAMELESS: &str = "UPDATE posting SET limited_lane = NULL WHERE installation = $1";
    let Tokenless { id, token } = installation;
    sql::execute(tx, END, params![id.as_str(), token.clone(), DISCONNECTED]).await?;
    tokens::rest(tx, id).await?;
    for text in [NAMELESS, ERASE, EMPTY_LIST, NO_FIELDS] {
        sql::execute(tx, text, params![id.as_str()]).await?;
    }
    Ok(())
}
