//! GetNotification: what became of a notification.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{App, Call, Error};
use crate::domain::ids::{DeliveryId, InstallationId, NotificationId};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Guarantee;
use crate::store::{DeliveryRecord, NotificationRecord};

/// A notification, and what is known about its deliveries beside what the store keeps.
#[derive(Debug)]
pub struct Found {
    pub record: NotificationRecord,
    /// When those that wait should reach Slack, where that is known.
    pub send_times: HashMap<DeliveryId, Timestamp>,
    /// What is promised about repeats, by the scopes that the workspace granted.
    pub guarantees: HashMap<DeliveryId, Guarantee>,
}

impl App {
    /// The notification with every delivery and attempt; [`Error::NotFound`] in any other tenant.
    pub async fn get_notification(&self, call: &Call, id: NotificationId) -> Result<Found, Error> {
        call.may_notify()?;
        let record = self.store.notification(&call.tenant, id).await?;
        self.found(record.ok_or(Error::NotFound("notification"))?).await
    }

    pub(super) async fn found(&self, record: NotificationRecord) -> Result<Found, Error> {
        let send_times = self.waiting_times(&record.deliveries).await?;
        let guarantees = self.guarantees(&record.deliveries).await?;
        Ok(Found { record, send_times, guarantees })
    }

    async fn guarantees(
        &self,
        records: &[DeliveryRecord],
    ) -> Result<HashMap<DeliveryId, Guarantee>, Error> {
        let mut scopes: HashMap<InstallationId, Vec<String>> = HashMap::new();
        let mut guarantees = HashMap::new();
        for record in records {
            let Some(id) = record.workspace else { continue };
            let granted = match scopes.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let installation = self.store.installation(id).await?;
                    place.insert(installation.map_or_else(Vec::new, |found| found.scopes))
                }
            };
            guarantees.insert(record.id, Guarantee::for_scopes(granted, record.user.is_some()));
        }
        Ok(guarantees)
    }
}
