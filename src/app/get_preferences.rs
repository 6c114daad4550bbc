//! GetPreferences: a person's choices, and their effect.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::{EventType, UserId};
use crate::domain::reason::Suppression;
use crate::domain::settings::{Preference, suppression};

/// A person's choices.
#[derive(Debug)]
pub struct Choices {
    /// For all event types.
    pub all: Preference,
    /// Each event type as ListEventTypes lists them, then other types with a choice.
    pub by_type: Vec<Choice>,
}

/// The choice about one event type.
#[derive(Debug)]
pub struct Choice {
    pub event: EventType,
    pub value: Preference,
    /// Which switch holds messages of this kind back now, if any.
    pub suppression: Option<Suppression>,
}

impl App {
    /// An unknown person has chosen nothing.
    pub async fn get_preferences(&self, call: &Call, user: UserId) -> Result<Choices, Error> {
        call.may_about(&access::GET_PREFERENCES, &user)?;
        let tenant = self.tenant(&call.tenant).await?;
        let chosen = self.choices(&call.tenant, &user).await?;
        let types = self.types_of(&tenant.id, tenant.settings.version).await?;
        let mut events: Vec<EventType> = types.names().map(Cow::into_owned).collect();
        let known: BTreeSet<EventType> = events.iter().cloned().collect();
        events.extend(chosen.by_type.keys().filter(|event| !known.contains(*event)).cloned());
        let by_type = events
            .into_iter()
            .map(|event| Choice {
                value: chosen.by_type.get(&event).copied().unwrap_or_default(),
                suppression: suppression(&tenant.settings, &chosen, &event),
                event,
            })
            .collect();
        Ok(Choices { all: chosen.all, by_type })
    }
}
