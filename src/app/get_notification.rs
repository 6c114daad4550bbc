//! GetNotification: what became of a notification.

use super::{App, Call, Error};
use crate::domain::ids::NotificationId;
use crate::store::NotificationRecord;

impl App {
    /// The notification with every delivery and attempt; [`Error::NotFound`] in any other tenant.
    pub async fn get_notification(
        &self,
        call: &Call,
        id: NotificationId,
    ) -> Result<NotificationRecord, Error> {
        call.may_notify()?;
        let record = self.store.notification(&call.tenant, id).await?;
        record.ok_or(Error::NotFound("notification"))
    }
}
