//! ListNotifications: a tenant's notifications, newest first, page by page.

use super::{App, Call, Error};
use crate::store::{NotificationFilter, NotificationPage, NotificationPosition};

impl App {
    /// Up to `limit` notifications after a position. People may list their own alone.
    pub async fn list_notifications(
        &self,
        call: &Call,
        filter: &NotificationFilter,
        after: Option<NotificationPosition>,
        limit: u32,
    ) -> Result<NotificationPage, Error> {
        let acting = call.acting()?;
        match &filter.user {
            Some(person) => acting.may_read(person)?,
            None => acting.may_operate()?,
        }
        Ok(self.store.list_notifications(&call.tenant, filter, after, limit).await?)
    }
}
