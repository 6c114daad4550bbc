//! A platform user, as described by the platform.

use serde_json::{Map, Value};

use crate::domain::ids::UserId;

/// One person's record. Mapping expressions see all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub user_id: UserId,
    pub email: Option<String>,
    pub display_name: Option<String>,
    /// BCP 47, such as `de-AT`.
    pub locale: Option<String>,
    /// IANA name, such as `Europe/Vienna`.
    pub time_zone: Option<String>,
    /// The free `metadata` object.
    pub metadata: Map<String, Value>,
    /// Free top-level attributes; never one of the names above.
    pub attributes: Map<String, Value>,
}

/// Names that free attributes may not take.
pub const RESERVED: [&str; 6] =
    ["user_id", "email", "display_name", "locale", "time_zone", "metadata"];

impl Person {
    /// A person with no known data except the id.
    #[must_use]
    pub fn bare(user_id: UserId) -> Self {
        Self {
            user_id,
            email: None,
            display_name: None,
            locale: None,
            time_zone: None,
            metadata: Map::new(),
            attributes: Map::new(),
        }
    }

    /// The JSON object on which user-attribute expressions are evaluated. Unknown fields are
    /// absent, so that they match nothing.
    #[must_use]
    pub fn record(&self) -> Value {
        let mut record = self.attributes.clone();
        record.insert("user_id".into(), Value::String(self.user_id.as_str().into()));
        let texts = [
            ("email", &self.email),
            ("display_name", &self.display_name),
            ("locale", &self.locale),
            ("time_zone", &self.time_zone),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                record.insert(name.into(), Value::String(text.clone()));
            }
        }
        if !self.metadata.is_empty() {
            record.insert("metadata".into(), Value::Object(self.metadata.clone()));
        }
        Value::Object(record)
    }

    /// The reverse of [`Person::record`], for stored records.
    pub fn from_record(user_id: UserId, record: Value) -> Self {
        let Value::Object(mut map) = record else {
            return Self::bare(user_id);
        };
        let mut text = |name: &str| match map.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (email, display_name) = (text("email"), text("display_name"));
        let (locale, time_zone) = (text("locale"), text("time_zone"));
        let metadata = match map.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        map.remove("user_id");
        Self { user_id, email, display_name, locale, time_zone, metadata, attributes: map }
    }
}
