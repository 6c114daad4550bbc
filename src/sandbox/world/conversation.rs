//! Conversations and their messages, as stored.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::error::Error;

/// The kind of a conversation; decides the required scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Kind {
    Im,
    Mpim,
    Public,
    Private,
}

impl Kind {
    /// The scope prefix.
    pub(in crate::sandbox) fn scope(self, suffix: &str) -> String {
        let prefix = match self {
            Self::Im => "im",
            Self::Mpim => "mpim",
            Self::Public => "channels",
            Self::Private => "groups",
        };
        format!("{prefix}:{suffix}")
    }

    /// The name in the control endpoints.
    pub(in crate::sandbox) fn name(self) -> &'static str {
        match self {
            Self::Im => "im",
            Self::Mpim | Self::Private => "group",
            Self::Public => "channel",
        }
    }
}

/// One message. `ts` is in microseconds; [`ts_text`] formats it.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Message {
    pub(in crate::sandbox) seq: u64,
    pub(in crate::sandbox) ts: i64,
    /// The author; the bot's user id for the app's own messages.
    pub(in crate::sandbox) author: String,
    pub(in crate::sandbox) username: Option<String>,
    /// The kind of a line that Slack writes itself, such as `channel_join`.
    pub(in crate::sandbox) subtype: Option<&'static str>,
    pub(in crate::sandbox) text: String,
    pub(in crate::sandbox) blocks: Value,
    pub(in crate::sandbox) attachments: Value,
    pub(in crate::sandbox) metadata: Value,
    pub(in crate::sandbox) thread: Option<i64>,
    pub(in crate::sandbox) broadcast: bool,
    pub(in crate::sandbox) edited: Option<i64>,
    pub(in crate::sandbox) deleted: bool,
    pub(in crate::sandbox) stored_at: i64,
}

impl Message {
    /// A plain message, to be appended.
    pub(in crate::sandbox) fn new(seq: u64, author: String, text: String, blocks: Value) -> Self {
        Self {
            seq,
            ts: 0,
            author,
            username: None,
            subtype: None,
            text,
            blocks,
            attachments: Value::Null,
            metadata: Value::Null,
            thread: None,
            broadcast: false,
            edited: None,
            deleted: false,
            stored_at: 0,
        }
    }
}

/// A message, for tests and the demo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredMessage {
    pub conversation: String,
    /// The person in a direct message.
    pub user: Option<String>,
    pub ts: String,
    pub text: String,
    /// An array, or null.
    pub blocks: Value,
    pub metadata: Value,
    pub thread_ts: Option<String>,
    /// Microseconds since the epoch.
    pub stored_at: i64,
    pub edited: bool,
    pub deleted: bool,
}

/// A topic or a purpose, with the person who set it and the second in which they did.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct Note {
    pub(in crate::sandbox) value: String,
    pub(in crate::sandbox) creator: String,
    pub(in crate::sandbox) last_set: i64,
}

impl Note {
    pub(in crate::sandbox) fn set(value: &str, creator: &str, now: i64) -> Self {
        let (value, creator) = (value.to_owned(), creator.to_owned());
        Self { value, creator, last_set: now / 1_000_000 }
    }
}

pub(in crate::sandbox) struct Conversation {
    pub(in crate::sandbox) id: String,
    /// The workspace that it is in.
    pub(in crate::sandbox) team: String,
    pub(in crate::sandbox) kind: Kind,
    /// The person in a direct message.
    pub(in crate::sandbox) user: Option<String>,
    pub(in crate::sandbox) name: String,
    pub(in crate::sandbox) previous_names: Vec<String>,
    pub(in crate::sandbox) topic: Note,
    pub(in crate::sandbox) purpose: Note,
    pub(in crate::sandbox) created: i64,
    pub(in crate::sandbox) creator: String,
    pub(in crate::sandbox) members: BTreeSet<String>,
    pub(in crate::sandbox) archived: bool,
    /// The channel of the whole workspace, which no person can leave.
    pub(in crate::sandbox) general: bool,
    /// The workspace of another company that shares it.
    pub(in crate::sandbox) shared_with: Option<String>,
    /// False after the bot closed a direct message; the next message reopens it.
    pub(in crate::sandbox) open: bool,
    /// The `ts` of every message with replies.
    pub(in crate::sandbox) threads: HashSet<i64>,
    /// Ordered by `ts`.
    pub(in crate::sandbox) messages: Vec<Message>,
}

