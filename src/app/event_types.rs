//! CreateEventType, UpdateEventType, DeleteEventType: a tenant's event types.

use serde_json::{Map, Value};

use super::changes::ATTEMPTS;
use super::{App, Call, Error, Violation};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::ids::EventType;
use crate::domain::limits;
use crate::domain::message::event::check;
use crate::domain::message::event::definition::{Definition, TypeSwitches};
use crate::domain::message::event::edit::{Edit, edited};
use crate::domain::message::event::tenant_types::TenantTypes;
use crate::domain::message::event::{FieldProblem, find};
use crate::domain::settings::Settings;
use crate::store::{self, DefinedTypes, DefinitionChange};

/// The state after a change; `None`: the type is removed.
type Planned = Result<Option<EventTypeState>, Error>;

/// One event type of a tenant, built in or its own.
#[derive(Debug, Clone, PartialEq)]
pub struct EventTypeState {
    pub event: EventType,
    pub definition: Definition,
    pub switches: TypeSwitches,
}

impl EventTypeState {
    /// The type of this name; `None` if there is none.
    pub(super) fn of(types: &TenantTypes, settings: &Settings, event: &EventType) -> Option<Self> {
        types.find(event)?;
        Some(Self {
            event: event.clone(),
            definition: types.definition(event),
            switches: TypeSwitches::of(settings, event),
        })
    }

    /// Identifies this state.
    #[must_use]
    pub fn etag(&self) -> String {
        self.definition.etag(&self.event, self.switches)
    }

    /// Refuses a state other than the one that the caller read.
    fn is_still(&self, etag: Option<&str>) -> Result<(), Error> {
        if etag.is_some_and(|etag| etag != self.etag()) {
            return Err(Error::Changed("event type"));
        }
        Ok(())
    }

    /// All parts, for the audit trail.
    fn parts(&self) -> Map<String, Value> {
        let TypeSwitches { enabled, mandatory, hold_until_arrival } = self.switches;
        let mut parts = object(&self.definition.rules);
        parts.extend(self.definition.own.as_ref().map(object).unwrap_or_default());
        parts.insert("enabled".into(), enabled.into());
        parts.insert("mandatory".into(), mandatory.into());
        parts.insert("hold_until_arrival".into(), hold_until_arrival.into());
        parts
    }
}

impl App {
    /// Creates a type of the tenant's own, and the tenant if it does not exist yet.
    pub async fn create_event_type(
        &self,
        call: &Call,
        wanted: EventTypeState,
    ) -> Result<EventTypeState, Error> {
        call.may(&access::CREATE_EVENT_TYPE)?;
        let mut problems = check::problems(&wanted.definition);
        problems.extend(check::name_problem(&wanted.event));
        refuse(problems)?;
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let plan = |before: Option<&EventTypeState>, types: &TenantTypes| -> Planned {
            if let Some(before) = before {
                // A repetition after an answer that was lost.
                if *before == wanted {
                    return Ok(Some(wanted.clone()));
                }
                let problem = "exists already: change it with UpdateEventType";
                return Err(Error::invalid("event_type.name", problem));
            }
            let max = limits::EVENT_TYPES_OF_TENANT;
            if types.own_count() >= max {
                let problem = format!("the tenant has {max} event types of its own: delete one");
                return Err(Error::invalid("event_type", problem));
            }
            Ok(Some(wanted.clone()))
        };
        let created = self.change_type(call, "CreateEventType", &wanted.event, plan).await?;
        created.ok_or(Error::NotFound(NAME))
    }

    /// Changes parts of a type. `etag`: only if it is still in this state.
    pub async fn update_event_type(
        &self,
        call: &Call,
        event: &EventType,
        edits: &[Edit],
        etag: Option<&str>,
    ) -> Result<EventTypeState, Error> {
        call.may(&access::UPDATE_EVENT_TYPE)?;
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let plan = |before: Option<&EventTypeState>, _: &TenantTypes| -> Planned {
            let before = before.ok_or(Error::NotFound(NAME))?;
            before.is_still(etag)?;
            let EventTypeState { event, definition, switches } = before.clone();
            let after = edited(&event, definition, switches, edits.iter().cloned());
            let (definition, switches) = after.map_err(invalid)?;
            refuse(check::problems(&definition))?;
            Ok(Some(EventTypeState { event, definition, switches }))
        };
        let changed = self.change_type(call, "UpdateEventType", event, plan).await?;
        changed.ok_or(Error::NotFound(NAME))
    }

    /// Deletes a type of the tenant's own. `etag`: only if it is still in this state.
    pub async fn delete_event_type(
        &self,
        call: &Call,
        event: &EventType,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        call.may(&access::DELETE_EVENT_TYPE)?;
        let plan = |before: Option<&EventTypeState>, types: &TenantTypes| -> Planned {
            let before = before.ok_or(Error::NotFound(NAME))?;
            if !types.is_own(event) {
                let problem = format!(
                    "{event} is built in and cannot be deleted: switch it off with UpdateEventType"
                );
                return Err(Error::invalid("name", problem));
            }
            before.is_still(etag)?;
            Ok(None)
        };
        self.change_type(call, "DeleteEventType", event, plan).await.map(drop)
    }

