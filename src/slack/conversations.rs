//! Opens direct messages, and reads histories to find out what was stored.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;
use super::answer::Effect;
use super::chat::EVENT_TYPE;
use super::client::{Auth, Body, Client, MethodCall};
use super::wire::{self, Paging};
use crate::domain::capacity::slack_method::Method;
use crate::domain::ids::{ChannelId, DeliveryId, SlackUserId};
use crate::domain::secret::Secret;

/// The part of a history to read.
#[derive(Debug, Clone, Copy)]
pub struct Range<'a> {
    /// Only messages after this ts (Unix seconds with a fraction, as text).
    pub oldest: Option<&'a str>,
    /// Messages of one page, at most 999; some apps get 15 whatever they ask for.
    pub limit: u32,
    /// The cursor from the previous page.
    pub cursor: Option<&'a str>,
}

/// One page of a history, newest first for `conversations.history`.
#[derive(Debug, Clone)]
pub struct MessagesPage {
    pub messages: Vec<HistoryMessage>,
    pub next_cursor: Option<String>,
}

/// A stored message, reduced to the fields needed to recognise Herald's own. Its text is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryMessage {
    /// Its id within the conversation.
    pub ts: String,
    /// The ts of its thread's first message.
    pub thread_ts: Option<String>,
    /// The author. Anyone can write metadata: Herald's own messages also have its `bot_id` or
    /// `app_id`.
    pub user: Option<String>,
    pub bot_id: Option<String>,
    pub app_id: Option<String>,
    /// The delivery that its metadata names, if the metadata is of Herald's event type.
    pub delivery_id: Option<DeliveryId>,
}

impl HistoryMessage {
    /// Whether it is a reply in the thread of another message.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.thread_ts.as_ref().is_some_and(|thread| *thread != self.ts)
    }
}

#[derive(Deserialize)]
struct WireOpened {
    channel: WireChannel,
}

#[derive(Deserialize)]
struct WireChannel {
    id: ChannelId,
}

#[derive(Deserialize)]
struct WirePage {
    /// Anyone can write messages, so each message and each of its keys is parsed separately.
    messages: Vec<Value>,
    response_metadata: Option<Paging>,
}

impl Client {
    /// The conversation of the bot with one person, which is always the same.
    pub async fn conversations_open(
        &self,
        token: &Secret,
        user: &SlackUserId,
    ) -> Result<ChannelId, Error> {
        let call = MethodCall {
            method: Method::ConversationsOpen,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Json(json!({ "users": user.as_str() })),
        };
        Ok(self.call::<WireOpened>(call).await?.value.channel.id)
    }

    /// One page of a conversation, with metadata.
    pub async fn conversations_history(
        &self,
        token: &Secret,
        channel: &ChannelId,
        range: &Range<'_>,
    ) -> Result<MessagesPage, Error> {
        self.page(Method::ConversationsHistory, token, channel, None, range).await
    }

    /// One page of a thread, with metadata; its first message is in every page.
    pub async fn conversations_replies(
        &self,
        token: &Secret,
        channel: &ChannelId,
        thread_ts: &str,
        range: &Range<'_>,
    ) -> Result<MessagesPage, Error> {
        self.page(Method::ConversationsReplies, token, channel, Some(thread_ts), range).await
    }

    async fn page(
        &self,
        method: Method,
        token: &Secret,
        channel: &ChannelId,
        thread_ts: Option<&str>,
        range: &Range<'_>,
    ) -> Result<MessagesPage, Error> {
        let mut fields = vec![
            ("channel", channel.as_str().to_owned()),
            ("limit", range.limit.to_string()),
            // Without this, Slack returns only the event type.
            ("include_all_metadata", "true".to_owned()),
        ];
        fields.extend(thread_ts.map(|ts| ("ts", ts.to_owned())));
        fields.extend(range.oldest.map(|ts| ("oldest", ts.to_owned())));
        fields.extend(range.cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let call = MethodCall {
            method,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Form(fields),
        };
        let page: WirePage = self.call(call).await?.value;
        Ok(MessagesPage {
            messages: page.messages.iter().filter_map(message).collect(),
            next_cursor: wire::next_cursor(page.response_metadata),
        })
    }
}

/// `None` if it has no ts. A key of another type than Slack documents is ignored.
fn message(wire: &Value) -> Option<HistoryMessage> {
    let text = |key: &str| wire::some(wire.get(key)?.as_str().map(str::to_owned));
    Some(HistoryMessage {
        ts: text("ts")?,
        thread_ts: text("thread_ts"),
        user: text("user"),
        bot_id: text("bot_id"),
        app_id: text("app_id"),
        delivery_id: wire.get("metadata").and_then(delivery_id),
    })
}

fn delivery_id(metadata: &Value) -> Option<DeliveryId> {
    if metadata.get("event_type")?.as_str()? != EVENT_TYPE {
        return None;
    }
    DeliveryId::parse(metadata.get("event_payload")?.get("delivery_id")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_recognised_by_our_metadata_alone() {
        let id = "0197a3c0-0000-7000-8000-000000000001";
        let ours = json!({"event_type": EVENT_TYPE, "event_payload": {"delivery_id": id}});
        assert_eq!(delivery_id(&ours), DeliveryId::parse(id).ok());
        for other in [
            json!({"event_type": "task", "event_payload": {"delivery_id": id}}),
            json!({"event_type": EVENT_TYPE, "event_payload": {"delivery_id": 7}}),
            json!({"event_type": EVENT_TYPE, "event_payload": [id]}),
            json!({"event_type": EVENT_TYPE}),
            json!("text"),
        ] {
            assert_eq!(delivery_id(&other), None, "{other}");
        }
    }

    #[test]
    fn a_message_needs_nothing_but_its_ts() {
        let found = message(&json!({"ts": "1.2", "user": null})).unwrap();
        assert_eq!((found.ts.as_str(), found.user), ("1.2", None));
        let odd = json!({"ts": "1.3", "user": 7, "bot_id": {}, "app_id": "A1", "metadata": []});
        let found = message(&odd).unwrap();
        assert_eq!((found.user, found.bot_id, found.app_id), (None, None, Some("A1".into())));
        for useless in [json!({"ts": 1.2}), json!({}), json!("text"), json!(null)] {
            assert_eq!(message(&useless), None, "{useless}");
        }
    }
}
