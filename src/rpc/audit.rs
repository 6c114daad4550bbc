//! ListAudit: its filter, positions and tokens.

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::encode::{count, time};
use super::page::{self, List};
use super::{json, pb};
use crate::app::Error;
use crate::app::records::{AuditFilter, AuditPage, AuditPosition};
use crate::domain::access::audit::{AuditOutcome, AuditRecord, ShownPerson};
use crate::domain::ids::Principal;
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// Most bytes of an action's name.
const ACTION_BYTES: usize = 64;

impl Server {
    pub(super) async fn list_audit_page(
        &self,
        inbound: Inbound,
        message: pb::ListAuditRequest,
    ) -> Result<pb::ListAuditResponse, Error> {
        let mut fields = Fields::default();
        let list = list(&message);
        let size = page::size(&mut fields, message.page_size, limits::AUDIT_PAGE);
        let after = list.position(&mut fields, &message.page_token, position);
        let mut filter = AuditFilter {
            from: fields.time("created_from", message.created_from),
            before: fields.time("created_before", message.created_before),
            ..AuditFilter::default()
        };
        if let (Some(from), Some(before)) = (filter.from, filter.before)
            && before <= from
        {
            fields.bad("created_before", "must be later than created_from");
        }
        if !message.principal.is_empty() {
            let principal = fields.take("principal", Principal::parse(message.principal));
            filter.principal = principal.map(String::from);
        }
        if !message.action.is_empty() {
            let name = message.action.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !name || message.action.len() > ACTION_BYTES {
                let problem = format!("must be at most {ACTION_BYTES} bytes of letters and digits");
                fields.bad("action", problem);
            }
            filter.action = Some(message.action);
        }
        let actor = fields.actor(message.actor);
        let page = if message.tenant_id.is_empty() {
            if actor.is_some() {
                fields.bad("actor", "must be absent if tenant_id is absent");
            }
            fields.end()?;
            self.app.list_audit_of_none(&inbound.into_caller(), &filter, after, size).await?
        } else {
            let tenant = fields.tenant(message.tenant_id);
            let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
            self.app.list_audit(&call, &filter, after, size).await?
        };
        Ok(answer(&list, page))
    }
}

fn answer(list: &List, page: AuditPage) -> pb::ListAuditResponse {
    let next_page_token = page
        .more_after
        .map(|last| list.token(&format!("{}/{}", last.at.0, last.id)))
        .unwrap_or_default();
    pb::ListAuditResponse {
        entries: page.entries.into_iter().map(entry).collect(),
        next_page_token,
    }
}

/// Identifies the requested list. Its page size may change from page to page.
fn list(message: &pb::ListAuditRequest) -> List {
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or_else(String::new, |at| format!("{}.{}", at.seconds, at.nanos))
    };
    List::of(&[
        "ListAudit",
        &message.tenant_id,
        &message.principal,
        &message.action,
        &time(&message.created_from),
        &time(&message.created_before),
    ])
}

fn position(text: &str) -> Option<AuditPosition> {
    let (at, id) = text.split_once('/')?;
    Some(AuditPosition { at: Timestamp(at.parse().ok()?), id: uuid::Uuid::try_parse(id).ok()? })
}

fn entry(record: AuditRecord) -> pb::AuditEntry {
    let (actor_user_id, _, actor_erased) = shown(record.actor);
    let (subject_user_id, subject_detail, subject_erased) = shown(record.subject);
    let object = |value: Option<serde_json::Value>| match value {
        Some(serde_json::Value::Object(fields)) => Some(json::to_struct(fields)),
        _ => None,
    };
    pb::AuditEntry {
        entry_id: record.id.to_string(),
        at: Some(time(record.at)),
        principal: record.principal,
        actor_user_id,
        actor_erased,
        action: record.action,
        outcome: match record.outcome {
            AuditOutcome::Done => pb::AuditOutcome::Done,
            AuditOutcome::Refused => pb::AuditOutcome::Refused,
            AuditOutcome::Failed => pb::AuditOutcome::Failed,
        }
        .into(),
        reason: record.reason,
        times: count(record.times),
        subject_user_id,
        subject_detail,
        subject_erased,
        object: record.detail.object,
        before: object(record.detail.before),
        after: object(record.detail.after),
    }
}

/// The user id, further details about the person, and whether the person was deleted.
fn shown(person: ShownPerson) -> (String, String, bool) {
    match person {
        ShownPerson::Nobody => (String::new(), String::new(), false),
        ShownPerson::Person(person) => (person.user.into(), person.detail, false),
        ShownPerson::Erased => (String::new(), String::new(), true),
    }
}