    /// Makes a change that `plan` decides from the present state; without a state after it, the
    /// type is removed. Returns the state after the change. The same state is not written again.
    async fn change_type(
        &self,
        call: &Call,
        action: &str,
        event: &EventType,
        plan: impl Fn(Option<&EventTypeState>, &TenantTypes) -> Planned,
    ) -> Planned {
        let _turn = self.changes.turn(call.tenant.clone()).await;
        for _ in 0..ATTEMPTS {
            let Some(found) = self.store.event_types().list(&call.tenant).await? else {
                return Err(Error::NotFound("tenant"));
            };
            let DefinedTypes { mut settings, definitions, unread, templates } = found;
            let types = TenantTypes::new(definitions).with_unread(unread);
            if types.is_unread(event) {
                return Err(Error::newer_event_type());
            }
            let before = EventTypeState::of(&types, &settings, event);
            let after = plan(before.as_ref(), &types)?;
            if before == after {
                return Ok(after);
            }
            if templates > 0 {
                let definitions = [&before, &after];
                let [before, after] =
                    definitions.map(|state| state.as_ref().map(|it| &it.definition));
                self.keeps_templates(&call.tenant, event, before, after).await?;
            }
            switches_after(event, before.as_ref(), after.as_ref()).set(&mut settings, event);
            if after.is_none() {
                leaves_few(&types, &settings, event)?;
            }
            let definition = after.as_ref().map(|after| &after.definition);
            // A built-in type without a configuration needs no row.
            let definition = definition.filter(|it| **it != Definition::default());
            let entry = changed(call, action, event, before.as_ref(), after.as_ref());
            let store = self.store.noting(&entry).await?;
            let ends = after.is_none();
            let change = DefinitionChange { event, definition, ends, settings: &settings };
            match store.event_types().save(&call.tenant, change).await {
                Ok(_) => return Ok(after),
                Err(store::Error::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Changed("event type"))
    }
}

/// The name of the object in refusals.
pub(super) const NAME: &str = "event type";

/// The switches of a type after a change. Those of a deleted type that apply to messages that wait
/// are kept: such a message reads them when it is due.
fn switches_after(
    event: &EventType,
    before: Option<&EventTypeState>,
    after: Option<&EventTypeState>,
) -> TypeSwitches {
    match (after, before) {
        (Some(after), _) => after.switches,
        (None, Some(before)) if find(event).is_none() => {
            TypeSwitches { hold_until_arrival: false, ..before.switches }
        }
        // The name is that of a built-in type from now on, as it is without a configuration.
        (None, _) => TypeSwitches::default(),
    }
}

/// Refuses a deletion that would leave the switches of too many deleted types in the settings.
fn leaves_few(types: &TenantTypes, settings: &Settings, event: &EventType) -> Result<(), Error> {
    let max = limits::DELETED_EVENT_TYPES_IN_SETTINGS;
    for (named, remedy) in [
        (
            &settings.disabled_event_types,
            "switched off: remove some from disabled_event_types, or switch this one on first",
        ),
        (&settings.mandatory_event_types, "mandatory: make this one not mandatory first"),
    ] {
        let deleted = named.iter().filter(|it| *it == event || !types.has(it)).count();
        if named.contains(event) && deleted > max {
            let problem = format!("{max} deleted event types are still {remedy}");
            return Err(Error::invalid("name", problem));
        }
    }
    Ok(())
}

/// The audit entry: the parts that differ, before and after.
fn changed(
    call: &Call,
    action: &str,
    event: &EventType,
    before: Option<&EventTypeState>,
    after: Option<&EventTypeState>,
) -> Entry {
    let (before, after) = (before.map(EventTypeState::parts), after.map(EventTypeState::parts));
    let (before, after) = match (before, after) {
        (Some(mut before), Some(mut after)) => {
            before.retain(|name, was| after.get(name) != Some(was) || after.remove(name).is_none());
            (Some(before), Some(after))
        }
        one => one,
    };
    let (before, after) = (before.map(Value::Object), after.map(Value::Object));
    let detail = AuditDetail { object: format!("event_type:{event}"), before, after };
    Entry { detail, ..call.entry(action) }
}

fn object(part: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(part) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn refuse(problems: Vec<FieldProblem>) -> Result<(), Error> {
    if problems.is_empty() { Ok(()) } else { Err(invalid(problems)) }
}

/// The refusal with these problems.
pub(super) fn invalid(problems: Vec<FieldProblem>) -> Error {
    let violation = |problem: FieldProblem| Violation::new(problem.field, problem.problem);
    Error::Invalid(problems.into_iter().map(violation).collect())
}
