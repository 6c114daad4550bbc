//! ListFailed and ReplayDeliveries: protobuf <-> domain.

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::encode::time;
use super::page::{self, List};
use super::{encode_records, pb};
use crate::app::Error;
use crate::app::records::{FailedFilter, FailedPosition, Replayed, SkipReason};
use crate::app::replay_deliveries::{Asked, ReplayRequest};
use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, IdError};
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// Most bytes of a code; Slack's longest has 44.
const CODE_BYTES: usize = 64;

impl Server {
    pub(super) async fn list_failed_page(
        &self,
        inbound: Inbound,
        message: pb::ListFailedRequest,
    ) -> Result<pb::ListFailedResponse, Error> {
        let mut fields = Fields::default();
        let list = list(&message);
        let size = page::size(&mut fields, message.page_size, limits::FAILED_PAGE);
        let after = list.position(&mut fields, &message.page_token, position);
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let filter = filter(&mut fields, message.filter.unwrap_or_default());
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let page = self.app.list_failed(&call, &filter, after, size).await?;
        let last = page.deliveries.last().filter(|_| page.more);
        let next_page_token = last
            .map(|last| list.token(&format!("{}/{}", last.updated_at.0, last.id)))
            .unwrap_or_default();
        let deliveries = page.deliveries.into_iter().map(|record| pb::FailedDelivery {
            notification_id: record.notification.to_string(),
            event_type: record.event_type.to_string(),
            created_at: Some(time(record.created_at)),
            expires_at: Some(time(record.expires_at)),
            delivery: Some(encode_records::delivery(record)),
        });
        Ok(pb::ListFailedResponse { deliveries: deliveries.collect(), next_page_token })
    }

    pub(super) async fn replay(
        &self,
        inbound: Inbound,
        message: pb::ReplayDeliveriesRequest,
    ) -> Result<pb::ReplayDeliveriesResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let request_id = fields.request_id(message.request_id);
        let expires_in = fields.expires_in(message.expires_in);
        let which =
            which(&mut fields, message.delivery_ids, message.filter, message.max_deliveries);
        let parts = request_id.zip(which);
        let (call, (request_id, which)) = inbound.complete(fields, tenant, actor, parts)?;
        let request = ReplayRequest { request_id, which, expires_in };
        let replays = self.app.replay_deliveries(&call, request).await?;
        Ok(pb::ReplayDeliveriesResponse {
            deliveries: replays.deliveries.into_iter().map(replayed).collect(),
            more: replays.more,
        })
    }
}

/// Identifies the requested list.
fn list(message: &pb::ListFailedRequest) -> List {
    let filter = message.filter.clone().unwrap_or_default();
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or_else(String::new, |at| format!("{}.{}", at.seconds, at.nanos))
    };
    List::of(&[
        "ListFailed",
        &message.tenant_id,
        &filter.state.to_string(),
        &filter.reason,
        &filter.code,
        &filter.event_type,
        &filter.user_id,
        &time(&filter.ended_from),
        &time(&filter.ended_before),
    ])
}

fn position(text: &str) -> Option<FailedPosition> {
    let (ended_at, id) = text.split_once('/')?;
    Some(FailedPosition {
        ended_at: Timestamp(ended_at.parse().ok()?),
        id: DeliveryId::parse(id).ok()?,
    })
}

fn filter(fields: &mut Fields, given: pb::FailedFilter) -> FailedFilter {
    let state = fields.state("filter.state", given.state);
    if state.is_some_and(|state| !State::DEAD.contains(&state)) {
        fields.bad("filter.state", "must be one of FAILED, EXPIRED, PARKED");
    }
    let mut code = |name: &str, text: String| {
        let shape = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if text.len() > CODE_BYTES || !text.bytes().all(shape) {
            let problem = format!("must be at most {CODE_BYTES} lower-case letters, digits and _");
            fields.bad(format!("filter.{name}"), problem);
        }
        (!text.is_empty()).then_some(text)
    };
    let (reason, code) = (code("reason", given.reason), code("code", given.code));
    let mut filter = FailedFilter {
        state,
        reason,
        code,
        from: fields.time("filter.ended_from", given.ended_from),
        before: fields.time("filter.ended_before", given.ended_before),
        ..FailedFilter::default()
    };
    if let (Some(from), Some(before)) = (filter.from, filter.before)
        && before <= from
    {
        fields.bad("filter.ended_before", "must be later than ended_from");
    }
    if !given.event_type.is_empty() {
        let parsed = crate::domain::ids::EventType::parse(given.event_type);
        filter.event_type = fields.take("filter.event_type", parsed);
    }
    if !given.user_id.is_empty() {
        filter.user = fields.user("filter.user_id", given.user_id);
    }
    filter
}

fn which(
    fields: &mut Fields,
    ids: Vec<String>,
    given: Option<pb::FailedFilter>,
    max: i32,
) -> Option<Asked> {
    const MOST: usize = limits::REPLAYS;
    let limit = match usize::try_from(max) {
        Ok(0) => Some(MOST),
        Ok(max) if max <= MOST => Some(max),
        Ok(_) | Err(_) => None,
    };
    let asked = match (ids.is_empty(), given) {
        (false, Some(_)) | (true, None) => {
            fields.bad("delivery_ids", "either these or filter must be given, and not both");
            None
        }
        (false, None) => {
            if ids.len() > MOST {
                fields.bad("delivery_ids", format!("must be at most {MOST}, was {}", ids.len()));
            }
            let mut parsed = Vec::with_capacity(ids.len().min(MOST));
            for (index, id) in ids.iter().enumerate().take(MOST) {
                let id = if id.is_empty() { Err(IdError::Empty) } else { DeliveryId::parse(id) };
                parsed.extend(fields.take(&format!("delivery_ids[{index}]"), id));
            }
            let mut seen = std::collections::HashSet::new();
            parsed.retain(|id| seen.insert(*id));
            Some(Asked::Deliveries(parsed))
        }
        (true, Some(given)) => {
            let filter = filter(fields, given);
            let limit = u32::try_from(limit.unwrap_or(MOST)).unwrap_or(u32::MAX);
            Some(Asked::Matching { filter, limit })
        }
    };
    if limit.is_none() {
        fields.bad("max_deliveries", format!("must be between 0 and {MOST}"));
    }
    asked
}

fn replayed(replayed: Replayed) -> pb::ReplayedDelivery {
    let skipped = match replayed.skipped {
        None => pb::ReplaySkip::Unspecified,
        Some(SkipReason::NotFound) => pb::ReplaySkip::NotFound,
        Some(SkipReason::NotDead) => pb::ReplaySkip::NotFailed,
        Some(SkipReason::AlreadyReplayed) => pb::ReplaySkip::AlreadyReplayed,
        Some(SkipReason::Erased) => pb::ReplaySkip::Erased,
        Some(SkipReason::Superseded) => pb::ReplaySkip::Superseded,
    };
    pb::ReplayedDelivery {
        delivery_id: replayed.delivery.to_string(),
        replayed_as: replayed.replayed_as.map(|id| id.to_string()).unwrap_or_default(),
        skipped: skipped.into(),
        may_repeat: replayed.may_repeat,
    }
}
