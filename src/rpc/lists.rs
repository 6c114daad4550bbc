//! ListNotifications and ListPeople: their filters, positions and page tokens.

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::page::{self, List};
use super::{encode_lists, pb};
use crate::app::Error;
use crate::app::records::{NotificationFilter, NotificationPosition};
use crate::domain::delivery::State;
use crate::domain::ids::{NotificationId, UserId};
use crate::domain::limits;
use crate::domain::time::Timestamp;

impl Server {
    pub(super) async fn list_notifications_page(
        &self,
        inbound: Inbound,
        message: pb::ListNotificationsRequest,
    ) -> Result<pb::ListNotificationsResponse, Error> {
        let mut fields = Fields::default();
        let list = notifications(&message);
        let size = page::size(&mut fields, message.page_size, limits::NOTIFICATIONS_PAGE);
        let after = list.position(&mut fields, &message.page_token, position);
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let mut filter = NotificationFilter {
            state: fields.state("state", message.state),
            from: fields.time("created_from", message.created_from),
            before: fields.time("created_before", message.created_before),
            ..NotificationFilter::default()
        };
        if let (Some(from), Some(before)) = (filter.from, filter.before)
            && before <= from
        {
            fields.bad("created_before", "must be later than created_from");
        }
        if !message.user_id.is_empty() {
            filter.user = fields.user("user_id", message.user_id);
        }
        if !message.event_type.is_empty() {
            filter.event_type = fields.event_type(message.event_type);
        }
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let page = self.app.list_notifications(&call, &filter, after, size).await?;
        let last = page.notifications.last().filter(|_| page.more);
        let next_page_token = last
            .map(|last| list.token(&format!("{}/{}", last.created_at.0, last.id)))
            .unwrap_or_default();
        let notifications =
            page.notifications.into_iter().map(encode_lists::notification_summary).collect();
        Ok(pb::ListNotificationsResponse { notifications, next_page_token })
    }

    pub(super) async fn list_people_page(
        &self,
        inbound: Inbound,
        message: pb::ListPeopleRequest,
    ) -> Result<pb::ListPeopleResponse, Error> {
        let mut fields = Fields::default();
        let list = List::of(&["ListPeople", &message.tenant_id]);
        let size = page::size(&mut fields, message.page_size, limits::PEOPLE_PAGE);
        let after =
            list.position(&mut fields, &message.page_token, |text| UserId::parse(text).ok());
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let page = self.app.list_people(&call, after, size).await?;
        let last = page.people.last().filter(|_| page.more);
        let next_page_token =
            last.map(|last| list.token(last.stored.person.user_id.as_str())).unwrap_or_default();
        let people = page.people.into_iter().map(encode_lists::person_in_slack).collect();
        Ok(pb::ListPeopleResponse { people, next_page_token })
    }
}

/// Identifies the requested list. Its page size may change from page to page.
fn notifications(message: &pb::ListNotificationsRequest) -> List {
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or_else(String::new, |at| format!("{}.{}", at.seconds, at.nanos))
    };
    List::of(&[
        "ListNotifications",
        &message.tenant_id,
        &message.user_id,
        &message.state.to_string(),
        &message.event_type,
        &time(&message.created_from),
        &time(&message.created_before),
    ])
}

fn position(text: &str) -> Option<NotificationPosition> {
    let (created_at, id) = text.split_once('/')?;
    Some(NotificationPosition {
        created_at: Timestamp(created_at.parse().ok()?),
        id: NotificationId::parse(id).ok()?,
    })
}

impl Fields {
    /// An unspecified state means any.
    pub(super) fn state(&mut self, field: &str, given: i32) -> Option<State> {
        use pb::DeliveryState as Given;
        let known = match Given::try_from(given) {
            Ok(Given::Unspecified) => return None,
            Ok(Given::Resolving) => State::Resolving,
            Ok(Given::Held) => State::Held,
            Ok(Given::Collected) => State::Collected,
            Ok(Given::Pending) => State::Pending,
            Ok(Given::Sending) => State::Sending,
            Ok(Given::Unknown) => State::Unknown,
            Ok(Given::Sent) => State::Sent,
            Ok(Given::Failed) => State::Failed,
            Ok(Given::Expired) => State::Expired,
            Ok(Given::Suppressed) => State::Suppressed,
            Ok(Given::Canceled) => State::Canceled,
            Ok(Given::Parked) => State::Parked,
            Ok(Given::Unreachable) => State::Unreachable,
            Err(_) => {
                self.bad(field, "is not a known state");
                return None;
            }
        };
        Some(known)
    }

    /// An absent time means no bound.
    pub(super) fn time(
        &mut self,
        field: &str,
        given: Option<prost_types::Timestamp>,
    ) -> Option<Timestamp> {
        let given = given?;
        // The range of google.protobuf.Timestamp: the years 1 to 9999.
        let seconds = (-62_135_596_800..=253_402_300_799).contains(&given.seconds);
        if !seconds || !(0..1_000_000_000).contains(&given.nanos) {
            self.bad(field, "is not a time between the years 1 and 9999");
            return None;
        }
        Some(Timestamp(given.seconds * 1_000_000 + i64::from(given.nanos) / 1000))
    }
}
