//! The payload of a call, which decides whether two calls with one request id are the same.

use serde_json::{Map, Value, json};

use super::{Recipient, Request};
use crate::domain::ids::ContentId;

/// The payload in the form that is fingerprinted: everything that affects the messages and their
/// recipients.
pub(super) fn payload(request: &Request) -> Value {
    let recipients: Vec<Value> = request
        .recipients
        .iter()
        .map(|recipient| match recipient {
            Recipient::Known(id) => json!({ "user_id": id.as_str() }),
            Recipient::Described(person) => json!({ "person": person.record() }),
            Recipient::Channel(id) => json!({ "channel_id": id.as_str() }),
            Recipient::ChannelKey(key) => json!({ "channel_key": key.as_str() }),
        })
        .collect();
    let mut payload = json!({
        "event_type": request.event.as_str(),
        "recipients": recipients,
        "data": request.data,
        "link": request.link,
        "content_id": request.content_id.as_ref().map(ContentId::as_str),
        "expires_in": request.expires_in.as_millis().to_string(),
    });
    // Absent if not given: the same call from a version without this field has the same
    // fingerprint.
    if let Some(hold) = request.hold {
        payload["hold"] = hold.into();
    }
    if let Some(subject) = &request.subject {
        payload["subject"] = json!([subject.as_str(), request.action.code()]);
    }
    if let Some(after) = request.deliver_after {
        payload["deliver_after"] = json!(after.0.to_string());
    }
    if let Some(priority) = request.priority {
        payload["priority"] = priority.code().into();
    }
    if let Some(actor) = &request.actor {
        payload["actor_user_id"] = actor.as_str().into();
    }
    let roles = request.roles.iter().flatten().filter(|(_, roles)| !roles.is_empty());
    let roles: Map<String, Value> =
        roles.map(|(user, roles)| (user.as_str().to_owned(), json!(roles))).collect();
    if !roles.is_empty() {
        payload["roles"] = roles.into();
    }
    payload
}
