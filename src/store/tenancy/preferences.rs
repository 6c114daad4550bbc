//! People's preferences: which event types they want.

use std::collections::HashMap;

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::domain::ids::{EventType, TenantId, UserId};
use crate::domain::settings::{Preference, Preferences};
use crate::domain::time::Timestamp;
use crate::store::database::entity::preference;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::{Error, People};

const CHUNK: usize = 500;
/// The event type that stands for everything.
const ALL: &str = "";

impl People<'_> {
    /// Stores a choice for one event type, or (`None`) for everything, and its author. `Inherit`
    /// deletes both.
    pub async fn set_preference(
        self,
        tenant: &TenantId,
        user: &UserId,
        event: Option<&EventType>,
        choice: Preference,
        set_by: &str,
    ) -> Result<(), Error> {
        const SET: &str =
            "INSERT INTO preferences (tenant, user_id, event_type, choice, set_by, updated_at)
            VALUES ($1, $2, $3, $4, $5, {now})
            ON CONFLICT (tenant, user_id, event_type) DO UPDATE
            SET choice = excluded.choice,
                set_by = excluded.set_by,
                updated_at = excluded.updated_at";
        const FORGET: &str =
            "DELETE FROM preferences WHERE tenant = $1 AND user_id = $2 AND event_type = $3";
        let event = event.map_or(ALL, EventType::as_str);
        let (text, word) = match choice {
            Preference::Inherit => (FORGET, None),
            Preference::On => (SET, Some("on")),
            Preference::Off => (SET, Some("off")),
        };
        let mut values = params![tenant.as_str(), user.as_str(), event];
        if let Some(word) = word {
            values.extend(params![word, set_by]);
        }
        let values = &values;
        let set = self.store.transaction(|tx| {
            scoped(async move {
                sql::execute(tx, text, values.clone()).await?;
                self.store.record(tx).await
            })
        });
        set.await?;
        self.store.recorded();
        Ok(())
    }

    /// The choices of those of `users` that made any.
    pub async fn preferences(
        self,
        tenant: &TenantId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Preferences>, Error> {
        let mut found = Vec::new();
        for chunk in users.chunks(CHUNK) {
            let rows = preference::Entity::find()
                .filter(preference::Column::Tenant.eq(tenant.as_str()))
                .filter(preference::Column::UserId.is_in(chunk.iter().map(UserId::as_str)))
                .all(self.store.reader())
                .await?;
            found.extend(rows);
        }
        by_person(found)
    }
}

/// The choices of each person that made any.
pub(in crate::store) fn by_person(
    rows: Vec<preference::Model>,
) -> Result<HashMap<UserId, Preferences>, Error> {
    let damaged = || Error::Bug("a stored preference cannot be parsed".into());
    let mut found: HashMap<UserId, Preferences> = HashMap::new();
    for row in rows {
        let choice = match row.choice.as_str() {
            "on" => Preference::On,
            "off" => Preference::Off,
            _ => return Err(damaged()),
        };
        let user = UserId::parse(row.user_id).map_err(|_| damaged())?;
        let choices = found.entry(user).or_default();
        let origin = (row.set_by.unwrap_or_default(), Timestamp(row.updated_at));
        if row.event_type == ALL {
            choices.all = choice;
            choices.origins.insert(None, origin);
        } else {
            let event = EventType::parse(row.event_type).map_err(|_| damaged())?;
            choices.by_type.insert(event.clone(), choice);
            choices.origins.insert(Some(event), origin);
        }
    }
    Ok(found)
}
