//! Conversations that are opened, and messages that are written, deleted and read.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::change::ChangeKind;
use super::conversation::{Conversation, Kind, Message, StoredMessage, direct, parse_ts, ts_text};
use super::state::State;

/// A message written by a person.
#[derive(Deserialize)]
pub(in crate::sandbox) struct HumanMessage {
    pub(in crate::sandbox) conversation: String,
    pub(in crate::sandbox) user: String,
    pub(in crate::sandbox) text: String,
    #[serde(default)]
    pub(in crate::sandbox) thread_ts: Option<String>,
}

impl State {
    /// The direct or group message of the app's bot with these people (sorted) in the workspace.
    pub(in crate::sandbox) fn direct_with(&self, people: &[String]) -> Option<&String> {
        let key = direct(&self.team.id, &self.app.bot_user_id, people);
        self.conversations.by_people.get(&key)
    }

    /// The bot's direct or group message with these people (sorted), opened if necessary, and
    /// whether it was already open.
    pub(in crate::sandbox) fn open_with(&mut self, people: &[String], now: i64) -> (String, bool) {
        if let Some(id) = self.direct_with(people).cloned() {
            let held = self.conversations.get_mut(&id);
            let open = held.is_none_or(|held| std::mem::replace(&mut held.open, true));
            return (id, open);
        }
        let single = people.len() == 1;
        let id = self.new_id(if single { 'D' } else { 'C' });
        let mut members: BTreeSet<String> = people.iter().cloned().collect();
        members.insert(self.app.bot_user_id.clone());
        let name = if single { String::new() } else { format!("mpdm-{}", people.join("--")) };
        let kind = if single { Kind::Im } else { Kind::Mpim };
        let creator = self.app.bot_user_id.clone();
        let mut opened = Conversation::new(&self.team.id, id.clone(), kind, name, creator, now);
        opened.user = people.first().filter(|_| single).cloned();
        opened.members = members;
        self.conversations.insert(opened);
        let key = direct(&self.team.id, &self.app.bot_user_id, people);
        self.conversations.by_people.insert(key, id.clone());
        (id, false)
    }

    /// The channel of the whole workspace.
    pub(in crate::sandbox) fn add_general(&mut self, now: i64) {
        let id = self.create_channel("general", Kind::Public, &[], now);
        if let Some(channel) = self.conversations.get_mut(&id) {
            channel.general = true;
        }
    }

    /// A new channel, which the bot created. No event is sent.
    pub(in crate::sandbox) fn create_channel(
        &mut self,
        name: &str,
        kind: Kind,
        members: &[&str],
        now: i64,
    ) -> String {
        let id = self.new_id('C');
        let creator = self.app.bot_user_id.clone();
        let name = name.to_owned();
        let mut made = Conversation::new(&self.team.id, id.clone(), kind, name, creator, now);
        made.members = members.iter().map(|id| (*id).to_owned()).collect();
        self.conversations.insert(made);
        id
    }

    /// A person posts; returns the message's `ts`, or `None` if there is no such conversation.
    pub(in crate::sandbox) fn write_as(&mut self, new: &HumanMessage, now: i64) -> Option<String> {
        self.counter += 1;
        let (seq, id) = (self.counter, new.conversation.as_str());
        self.enter_conversation(id);
        let held = self.conversations.get_mut(id)?;
        let thread = new.thread_ts.as_deref().and_then(parse_ts);
        let thread = thread.and_then(|ts| held.thread_of(ts)).map(|root| root.ts);
        let message = Message {
            thread,
            ..Message::new(seq, new.user.clone(), new.text.clone(), Value::Null)
        };
        let kind = held.kind;
        let ts = held.append(message, now);
        self.for_apps(|state| {
            let held = state.conversations.get(id);
            if held.is_some_and(|held| held.members.contains(&state.app.bot_user_id)) {
                let told = state.written(id, kind, ts);
                state.event(told);
            }
        });
        self.changed(ChangeKind::Stored, id, ts_text(ts));
        Some(ts_text(ts))
    }

