//! Slack apps of tenants: one is in use, and those that it replaced are kept while the tenant is
//! still connected by them. All apps of a tenant share its path.

use std::time::Duration;

use crate::domain::ids::TenantId;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{LiveSecret, PreviousSecret};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::{Error, SlackApps, Store};

/// An app as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSlackApp {
    pub tenant: TenantId,
    /// Where Slack's requests for the tenant's apps arrive.
    pub path: String,
    pub app_id: String,
    pub client_id: String,
    pub client_secret: LiveSecret,
    pub signing_secret: LiveSecret,
    pub updated_at: Timestamp,
    /// Counts changes: 1 from the first.
    pub version: i64,
}

/// An app to be stored as the one in use.
#[derive(Debug, Clone, Copy)]
pub struct SlackAppChange<'a> {
    pub app_id: &'a str,
    pub client_id: &'a str,
    pub client_secret: &'a LiveSecret,
    pub signing_secret: &'a LiveSecret,
    /// The version that the change was made from; 0: the app was not stored.
    pub before: i64,
}

/// The outcome of [`SlackApps::delete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlackAppDeletion {
    Deleted,
    /// The tenant is connected by one of its apps. Nothing was deleted.
    InUse,
    /// The tenant has no app.
    Absent,
}

const TABLE: &str = "slack_apps";
/// Apps of one path that are read: the one in use, and the latest before it.
const OF_PATH: u32 = 3;
/// Whether the tenant `$1` is connected by one of its apps.
const LINKED: &str = "SELECT 1
    FROM tenant_links l
    JOIN installations i ON i.id = l.installation
    JOIN slack_app_paths p ON p.path = i.app_path
    WHERE l.tenant = $1 AND p.tenant = $1";

