//! The calls about event types: protobuf <-> domain.

use std::collections::BTreeSet;

use super::call::{Inbound, Server};
use super::decode::{Fields, non_empty};
use super::page::{self, List};
use super::{json, pb};
use crate::app::Error;
use crate::app::event_types::EventTypeState;
use crate::domain::capacity::priority::Priority;
use crate::domain::ids::{AudienceRole, EventType};
use crate::domain::limits;
use crate::domain::message::event::definition::{Definition, Own, OwnField, Rules, TypeSwitches};
use crate::domain::message::event::edit::Edit;
use crate::domain::message::event::{self, BuiltIn, Kind};
use crate::domain::message::render::Language;
use crate::domain::message::wording;

impl Server {
    pub(super) async fn list_event_types_page(
        &self,
        inbound: Inbound,
        message: pb::ListEventTypesRequest,
    ) -> Result<pb::ListEventTypesResponse, Error> {
        let mut fields = Fields::default();
        let list = List::of(&["ListEventTypes", &message.tenant_id]);
        let size = page::size(&mut fields, message.page_size, limits::EVENT_TYPES_PAGE);
        let after =
            list.position(&mut fields, &message.page_token, |text| EventType::parse(text).ok());
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let page = self.app.list_event_types(&call, after.as_ref(), size).await?;
        let last = page.event_types.last().filter(|_| page.more);
        let next_page_token = last.map(|last| list.token(last.event.as_str())).unwrap_or_default();
        let event_types = page.event_types.into_iter().map(event_type).collect();
        Ok(pb::ListEventTypesResponse { event_types, next_page_token })
    }

    pub(super) async fn one_event_type(
        &self,
        inbound: Inbound,
        message: pb::GetEventTypeRequest,
    ) -> Result<pb::GetEventTypeResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let name = fields.take("name", EventType::parse(message.name));
        let (call, name) = inbound.complete(fields, tenant, actor, name)?;
        let state = self.app.get_event_type(&call, &name).await?;
        Ok(pb::GetEventTypeResponse { event_type: Some(event_type(state)) })
    }

    pub(super) async fn make_event_type(
        &self,
        inbound: Inbound,
        message: pb::CreateEventTypeRequest,
    ) -> Result<pb::CreateEventTypeResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let wanted = wanted(&mut fields, message.event_type);
        let (call, wanted) = inbound.complete(fields, tenant, actor, wanted)?;
        let state = self.app.create_event_type(&call, wanted).await?;
        Ok(pb::CreateEventTypeResponse { event_type: Some(event_type(state)) })
    }

    pub(super) async fn change_event_type(
        &self,
        inbound: Inbound,
        message: pb::UpdateEventTypeRequest,
    ) -> Result<pb::UpdateEventTypeResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let paths = message.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let change = change(&mut fields, message.event_type, &paths);
        let (call, (name, edits, etag)) = inbound.complete(fields, tenant, actor, change)?;
        let state = self.app.update_event_type(&call, &name, &edits, etag.as_deref()).await?;
        Ok(pb::UpdateEventTypeResponse { event_type: Some(event_type(state)) })
    }

    pub(super) async fn remove_event_type(
        &self,
        inbound: Inbound,
        message: pb::DeleteEventTypeRequest,
    ) -> Result<pb::DeleteEventTypeResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let name = fields.take("name", EventType::parse(message.name));
        let etag = fields.etag("etag", message.etag);
        let (call, name) = inbound.complete(fields, tenant, actor, name)?;
        self.app.delete_event_type(&call, &name, etag.as_deref()).await?;
        Ok(pb::DeleteEventTypeResponse {})
    }
}

/// The new type; `None`: a field is bad, and was noted.
fn wanted(fields: &mut Fields, given: Option<pb::EventType>) -> Option<EventTypeState> {
    let Some(given) = given else {
        fields.bad("event_type", "must be set");
        return None;
    };
    let event = fields.take("event_type.name", EventType::parse(given.name));
    let rules = Rules {
        audience_roles: fields.roles("event_type.audience_roles", given.audience_roles),
        priority: fields.priority("event_type.default_priority", given.default_priority),
        skip_actor: given.skip_actor,
    };
    let own = Own {
        display_name: given.display_name,
        summary: given.summary,
        category: given.category,
        fields: fields.event_fields(given.fields),
        subject_key_path: non_empty(given.subject_key_path),
    };
    let switches = TypeSwitches {
        enabled: true,
        mandatory: given.mandatory,
        hold_until_arrival: given.hold_until_arrival,
    };
    Some(EventTypeState {
        event: event?,
        definition: Definition { rules, own: Some(own) },
        switches,
    })
}

