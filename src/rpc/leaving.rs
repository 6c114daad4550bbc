//! Disconnect and DeleteTenant: protobuf <-> app.

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::pb;
use crate::app::Error;
use crate::app::leave::LeaveTerms;
use crate::domain::delivery::admission::Departure;

pub(super) async fn disconnect(
    server: &Server,
    inbound: Inbound,
    message: pb::DisconnectRequest,
) -> Result<pb::DisconnectResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let departure = departure(&mut fields, message.waiting_messages);
    let forget_identities = message.forget_identities;
    let terms = departure.map(|departure| LeaveTerms { departure, forget_identities });
    let (call, terms) = inbound.complete(fields, tenant, actor, terms)?;
    let left = server.app.disconnect(&call, terms).await?;
    Ok(pb::DisconnectResponse {
        disconnected: left.was_connected,
        ended_messages: i64::try_from(left.ended_messages).unwrap_or(i64::MAX),
        revoked: left.revoked,
        remaining: left.remaining.to_owned(),
    })
}

pub(super) async fn delete_tenant(
    server: &Server,
    inbound: Inbound,
    message: pb::DeleteTenantRequest,
) -> Result<pb::DeleteTenantResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let (call, ()) = inbound.complete(fields, tenant, None, Some(()))?;
    let remaining = server.app.delete_tenant(&call).await?;
    Ok(pb::DeleteTenantResponse {
        done: remaining.is_empty(),
        remaining: remaining.into_iter().map(str::to_owned).collect(),
    })
}

fn departure(fields: &mut Fields, waiting_messages: i32) -> Option<Departure> {
    match pb::WaitingMessages::try_from(waiting_messages) {
        Ok(pb::WaitingMessages::Unspecified | pb::WaitingMessages::End) => Some(Departure::Ends),
        Ok(pb::WaitingMessages::Keep) => Some(Departure::Keeps),
        Err(_) => {
            fields.bad("waiting_messages", "must be END or KEEP");
            None
        }
    }
}
