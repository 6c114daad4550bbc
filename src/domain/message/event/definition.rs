//! The parts of an event type that a tenant defines.
//!
//! A tenant's own type is defined as a whole; of a built-in one only [`Rules`] can be changed. The
//! three switches of a type ([`TypeSwitches`]) are settings of the tenant: each stage of a delivery
//! reads those again, so a switch also applies to messages that already wait.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Kind, Spec, insert};
use crate::domain::access::api_key::hex;
use crate::domain::capacity::priority::Priority;
use crate::domain::ids::{AudienceRole, EventType};
use crate::domain::settings::Settings;

/// Bytes of the hash in an etag.
const ETAG_HASH: usize = 16;

/// The rules about recipients and urgency, which built-in types have too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The roles that it is for; empty: all recipients.
    pub audience_roles: BTreeSet<AudienceRole>,
    /// `None`: the default of the type.
    pub priority: Option<Priority>,
    /// The person who caused the event is left out.
    pub skip_actor: bool,
}

/// The other parts of a tenant's own type.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Own {
    /// Its name for people.
    pub display_name: String,
    /// One sentence that describes the event; may be empty.
    pub summary: String,
    /// The group in which it is shown; may be empty.
    pub category: String,
    /// The fields of the data. More fields are allowed.
    pub fields: Vec<OwnField>,
    /// The field whose value is the subject of a notification that names none.
    pub subject_key_path: Option<String>,
}

/// One field of the data of a tenant's own type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnField {
    /// The path in `data`, its parts joined by dots.
    pub path: String,
    pub kind: Kind,
    #[serde(default)]
    pub required: bool,
    /// May be empty.
    #[serde(default)]
    pub meaning: String,
    /// A value for previews.
    #[serde(default)]
    pub example: Option<Value>,
}

/// A definition in its stored form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    pub rules: Rules,
    /// `None`: a built-in type.
    pub own: Option<Own>,
}

/// The switches of a type, which are settings of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeSwitches {
    /// Messages are sent.
    pub enabled: bool,
    /// People cannot switch it off.
    pub mandatory: bool,
    /// Messages wait for people who are not in Slack yet.
    pub hold_until_arrival: bool,
}

impl Default for TypeSwitches {
    fn default() -> Self {
        Self { enabled: true, mandatory: false, hold_until_arrival: false }
    }
}

impl TypeSwitches {
    /// The switches of a type.
    #[must_use]
    pub fn of(settings: &Settings, event: &EventType) -> Self {
        Self {
            enabled: !settings.disabled_event_types.contains(event),
            mandatory: settings.mandatory_event_types.contains(event),
            hold_until_arrival: settings.held_event_types.contains(event),
        }
    }

    /// Sets the switches of a type. With the defaults the settings do not name the type.
    pub fn set(self, settings: &mut Settings, event: &EventType) {
        let put = |types: &mut BTreeSet<EventType>, named: bool| {
            if named {
                types.insert(event.clone());
            } else {
                types.remove(event);
            }
        };
        put(&mut settings.disabled_event_types, !self.enabled);
        put(&mut settings.mandatory_event_types, self.mandatory);
        put(&mut settings.held_event_types, self.hold_until_arrival);
    }
}

impl Definition {
    /// The etag of this state: another state has another one.
    #[must_use]
    pub fn etag(&self, event: &EventType, switches: TypeSwitches) -> String {
        let TypeSwitches { enabled, mandatory, hold_until_arrival } = switches;
        let state = json!([event, self, enabled, mandatory, hold_until_arrival]);
        hex(&Sha256::digest(state.to_string())[..ETAG_HASH])
    }
}

impl OwnField {
    /// The field, as a value is checked against it.
    #[must_use]
    pub fn spec(&self) -> Spec<'_> {
        Spec { path: &self.path, kind: self.kind, required: self.required }
    }

    /// The value in previews: the example, or a value that shows only the kind.
    #[must_use]
    pub fn demo(&self) -> Value {
        if let Some(example) = &self.example {
            return example.clone();
        }
        match self.kind {
            Kind::Text => super::label(&self.path).into(),
            Kind::Time => "2026-11-27T16:00:00Z".into(),
            Kind::Minutes => 15.into(),
            Kind::Url => "https://platform.example/".into(),
            Kind::Object => json!({}),
        }
    }
}

impl Own {
    /// Data that fills every field.
    #[must_use]
    pub fn demo_data(&self) -> Value {
        let mut data = serde_json::Map::new();
        for field in &self.fields {
            insert(&mut data, &field.path, field.demo());
        }
        Value::Object(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventType {
        EventType::parse("training.cancelled").unwrap()
    }

    fn own() -> Definition {
        let fields = ["course.name", "course.starts_at"].map(|path| OwnField {
            path: path.into(),
            kind: if path.ends_with("_at") { Kind::Time } else { Kind::Text },
            required: true,
            meaning: String::new(),
            example: None,
        });
        let own = Own {
            display_name: "Training cancelled".into(),
            fields: fields.into(),
            ..Own::default()
        };
        Definition { own: Some(own), ..Definition::default() }
    }

    #[test]
    fn it_reads_back_and_a_field_that_is_missing_has_its_default() {
        let text = serde_json::to_string(&own()).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), own());
        let few: Definition = serde_json::from_str(r#"{"rules": {"skip_actor": true}}"#).unwrap();
        assert!(few.rules.skip_actor && few.rules.audience_roles.is_empty() && few.own.is_none());
    }

    #[test]
    fn every_change_changes_the_etag() {
        let switches = TypeSwitches::default();
        let etag = own().etag(&event(), switches);
        assert_eq!(own().etag(&event(), switches), etag);
        assert!(etag.len() <= crate::domain::limits::ETAG_BYTES);
        let mut others = vec![own().etag(&event(), TypeSwitches { enabled: false, ..switches })];
        others.push(own().etag(&event(), TypeSwitches { mandatory: true, ..switches }));
        others.push(own().etag(&event(), TypeSwitches { hold_until_arrival: true, ..switches }));
        let mut changed = own();
        changed.rules.priority = Some(Priority::Bulk);
        others.push(changed.etag(&event(), switches));
        others.push(own().etag(&EventType::parse("training.moved").unwrap(), switches));
        assert!(others.iter().all(|other| *other != etag), "{others:?}");
    }

    #[test]
    fn switches_are_settings_and_the_defaults_name_nothing() {
        let (plain, event) = (Settings::default(), event());
        for bits in 0..8 {
            let switches = TypeSwitches {
                enabled: bits & 1 == 0,
                mandatory: bits & 2 != 0,
                hold_until_arrival: bits & 4 != 0,
            };
            let mut settings = plain.clone();
            switches.set(&mut settings, &event);
            assert_eq!(TypeSwitches::of(&settings, &event), switches);
            TypeSwitches::default().set(&mut settings, &event);
            assert_eq!(settings, plain);
        }
    }

    #[test]
    fn demonstration_data_fills_every_field() {
        let mut own = own().own.unwrap();
        let filled =
            json!({"course": {"name": "Course name", "starts_at": "2026-11-27T16:00:00Z"}});
        assert_eq!(own.demo_data(), filled);
        // Whatever the order of an object and the fields in it.
        own.fields.push(OwnField {
            path: "course".into(),
            kind: Kind::Object,
            example: Some(json!({"name": "no", "more": 1})),
            ..own.fields[0].clone()
        });
        let mut with_more = filled;
        with_more["course"]["more"] = json!(1);
        assert_eq!(own.demo_data(), with_more);
    }
}