/// The fields that a mask may name.
const PARTS: [&str; 11] = [
    "enabled",
    "mandatory",
    "hold_until_arrival",
    "audience_roles",
    "default_priority",
    "skip_actor",
    "display_name",
    "summary",
    "category",
    "fields",
    "subject_key_path",
];

/// The name of a type, the parts to change, and the etag that it must have.
type Change = (EventType, Vec<Edit>, Option<String>);

/// The change; `None`: a field is bad, and was noted. An empty mask means the parts that are not at
/// their zero value (AIP-134).
fn change(fields: &mut Fields, given: Option<pb::EventType>, paths: &[String]) -> Option<Change> {
    let Some(given) = given else {
        fields.bad("event_type", "must be set");
        return None;
    };
    for path in paths.iter().filter(|path| !PARTS.contains(&path.as_str())) {
        let known = PARTS.join(", ");
        let problem = format!("{path:?} cannot be changed; parts that can be are {known}");
        fields.bad("update_mask", problem);
    }
    let etag = fields.etag("event_type.etag", given.etag.clone());
    let event = fields.take("event_type.name", EventType::parse(given.name.clone()));
    let edits = edits(fields, given, paths);
    if paths.is_empty() && edits.is_empty() {
        fields.bad("update_mask", "nothing would change: name the fields in update_mask");
    }
    Some((event?, edits, etag))
}

fn edits(fields: &mut Fields, given: pb::EventType, paths: &[String]) -> Vec<Edit> {
    let path = non_empty(given.subject_key_path);
    // Each part with whether it differs from its zero value.
    let parts = [
        (given.enabled, Edit::Enabled(given.enabled)),
        (given.mandatory, Edit::Mandatory(given.mandatory)),
        (given.hold_until_arrival, Edit::HoldUntilArrival(given.hold_until_arrival)),
        (
            !given.audience_roles.is_empty(),
            Edit::AudienceRoles(fields.roles("event_type.audience_roles", given.audience_roles)),
        ),
        (
            given.default_priority != 0,
            Edit::Priority(fields.priority("event_type.default_priority", given.default_priority)),
        ),
        (given.skip_actor, Edit::SkipActor(given.skip_actor)),
        (!given.display_name.is_empty(), Edit::DisplayName(given.display_name)),
        (!given.summary.is_empty(), Edit::Summary(given.summary)),
        (!given.category.is_empty(), Edit::Category(given.category)),
        (!given.fields.is_empty(), Edit::Fields(fields.event_fields(given.fields))),
        (path.is_some(), Edit::SubjectKeyPath(path)),
    ];
    let named = |edit: &Edit, set: bool| {
        if paths.is_empty() { set } else { paths.iter().any(|path| path == edit.name()) }
    };
    parts.into_iter().filter(|(set, edit)| named(edit, *set)).map(|(_, edit)| edit).collect()
}

impl Fields {
    /// Roles; bad ones are noted.
    pub(super) fn roles(&mut self, field: &str, given: Vec<String>) -> BTreeSet<AudienceRole> {
        let (max, was) = (limits::ROLES, given.len());
        if was > max {
            self.bad(field, format!("must be at most {max}, was {was}"));
            return BTreeSet::new();
        }
        let parsed = given.into_iter().enumerate().filter_map(|(index, text)| {
            self.take(&format!("{field}[{index}]"), AudienceRole::parse(text))
        });
        parsed.collect()
    }

    /// The fields of a type. The limits of each are checked with the type as a whole.
    fn event_fields(&mut self, given: Vec<pb::EventField>) -> Vec<OwnField> {
        let decoded = given.into_iter().enumerate().filter_map(|(index, field)| {
            let at = format!("event_type.fields[{index}]");
            let example = field
                .example
                .and_then(|example| self.take(&format!("{at}.example"), json::value(example)));
            Some(OwnField {
                kind: self.field_kind(&format!("{at}.kind"), field.kind)?,
                path: field.path,
                required: field.required,
                meaning: field.meaning,
                example: example.filter(|example| !example.is_null()),
            })
        });
        decoded.collect()
    }

