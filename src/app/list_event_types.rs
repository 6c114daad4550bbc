//! ListEventTypes and GetEventType: the kinds of notification that a tenant can send.

use super::event_types::{EventTypeState, NAME};
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::EventType;

/// One page of event types.
#[derive(Debug)]
pub struct EventTypePage {
    /// The built-in types in the order of the catalogue, then the tenant's own by name.
    pub event_types: Vec<EventTypeState>,
    /// Whether there are more.
    pub more: bool,
}

impl App {
    /// Up to `limit` types after the one of this name.
    pub async fn list_event_types(
        &self,
        call: &Call,
        after: Option<&EventType>,
        limit: u32,
    ) -> Result<EventTypePage, Error> {
        call.may(&access::LIST_EVENT_TYPES)?;
        let settings = self.tenant(&call.tenant).await?.settings;
        let types = self.types_of(&call.tenant, settings.version).await?;
        let names: Vec<EventType> = types.names().map(std::borrow::Cow::into_owned).collect();
        let start = after.map_or(0, |after| {
            // An own type that was deleted meanwhile had its place among the others.
            let place = names.iter().position(|name| name == after).map(|place| place + 1);
            let before = |name: &&EventType| !types.is_own(name) || *name <= after;
            place.unwrap_or_else(|| names.iter().take_while(before).count())
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = names.iter().skip(start).take(limit);
        let state = |event| EventTypeState::of(&types, &settings, event);
        Ok(EventTypePage {
            event_types: page.filter_map(state).collect(),
            more: names.len().saturating_sub(start) > limit,
        })
    }

    /// The type of this name.
    pub async fn get_event_type(
        &self,
        call: &Call,
        event: &EventType,
    ) -> Result<EventTypeState, Error> {
        call.may(&access::GET_EVENT_TYPE)?;
        let settings = self.tenant(&call.tenant).await?.settings;
        let types = self.types_of(&call.tenant, settings.version).await?;
        EventTypeState::of(&types, &settings, event).ok_or(Error::NotFound(NAME))
    }
}
