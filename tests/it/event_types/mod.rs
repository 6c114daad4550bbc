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
pub(super) use crate::support::event_types::{
    NAME, create, delete, field, named, training, update,
};
use crate::support::world::TENANT;

pub(super) async fn get(client: &Client, name: &str) -> Result<pb::EventType, Status> {
    let (tenant_id, name) = (TENANT.into(), name.into());
    let request = pb::GetEventTypeRequest { tenant_id, name, actor: None };
    Ok(client.get_event_type(request).await?.event_type.unwrap())
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
