//! GetNotification: what became of a notification.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::{DeliveryId, InstallationId, NotificationId, UserId};
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
    /// The notification with every delivery and attempt. [`Error::NotFound`] in any other tenant,
    /// and for a person whom nothing of it reaches; a person gets their own deliveries alone.
    pub async fn get_notification(&self, call: &Call, id: NotificationId) -> Result<Found, Error> {
        let only = call.may_see(&access::GET_NOTIFICATION)?;
        let record = self.seen(call, id, only.as_ref()).await?;
        self.found(record).await
    }

    /// As much of a notification as `only` may see; `None`: all of it.
    pub(super) async fn seen(
        &self,
        call: &Call,
        id: NotificationId,
        only: Option<&UserId>,
    ) -> Result<NotificationRecord, Error> {
        let record = self.store.notification(&call.tenant, id).await?;
        let record = match only {
            Some(person) => record.and_then(|record| confined(record, person)),
            None => record,
        };
        record.ok_or(Error::NotFound("notification"))
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

/// What of a notification reaches this person, without anybody else in it; `None`: nothing does.
fn confined(mut record: NotificationRecord, person: &UserId) -> Option<NotificationRecord> {
    record.deliveries.retain_mut(|delivery| {
        // Why it went as it did is told about whom it names.
        if delivery.user.as_ref() != Some(person) {
            delivery.trace = None;
        }
        is_theirs(&mut delivery.user, &mut delivery.also, person)
    });
    (!record.deliveries.is_empty()).then_some(record)
}

/// Whether a delivery is for this person. If so, it names nobody else.
pub(super) fn is_theirs(
    user: &mut Option<UserId>,
    also: &mut Vec<UserId>,
    person: &UserId,
) -> bool {
    let reached = user.as_ref() == Some(person) || also.contains(person);
    if reached {
        *user = Some(person.clone());
        also.clear();
    }
    reached
}
