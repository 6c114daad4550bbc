//! WatchNotification: a notification, then each change of its deliveries until all of them have
//! ended.

use std::collections::{HashMap, VecDeque};

use super::feeds::{FeedKind, News};
use super::get_notification::is_theirs;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, NotificationId, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::store::{DeliveryChange, NotificationRecord, Store};

/// Most changes read at once.
const BATCH: u32 = 200;

/// One update of the watch.
#[derive(Debug)]
pub enum Update {
    /// The first update: the notification at that time.
    Notification(Box<NotificationRecord>),
    /// A change since.
    Change(Box<DeliveryChange>),
}

/// A watch over one notification.
pub struct NotificationWatch {
    store: Store,
    tenant: TenantId,
    id: NotificationId,
    /// The person that it is limited to; `None`: not limited.
    only: Option<UserId>,
    news: News,
    first: Option<Box<NotificationRecord>>,
    /// The last state of each delivery that was sent to the caller.
    told: HashMap<DeliveryId, (State, Timestamp)>,
    /// The feed was searched up to here.
    after: i64,
    read: VecDeque<DeliveryChange>,
}

impl App {
    /// [`Error::NotFound`] in any other tenant, and for a person that none of it reaches; a person
    /// sees only changes of their own deliveries.
    pub async fn watch_notification(
        &self,
        call: &Call,
        id: NotificationId,
    ) -> Result<NotificationWatch, Error> {
        let only = call.may_see(&access::WATCH_NOTIFICATION)?;
        // Before the notification is read: a change between the two is read twice rather than
        // never.
        let (news, after) = self.news(FeedKind::Deliveries(call.tenant.clone()), None).await?;
        let record = self.seen(call, id, only.as_ref()).await?;
        let told = record.deliveries.iter().map(|d| (d.id, (d.state, d.updated_at))).collect();
        Ok(NotificationWatch {
            store: self.store.clone(),
            tenant: call.tenant.clone(),
            id,
            only,
            news,
            first: Some(Box::new(record)),
            told,
            after,
            read: VecDeque::new(),
        })
    }
}

impl NotificationWatch {
    /// Waits for the next update; `None`: all deliveries have ended, and the caller got these
    /// updates.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(Update::Notification(first)));
        }
        loop {
            while let Some(mut change) = self.read.pop_front() {
                if self.may_tell(&mut change) && self.is_news(&change) {
                    self.told.insert(change.delivery, (change.state, change.at));
                    return Ok(Some(Update::Change(Box::new(change))));
                }
            }
            if self.told.values().all(|(state, _)| state.is_terminal()) {
                return Ok(None);
            }
            self.news.heard(self.after).await?;
            if !self.search().await? {
                self.news.wait().await;
            }
        }
    }

    /// Whether the change concerns the user that the watch is limited to. If so, it names that user
    /// only.
    fn may_tell(&self, change: &mut DeliveryChange) -> bool {
        let Some(person) = &self.only else { return true };
        is_theirs(&mut change.user, &mut change.also, person)
    }

    /// Whether the notification as it was sent did not contain this already.
    fn is_news(&self, change: &DeliveryChange) -> bool {
        self.told.get(&change.delivery).is_none_or(|(state, at)| {
            !state.is_terminal() && change.state != *state && change.at >= *at
        })
    }

    /// Continues reading the feed; `false`: it has nothing new.
    async fn search(&mut self) -> Result<bool, Error> {
        let head = self.store.feed().extent(&self.tenant).await?.head;
        if head == self.after {
            return Ok(false);
        }
        let (tenant, id, after) = (&self.tenant, self.id, self.after);
        let found = self.store.feed().changes_of(tenant, id, after, head, BATCH).await?;
        self.after = found.span.filter(|_| found.full).map_or(head, |span| span.last);
        self.read.extend(found.changes);
        Ok(true)
    }
}
