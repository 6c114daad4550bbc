//! Protobuf -> domain. Every bad field is collected, so that one answer names them all.

use std::time::Duration;

use serde_json::Value;

use super::json;
use super::pb;
use crate::app::{Actor, Violation};
use crate::domain::capacity::priority::Priority;
use crate::domain::identity::person::{self, Person};
use crate::domain::ids::{
    ChannelId, EventType, IdError, NotificationId, RequestId, TenantId, UserId,
};
use crate::domain::limits;
use crate::domain::message::render::escape::{self, UrlError};
use crate::domain::settings::Preference;

/// A text that was given; protobuf's default is empty.
pub(super) fn non_empty(given: String) -> Option<String> {
    Some(given).filter(|given| !given.is_empty())
}

/// Collects the bad fields while a request is decoded.
#[derive(Default)]
pub(super) struct Fields(Vec<Violation>);

impl Fields {
    /// Notes a bad field.
    pub(super) fn bad(&mut self, field: impl Into<String>, problem: impl ToString) {
        self.0.push(Violation::new(field, problem));
    }

    /// The value; if it is bad, that is noted.
    pub(super) fn take<T>(&mut self, field: &str, parsed: Result<T, impl ToString>) -> Option<T> {
        parsed.map_err(|problem| self.bad(field, problem)).ok()
    }

    /// Notes a field with more than `max` bytes.
    pub(super) fn fits(&mut self, field: &str, max: usize, was: usize) {
        if was > max {
            self.bad(field, format!("must be at most {max} bytes, was {was}"));
        }
    }

    /// `None`: any state.
    pub(super) fn etag(&mut self, field: &str, given: String) -> Option<String> {
        self.fits(field, limits::ETAG_BYTES, given.len());
        non_empty(given)
    }

    /// Ends the collection: all fields are good, or all problems are returned.
    pub(super) fn end(self) -> Result<(), crate::app::Error> {
        if self.0.is_empty() { Ok(()) } else { Err(crate::app::Error::Invalid(self.0)) }
    }

    pub(super) fn tenant(&mut self, text: String) -> Option<TenantId> {
        self.take("tenant_id", TenantId::parse(text))
    }

    pub(super) fn request_id(&mut self, text: String) -> Option<RequestId> {
        self.take("request_id", RequestId::parse(text))
    }

    pub(super) fn event_type(&mut self, text: String) -> Option<EventType> {
        self.take("event_type", EventType::parse(text))
    }

    pub(super) fn user(&mut self, field: &str, text: String) -> Option<UserId> {
        self.take(field, UserId::parse(text))
    }

    pub(super) fn channel(&mut self, field: &str, text: String) -> Option<ChannelId> {
        let starts = matches!(text.chars().next(), None | Some('C' | 'G' | 'D'));
        if !starts {
            self.bad(field, "must be a Slack conversation id, such as C012AB3CD");
            return None;
        }
        self.take(field, ChannelId::parse(text))
    }

    pub(super) fn notification(&mut self, text: &str) -> Option<NotificationId> {
        let parsed =
            if text.is_empty() { Err(IdError::Empty) } else { NotificationId::parse(text) };
        self.take("notification_id", parsed)
    }

    /// The actor may be absent; a bad one is noted.
    pub(super) fn actor(&mut self, actor: Option<pb::Actor>) -> Option<Actor> {
        let actor = actor?;
        let mut decoded = (false, false);
        if actor.permissions.len() > limits::PERMISSIONS {
            self.bad("actor.permissions", format!("must be at most {}", limits::PERMISSIONS));
        }
        let permissions = actor.permissions.into_iter().take(limits::PERMISSIONS);
        for (index, permission) in permissions.enumerate() {
            match pb::Permission::try_from(permission) {
                Ok(pb::Permission::EditOwnProfile) => decoded.0 = true,
                Ok(pb::Permission::Administer) => decoded.1 = true,
                Ok(pb::Permission::Unspecified) | Err(_) => {
                    self.bad(format!("actor.permissions[{index}]"), "is not a known permission");
                }
            }
        }
        let user_id = self.user("actor.user_id", actor.user_id)?;
        Some(Actor { user_id, edit_own_profile: decoded.0, administer: decoded.1 })
    }

    /// `None`: the feed starts now.
    pub(super) fn after_sequence(&mut self, given: Option<i64>) -> Option<i64> {
        if given.is_some_and(|after| after < 0) {
            self.bad("after_sequence", "must not be negative");
        }
        given
    }

    pub(super) fn preference(&mut self, value: i32) -> Option<Preference> {
        match pb::PreferenceValue::try_from(value) {
            Ok(pb::PreferenceValue::On) => Some(Preference::On),
            Ok(pb::PreferenceValue::Off) => Some(Preference::Off),
            Ok(pb::PreferenceValue::Inherit) => Some(Preference::Inherit),
            Ok(pb::PreferenceValue::Unspecified) | Err(_) => {
                self.bad("value", "must be one of ON, OFF, INHERIT");
                None
            }
        }
    }