impl SlackApps<'_> {
    /// The path of a tenant, if it has one.
    pub async fn path(self, tenant: &TenantId) -> Result<Option<String>, Error> {
        const SQL: &str = "SELECT path FROM slack_app_paths WHERE tenant = $1";
        let row = sql::one(self.store.reader(), SQL, params![tenant.as_str()]).await?;
        row.map(|row| row.get(0)).transpose()
    }

    /// Whether a tenant has this path.
    pub async fn is_reserved(self, path: &str) -> Result<bool, Error> {
        const SQL: &str = "SELECT 1 FROM slack_app_paths WHERE path = $1";
        Ok(sql::one(self.store.reader(), SQL, params![path]).await?.is_some())
    }

    /// Gives a tenant this path, unless it has one; returns the one that it has.
    pub async fn reserve_path(self, tenant: &TenantId, path: &str) -> Result<String, Error> {
        const SQL: &str = "INSERT INTO slack_app_paths (tenant, path, created_at)
            VALUES ($1, $2, {now})
            ON CONFLICT (tenant) DO NOTHING";
        sql::execute(self.store.writer(), SQL, params![tenant.as_str(), path]).await?;
        let path = self.path(tenant).await?;
        path.ok_or_else(|| Error::Bug("a path was stored and is not there".into()))
    }

    /// Takes the right to ask Slack to make or change the app of a tenant that has a path, for this
    /// time; `None`: another call has it.
    pub async fn begin_making(
        self,
        tenant: &TenantId,
        lease: Duration,
    ) -> Result<Option<Timestamp>, Error> {
        // A right that ends later is from before the clock stepped back.
        const SQL: &str = "UPDATE slack_app_paths
            SET making_until = {now} + $2
            WHERE tenant = $1
                AND (making_until <= {now} OR making_until > {now} + 2 * $2)
            RETURNING making_until";
        let values = params![tenant.as_str(), micros(lease)];
        let row = sql::one(self.store.writer(), SQL, values).await?;
        row.map(|row| Ok(Timestamp(row.get(0)?))).transpose()
    }

    /// Gives that right back, if no other call has it by now.
    pub async fn end_making(self, tenant: &TenantId, until: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE slack_app_paths
            SET making_until = 0
            WHERE tenant = $1
                AND making_until = $2";
        let values = params![tenant.as_str(), until.0];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }

    /// The app that a tenant uses; `None`: it uses the deployment's.
    pub async fn get(self, tenant: &TenantId) -> Result<Option<StoredSlackApp>, Error> {
        let found = self.find("a.tenant = $1 AND a.retired_at IS NULL", params![tenant.as_str()]);
        Ok(found.await?.pop())
    }

    /// An app of a tenant, in use or before.
    pub async fn known(
        self,
        tenant: &TenantId,
        app_id: &str,
    ) -> Result<Option<StoredSlackApp>, Error> {
        let values = params![tenant.as_str(), app_id];
        Ok(self.find("a.tenant = $1 AND a.app_id = $2", values).await?.pop())
    }

    /// The apps whose requests arrive at this path: first the one in use, if there is one.
    pub async fn by_path(self, path: &str) -> Result<Vec<StoredSlackApp>, Error> {
        self.find("p.path = $1", params![path]).await
    }

    /// The id of the app in use at this path.
    pub async fn id_at(self, path: &str) -> Result<Option<String>, Error> {
        const SQL: &str = "SELECT a.app_id
            FROM slack_app_paths p
            JOIN slack_apps a ON a.tenant = p.tenant
            WHERE p.path = $1 AND a.retired_at IS NULL";
        let row = sql::one(self.store.reader(), SQL, params![path]).await?;
        row.map(|row| row.get(0)).transpose()
    }

    /// Makes this the app in use. The tenant must have a path. [`Error::Conflict`] if another
    /// change came first.
    pub async fn set(self, tenant: &TenantId, change: &SlackAppChange<'_>) -> Result<(), Error> {
        const RETIRE: &str = "UPDATE slack_apps
            SET retired_at = {now}
            WHERE tenant = $1 AND app_id <> $2 AND retired_at IS NULL";
        const SET: &str = "INSERT INTO slack_apps (tenant, app_id, client_id,
                client_secret, previous_client_secret, previous_client_until,
                signing_secret, previous_signing_secret, previous_signing_until,
                version, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, {now})
            ON CONFLICT (tenant, app_id) DO UPDATE
            SET client_id = excluded.client_id,
                client_secret = excluded.client_secret,
                previous_client_secret = excluded.previous_client_secret,
                previous_client_until = excluded.previous_client_until,
                signing_secret = excluded.signing_secret,
                previous_signing_secret = excluded.previous_signing_secret,
                previous_signing_until = excluded.previous_signing_until,
                version = excluded.version, updated_at = excluded.updated_at, retired_at = NULL
            WHERE slack_apps.version = excluded.version - 1
            RETURNING version";
        let forget = &format!(
            "DELETE FROM slack_apps
                WHERE tenant = $1 AND retired_at IS NOT NULL
                    AND NOT EXISTS ({LINKED} AND i.app_id = slack_apps.app_id)"
        );
        let keys = self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let values = &sealed(tenant, change, &keys)?;
        let set = self.store.transaction(|tx| {
            scoped(async move {
                sql::execute(tx, RETIRE, values[..2].to_vec()).await?;
                if sql::one(tx, SET, values.clone()).await?.is_none() {
                    return Err(Error::Conflict("the Slack app was changed meanwhile".into()));
                }
                sql::execute(tx, forget, values[..1].to_vec()).await?;
                self.store.record(tx).await
            })
        });
        set.await?;
        self.store.recorded();
        Ok(())
    }

    /// Forgets the tenant's apps, unless it is connected by one of them. The path stays the
    /// tenant's: an app that is set later has the same addresses.
    pub async fn delete(self, tenant: &TenantId) -> Result<SlackAppDeletion, Error> {
        const STORED: &str = "SELECT 1 FROM slack_apps WHERE tenant = $1";
        let delete = &format!("DELETE FROM slack_apps WHERE tenant = $1 AND NOT EXISTS ({LINKED})");
        let values = &params![tenant.as_str()];
        let deleted = self.store.transaction(|tx| {
            scoped(async move {
                if sql::one(tx, STORED, values.clone()).await?.is_none() {
                    return Ok(SlackAppDeletion::Absent);
                }
                if sql::execute(tx, delete, values.clone()).await? == 0 {
                    return Ok(SlackAppDeletion::InUse);
                }
                self.store.record(tx).await?;
                Ok(SlackAppDeletion::Deleted)
            })
        });
        let deleted = deleted.await?;
        self.store.recorded();
        Ok(deleted)
    }

    async fn find(
        self,
        which: &str,
        values: Vec<sea_orm::Value>,
    ) -> Result<Vec<StoredSlackApp>, Error> {
        let text = format!(
            "SELECT a.tenant, p.path, a.app_id, a.client_id, a.client_secret,
                    a.previous_client_secret, a.previous_client_until, a.signing_secret,
                    a.previous_signing_secret, a.previous_signing_until, a.updated_at, a.version,
                    {{now}}
                FROM slack_app_paths p
                JOIN slack_apps a ON a.tenant = p.tenant
                WHERE {which}
                ORDER BY CASE WHEN a.retired_at IS NULL THEN 0 ELSE 1 END, a.retired_at DESC
                LIMIT {OF_PATH}"
        );
        let mut apps = Vec::new();
        for row in sql::all(self.store.reader(), &text, values).await? {
            apps.push(self.store.open_slack_app(&row).await?);
        }
        Ok(apps)
    }
}

