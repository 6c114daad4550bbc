//! Event types: tenants create their own and configure the built-in ones, and Notify uses each
//! change at once.

mod deleted;
mod life;
mod notify;
mod refused;

use herald::rpc::pb;
use serde_json::{Value, json};
use tonic::Status;

use crate::support::client::{Client, fields};
use crate::support::world::TENANT;

/// The name of the tests' own type.
pub(super) const NAME: &str = "training.cancelled";

pub(super) fn field(path: &str, kind: pb::FieldKind, required: bool) -> pb::EventField {
    pb::EventField { path: path.into(), kind: kind.into(), required, ..Default::default() }
}

/// A type with a required text, an optional time and an id.
pub(super) fn training() -> pb::EventType {
    pb::EventType {
        name: NAME.into(),
        display_name: "Training cancelled".into(),
        summary: "A training was cancelled.".into(),
        category: "Training".into(),
        fields: vec![
            field("course.name", pb::FieldKind::Text, true),
            field("starts_at", pb::FieldKind::Time, false),
            field("course.id", pb::FieldKind::Text, false),
        ],
        ..pb::EventType::default()
    }
}

pub(super) async fn create(
    client: &Client,
    event_type: pb::EventType,
) -> Result<pb::EventType, Status> {
    let (tenant_id, event_type) = (TENANT.into(), Some(event_type));
    let request = pb::CreateEventTypeRequest { tenant_id, event_type, actor: None };
    Ok(client.create_event_type(request).await?.event_type.unwrap())
}

/// Changes the named parts; without names, those that are not at their zero value.
pub(super) async fn update(
    client: &Client,
    event_type: pb::EventType,
    paths: &[&str],
) -> Result<pb::EventType, Status> {
    let paths = paths.iter().map(ToString::to_string).collect();
    let request = pb::UpdateEventTypeRequest {
        tenant_id: TENANT.into(),
        event_type: Some(event_type),
        update_mask: Some(prost_types::FieldMask { paths }),
        actor: None,
    };
    Ok(client.update_event_type(request).await?.event_type.unwrap())
}

pub(super) async fn get(client: &Client, name: &str) -> Result<pb::EventType, Status> {
    let (tenant_id, name) = (TENANT.into(), name.into());
    let request = pb::GetEventTypeRequest { tenant_id, name, actor: None };
    Ok(client.get_event_type(request).await?.event_type.unwrap())
}

pub(super) async fn delete(client: &Client, name: &str, etag: &str) -> Result<(), Status> {
    let (tenant_id, name, etag) = (TENANT.into(), name.into(), etag.into());
    let request = pb::DeleteEventTypeRequest { tenant_id, name, etag, actor: None };
    client.delete_event_type(request).await.map(drop)
}

/// A type that only names the one to change.
pub(super) fn named(name: &str) -> pb::EventType {
    pb::EventType { name: name.into(), ..pb::EventType::default() }
}

pub(super) fn recipient(user: &str, roles: &[&str]) -> pb::Recipient {
    let target = Some(pb::recipient::Target::UserId(user.into()));
    pb::Recipient { target, roles: roles.iter().map(ToString::to_string).collect() }
}

/// A notification of the tests' own type, without a link.
pub(super) fn cancelled(request_id: &str, recipients: Vec<pb::Recipient>) -> pb::NotifyRequest {
    with_data(
        request_id,
        recipients,
        json!({ "course": { "name": "First aid", "id": request_id } }),
    )
}

pub(super) fn with_data(
    request_id: &str,
    recipients: Vec<pb::Recipient>,
    data: Value,
) -> pb::NotifyRequest {
    pb::NotifyRequest {
        tenant_id: TENANT.into(),
        request_id: request_id.into(),
        event_type: NAME.into(),
        recipients,
        data: Some(fields(data)),
        ..pb::NotifyRequest::default()
    }
}
