//! The two writes that surround what cannot be undone: intent before a request, and recovery of
//! a request whose worker died.

use std::time::Duration;

use super::claim::{LaneClaim, Unlease, extend, lock, unlease};
use super::deliveries::IN_LANE;
use super::settle::{Log, log};
use super::sql::{self, params};
use super::transaction::{Tx, scoped};
use super::{Error, Store};
use crate::domain::ids::DeliveryId;
use crate::domain::reason::Failure;
use crate::domain::time::Timestamp;

/// Workers that may die on one delivery before it is set aside.
pub const MAX_CRASHES: u32 = 3;

/// What became of a delivery whose worker died while sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoverOutcome {
    /// It is unknown now, and this claim still holds the lane: look into history.
    Unknown,
    /// It killed its third worker: parked, and the lane released.
    Parked,
    /// The claim is stale, or the delivery was not being sent; the caller is done with the lane.
    Fenced,
}

impl Store {
    /// Commits the intent to send: from here on the message may exist. Extends the lease. The
    /// answer is the number of this attempt; `None`: the claim is stale, or the delivery is not
    /// the pending, unexpired head of the lane (any more) and the lane was released. Without a
    /// number there must be no request.
    pub async fn intend(
        &self,
        claim: &LaneClaim,
        delivery: DeliveryId,
        lease: Duration,
    ) -> Result<Option<u32>, Error> {
        let text = format!(
            "UPDATE deliveries SET state = 'sending', attempt = attempt + 1, probes = 0, \
             sending_since = clock.now, lease_token = $3, updated_at = clock.now \
             FROM (SELECT {{now}} AS now) AS clock \
             WHERE id = $4 AND state = 'pending' AND expires_at > clock.now \
             AND sequence = (SELECT head.sequence FROM deliveries head \
             WHERE head.installation = $1 AND head.lane = $2 AND head.{IN_LANE} \
             ORDER BY head.position, head.sequence LIMIT 1) \
             RETURNING attempt"
        );
        let text = &text;
        let attempt = self
            .transaction(|tx| {
                scoped(async move {
                    if !extend(tx, claim, lease).await? {
                        return Ok(None);
                    }
                    let mut values = claim.key();
                    values.push(delivery.to_string().into());
                    let Some(row) = sql::one(tx, text, values).await? else {
                        unlease(tx, claim, &Unlease::default()).await?;
                        return Ok(None);
                    };
                    row.get::<i64>(0).map(Some)
                })
            })
            .await?;
        Ok(attempt.and_then(|attempt| u32::try_from(attempt).ok()))
    }

    /// For a head found in `Sending` by a fresh claim: its former holder died, or lost its lease
    /// without settling. Whether Slack stored the message is not known. The third time it is
    /// parked, so that a message that kills its workers does not go round for ever.
    pub async fn recover(
        &self,
        claim: &LaneClaim,
        delivery: DeliveryId,
    ) -> Result<RecoverOutcome, Error> {
        let outcome = self
            .transaction(|tx| {
                scoped(async move {
                    if !lock(tx, claim).await? {
                        return Ok(RecoverOutcome::Fenced);
                    }
                    let outcome = recover_within(tx, claim, delivery).await?;
                    if outcome != RecoverOutcome::Unknown {
                        unlease(tx, claim, &Unlease::default()).await?;
                    }
                    Ok(outcome)
                })
            })
            .await?;
        if outcome == RecoverOutcome::Parked {
            self.delivery_ended(delivery);
        }
        Ok(outcome)
    }
}

async fn recover_within(
    tx: &Tx,
    claim: &LaneClaim,
    delivery: DeliveryId,
) -> Result<RecoverOutcome, Error> {
    const READ: &str = "SELECT attempt, crashes, sending_since, {now} FROM deliveries \
        WHERE installation = $1 AND lane = $2 AND id = $3 AND state = 'sending' {for_update}";
    const WRITE: &str = "UPDATE deliveries SET state = $2, crashes = $3, reason = $4, \
        code = 'crashed', probes = 0, due_at = $5, updated_at = $5 WHERE id = $1";
    let id = delivery.to_string();
    let key = params![claim.installation.to_string(), claim.lane.as_str(), id.as_str()];
    let Some(row) = sql::one(tx, READ, key).await? else {
        return Ok(RecoverOutcome::Fenced);
    };
    let (attempt, crashes): (i64, i64) = (row.get(0)?, row.get::<i64>(1)? + 1);
    let now: i64 = row.get(3)?;
    let (outcome, state, reason) = if crashes >= i64::from(MAX_CRASHES) {
        (RecoverOutcome::Parked, "parked", Some(Failure::Crashed.code()))
    } else {
        (RecoverOutcome::Unknown, "unknown", None)
    };
    sql::execute(tx, WRITE, params![id.as_str(), state, crashes, reason, now]).await?;
    let entry = Log {
        number: attempt,
        started_at: row.get::<Option<i64>>(2)?.map(Timestamp),
        now: Timestamp(now),
        outcome: "crashed".into(),
        code: None,
    };
    log(tx, &id, &entry).await?;
    Ok(outcome)
}