impl Conversation {
    /// A conversation of this workspace, without members and messages.
    pub(in crate::sandbox) fn new(
        team: &str,
        id: String,
        kind: Kind,
        name: String,
        creator: String,
        now: i64,
    ) -> Self {
        Self {
            id,
            team: team.to_owned(),
            kind,
            user: None,
            name,
            previous_names: Vec::new(),
            topic: Note::default(),
            purpose: Note::default(),
            created: now / 1_000_000,
            creator,
            members: BTreeSet::new(),
            archived: false,
            general: false,
            shared_with: None,
            open: true,
            threads: HashSet::new(),
            messages: Vec::new(),
        }
    }

    /// Gives it another name; the old one is kept among its previous names.
    pub(in crate::sandbox) fn rename(&mut self, name: String) {
        let old = std::mem::replace(&mut self.name, name);
        self.previous_names.push(old);
    }

    pub(in crate::sandbox) fn find(&self, ts: i64) -> Option<&Message> {
        let at = self.messages.binary_search_by_key(&ts, |message| message.ts).ok()?;
        Some(&self.messages[at]).filter(|message| !message.deleted)
    }

    pub(in crate::sandbox) fn find_mut(&mut self, ts: i64) -> Option<&mut Message> {
        let at = self.messages.binary_search_by_key(&ts, |message| message.ts).ok()?;
        Some(&mut self.messages[at]).filter(|message| !message.deleted)
    }

    /// The replies to this message that are not deleted, oldest first.
    pub(in crate::sandbox) fn replies(
        &self,
        root: i64,
    ) -> impl DoubleEndedIterator<Item = &Message> {
        // Most messages have no replies, and every page of a history asks for them.
        let all = if self.threads.contains(&root) { &self.messages[..] } else { &[] };
        let from = all.partition_point(|message| message.ts <= root);
        all[from..].iter().filter(move |m| !m.deleted && m.thread == Some(root))
    }

    /// A deleted message with replies stays as a tombstone.
    pub(in crate::sandbox) fn is_tombstone(&self, message: &Message) -> bool {
        message.deleted && self.replies(message.ts).next().is_some()
    }

    /// The first message of the thread that contains the message `ts`; it may be a tombstone.
    /// `None` if the message is deleted.
    pub(in crate::sandbox) fn thread_of(&self, ts: i64) -> Option<&Message> {
        let at = |ts| self.messages.binary_search_by_key(&ts, |message| message.ts).ok();
        let named = &self.messages[at(ts)?];
        let root = match named.thread {
            Some(root) if !named.deleted => &self.messages[at(root)?],
            _ => named,
        };
        (!root.deleted || self.is_tombstone(root)).then_some(root)
    }

    /// A `ts` for a message stored now: unique and increasing in this conversation.
    fn next_ts(&self, now: i64) -> i64 {
        self.messages.last().map_or(now, |last| now.max(last.ts + 1))
    }

    /// Appends and returns the message's `ts`.
    pub(in crate::sandbox) fn append(&mut self, mut message: Message, now: i64) -> i64 {
        message.ts = self.next_ts(now);
        message.stored_at = now;
        let ts = message.ts;
        self.threads.extend(message.thread);
        self.messages.push(message);
        ts
    }
}

#[derive(Default)]
pub(in crate::sandbox) struct Conversations {
    by_id: HashMap<String, Conversation>,
    /// Ids in the order of creation.
    pub(in crate::sandbox) order: Vec<String>,
    /// Direct messages by [`direct`].
    pub(super) by_people: HashMap<String, String>,
}

