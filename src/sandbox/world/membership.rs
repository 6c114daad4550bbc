//! Channels that change, and people who enter and leave them, with the events that follow.

use serde_json::{Value, json};

use super::change::Happening;
use super::conversation::{Conversation, Kind};
use super::state::State;

impl State {
    /// Pushes the event for a change of a channel, if the app may know of it.
    pub(in crate::sandbox) fn channel_event(&mut self, id: &str, what: Happening, user: &str) {
        let Some(channel) = self.conversations.get(id) else { return };
        if let Some(told) = self.told(channel, what, user) {
            self.event(told);
        }
    }

    fn told(&self, channel: &Conversation, what: Happening, user: &str) -> Option<Value> {
        let public = channel.kind == Kind::Public;
        if !public && !channel.members.contains(&self.app.bot_user_id) {
            return None;
        }
        let name = |rest: &str| format!("{}_{rest}", if public { "channel" } else { "group" });
        let id = &channel.id;
        Some(match what {
            // Slack sends no event for the creation of a private channel.
            Happening::Created if !public => return None,
            Happening::Created => json!({ "type": "channel_created", "channel": {
                "id": id, "is_channel": true, "name": channel.name, "created": channel.created,
                "name_normalized": channel.name, "creator": channel.creator,
                "is_shared": false, "is_org_shared": false } }),
            Happening::Renamed => json!({ "type": name("rename"), "channel": {
                "id": id, "is_channel": public, "is_mpim": false, "name": channel.name,
                "name_normalized": channel.name, "created": channel.created } }),
            Happening::Archived => json!({ "type": name("archive"), "channel": id, "user": user }),
            Happening::Unarchived => {
                json!({ "type": name("unarchive"), "channel": id, "user": user })
            }
            Happening::Deleted => json!({ "type": name("deleted"), "channel": id }),
        })
    }

    /// Adds a person to a channel; false if they were already in it. The app is notified.
    pub(in crate::sandbox) fn enter(
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
        true
    }

    /// Removes a person from a channel; false if they were not in it. The app is notified.
    pub(in crate::sandbox) fn leave(&mut self, id: &str, user: &str) -> bool {
        if !self.conversations.get(id).is_some_and(|channel| channel.members.contains(user)) {
            return false;
        }
        self.membership("member_left_channel", id, user, None);
        let channel = self.conversations.get_mut(id);
        channel.is_some_and(|channel| channel.members.remove(user))
    }

    fn membership(&mut self, kind: &str, id: &str, user: &str, inviter: Option<&str>) {
        let Some(channel) = self.conversations.get(id) else { return };
        if !channel.members.contains(&self.app.bot_user_id) && channel.kind != Kind::Public {
            return;
        }
        let letter = if channel.kind == Kind::Public { "C" } else { "G" };
        let mut told = json!({ "type": kind, "user": user, "channel": id,
            "channel_type": letter, "team": self.team.id });
        if let Some(inviter) = inviter {
            told["inviter"] = json!(inviter);
        }
        self.event(told);
    }
}
