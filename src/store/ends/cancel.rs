//! Canceling an accepted notification.
//!
//! One statement finds every delivery that has not ended, even if a worker is settling it at the
//! same time: the statement waits for the row's lock and reads the row again after the worker's
//! commit. A delivery whose request is under way cannot be recalled. It is marked, and settles as
//! canceled if it turns out that Slack did not store the message (`settle`).

use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, NotificationId, TenantId};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::{EXPIRING, OPEN};
use crate::store::{Ends, Error, Store};

/// The deliveries that a cancel found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Canceled {
    /// Deliveries that are now canceled.
    pub canceled: u32,
    /// Deliveries whose request to Slack is under way or in doubt.
    pub in_flight: u32,
}

impl Ends<'_> {
    /// Cancels the deliveries of a notification that have not been sent. `None`: the tenant has no
    /// such notification. Repeating the call changes nothing.
    pub async fn cancel_notification(
        self,
        tenant: &TenantId,
        notification: NotificationId,
    ) -> Result<Option<Canceled>, Error> {
        const KNOWN: &str = "SELECT 1 FROM notifications WHERE tenant = $1 AND id = $2";
        let key = &params![tenant.as_str(), notification.to_string()];
        if sql::one(self.store.reader(), KNOWN, key.clone()).await?.is_none() {
            return Ok(None);
        }
        let ended = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    let which = "tenant = $1 AND notification = $2";
                    let ended = cancel_where(tx, which, key.clone(), "NULL").await?;
                    self.store.record(tx).await?;
                    Ok(ended)
                })
            })
            .await?;
        self.store.recorded();
        Ok(Some(self.store.tell_canceled(&ended)))
    }
}

impl Store {
    /// Counts them, and wakes the tasks that wait for one of them.
    pub(in crate::store) fn tell_canceled(&self, met: &[(DeliveryId, State)]) -> Canceled {
        let mut counted = Canceled::default();
        for (delivery, state) in met {
            if *state == State::Canceled {
                counted.canceled += 1;
                self.delivery_ended(*delivery);
            } else {
                counted.in_flight += 1;
            }
        }
        counted
    }
}

/// Cancels the deliveries that match `filter`, for the reason that the expression `reason` yields.
/// Returns each delivery it found, with its state afterwards.
pub(in crate::store) async fn cancel_where(
    tx: &Tx,
    filter: &str,
    values: Vec<sea_orm::Value>,
    reason: &str,
) -> Result<Vec<(DeliveryId, State)>, Error> {
    let text = format!(
        "UPDATE deliveries
            SET cancel_requested_at = {{now}},
                reason = COALESCE({reason}, reason),
                updated_at = CASE WHEN {EXPIRING} THEN {{now}} ELSE updated_at END,
                state = CASE WHEN {EXPIRING} THEN 'canceled' ELSE state END
            WHERE {filter} AND {OPEN}
            RETURNING id, state"
    );
    let rows = sql::all(tx, &text, values).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row);
            Ok((columns.uuid(DeliveryId::parse)?, columns.code(State::from_code)?))
        })
        .collect()
}
