//! ReplayDeliveries: dead letters are sent once more, in order and at the pace of their
//! conversations.

use std::time::Duration;

use serde_json::{Value, json};

use super::backlog::full;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::delivery::fingerprint::fingerprint;
use crate::domain::ids::{DeliveryId, RequestId};
use crate::store::{self, FailedFilter, ReplayOutcome, ReplaySelection, Replayed};

/// The caller's request.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    pub request_id: RequestId,
    pub which: Asked,
    /// How long until delivery is too late, from now.
    pub expires_in: Duration,
}

/// The dead letters to replay.
#[derive(Debug, Clone)]
pub enum Asked {
    /// 1 to `limits::REPLAYS`.
    Deliveries(Vec<DeliveryId>),
    /// The first that match, at most `limits::REPLAYS`.
    Matching { filter: FailedFilter, limit: u32 },
}

/// The outcome of each.
#[derive(Debug)]
pub struct Replays {
    pub deliveries: Vec<Replayed>,
    /// Whether more match than one call replays.
    pub more: bool,
}

impl App {
    /// A repeat of the call gets the same answer, except for whether more match.
    pub async fn replay_deliveries(
        &self,
        call: &Call,
        request: ReplayRequest,
    ) -> Result<Replays, Error> {
        call.may(&access::REPLAY_DELIVERIES)?;
        self.tenant(&call.tenant).await?;
        let fingerprint = fingerprint(&payload(&request));
        let asked = match &request.which {
            Asked::Deliveries(ids) => json!({ "deliveries": ids.len() }),
            Asked::Matching { limit, .. } => json!({ "matching": limit }),
        };
        let detail = AuditDetail { after: Some(asked), ..AuditDetail::default() };
        let entry = Entry { detail, ..call.entry("ReplayDeliveries") };
        let (which, filter) = match request.which {
            Asked::Deliveries(ids) => (ReplaySelection::Deliveries(ids), None),
            Asked::Matching { filter, limit } => {
                (ReplaySelection::Matching { filter: filter.clone(), limit }, Some(filter))
            }
        };
        let room = self.room(&call.tenant, 0).await?;
        let replay = store::Replay {
            tenant: call.tenant.clone(),
            principal: call.caller.principal.clone(),
            request_id: request.request_id,
            fingerprint,
            which,
            expires_in: request.expires_in,
            room: room.left(self.config.max_waiting),
        };
        let deliveries = match self.store.noting(&entry).await?.outbox().replay(&replay).await? {
            ReplayOutcome::Replayed(deliveries) => deliveries,
            ReplayOutcome::NoRoom => return Err(full()),
            ReplayOutcome::Mismatch => return Err(Error::RequestIdReused),
        };
        let made = deliveries.iter().filter(|replayed| replayed.skipped.is_none()).count();
        room.take(made.try_into().unwrap_or(u64::MAX));
        let more = match filter {
            Some(filter) => self.store.records().any_failed(&call.tenant, &filter).await?,
            None => false,
        };
        Ok(Replays { deliveries, more })
    }
}

fn payload(request: &ReplayRequest) -> Value {
    let which = match &request.which {
        Asked::Deliveries(ids) => json!(ids.iter().map(ToString::to_string).collect::<Vec<_>>()),
        Asked::Matching { filter, limit } => json!({
            "limit": limit,
            "state": filter.state.map(crate::domain::delivery::State::code),
            "reason": filter.reason,
            "code": filter.code,
            "event_type": filter.event_type,
            "user": filter.user,
            "from": filter.from.map(|at| at.0.to_string()),
            "before": filter.before.map(|at| at.0.to_string()),
        }),
    };
    json!({ "which": which, "expires_in": request.expires_in.as_millis().to_string() })
}
