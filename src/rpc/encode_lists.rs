//! Domain -> protobuf for lists and for the answers of administration.

use super::encode::{
    count, found, identity, person_message, preference, rule, small, state, suppression, time,
    unmatched,
};
use super::{encode_records, pb};
use crate::app::get_preferences::{Choice, Choices};
use crate::app::list_people::ListedPerson;
use crate::app::records::{Canceled, Erased, NotificationRecord, NotificationSummary};

pub(super) fn preferences(choices: Choices) -> pb::GetPreferencesResponse {
    pb::GetPreferencesResponse {
        preference: preference(choices.all).into(),
        event_types: choices.by_type.into_iter().map(choice).collect(),
    }
}

fn choice(choice: Choice) -> pb::EventTypePreference {
    let mut message = pb::EventTypePreference {
        event_type: choice.event.into(),
        value: preference(choice.value).into(),
        effective: choice.suppression.is_none(),
        ..pb::EventTypePreference::default()
    };
    if let Some(by) = choice.suppression {
        message.set_suppression(suppression(by));
    }
    message
}

pub(super) fn notification_summary(summary: NotificationSummary) -> pb::NotificationSummary {
    let counts = summary.counts.into_iter();
    pb::NotificationSummary {
        notification_id: summary.id.to_string(),
        request_id: summary.request_id.into(),
        event_type: summary.event_type.into(),
        created_at: Some(time(summary.created_at)),
        expires_at: Some(time(summary.expires_at)),
        deliveries: counts
            .map(|(in_state, count)| pb::StateCount { state: state(in_state).into(), count })
            .collect(),
    }
}

pub(super) fn person_in_slack(listed: ListedPerson) -> pb::PersonInSlack {
    let ListedPerson { stored, resolved } = listed;
    let mut message = pb::PersonInSlack {
        person: Some(person_message(stored.person)),
        identity: stored.identity.map(identity),
        updated_at: Some(time(stored.updated_at)),
        ..pb::PersonInSlack::default()
    };
    match resolved.outcome {
        Ok(member) => {
            message.member = Some(found(member.found));
            message.set_rule(rule(member.rule));
            message.stale = member.stale;
        }
        Err(nobody) => message.no_match = Some(unmatched(nobody)),
    }
    message
}

pub(super) fn erased(erased: Erased) -> pb::DeletePersonResponse {
    pb::DeletePersonResponse {
        deleted: erased.known,
        canceled_deliveries: small(erased.canceled.canceled),
        in_flight_deliveries: small(erased.canceled.in_flight),
        erased_deliveries: count(erased.erased),
    }
}

pub(super) fn canceled(
    canceled: Canceled,
    record: NotificationRecord,
) -> pb::CancelNotificationResponse {
    pb::CancelNotificationResponse {
        canceled_deliveries: small(canceled.canceled),
        in_flight_deliveries: small(canceled.in_flight),
        notification: Some(encode_records::notification(record)),
    }
}
