//! CancelNotification: cancels deliveries that have not been sent.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::ids::NotificationId;
use crate::store::{Canceled, NotificationRecord};

impl App {
    /// Returns the canceled deliveries, those in flight, and the notification after that.
    pub async fn cancel_notification(
        &self,
        call: &Call,
        id: NotificationId,
    ) -> Result<(Canceled, NotificationRecord), Error> {
        call.may(&access::CANCEL_NOTIFICATION)?;
        let detail = AuditDetail { object: format!("notification:{id}"), ..AuditDetail::default() };
        let entry = Entry { detail, ..call.entry("CancelNotification") };
        let met =
            self.store.noting(&entry).await?.ends().cancel_notification(&call.tenant, id).await?;
        let met = met.ok_or(Error::NotFound("notification"))?;
        Ok((met, self.get_notification(call, id).await?.record))
    }
}
