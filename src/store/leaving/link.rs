//! The end of a tenant's connection, and of an installation that no tenant is connected to.
//!
//! A connection is recognized by the time at which it was made and by the version of its token. A
//! tenant that was connected again since a caller looked stays connected. So does an installation
//! that got a tenant, or another token, meanwhile.

use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::domain::delivery::admission::Departure;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::time::{Timestamp, micros};
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

/// The use of an installation that is to end.
#[derive(Debug, Clone, Copy)]
pub enum UseEnd<'a> {
    /// A tenant's connection, with the fate of the messages that wait.
    Link { tenant: &'a TenantId, departure: Departure },
    /// An installation that no tenant is connected to: its last one was connected to another
    /// workspace, or an organization was connected and none of its workspaces was chosen.
    Unlinked(InstallationId),
}

/// The use of an installation at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLink {
    pub installation: InstallationId,
    /// Whether no other tenant uses the workspace with the same app, nor, if it uses the token of
    /// its organization, another workspace of that.
    pub is_last: bool,
    /// `None`: no tenant is connected to it.
    linked_at: Option<Timestamp>,
    /// Counts connects of the workspace, and of its organization.
    token_version: i64,
    /// Counts connects of the holder.
    generation: i64,
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

    /// Which connect the token of the holder is from.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
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
    /// The use that is to end, as it is now; `None`: the tenant has no connection, or the
    /// installation is in use, or has ended.
    pub async fn seen(self, what: UseEnd<'_>) -> Result<Option<SeenLink>, Error> {
        seen(self.store.reader(), what).await
    }

    /// Up to `limit` installations that no tenant is connected to and that have not ended. An
    /// organization, and a workspace of one, counts only if the organization was connected longer
    /// ago than `choice`, the time in which a workspace of it can be chosen. Most workspaces of an
    /// organization have no tenant: one counts only if it has a member list from an earlier use.
    pub async fn unlinked(
        self,
        choice: Duration,
        limit: u32,
    ) -> Result<Vec<InstallationId>, Error> {
        let text = format!(
            "SELECT i.id
                FROM installations i
                WHERE COALESCE(i.state_reason, '') <> '{DISCONNECTED}'
                    AND ((i.org IS NULL AND NOT i.org_wide)
                        OR i.installed_at <= {{now}} - $1)
                    AND (i.org IS NULL OR EXISTS (
                        SELECT 1
                        FROM directory d
                        WHERE d.installation = i.id
                            AND d.pages > 0))
                    AND {UNLINKED}
                ORDER BY i.id
                LIMIT {limit}"
        );
        let rows = sql::all(self.store.reader(), &text, params![micros(choice)]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// Ends the use `seen`, and writes the entries of this store.
    pub async fn end(self, what: UseEnd<'_>, seen: &SeenLink) -> Result<Left, Error> {
        let workspace = &self.tokenless(seen.installation).await?;
        let org = match seen.org {
            Some(org) if seen.is_last => Some(self.tokenless(org).await?),
            _ => None,
        };
        let org = org.as_ref();
        let left = self.store.transaction(|tx| {
            scoped(async move {
                let left = leave(tx, what, seen, workspace, org).await?;
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

/// Whether no tenant is connected to the installation `i`, nor to a workspace that uses its token.
const UNLINKED: &str = "NOT EXISTS (
        SELECT 1
        FROM tenant_links m
        WHERE m.installation = i.id)
    AND NOT EXISTS (
        SELECT 1
        FROM installations o
        JOIN tenant_links m ON m.installation = o.id
        WHERE o.org = i.id)";

/// The columns of a [`SeenLink`], for the installation `i` and its organization `w`, except for the
/// time of the link. `others`: which links `m` are those of other tenants.
fn columns_of(others: &str) -> String {
    format!(
        "i.id, i.token_version + COALESCE(w.token_version, 0),
            COALESCE(w.token_version, i.token_version), i.org,
            CASE
                WHEN EXISTS (
                    SELECT 1
                    FROM tenant_links m
                    JOIN installations o ON o.id = m.installation
                    WHERE {others}
                        AND (o.org = i.org
                            OR (o.app_id = i.app_id
                                AND o.team_id = i.team_id
                                AND (o.team_id <> '' OR o.enterprise_id = i.enterprise_id))))
                    THEN 0
                ELSE 1 END"
    )
}

async fn seen(db: &impl ConnectionTrait, what: UseEnd<'_>) -> Result<Option<SeenLink>, Error> {
    let (text, key) = match what {
        UseEnd::Link { tenant, .. } => {
            let text = format!(
                "SELECT {}, l.linked_at
                    FROM tenant_links l
                    JOIN installations i ON i.id = l.installation
                    LEFT JOIN installations w ON w.id = i.org
                    WHERE l.tenant = $1",
                columns_of("m.tenant <> l.tenant")
            );
            (text, tenant.as_str().to_owned())
        }
        UseEnd::Unlinked(id) => {
            let text = format!(
                "SELECT {}, CAST(NULL AS BIGINT)
                    FROM installations i
                    LEFT JOIN installations w ON w.id = i.org
                    WHERE i.id = $1
                        AND COALESCE(i.state_reason, '') <> '{DISCONNECTED}'
                        AND {UNLINKED}",
                columns_of("m.installation <> i.id")
            );
            (text, id.to_string())
        }
    };
    let Some(row) = sql::one(db, &text, params![key]).await? else { return Ok(None) };
    let mut columns = Columns::of(&row);
    let installation = columns.uuid(InstallationId::parse)?;
    let (token_version, generation) = (columns.take()?, columns.take()?);
    let org = columns.take::<Option<String>>()?.as_deref().map(parse_id).transpose()?;
    let is_last = columns.take::<i32>()? != 0;
    let linked_at = columns.optional_time()?;
    Ok(Some(SeenLink { installation, is_last, linked_at, token_version, generation, org }))
}

/// Locks the organization, the installation and the tenant, in the order of everyone who locks two
/// of them. `org`: the organization, if this was its last tenant.
async fn leave(
    tx: &Tx,
    what: UseEnd<'_>,
    before: &SeenLink,
    workspace: &Tokenless,
    org: Option<&Tokenless>,
) -> Result<Left, Error> {
    const INSTALLATION: &str = "SELECT 1 FROM installations WHERE id = $1 {for_update}";
    const USED: &str = "SELECT 1 FROM tenant_links WHERE installation = $1 LIMIT 1";
    let id = before.installation.to_string();
    for locked in before.org.map(|org| org.to_string()).iter().chain([&id]) {
        sql::one(tx, INSTALLATION, params![locked.as_str()]).await?;
    }
    let now = match what {
        UseEnd::Link { tenant, departure } => unlink(tx, tenant, departure, before).await?,
        UseEnd::Unlinked(_) => seen(tx, what).await?.filter(|now| now.is_as_seen(before)),
    };
    let Some(now) = now else { return Ok(Left::Changed) };
    let unused = sql::one(tx, USED, params![id.as_str()]).await?.is_none();
    if unused {
        abandon(tx, workspace).await?;
    }
    if let Some(org) = org.filter(|_| now.is_last) {
        // Its other workspaces, which no tenant uses, have no token any more.
        abandon(tx, org).await?;
    }
    Ok(Left::Ended { unused })
}

/// Removes a tenant's link, if it is as it was seen before; returns it as it was found.
async fn unlink(
    tx: &Tx,
    tenant: &TenantId,
    departure: Departure,
    before: &SeenLink,
) -> Result<Option<SeenLink>, Error> {
    const TENANT: &str = "SELECT 1 FROM tenants WHERE tenant = $1 {for_update}";
    const LINK: &str = "DELETE FROM tenant_links WHERE tenant = $1 AND installation = $2";
    const GONE: &str = "UPDATE tenants
        SET disconnected_at = {now}, departure = $2, left_installation = $3
        WHERE tenant = $1";
    let id = before.installation.to_string();
    sql::one(tx, TENANT, params![tenant.as_str()]).await?;
    // Another tenant may have left meanwhile: then this one is the last, and revokes the token.
    let now = seen(tx, UseEnd::Link { tenant, departure }).await?;
    let Some(now) = now.filter(|now| now.is_as_seen(before)) else { return Ok(None) };
    sql::execute(tx, LINK, params![tenant.as_str(), id.as_str()]).await?;
    sql::execute(tx, GONE, params![tenant.as_str(), departure.code(), id.as_str()]).await?;
    Ok(Some(now))
}

/// No tenant uses the installation any more: its token is removed, as it is for those that use it,
/// its lanes sleep, its member list is emptied, and the rest is to be erased. `confirm_at` stays: a
/// revocation may still meet the next connection.
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
    tokens::kill(tx, id, DISCONNECTED).await?;
    tokens::rest(tx, id).await?;
    sql::execute(tx, END, params![id.as_str(), token.clone(), DISCONNECTED]).await?;
    for text in [NAMELESS, ERASE, EMPTY_LIST, NO_FIELDS] {
        sql::execute(tx, text, params![id.as_str()]).await?;
    }
    Ok(())
}
