//! GetNotification: a notification and the state of its deliveries.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::delivery::verdict::Guarantee;
use crate::domain::ids::{DeliveryId, InstallationId, NotificationId, UserId};
use crate::domain::time::Timestamp;
use crate::store::{DeliveryRecord, NotificationRecord};

/// A notification, with facts about its deliveries that are not in the store.
#[derive(Debug)]
pub struct NotificationDetails {
    pub record: NotificationRecord,
    /// When waiting deliveries should reach Slack, if that is known.
    pub send_times: HashMap<DeliveryId, Timestamp>,
    /// The guarantee about repeats, by the scopes that the workspace granted.
    pub guarantees: HashMap<DeliveryId, Guarantee>,
}

impl App {
    /// The notification with every delivery and attempt. [`Error::NotFound`] in any other tenant,
    /// and for a person that none of it reaches; a person sees only their own deliveries.
    pub async fn get_notification(
        &self,
        call: &Call,
        id: NotificationId,
    ) -> Result<NotificationDetails, Error> {
        let only = call.may_see(&access::GET_NOTIFICATION)?;
        let record = self.seen(call, id, only.as_ref()).await?;
        self.found(record).await
    }

    /// The part of a notification that `only` may see; `None`: all of it.
    pub(super) async fn seen(
        &self,
        call: &Call,
        id: NotificationId,
        only: Option<&UserId>,
    ) -> Result<NotificationRecord, Error> {
        let record = self.store.records().notification(&call.tenant, id).await?;
        let record = match only {
            Some(person) => record.and_then(|record| confined(record, person)),
            None => record,
        };
        record.ok_or(Error::NotFound("notification"))
    }

    pub(super) async fn found(
        &self,
        record: NotificationRecord,
    ) -> Result<NotificationDetails, Error> {
        let send_times = self.waiting_times(&record.deliveries).await?;
        let guarantees = self.guarantees(&record.deliveries).await?;
        Ok(NotificationDetails { record, send_times, guarantees })
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
                    let installation = self.store.tenancy().installation(id).await?;
                    place.insert(installation.map_or_else(Vec::new, |found| found.scopes))
                }
            };
            guarantees.insert(record.id, Guarantee::for_scopes(granted, record.user.is_some()));
        }
        Ok(guarantees)
    }
}

/// The part of a notification that reaches this person, without any other person in it; `None`: no
/// part does.
fn confined(mut record: NotificationRecord, person: &UserId) -> Option<NotificationRecord> {
    record.deliveries.retain_mut(|delivery| {
        // The reasons in a trace are shown only to the person that the delivery names.
        if delivery.user.as_ref() != Some(person) {
            delivery.trace = None;
        }
        is_theirs(&mut delivery.user, &mut delivery.also, person)
    });
    (!record.deliveries.is_empty()).then_some(record)
}

/// Whether a delivery is for this person. If so, all other names are removed from it.
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