/// The key of the direct message of a bot with these people (sorted) in a workspace.
pub(super) fn direct(team: &str, bot: &str, people: &[String]) -> String {
    format!("{team} {bot} {}", people.join(","))
}

impl Conversations {
    pub(in crate::sandbox) fn get(&self, id: &str) -> Option<&Conversation> {
        self.by_id.get(id)
    }

    pub(in crate::sandbox) fn get_mut(&mut self, id: &str) -> Option<&mut Conversation> {
        self.by_id.get_mut(id)
    }

    /// Deletes a channel.
    pub(in crate::sandbox) fn remove(&mut self, id: &str) -> Option<Conversation> {
        self.order.retain(|kept| kept != id);
        self.by_id.remove(id)
    }

    pub(in crate::sandbox) fn insert(&mut self, conversation: Conversation) {
        self.order.push(conversation.id.clone());
        self.by_id.insert(conversation.id.clone(), conversation);
    }

    /// Gives a channel another id. False if there is no such channel, or if the new id is in use.
    pub(in crate::sandbox) fn change_id(&mut self, old: &str, new: &str) -> bool {
        if self.by_id.contains_key(new) {
            return false;
        }
        let Some(mut channel) = self.by_id.remove(old) else { return false };
        new.clone_into(&mut channel.id);
        self.by_id.insert(new.to_owned(), channel);
        for id in self.order.iter_mut().filter(|id| id.as_str() == old) {
            new.clone_into(id);
        }
        true
    }

    /// The oldest channel of this name in a workspace, with or without `#`.
    pub(in crate::sandbox) fn by_name(&self, team: &str, name: &str) -> Option<&Conversation> {
        let name = name.trim_start_matches('#');
        self.of(team).find(|c| c.user.is_none() && c.name == name && !name.is_empty())
    }

    /// The conversations of all workspaces.
    pub(in crate::sandbox) fn iter(&self) -> impl Iterator<Item = &Conversation> {
        self.order.iter().filter_map(|id| self.by_id.get(id))
    }

    /// The conversations of a workspace.
    pub(in crate::sandbox) fn of(&self, team: &str) -> impl Iterator<Item = &Conversation> {
        self.iter().filter(move |found| found.team == team)
    }

    /// Gives a person another id in all conversations.
    pub(super) fn rename_person(&mut self, old: &str, new: &str) {
        for found in self.by_id.values_mut() {
            if found.user.as_deref() == Some(old) {
                found.user = Some(new.to_owned());
            }
            if found.members.remove(old) {
                found.members.insert(new.to_owned());
            }
        }
        let keys: Vec<_> = self.by_people.keys().filter(|key| key.contains(old)).cloned().collect();
        for key in keys {
            if let Some(id) = self.by_people.remove(&key) {
                self.by_people.insert(key.replace(old, new), id);
            }
        }
    }
}

/// Microseconds as Slack writes a `ts`: `1503435956.000247`.
pub(in crate::sandbox) fn ts_text(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The reverse of [`ts_text`]; fewer digits are padded.
pub(in crate::sandbox) fn parse_ts(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || fraction.len() > 6 || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

/// The `ts` argument, or the error `code`.
pub(in crate::sandbox) fn ts_arg(
    text: Option<&str>,
    code: &'static str,
) -> Result<Option<i64>, Error> {
    text.map(|text| parse_ts(text).ok_or(Error::from(code))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ts_is_text_with_six_digits() {
        assert_eq!(ts_text(1_503_435_956_000_247), "1503435956.000247");
        assert_eq!(parse_ts("1503435956.000247"), Some(1_503_435_956_000_247));
        assert_eq!(parse_ts("1503435956.5"), Some(1_503_435_956_500_000));
        assert_eq!(parse_ts("0"), Some(0));
        assert_eq!(parse_ts("yesterday"), None);
        assert_eq!(parse_ts("-1"), None);
    }
}
