//! Identifiers, each with its own type: an id of one kind can never be used for another.
//!
//! Text ids are checked once, when they are parsed; inside the crate a value cannot be wrong.
//! [`UserId`] may be an e-mail address, so its `Debug` never shows it (invariant I12).

use std::fmt;

use super::limits;

/// Why a text is not an identifier. The sentence continues the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {max} bytes, was {was}")]
    TooLong { max: usize, was: usize },
    #[error("must not contain {found:?}; allowed are {allowed}")]
    Character { found: char, allowed: &'static str },
    #[error("must look like {0}")]
    Shape(&'static str),
}

fn check(
    text: &str,
    max: usize,
    allowed: &'static str,
    ok: impl Fn(char) -> bool,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > max {
        return Err(IdError::TooLong { max, was: text.len() });
    }
    match text.chars().find(|c| !ok(*c)) {
        Some(found) => Err(IdError::Character { found, allowed }),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks length and characters.
            pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text, $max, $allowed, $ok)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

fn name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')
}

fn printable(c: char) -> bool {
    !c.is_control()
}

text_id!(
    /// One customer organisation of the platform, named by the platform.
    TenantId, limits::TENANT_ID_BYTES, "letters, digits and - _ . :", name_char
);
text_id!(
    /// A platform user within a tenant. May be an e-mail address: never shown in logs.
    UserId, limits::USER_ID_BYTES, "printable characters", printable
);
text_id!(
    /// The caller's idempotency key for one Notify.
    RequestId, limits::REQUEST_ID_BYTES, "printable characters", printable
);
text_id!(
    /// The platform's id of the object that a notification is about, for template overrides.
    ContentId, limits::CONTENT_ID_BYTES, "printable characters", printable
);
text_id!(
    /// The subject of several notifications, named by the platform: it ties their messages together
    /// within one conversation.
    SubjectKey, limits::SUBJECT_KEY_BYTES, "printable characters", printable
);
text_id!(
    /// The platform's key of a channel that Herald makes and keeps, such as `track:2026-autumn`.
    ChannelKey, limits::CHANNEL_KEY_BYTES, "printable characters", printable
);
text_id!(
    /// A Slack user id (`U...` or `W...`). Opaque; case counts.
    SlackUserId, limits::SLACK_ID_BYTES, "letters and digits", |c: char| c.is_ascii_alphanumeric()
);
text_id!(
    /// A Slack conversation id (`C...`, `G...` or `D...`). Opaque; case counts.
    ChannelId, limits::SLACK_ID_BYTES, "letters and digits", |c: char| c.is_ascii_alphanumeric()
);
text_id!(
    /// The name of a caller, stable across key rotation: the owner of an API key, not the key.
    Principal, limits::PRINCIPAL_BYTES, "letters, digits and - _ . :", name_char
);
text_id!(
    /// A role of people in an event, such as `organizer`, named by the platform.
    AudienceRole, limits::ROLE_BYTES, "letters, digits and - _ . :", name_char
);
shown!(TenantId, RequestId, ContentId, SubjectKey, ChannelKey, SlackUserId, ChannelId);
shown!(Principal, AudienceRole);

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(redacted)")
    }
}

/// A kind of notification: lower-case words joined by dots, such as `task.assigned`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

impl EventType {
    pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
        const ALLOWED: &str = "lower-case letters, digits, _ and .";
        let text = text.into();
        check(&text, limits::EVENT_TYPE_BYTES, ALLOWED, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.')
        })?;
        let parts_start_with_letter =
            text.split('.').all(|part| part.starts_with(|c: char| c.is_ascii_lowercase()));
        if !text.contains('.') || !parts_start_with_letter {
            return Err(IdError::Shape("task.assigned (words joined by dots)"));
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventType {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl From<EventType> for String {
    fn from(id: EventType) -> String {
        id.0
    }
}
shown!(EventType);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, IdError> {
                uuid::Uuid::try_parse(text).map(Self).map_err(|_| IdError::Shape("a UUID"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

uuid_id!(
    /// One installation of a Slack app in a workspace or Enterprise org, with its lanes, budgets
    /// and directory. In the API this is the `workspace_id`.
    InstallationId
);
uuid_id!(
    /// One accepted Notify (UUIDv7).
    NotificationId
);
uuid_id!(
    /// One message to one conversation (UUIDv7); part of the message's metadata.
    DeliveryId
);
uuid_id!(
    /// One channel that Herald makes and keeps (UUIDv7); part of the mark in the channel's purpose.
    ManagedChannelId
);
uuid_id!(
    /// One API key of the store; reveals nothing about the key itself.
    ApiKeyId
);
uuid_id!(
    /// A fencing token: newly drawn at every claim; a write with an old one changes nothing.
    LeaseToken
);
