//! Tenants and their settings.

use sea_orm::EntityTrait as _;

use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::settings::Settings;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::entity::tenant;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::NAME_KEPT;
use crate::store::{Error, Tenancy};

impl Tenancy<'_> {
    /// Makes the tenant exist (on the first administrator's call). [`Error::TenantDeleted`]: it is
    /// being deleted, or was lately. A tenant that was deleted before begins with another version
    /// of its settings, because replicas may remember settings of the old versions.
    pub async fn ensure_tenant(self, tenant: &TenantId) -> Result<(), Error> {
        const MAKE: &str = "INSERT INTO tenants (tenant, version, created_at, updated_at)
            SELECT CAST($1 AS text),
                COALESCE((SELECT e.version + 1 FROM erased_tenants e WHERE e.tenant = $1), 0),
                {now}, {now}
            WHERE NOT EXISTS (SELECT 1
                FROM erased_tenants e
                WHERE e.tenant = $1 AND e.erased_at > {now} - CAST($2 AS bigint))
            ON CONFLICT DO NOTHING";
        let writer = self.store.writer();
        // Read first: the tenant nearly always exists, and readers do not queue for SQLite's only
        // writer.
        match deleting(self.store.reader(), tenant).await? {
            Some(false) => return Ok(()),
            Some(true) => return Err(Error::TenantDeleted),
            None => {}
        }
        let values = params![tenant.as_str(), micros(NAME_KEPT)];
        if sql::execute(writer, MAKE, values).await? > 0 {
            return Ok(());
        }
        // Another call made it at the same moment, or its name is not free.
        match deleting(writer, tenant).await? {
            Some(false) => Ok(()),
            Some(true) | None => Err(Error::TenantDeleted),
        }
    }

    pub async fn tenant_exists(self, tenant: &TenantId) -> Result<bool, Error> {
        const SQL: &str = "SELECT 1 FROM tenants WHERE tenant = $1";
        Ok(sql::one(self.store.reader(), SQL, params![tenant.as_str()]).await?.is_some())
    }

    /// `None` if the tenant does not exist; the defaults if its settings were never changed.
    pub async fn settings(self, tenant: &TenantId) -> Result<Option<Settings>, Error> {
        let row =
            tenant::Entity::find_by_id(tenant.as_str().to_owned()).one(self.store.reader()).await?;
        row.map(|row| settings_of(row.settings.as_deref(), row.version)).transpose()
    }

    /// Records that a tenant's user attribute, as written in `source`, has just cost too much.
    pub async fn note_costly(self, tenant: &TenantId, source: &str) -> Result<(), Error> {
        const SQL: &str = "UPDATE tenants
            SET costly_attribute = $2, costly_at = {now}
            WHERE tenant = $1";
        sql::execute(self.store.writer(), SQL, params![tenant.as_str(), source]).await.map(drop)
    }

    /// When the user attribute `source` of a tenant last cost too much; `None`: never, as far as is
    /// known.
    pub async fn costly_since(
        self,
        tenant: &TenantId,
        source: &str,
    ) -> Result<Option<Timestamp>, Error> {
        const SQL: &str = "SELECT costly_at FROM tenants
            WHERE tenant = $1 AND costly_attribute = $2 AND costly_at IS NOT NULL";
        match sql::one(self.store.reader(), SQL, params![tenant.as_str(), source]).await? {
            Some(row) => Ok(Some(Timestamp(row.get(0)?))),
            None => Ok(None),
        }
    }

    /// The settings of every tenant that uses an installation.
    pub async fn settings_in(self, installation: InstallationId) -> Result<Vec<Settings>, Error> {
        let mut all = Vec::new();
        for tenant in self.tenants_of(installation).await? {
            all.extend(self.settings(&tenant).await?);
        }
        Ok(all)
    }

    /// Replaces the settings if `settings.version` is still the stored one; returns the new
    /// version. [`Error::Conflict`] if another change came first, [`Error::NotFound`] if there is
    /// no such tenant.
    pub async fn save_settings(self, tenant: &TenantId, settings: &Settings) -> Result<i64, Error> {
        let json = serde_json::to_string(settings)
            .map_err(|_| Error::Bug("settings cannot be converted to JSON".into()))?;
        let json = json.as_str();
        let saved = self.store.transaction(|tx| {
            scoped(async move {
                let version = bump(tx, tenant, settings.version, Some(json)).await?;
                if version.is_some() {
                    self.store.record(tx).await?;
                }
                Ok(version)
            })
        });
        match saved.await? {
            Some(version) => {
                self.store.recorded();
                Ok(version)
            }
            None if self.tenant_exists(tenant).await? => {
                Err(Error::Conflict("the settings were changed meanwhile".into()))
            }
            None => Err(Error::NotFound("tenant".into())),
        }
    }
}

/// Whether the tenant is being deleted; `None`: there is no such tenant.
async fn deleting(
    db: &impl sea_orm::ConnectionTrait,
    tenant: &TenantId,
) -> Result<Option<bool>, Error> {
    const SQL: &str = "SELECT CASE WHEN deleting_at IS NULL THEN 0 ELSE 1 END
        FROM tenants
        WHERE tenant = $1";
    let row = sql::one(db, SQL, params![tenant.as_str()]).await?;
    row.map(|row| Ok(row.get::<i32>(0)? != 0)).transpose()
}

/// Increments the version of a tenant's settings, which is that of its event types and templates
/// too, if it is still this one; returns the new one. `settings` replace the stored ones, if there
/// are any.
pub(super) async fn bump(
    tx: &Tx,
    tenant: &TenantId,
    before: i64,
    settings: Option<&str>,
) -> Result<Option<i64>, Error> {
    const SQL: &str = "UPDATE tenants
        SET settings = COALESCE($3, settings), version = version + 1, updated_at = {now}
        WHERE tenant = $1 AND version = $2 RETURNING version";
    let row = sql::one(tx, SQL, params![tenant.as_str(), before, settings]).await?;
    row.map(|row| row.get(0)).transpose()
}

/// The column's version is valid; the JSON contains the version before the change.
pub(in crate::store) fn settings_of(json: Option<&str>, version: i64) -> Result<Settings, Error> {
    let settings = match json {
        None => Settings::default(),
        Some(json) => serde_json::from_str(json)
            .map_err(|_| Error::Bug("stored settings cannot be parsed".into()))?,
    };
    Ok(Settings { version, ..settings })
}
