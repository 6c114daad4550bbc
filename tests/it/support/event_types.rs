//! Event types of tests, and the calls that change them.

use herald::rpc::pb;
use tonic::Status;

use super::client::Client;
use super::world::TENANT;

/// The name of the tests' own type.
pub(crate) const NAME: &str = "training.cancelled";

pub(crate) fn field(path: &str, kind: pb::FieldKind, required: bool) -> pb::EventField {
    pb::EventField { path: path.into(), kind: kind.into(), required, ..Default::default() }
}

/// A type with a required text, an optional time and an id.
pub(crate) fn training() -> pb::EventType {
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

pub(crate) async fn create(
    client: &Client,
    event_type: pb::EventType,
) -> Result<pb::EventType, Status> {
    let (tenant_id, event_type) = (TENANT.into(), Some(event_type));
    let request = pb::CreateEventTypeRequest { tenant_id, event_type, actor: None };
    Ok(client.create_event_type(request).await?.event_type.unwrap())
}

/// Changes the named parts; without names, those that are not at their zero value.
pub(crate) async fn update(
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

pub(crate) async fn delete(client: &Client, name: &str, etag: &str) -> Result<(), Status> {
    let (tenant_id, name, etag) = (TENANT.into(), name.into(), etag.into());
    let request = pb::DeleteEventTypeRequest { tenant_id, name, etag, actor: None };
    client.delete_event_type(request).await.map(drop)
}

/// A type that only names the one to change.
pub(crate) fn named(name: &str) -> pb::EventType {
    pb::EventType { name: name.into(), ..pb::EventType::default() }
}
