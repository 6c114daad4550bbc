//! Events about channels and the people in them (Slack's documentation: events).
//!
//! Most of them only say that something changed; Slack is asked about the channel again, because an
//! event can be late, or come before an older one. The exceptions are people who enter and leave,
//! since a list of members does not say that a person left, and a new id, since the old one leads
//! nowhere from then on.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::domain::ids::{ChannelId, SlackUserId};

/// Slack's names of these events: `channel_…` of public channels, `group_…` of private ones,
/// `member_…` of both.
pub const KINDS: &[&str] = &[
    "channel_archive",
    "channel_deleted",
    "channel_id_changed",
    "channel_left",
    "channel_rename",
    "channel_unarchive",
    "group_archive",
    "group_deleted",
    "group_left",
    "group_rename",
    "group_unarchive",
    "member_joined_channel",
    "member_left_channel",
];

/// An event about a channel, in the form in which it is stored until it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelEvent {
    pub channel: ChannelId,
    pub news: ChannelNews,
}

/// The content of an event about a channel. It is stored, so the names must stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelNews {
    /// Its name, whether it is archived or deleted, or whether the app is in it.
    Changed,
    /// It has this id from now on.
    IdChanged(ChannelId),
    /// A person, or the app, entered it.
    Joined(SlackUserId),
    /// A person, or the app, left it or was removed from it.
    Left(SlackUserId),
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default, deserialize_with = "wire::lenient")]
    channel: Option<Named>,
    #[serde(default, deserialize_with = "wire::lenient")]
    user: Option<SlackUserId>,
    #[serde(default, deserialize_with = "wire::lenient")]
    old_channel_id: Option<ChannelId>,
    #[serde(default, deserialize_with = "wire::lenient")]
    new_channel_id: Option<ChannelId>,
}

/// The channel: its id, or for renames an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Id(ChannelId),
    Object { id: ChannelId },
}

/// Slack's name of an event about a channel; `None` for all other events.
pub(super) fn kind_of(name: &str) -> Option<&'static str> {
    KINDS.iter().find(|kind| **kind == name).copied()
}

/// Reads the inner event. `None`: it lacks what Slack documents.
pub(super) fn read(kind: &str, inner: &str) -> Option<ChannelEvent> {
    let fields: Fields = serde_json::from_str(inner).ok()?;
    if kind == "channel_id_changed" {
        let news = ChannelNews::IdChanged(fields.new_channel_id?);
        return Some(ChannelEvent { channel: fields.old_channel_id?, news });
    }
    let (Named::Id(channel) | Named::Object { id: channel }) = fields.channel?;
    let news = match kind {
        "member_joined_channel" => ChannelNews::Joined(fields.user?),
        "member_left_channel" => ChannelNews::Left(fields.user?),
        _ => ChannelNews::Changed,
    };
    Some(ChannelEvent { channel, news })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn channel(id: &str) -> ChannelId {
        ChannelId::parse(id).unwrap()
    }

    fn of(kind: &str, inner: &serde_json::Value) -> Option<ChannelEvent> {
        read(kind, &inner.to_string())
    }

    #[test]
    fn the_channel_is_an_id_or_an_object() {
        let changed = ChannelEvent { channel: channel("C1"), news: ChannelNews::Changed };
        for (kind, inner) in [
            ("channel_archive", json!({"channel": "C1", "user": "U1", "is_moved": 0})),
            ("channel_unarchive", json!({"channel": "C1", "user": {"id": "U1"}})),
            ("channel_deleted", json!({"channel": "C1"})),
            ("channel_left", json!({"channel": "C1", "actor_id": "U1"})),
            ("channel_rename", json!({"channel": {"id": "C1", "name": "n", "created": 1}})),
            ("group_rename", json!({"channel": {"id": "C1", "name": 7}})),
            ("group_deleted", json!({"channel": "C1", "date_deleted": 1, "actor_id": "U1"})),
        ] {
            assert_eq!(of(kind, &inner).as_ref(), Some(&changed), "{kind}");
        }
    }

    #[test]
    fn people_and_new_ids_are_named() {
        let inner = json!({"channel": "C1", "user": "U1", "channel_type": "C", "inviter": "U2"});
        let user = || SlackUserId::parse("U1").unwrap();
        let joined = of("member_joined_channel", &inner).unwrap();
        assert_eq!((joined.channel, joined.news), (channel("C1"), ChannelNews::Joined(user())));
        let left = of("member_left_channel", &inner).unwrap();
        assert_eq!(left.news, ChannelNews::Left(user()));
        let moved = json!({"old_channel_id": "G1", "new_channel_id": "C2"});
        let moved = of("channel_id_changed", &moved).unwrap();
        assert_eq!(moved.channel, channel("G1"));
        assert_eq!(moved.news, ChannelNews::IdChanged(channel("C2")));
    }

    #[test]
    fn what_lacks_its_subject_is_unreadable() {
        for (kind, inner) in [
            ("channel_archive", json!({"user": "U1"})),
            ("channel_archive", json!({"channel": ""})),
            ("channel_archive", json!({"channel": "C-1"})),
            ("channel_archive", json!({"channel": ["C1"]})),
            ("channel_rename", json!({"channel": {"name": "n"}})),
            ("member_joined_channel", json!({"channel": "C1"})),
            ("member_left_channel", json!({"channel": "C1", "user": 7})),
            ("channel_id_changed", json!({"channel": "C1", "old_channel_id": "C1"})),
            ("channel_id_changed", json!({"new_channel_id": "C2"})),
            ("channel_archive", json!("C1")),
        ] {
            assert_eq!(of(kind, &inner), None, "{kind} {inner}");
        }
    }

    /// Events of an earlier release may be waiting when this one starts.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let user = SlackUserId::parse("U1").unwrap();
        for (news, stored) in [
            (ChannelNews::Changed, json!("changed")),
            (ChannelNews::IdChanged(channel("C2")), json!({"id_changed": "C2"})),
            (ChannelNews::Joined(user.clone()), json!({"joined": "U1"})),
            (ChannelNews::Left(user), json!({"left": "U1"})),
        ] {
            let event = ChannelEvent { channel: channel("C1"), news };
            let stored = json!({"channel": "C1", "news": stored});
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
            assert_eq!(serde_json::from_value::<ChannelEvent>(stored).unwrap(), event);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            kind in prop::sample::select(KINDS),
            text in any::<String>(),
            id in "[A-Z0-9]{0,12}",
        ) {
            let _ = read(kind, &text);
            let inner = json!({"channel": text, "user": id, "old_channel_id": id,
                "new_channel_id": id});
            if let Some(event) = of(kind, &inner) {
                let stored = serde_json::to_vec(&event).unwrap();
                let again: ChannelEvent = serde_json::from_slice(&stored).unwrap();
                prop_assert_eq!(again, event);
            }
        }
    }
}