    pub(super) fn data(&mut self, data: Option<prost_types::Struct>) -> Option<Value> {
        let object = json::object(data.unwrap_or_default(), limits::DATA_BYTES);
        self.take("data", object).map(Value::Object)
    }

    pub(super) fn link(&mut self, link: String) -> Option<String> {
        if link.is_empty() {
            return None;
        }
        if link.len() > limits::URL_BYTES {
            self.bad("link", format!("must be at most {} bytes", limits::URL_BYTES));
        } else if link.chars().any(|c| c.is_control() || c.is_whitespace() || "<>|\"".contains(c)) {
            self.bad("link", UrlError::NotHttp);
        } else if let Err(problem) = escape::url(&link) {
            self.bad("link", problem);
        }
        Some(link)
    }

    pub(super) fn expires_in(&mut self, given: Option<prost_types::Duration>) -> Duration {
        const PROBLEM: &str = "must be between 1 second and 30 days";
        let Some(given) = given else {
            return limits::DEFAULT_EXPIRY;
        };
        match Duration::try_from(given) {
            Ok(d) if d >= Duration::from_secs(1) && d <= limits::MAX_EXPIRY => d,
            Ok(_) | Err(_) => {
                self.bad("expires_in", PROBLEM);
                limits::DEFAULT_EXPIRY
            }
        }
    }

    /// `None`: the answer does not wait.
    pub(super) fn decide_within(
        &mut self,
        given: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        let given = Duration::try_from(given?).ok();
        if given.is_none_or(|given| given > limits::DECIDE_WITHIN) {
            let most = limits::DECIDE_WITHIN.as_secs();
            self.bad("decide_within", format!("must be between 0 and {most} seconds"));
        }
        given.filter(|given| !given.is_zero())
    }

    /// Whether to wait for people who are not in Slack; `None`: according to the settings.
    pub(super) fn hold(&mut self, given: i32) -> Option<bool> {
        match pb::HoldPolicy::try_from(given) {
            Ok(pb::HoldPolicy::Unspecified) => None,
            Ok(pb::HoldPolicy::Hold) => Some(true),
            Ok(pb::HoldPolicy::DoNotHold) => Some(false),
            Err(_) => {
                self.bad("hold", "must be one of HOLD, DO_NOT_HOLD");
                None
            }
        }
    }

    /// `None`: the event type's priority.
    pub(super) fn priority(&mut self, field: &str, given: i32) -> Option<Priority> {
        match pb::Priority::try_from(given) {
            Ok(pb::Priority::Unspecified) => None,
            Ok(pb::Priority::Urgent) => Some(Priority::Urgent),
            Ok(pb::Priority::Normal) => Some(Priority::Normal),
            Ok(pb::Priority::Bulk) => Some(Priority::Bulk),
            Err(_) => {
                self.bad(field, "must be urgent, normal or bulk");
                None
            }
        }
    }

    pub(super) fn person(&mut self, field: &str, source: pb::Person) -> Option<Person> {
        let at = |name: &str| format!("{field}.{name}");
        let user_id = self.user(&at("user_id"), source.user_id);
        let email = self.short(&at("email"), source.email);
        let display_name = self.short(&at("display_name"), source.display_name);
        let locale = self.short(&at("locale"), source.locale);
        let time_zone = self.short(&at("time_zone"), source.time_zone);
        if let Some(zone) = &time_zone
            && !crate::domain::message::render::zone::is_known(zone)
        {
            self.bad(at("time_zone"), "is not an IANA time zone, such as Europe/Vienna");
        }
        let mut object = |name: &str, source: Option<prost_types::Struct>| {
            let object = json::object(source.unwrap_or_default(), limits::PERSON_BYTES);
            self.take(&at(name), object).unwrap_or_default()
        };
        let metadata = object("metadata", source.metadata);
        let attributes = object("attributes", source.attributes);
        if let Some(name) = person::RESERVED.iter().find(|name| attributes.contains_key(**name)) {
            self.bad(format!("{field}.attributes.{name}"), "is the name of a field of its own");
        }
        let person = Person {
            user_id: user_id?,
            email,
            display_name,
            locale,
            time_zone,
            metadata,
            attributes,
        };
        let bytes = serde_json::to_vec(&person.record()).map_or(usize::MAX, |json| json.len());
        if bytes > limits::PERSON_BYTES {
            let max = limits::PERSON_BYTES;
            self.bad(field, format!("must be at most {max} bytes as JSON, was {bytes}"));
        }
        Some(person)
    }

    fn short(&mut self, field: &str, text: String) -> Option<String> {
        if text.len() > limits::SHORT_TEXT_BYTES {
            self.bad(field, format!("must be at most {} bytes", limits::SHORT_TEXT_BYTES));
        } else if text.chars().any(char::is_control) {
            self.bad(field, "must not contain control characters");
        }
        (!text.is_empty()).then_some(text)
    }
}