impl Store {
    async fn open_slack_app(&self, row: &Row) -> Result<StoredSlackApp, Error> {
        let mut columns = Columns::of(row);
        let tenant = columns.id(TenantId::parse)?;
        let (path, app_id, client_id): (String, String, String) =
            (columns.take()?, columns.take()?, columns.take()?);
        let client = SealedSecrets::take(&mut columns)?;
        let signing = SealedSecrets::take(&mut columns)?;
        let (updated_at, version, now) = (columns.time()?, columns.take()?, columns.time()?);
        let client_secret = self.open_secret(&tenant, &app_id, CLIENT, &client).await?.at(now);
        let signing_secret = self.open_secret(&tenant, &app_id, SIGNING, &signing).await?.at(now);
        Ok(StoredSlackApp {
            tenant,
            path,
            app_id,
            client_id,
            client_secret,
            signing_secret,
            updated_at,
            version,
        })
    }

    async fn open_secret(
        &self,
        tenant: &TenantId,
        app_id: &str,
        names: SecretColumns,
        sealed: &SealedSecrets,
    ) -> Result<LiveSecret, Error> {
        let place = SealedCell { table: TABLE, row: app_id, column: names.current };
        let current = self.open_text(tenant, &place, &sealed.current).await?;
        let previous = match (&sealed.previous, sealed.until) {
            (Some(sealed), Some(until)) => {
                let place = SealedCell { column: names.previous, ..place };
                Some(PreviousSecret {
                    secret: self.open_text(tenant, &place, sealed).await?,
                    until,
                })
            }
            _ => None,
        };
        Ok(LiveSecret { current, previous })
    }

    async fn open_text(
        &self,
        tenant: &TenantId,
        place: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Secret, Error> {
        let plain = self.unseal(&KeyScope::Tenant(tenant.clone()), place, sealed).await?;
        let text = std::str::from_utf8(&plain)
            .map_err(|_| Error::Bug("a stored secret is not text".into()))?;
        Ok(Secret::new(text))
    }
}

/// The names of the columns of a secret.
#[derive(Clone, Copy)]
struct SecretColumns {
    current: &'static str,
    previous: &'static str,
}

const CLIENT: SecretColumns =
    SecretColumns { current: "client_secret", previous: "previous_client_secret" };
const SIGNING: SecretColumns =
    SecretColumns { current: "signing_secret", previous: "previous_signing_secret" };

/// A secret as stored, with the one that it replaced.
struct SealedSecrets {
    current: Vec<u8>,
    previous: Option<Vec<u8>>,
    until: Option<Timestamp>,
}

impl SealedSecrets {
    fn take(columns: &mut Columns<'_>) -> Result<Self, Error> {
        let (current, previous) = (columns.take()?, columns.take()?);
        Ok(Self { current, previous, until: columns.optional_time()? })
    }
}

/// The values of a change, in the order of its statement.
fn sealed(
    tenant: &TenantId,
    change: &SlackAppChange<'_>,
    keys: &ScopeKeys,
) -> Result<Vec<sea_orm::Value>, Error> {
    let seal = |column, secret: &Secret| {
        let place = SealedCell { table: TABLE, row: change.app_id, column };
        keys.seal(&place, secret.expose().as_bytes())
    };
    let mut values = params![tenant.as_str(), change.app_id, change.client_id];
    for (names, secret) in [(CLIENT, change.client_secret), (SIGNING, change.signing_secret)] {
        let current = seal(names.current, &secret.current)?;
        let previous = secret.before().map(|before| seal(names.previous, before)).transpose()?;
        let until = secret.previous.as_ref().map(|previous| previous.until.0);
        values.extend(params![current, previous, until]);
    }
    values.extend(params![change.before + 1]);
    Ok(values)
}
