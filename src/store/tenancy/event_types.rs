//! Event types that tenants defined: their own, and the configuration of built-in ones.
//!
//! A change of a type is a change of the tenant's settings: their version is compared and
//! incremented in the same transaction. So changes of one tenant take turns, and types read with
//! the settings of a version are those of that version.

use std::collections::BTreeSet;

use super::templates;
use super::tenants::{bump, settings_of};
use crate::domain::ids::{EventType, TenantId};
use crate::domain::message::event::definition::Definition;
use crate::domain::settings::Settings;
use crate::store::database::entity::event_type;
use crate::store::database::group::breathe;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{Error, EventTypes};

/// All definitions of a tenant, and its settings at the same moment.
#[derive(Debug, Clone, PartialEq)]
pub struct DefinedTypes {
    pub settings: Settings,
    /// By name.
    pub definitions: Vec<(EventType, Definition)>,
    /// The names of definitions that only a newer release can read.
    pub unread: BTreeSet<EventType>,
    /// The number of the tenant's templates.
    pub templates: i64,
}

/// A change of one event type.
#[derive(Debug, Clone, Copy)]
pub struct DefinitionChange<'a> {
    pub event: &'a EventType,
    /// `None`: it is removed, or built in and not configured.
    pub definition: Option<&'a Definition>,
    /// Whether nothing is left of the type, so that the versions of its templates are removed, too.
    pub ends: bool,
    /// The settings after the change, with the version before it.
    pub settings: &'a Settings,
}

impl EventTypes<'_> {
    /// The definitions of a tenant; `None` if the tenant does not exist.
    pub async fn list(self, tenant: &TenantId) -> Result<Option<DefinedTypes>, Error> {
        // One statement, so that types and version belong together.
        let text = format!(
            "SELECT t.settings, t.version,
                    (SELECT COUNT(*)
                        FROM templates p
                        WHERE p.tenant = t.tenant AND p.live = 1) AS templates,
                    {}
                FROM tenants t
                LEFT JOIN event_types e ON e.tenant = t.tenant
                WHERE t.tenant = $1
                ORDER BY e.name",
            sql::columns::<event_type::Entity>("e")
        );
        let rows = sql::all(self.store.reader(), &text, params![tenant.as_str()]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let json: Option<String> = first.get(0)?;
        let settings = settings_of(json.as_deref(), first.get(1)?)?;
        let templates = first.get(2)?;
        let (mut definitions, mut unread) = (Vec::with_capacity(rows.len()), BTreeSet::new());
        for (number, row) in rows.iter().enumerate() {
            breathe(number).await;
            // A tenant without definitions has one row without a type.
            if row.get::<Option<String>>(3)?.is_none() {
                continue;
            }
            match read(row) {
                Some((event, Some(definition))) => definitions.push((event, definition)),
                other => {
                    self.store.pass_over(UnreadableRow::EventType, 1);
                    unread.extend(other.map(|(event, _)| event));
                }
            }
        }
        Ok(Some(DefinedTypes { settings, definitions, unread, templates }))
    }

    /// Makes a change if the settings still have the given version; returns the new version.
    /// [`Error::Conflict`] if another change came first, or if there is no such tenant.
    pub async fn save(self, tenant: &TenantId, change: DefinitionChange<'_>) -> Result<i64, Error> {
        let settings = serde_json::to_string(change.settings)
            .map_err(|_| Error::Bug("settings cannot be converted to JSON".into()))?;
        let definition = change.definition.map(serde_json::to_string).transpose();
        let definition = definition
            .map_err(|_| Error::Bug("a definition cannot be converted to JSON".into()))?;
        let (settings, definition) = (settings.as_str(), definition.as_deref());
        let saved = self.store.transaction(|tx| {
            scoped(async move {
                let before = change.settings.version;
                let version = bump(tx, tenant, before, Some(settings)).await?;
                if version.is_some() {
                    put(tx, tenant, change.event, definition).await?;
                    if change.ends {
                        templates::forget(tx, tenant, change.event).await?;
                    }
                    self.store.record(tx).await?;
                }
                Ok(version)
            })
        });
        let Some(version) = saved.await? else {
            return Err(Error::Conflict("the event types were changed meanwhile".into()));
        };
        self.store.recorded();
        Ok(version)
    }
}

async fn put(
    tx: &Tx,
    tenant: &TenantId,
    event: &EventType,
    definition: Option<&str>,
) -> Result<(), Error> {
    const PUT: &str = "INSERT INTO event_types (tenant, name, definition, created_at, updated_at)
        VALUES ($1, $2, $3, {now}, {now})
        ON CONFLICT (tenant, name) DO UPDATE
        SET definition = excluded.definition, updated_at = excluded.updated_at";
    const REMOVE: &str = "DELETE FROM event_types WHERE tenant = $1 AND name = $2";
    let mut values = params![tenant.as_str(), event.as_str()];
    let text = match definition {
        Some(definition) => {
            values.push(definition.into());
            PUT
        }
        None => REMOVE,
    };
    sql::execute(tx, text, values).await.map(drop)
}

/// The name and the definition in a row; `None` for each that this release cannot read.
fn read(row: &Row) -> Option<(EventType, Option<Definition>)> {
    let model: event_type::Model = row.model().ok()?;
    let event = EventType::parse(model.name).ok()?;
    Some((event, serde_json::from_str(&model.definition).ok()))
}
