//! CheckConnection: protobuf <-> app.

use super::call::{Inbound, Server};
use super::decode::{Fields, non_empty};
use super::{encode, pb};
use crate::app::Error;
use crate::domain::checkup::{CheckFinding, PartCheck};

pub(super) async fn check(
    server: &Server,
    inbound: Inbound,
    message: pb::CheckConnectionRequest,
) -> Result<pb::CheckConnectionResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let test = non_empty(message.test_user_id);
    let test = test.and_then(|user| fields.user("test_user_id", user));
    let patience = inbound.patience();
    let _waiting = server.limits.test(&inbound.caller, tenant.as_ref())?;
    let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
    let checked = Box::pin(server.app.check_connection(&call, test, patience)).await?;
    Ok(pb::CheckConnectionResponse {
        checks: checked.rows.into_iter().map(row).collect(),
        checked_at: Some(encode::time(checked.at)),
    })
}

fn row(row: PartCheck) -> pb::ConnectionCheck {
    let finding = match row.finding {
        CheckFinding::Ok => pb::CheckFinding::Ok,
        CheckFinding::Broken => pb::CheckFinding::Broken,
        CheckFinding::Unknown => pb::CheckFinding::Unknown,
    };
    pb::ConnectionCheck {
        part: row.part.code().to_owned(),
        finding: finding.into(),
        sentence: row.sentence,
        remedy: row.remedy,
    }
}