    /// The event `message` for a new message.
    fn written(&self, id: &str, kind: Kind, ts: i64) -> Value {
        let message = self.conversations.get(id).and_then(|held| held.find(ts));
        let mut told = message.map(|m| self.message_json(m, false)).unwrap_or_default();
        let words = json!([{ "type": "text", "text": told["text"] }]);
        told["client_msg_id"] = json!(uuid::Uuid::now_v7().to_string());
        told["blocks"] = json!([{ "type": "rich_text", "block_id": "b1",
            "elements": [{ "type": "rich_text_section", "elements": words }] }]);
        told["channel"] = json!(id);
        told["channel_type"] = json!(if kind == Kind::Mpim { "mpim" } else { kind.name() });
        told["event_ts"] = json!(ts_text(ts));
        told
    }

    /// Deletes a message; `None` if there is none.
    pub(in crate::sandbox) fn delete_message(&mut self, id: &str, ts: &str) -> Option<()> {
        let held = self.conversations.get_mut(id)?;
        held.find_mut(parse_ts(ts)?)?.deleted = true;
        self.changed(ChangeKind::Deleted, id, ts.to_owned());
        Some(())
    }

    /// Every message of this workspace, or of all, in the order of storing, without the lines that
    /// Slack writes itself.
    pub(in crate::sandbox) fn stored_messages(&self, team: Option<&str>) -> Vec<StoredMessage> {
        let mut all: Vec<_> = (self.conversations.iter())
            .filter(|found| team.is_none_or(|team| found.team == team))
            .flat_map(|c| c.messages.iter().map(move |m| (c, m)))
            .filter(|(_, message)| message.subtype.is_none())
            .map(|(c, m)| (m.seq, stored(c, m)))
            .collect();
        all.sort_by_key(|(seq, _)| *seq);
        all.into_iter().map(|(_, message)| message).collect()
    }

    /// A message as the Web API shows it. Without `all_metadata` it contains only the event type of
    /// its metadata.
    pub(in crate::sandbox) fn message_json(&self, message: &Message, all_metadata: bool) -> Value {
        if message.deleted {
            return json!({
                "type": "message", "subtype": "tombstone", "user": "USLACKBOT", "hidden": true,
                "text": "This message was deleted.", "ts": ts_text(message.ts),
            });
        }
        let mut json = json!({
            "type": "message", "user": message.author, "text": message.text,
            "ts": ts_text(message.ts), "team": self.team.id,
        });
        if let Some(app) = self.app_of_bot(&message.author) {
            let icon = |size: u32| {
                format!("https://a.slack-edge.com/80588/img/plugins/app/bot_{size}.png")
            };
            json["bot_id"] = json!(app.bot_id);
            json["app_id"] = json!(app.id);
            json["bot_profile"] = json!({
                "id": app.bot_id, "app_id": app.id, "name": app.name,
                "team_id": self.team.id, "deleted": false, "updated": 1_700_000_000,
                "icons": { "image_36": icon(36), "image_48": icon(48), "image_72": icon(72) },
            });
        }
        if let Some(subtype) = message.subtype {
            json["subtype"] = json!(subtype);
        }
        if let Some(username) = &message.username {
            json["username"] = json!(username);
        }
        for (key, value) in [("blocks", &message.blocks), ("attachments", &message.attachments)] {
            if !value.is_null() {
                json[key] = value.clone();
            }
        }
        if !message.metadata.is_null() {
            json["metadata"] = if all_metadata {
                message.metadata.clone()
            } else {
                json!({ "event_type": message.metadata["event_type"] })
            };
        }
        if let Some(thread) = message.thread {
            json["thread_ts"] = json!(ts_text(thread));
        }
        if let Some(edited) = message.edited {
            json["edited"] = json!({ "user": self.app.bot_id, "ts": ts_text(edited) });
        }
        json
    }
}

fn stored(conversation: &Conversation, message: &Message) -> StoredMessage {
    StoredMessage {
        conversation: conversation.id.clone(),
        user: conversation.user.clone(),
        ts: ts_text(message.ts),
        text: message.text.clone(),
        blocks: message.blocks.clone(),
        metadata: message.metadata.clone(),
        thread_ts: message.thread.map(ts_text),
        stored_at: message.stored_at,
        edited: message.edited.is_some(),
        deleted: message.deleted,
    }
}
