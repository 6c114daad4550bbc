//! Writing a new version of a template.

use sea_orm::Value;

use super::rows::{bound, cell, key};
use crate::domain::ids::{EventType, Principal, TenantId, UserId};
use crate::domain::limits;
use crate::domain::message::template::{Form, Place};
use crate::domain::time::Timestamp;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::tenancy::tenants::bump;
use crate::store::{Error, Templates};

/// Templates that one transaction forgets at most.
const BATCH: u32 = 100;

/// A new version of a template.
#[derive(Debug, Clone, Copy)]
pub struct TemplateEdit<'a> {
    pub place: &'a Place,
    /// `None`: the template is removed.
    pub form: Option<&'a Form>,
    /// The number of the new version.
    pub version: u32,
    /// The version that is brought back; 0: another change.
    pub rolled_back_to: u32,
    pub caller: &'a Principal,
    pub actor: Option<&'a UserId>,
    /// The version of the tenant's settings before the change.
    pub settings_version: i64,
}

/// The values of a version's row.
struct Prepared {
    key: Vec<Value>,
    version: i64,
    form: Option<String>,
    rest: Vec<Value>,
}

impl Templates<'_> {
    /// Saves a version if the settings still have the given version; returns the time.
    /// [`Error::Conflict`] if another change came first, or if there is no such tenant.
    pub async fn save(self, tenant: &TenantId, edit: TemplateEdit<'_>) -> Result<Timestamp, Error> {
        let form = edit.form.map(serde_json::to_string).transpose();
        let form = form.map_err(|_| Error::Bug("a template cannot be converted to JSON".into()))?;
        let (actor, actor_key) = self.sealed_actor(tenant, &edit).await?;
        let rolled_back_to = i64::from(edit.rolled_back_to);
        let prepared = &Prepared {
            key: key(tenant, edit.place),
            version: i64::from(edit.version),
            form,
            rest: params![edit.caller.as_str(), actor, actor_key, rolled_back_to],
        };
        let before = edit.settings_version;
        let saved = self.store.transaction(|tx| {
            scoped(async move {
                if bump(tx, tenant, before, None).await?.is_none() {
                    return Ok(None);
                }
                let at = put(tx, prepared).await?;
                if prepared.form.is_none() {
                    forget_oldest(tx, tenant).await?;
                }
                self.store.record(tx).await?;
                Ok(Some(at))
            })
        });
        let Some(at) = saved.await? else {
            return Err(Error::Conflict("the templates were changed meanwhile".into()));
        };
        self.store.recorded();
        Ok(at)
    }

    /// The person, encrypted with their key, and the key's id; empty without a person.
    async fn sealed_actor(
        self,
        tenant: &TenantId,
        edit: &TemplateEdit<'_>,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let Some(user) = edit.actor else { return Ok((Vec::new(), Vec::new())) };
        let (id, key) = self.store.person_key(tenant, user).await?;
        let row = bound(edit.place, edit.version);
        Ok((key.seal(&cell(&row), user.as_str().as_bytes())?, id))
    }
}

/// Adds the version, makes it the present one, and removes those that are too old to be kept.
async fn put(tx: &Tx, prepared: &Prepared) -> Result<Timestamp, Error> {
    const HEAD: &str =
        "INSERT INTO templates (tenant, event_type, content_id, locale, version, live, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, {now})
        ON CONFLICT (tenant, event_type, content_id, locale) DO UPDATE
        SET version = excluded.version,
            live = excluded.live,
            updated_at = excluded.updated_at";
    const VERSION: &str = "INSERT INTO template_versions
            (tenant, event_type, content_id, locale, version, form, saved_at, caller, actor,
                actor_key, rolled_back_to)
        VALUES ($1, $2, $3, $4, $5, $6, {now}, $7, $8, $9, $10)
        RETURNING saved_at";
    const OLD: &str = "DELETE FROM template_versions
        WHERE tenant = $1 AND event_type = $2 AND content_id = $3 AND locale = $4
            AND version <= $5";
    let with = |more: Vec<Value>| [prepared.key.clone(), more].concat();
    let live = i64::from(prepared.form.is_some());
    sql::execute(tx, HEAD, with(params![prepared.version, live])).await?;
    let mut values = with(params![prepared.version, prepared.form.clone()]);
    values.extend(prepared.rest.iter().cloned());
    let row = sql::one(tx, VERSION, values).await?;
    let row = row.ok_or_else(|| Error::Bug("an insert without a row".into()))?;
    let old = prepared.version - i64::from(limits::TEMPLATE_VERSIONS);
    sql::execute(tx, OLD, with(params![old])).await?;
    Ok(Timestamp(row.get(0)?))
}

/// Forgets the versions of the templates that were removed the longest ago, beyond the number that
/// is kept.
async fn forget_oldest(tx: &Tx, tenant: &TenantId) -> Result<(), Error> {
    let text = format!(
        "SELECT event_type, content_id, locale
            FROM templates
            WHERE tenant = $1 AND live = 0
            ORDER BY updated_at DESC, event_type, content_id, locale
            LIMIT {BATCH} OFFSET {}",
        limits::RESET_TEMPLATES
    );
    for row in sql::all(tx, &text, params![tenant.as_str()]).await? {
        let (event, content, locale): (String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let values = params![tenant.as_str(), event, content, locale];
        for table in ["templates", "template_versions"] {
            let text = format!(
                "DELETE FROM {table}
                    WHERE tenant = $1 AND event_type = $2 AND content_id = $3 AND locale = $4"
            );
            sql::execute(tx, &text, values.clone()).await?;
        }
    }
    Ok(())
}

/// Forgets all versions of all templates of an event type, which is deleted.
pub(in crate::store::tenancy) async fn forget(
    tx: &Tx,
    tenant: &TenantId,
    event: &EventType,
) -> Result<(), Error> {
    for table in ["templates", "template_versions"] {
        let text = format!("DELETE FROM {table} WHERE tenant = $1 AND event_type = $2");
        sql::execute(tx, &text, params![tenant.as_str(), event.as_str()]).await?;
    }
    Ok(())
}
