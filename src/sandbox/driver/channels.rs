//! Channels that people and administrators of the workspace make and change, and the members that a
//! channel has, for tests, checkers and the page.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::world::change::Happening;
use crate::sandbox::world::conversation::{Conversation, Kind, Note};
use crate::sandbox::world::directory;
use crate::sandbox::world::state::State;

/// Most members of a channel that its description has.
const MEMBERS: usize = 1_000;

/// A channel that a person makes. In `members` the id `bot` stands for the app's bot; a channel
/// without it, if it is private, is invisible to the app.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewChannel {
    pub name: String,
    /// The workspace; by default the first one.
    pub team: Option<String>,
    pub is_private: bool,
    pub members: Vec<String>,
    /// By default the first administrator. The creator is a member only if `members` has them.
    pub creator: Option<String>,
    pub topic: String,
    pub purpose: String,
    pub archived: bool,
}

/// A change that a person makes to a channel, in the order of the fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelChange {
    /// The person who makes it; by default the first administrator.
    pub user: Option<String>,
    pub name: Option<String>,
    pub archived: Option<bool>,
    pub topic: Option<String>,
    pub purpose: Option<String>,
    pub is_private: Option<bool>,
    /// The workspace of another company that shares the channel from now on.
    pub shared_with: Option<String>,
    pub join: Vec<String>,
    pub leave: Vec<String>,
    /// The id that the channel has from now on.
    pub id: Option<String>,
}

impl State {
    /// A person makes a channel; the app is notified. Returns its id. Slack's rules for names are
    /// not applied, so two channels can get one name.
    pub(in crate::sandbox) fn make_channel(&mut self, new: &NewChannel, now: i64) -> String {
        if let Some(team) = &new.team {
            self.enter_team(team);
        }
        let creator = new.creator.clone().unwrap_or_else(|| self.installer());
        let kind = if new.is_private { Kind::Private } else { Kind::Public };
        let id = self.create_channel(&new.name, kind, &[], now);
        if let Some(channel) = self.conversations.get_mut(&id) {
            channel.creator.clone_from(&creator);
            if !new.topic.is_empty() {
                channel.topic = Note::set(&new.topic, &creator, now);
            }
            if !new.purpose.is_empty() {
                channel.purpose = Note::set(&new.purpose, &creator, now);
            }
        }
        self.channel_event(&id, Happening::Created, &creator, now);
        for member in &new.members {
            let member = self.person(member);
            self.admit(&id, &member, (member != creator).then_some(creator.as_str()));
        }
        if new.archived {
            self.set_archived(&id, true, &creator, now);
        }
        id
    }

    /// A person changes a channel; the app is notified. `None` if there is no such channel, or if
    /// its new id is in use.
    pub(in crate::sandbox) fn change_channel(
        &mut self,
        id: &str,
        change: &ChannelChange,
        now: i64,
    ) -> Option<()> {
        self.enter_conversation(id);
        let user = change.user.clone().unwrap_or_else(|| self.installer());
        let channel = self.conversations.get_mut(id)?;
        if let Some(name) = &change.name {
            channel.rename(name.clone());
            self.channel_event(id, Happening::Renamed, &user, now);
        }
        if let Some(archived) = change.archived {
            self.set_archived(id, archived, &user, now);
        }
        let channel = self.conversations.get_mut(id)?;
        if let Some(topic) = &change.topic {
            channel.topic = Note::set(topic, &user, now);
        }
        if let Some(purpose) = &change.purpose {
            channel.purpose = Note::set(purpose, &user, now);
        }
        if let Some(private) = change.is_private {
            channel.kind = if private { Kind::Private } else { Kind::Public };
        }
        if change.shared_with.is_some() {
            channel.shared_with.clone_from(&change.shared_with);
        }
        self.channel_changed(id);
        for member in &change.join {
            let member = self.person(member);
            self.enter(id, &member, (member != user).then_some(user.as_str()));
        }
        for member in &change.leave {
            let member = self.person(member);
            self.leave(id, &member, &user);
        }
        let Some(new) = &change.id else { return Some(()) };
        self.change_id(id, new).then_some(())
    }

    /// An administrator deletes a channel; the app is notified. `None` if there is no such channel.
    pub(in crate::sandbox) fn delete_channel(&mut self, id: &str, now: i64) -> Option<()> {
        self.enter_conversation(id);
        let user = self.installer();
        self.channel_event(id, Happening::Deleted, &user, now);
        self.conversations.remove(id).map(drop)
    }

    fn set_archived(&mut self, id: &str, archived: bool, user: &str, now: i64) {
        let Some(channel) = self.conversations.get_mut(id) else { return };
        if std::mem::replace(&mut channel.archived, archived) == archived {
            return;
        }
        let what = if archived { Happening::Archived } else { Happening::Unarchived };
        self.channel_event(id, what, user, now);
    }

    /// The id of a person; `bot` stands for the app's bot.
    fn person(&self, id: &str) -> String {
        if id == "bot" { self.app.bot_user_id.clone() } else { id.to_owned() }
    }

    /// A channel with its members, whether or not the app can see it.
    pub(in crate::sandbox) fn describe_channel(&self, channel: &Conversation) -> Value {
        let c = channel;
        let members: Vec<_> = c.members.iter().take(MEMBERS).map(|id| self.insider(id)).collect();
        json!({
            "id": c.id, "team_id": c.team, "name": c.name, "previous_names": c.previous_names,
            "is_private": c.kind != Kind::Public, "is_archived": c.archived,
            "is_general": c.general, "shared_with": c.shared_with, "creator": c.creator,
            "created": c.created, "topic": c.topic.value, "purpose": c.purpose.value,
            "member_count": c.members.len(), "members": members,
        })
    }

    fn insider(&self, id: &str) -> Value {
        if let Some(app) = self.app_of_bot(id) {
            return json!({ "id": id, "name": app.name, "label": "app", "color": null });
        }
        let member = self.directory.get(id).unwrap_or_default();
        json!({ "id": id, "name": self.member_name(id), "color": member["color"],
            "label": directory::label(&member, &self.team) })
    }
}