    fn field_kind(&mut self, field: &str, given: i32) -> Option<Kind> {
        match pb::FieldKind::try_from(given) {
            Ok(pb::FieldKind::Text) => Some(Kind::Text),
            Ok(pb::FieldKind::Time) => Some(Kind::Time),
            Ok(pb::FieldKind::Minutes) => Some(Kind::Minutes),
            Ok(pb::FieldKind::Url) => Some(Kind::Url),
            Ok(pb::FieldKind::Object) => Some(Kind::Object),
            Ok(pb::FieldKind::Unspecified) | Err(_) => {
                self.bad(field, "must be one of TEXT, TIME, MINUTES, URL, OBJECT");
                None
            }
        }
    }
}

fn event_type(state: EventTypeState) -> pb::EventType {
    let etag = state.etag();
    let EventTypeState { event, definition: Definition { rules, own }, switches } = state;
    let parts = match own {
        Some(own) => own_parts(own),
        None => event::find(&event).map(built_in_parts).unwrap_or_default(),
    };
    let roles = rules.audience_roles.into_iter();
    let mut message = pb::EventType {
        name: event.into(),
        enabled: switches.enabled,
        mandatory: switches.mandatory,
        hold_until_arrival: switches.hold_until_arrival,
        audience_roles: roles.map(Into::into).collect(),
        skip_actor: rules.skip_actor,
        etag,
        ..parts
    };
    if let Some(priority) = rules.priority {
        message.set_default_priority(match priority {
            Priority::Urgent => pb::Priority::Urgent,
            Priority::Normal => pb::Priority::Normal,
            Priority::Bulk => pb::Priority::Bulk,
        });
    }
    message
}

fn own_parts(own: Own) -> pb::EventType {
    pb::EventType {
        demo_data: demo_data(own.demo_data()),
        display_name: own.display_name,
        summary: own.summary,
        category: own.category,
        fields: own.fields.into_iter().map(own_field).collect(),
        button: wording::open(Language::English).into(),
        subject_key_path: own.subject_key_path.unwrap_or_default(),
        ..pb::EventType::default()
    }
}

fn built_in_parts(built_in: &'static BuiltIn) -> pb::EventType {
    let sets = built_in.any_of.iter();
    let category = built_in.name.split('.').next().unwrap_or_default();
    pb::EventType {
        display_name: event::label(built_in.name),
        summary: built_in.summary.into(),
        category: event::label(category),
        recipients: built_in.recipients.into(),
        fields: built_in.fields.iter().map(built_in_field).collect(),
        any_of: sets
            .map(|set| pb::FieldSet { paths: set.iter().map(ToString::to_string).collect() })
            .collect(),
        button: built_in.button(Language::English).into(),
        opens: built_in.opens.into(),
        demo_data: demo_data(built_in.demo_data()),
        built_in: true,
        ..pb::EventType::default()
    }
}

fn demo_data(data: serde_json::Value) -> Option<prost_types::Struct> {
    match data {
        serde_json::Value::Object(map) => Some(json::to_struct(map)),
        _ => None,
    }
}

fn own_field(field: OwnField) -> pb::EventField {
    pb::EventField {
        path: field.path,
        kind: field_kind(field.kind).into(),
        required: field.required,
        meaning: field.meaning,
        example: field.example.map(json::to_value),
    }
}

fn built_in_field(field: &event::Field) -> pb::EventField {
    pb::EventField {
        path: field.path.into(),
        kind: field_kind(field.kind).into(),
        required: field.required,
        meaning: field.meaning.into(),
        example: None,
    }
}

fn field_kind(kind: Kind) -> pb::FieldKind {
    match kind {
        Kind::Text => pb::FieldKind::Text,
        Kind::Time => pb::FieldKind::Time,
        Kind::Minutes => pb::FieldKind::Minutes,
        Kind::Url => pb::FieldKind::Url,
        Kind::Object => pb::FieldKind::Object,
    }
}
