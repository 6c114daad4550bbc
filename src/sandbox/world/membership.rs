//! Channels that change, and people who enter and leave them, with the events that follow.
//!
//! Slack sends the app only events for which it has a scope: `channels:read` for public channels,
//! `groups:read` for private ones. It sends events of members only from channels that the bot is
//! in.

use serde_json::{Value, json};

use super::change::{ChangeKind, Happening};
use super::clock::now_micros;
use super::conversation::{Conversation, Kind, Message};
use super::state::State;

impl State {
    /// Pushes the event for a change of a channel, if the app may know of it.
    pub(in crate::sandbox) fn channel_event(
        &mut self,
        id: &str,
        what: Happening,
        user: &str,
        now: i64,
    ) {
        self.channel_changed(id);
        self.for_apps(|state| {
            let Some(channel) = state.conversations.get(id) else { return };
            if let Some(event) = state.happened(channel, what, user, now) {
                state.event(event);
            }
        });
    }

    /// Shows the change to readers of the event stream, such as the page.
    pub(in crate::sandbox) fn channel_changed(&mut self, id: &str) {
        self.changed(ChangeKind::Channel, id, String::new());
    }

    /// Whether the app has the scope for events of this kind of channel.
    fn may_hear(&self, kind: Kind) -> bool {
        let scope = kind.scope("read");
        self.tokens.any_has(&self.here(), &scope) || self.tokens.any_has(&self.org_place(), &scope)
    }

    fn happened(
        &self,
        channel: &Conversation,
        what: Happening,
        user: &str,
        now: i64,
    ) -> Option<Value> {
        let public = channel.kind == Kind::Public;
        if !public && !channel.members.contains(&self.app.bot_user_id) {
            return None;
        }
        if !self.may_hear(channel.kind) {
            return None;
        }
        let name = |rest: &str| format!("{}_{rest}", if public { "channel" } else { "group" });
        let id = &channel.id;
        Some(match what {
            // Slack sends no event for the creation of a private channel.
            Happening::Created if !public => return None,
            Happening::Created => self.created(channel),
            Happening::Renamed => json!({ "type": name("rename"), "channel": {
                "id": id, "is_channel": public, "is_mpim": false, "name": channel.name,
                "name_normalized": channel.name, "created": channel.created } }),
            Happening::Archived => json!({ "type": name("archive"), "channel": id, "user": user,
                "is_moved": 0 }),
            Happening::Unarchived if public => {
                json!({ "type": "channel_unarchive", "channel": id, "user": user })
            }
            Happening::Unarchived => {
                json!({ "type": "group_unarchive", "channel": id, "actor_id": user })
            }
            Happening::Deleted if public => json!({ "type": "channel_deleted", "channel": id }),
            Happening::Deleted => json!({ "type": "group_deleted", "channel": id,
                "date_deleted": now / 1_000_000, "actor_id": user }),
        })
    }

    fn created(&self, channel: &Conversation) -> Value {
        json!({ "type": "channel_created", "channel": {
            "id": channel.id, "name": channel.name, "name_normalized": channel.name,
            "created": channel.created, "creator": channel.creator,
            "context_team_id": self.team.id, "is_channel": true, "is_group": false,
            "is_im": false, "is_mpim": false, "is_private": false, "is_archived": false,
            "is_frozen": false, "is_general": channel.general, "is_shared": false,
            "is_org_shared": false, "is_ext_shared": false, "is_pending_ext_shared": false } })
    }

    /// Gives a channel another id, as Slack can when another company joins it. False if that is not
    /// possible. The app is notified.
    pub(in crate::sandbox) fn change_id(&mut self, old: &str, new: &str) -> bool {
        if !self.conversations.change_id(old, new) {
            return false;
        }
        self.channel_changed(new);
        self.for_apps(|state| {
            let bot = &state.app.bot_user_id;
            let known = state.conversations.get(new).is_some_and(|channel| {
                channel.kind == Kind::Public || channel.members.contains(bot)
            });
            if known {
                state.event(json!({ "type": "channel_id_changed", "old_channel_id": old,
                    "new_channel_id": new }));
            }
        });
        true
    }

    /// Adds a line of Slack's own to a channel, such as "has joined the channel". It is part of the
    /// history; no event is sent for it.
    pub(in crate::sandbox) fn line(
        &mut self,
        id: &str,
        user: &str,
        subtype: &'static str,
        text: String,
    ) {
        self.counter += 1;
        let line = Message::new(self.counter, user.to_owned(), text, Value::Null);
        if let Some(channel) = self.conversations.get_mut(id) {
            channel.append(Message { subtype: Some(subtype), ..line }, now_micros());
        }
    }

    /// Adds a person to a channel, with a line in its history; false if they were already in it.
    /// The app is notified.
    pub(in crate::sandbox) fn enter(
        &mut self,
        id: &str,
        user: &str,
        inviter: Option<&str>,
    ) -> bool {
        if !self.admit(id, user, inviter) {
            return false;
        }
        self.line(id, user, "channel_join", format!("<@{user}> has joined the channel"));
        true
    }

    /// Adds a person to a channel; false if they were already in it. The app is notified.
    pub(in crate::sandbox) fn admit(
        &mut self,
        id: &str,
        user: &str,
        inviter: Option<&str>,
    ) -> bool {
        let Some(channel) = self.conversations.get_mut(id) else { return false };
        if !channel.members.insert(user.to_owned()) {
            return false;
        }
        self.membership("member_joined_channel", id, user, inviter);
        self.channel_changed(id);
        true
    }

    /// Removes a person from a channel, by `actor`; false if they were not in it. The app is
    /// notified; if it is the bot that left, by a second event.
    pub(in crate::sandbox) fn leave(&mut self, id: &str, user: &str, actor: &str) -> bool {
        let Some(channel) = self.conversations.get(id) else { return false };
        if !channel.members.contains(user) {
            return false;
        }
        let kind = channel.kind;
        self.membership("member_left_channel", id, user, None);
        self.for_apps(|state| {
            if user == state.app.bot_user_id && state.may_hear(kind) {
                let left = if kind == Kind::Public { "channel_left" } else { "group_left" };
                state.event(json!({ "type": left, "channel": id, "actor_id": actor }));
            }
        });
        self.line(id, user, "channel_leave", format!("<@{user}> has left the channel"));
        self.channel_changed(id);
        let channel = self.conversations.get_mut(id);
        channel.is_some_and(|channel| channel.members.remove(user))
    }

    fn membership(&mut self, kind: &str, id: &str, user: &str, inviter: Option<&str>) {
        self.for_apps(|state| {
            let Some(channel) = state.conversations.get(id) else { return };
            let inside = channel.members.contains(&state.app.bot_user_id);
            if !inside || !state.may_hear(channel.kind) {
                return;
            }
            let letter = if channel.kind == Kind::Public { "C" } else { "G" };
            let mut event = json!({ "type": kind, "user": user, "channel": id,
                "channel_type": letter, "team": state.team.id });
            if let Some(inviter) = inviter {
                event["inviter"] = json!(inviter);
            }
            state.event(event);
        });
    }
}
