//! ListNotifications: a tenant's notifications, newest first, page by page.

use super::{App, Call, Error};
use crate::domain::access;
use crate::store::{NotificationFilter, NotificationPage, NotificationPosition};

impl App {
    /// Up to `limit` notifications after a position. People may list only their own.
    pub async fn list_notifications(
        &self,
        call: &Call,
        filter: &NotificationFilter,
        after: Option<NotificationPosition>,
        limit: u32,
    ) -> Result<NotificationPage, Error> {
        match &filter.user {
            Some(person) => call.may_about(&access::LIST_NOTIFICATIONS_OF, person)?,
            None => call.may(&access::LIST_NOTIFICATIONS)?,
        };
        Ok(self.store.records().list_notifications(&call.tenant, filter, after, limit).await?)
    }
}
