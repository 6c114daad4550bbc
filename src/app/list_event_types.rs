//! ListEventTypes: the kinds of notification that a tenant can send.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::message::event::{self, BuiltIn};

/// One event type.
pub struct Listed {
    pub event: &'static BuiltIn,
    /// Whether the tenant has enabled it.
    pub enabled: bool,
}

impl App {
    /// In the catalogue's order.
    pub async fn list_event_types(&self, call: &Call) -> Result<Vec<Listed>, Error> {
        call.may(&access::LIST_EVENT_TYPES)?;
        let settings = self.tenant(&call.tenant).await?.settings;
        let off = &settings.disabled_event_types;
        let listed = event::catalogue().iter().map(|event| Listed {
            event,
            enabled: !off.iter().any(|disabled| disabled.as_str() == event.name),
        });
        Ok(listed.collect())
    }
}
