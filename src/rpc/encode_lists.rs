//! Domain -> protobuf for lists and for the answers of administration.

use super::encode::{
    count, found, identity, person_message, preference, rule, state, suppression, time, unmatched,
};
use super::{encode_records, json, pb};
use crate::app::get_preferences::{Choice, Choices};
use crate::app::list_event_types::Listed;
use crate::app::records::{
    Canceled, Erased, NotificationRecord, NotificationSummary, StoredPerson,
};
use crate::app::resolve_identity::Resolved;
use crate::domain::message::event::{Field, Kind};
use crate::domain::message::render::Language;

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

pub(super) fn person_in_slack((stored, resolved): (StoredPerson, Resolved)) -> pb::PersonInSlack {
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

pub(super) fn event_type(listed: Listed) -> pb::EventType {
    let event = listed.event;
    let demo_data = match event.demo_data() {
        serde_json::Value::Object(map) => Some(json::to_struct(map)),
        _ => None,
    };
    let sets = event.any_of.iter();
    pb::EventType {
        name: event.name.into(),
        summary: event.summary.into(),
        recipients: event.recipients.into(),
        fields: event.fields.iter().map(field).collect(),
        any_of: sets
            .map(|set| pb::FieldSet { paths: set.iter().map(ToString::to_string).collect() })
            .collect(),
        button: event.button(Language::English).into(),
        opens: event.opens.into(),
        demo_data,
        enabled: listed.enabled,
    }
}

fn field(field: &Field) -> pb::EventField {
    let kind = match field.kind {
        Kind::Text => pb::FieldKind::Text,
        Kind::Time => pb::FieldKind::Time,
        Kind::Minutes => pb::FieldKind::Minutes,
        Kind::Url => pb::FieldKind::Url,
        Kind::Object => pb::FieldKind::Object,
    };
    pb::EventField {
        path: field.path.into(),
        kind: kind.into(),
        required: field.required,
        meaning: field.meaning.into(),
    }
}

fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
