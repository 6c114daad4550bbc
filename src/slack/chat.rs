//! Posts a message, the one call that must never be made twice by mistake; changes and deletes
//! messages, which may be repeated.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::TooLate;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use crate::domain::capacity::slack_method::Method;
use crate::domain::delivery::Outcome;
use crate::domain::ids::{ChannelId, DeliveryId, SlackUserId};
use crate::domain::secret::Secret;

/// The metadata's event type, by which Herald recognises its own messages.
pub(super) const EVENT_TYPE: &str = "herald_delivery";

/// The destination of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A person: Slack opens the direct message if needed, and answers with its id.
    Person(&'a SlackUserId),
    /// A channel or an open direct message.
    Conversation(&'a ChannelId),
}

/// A rendered message. Debug is not implemented: it holds the text.
#[derive(Clone, Copy)]
pub struct PostMessage<'a> {
    pub destination: Destination<'a>,
    /// The text for notifications and screen readers; at most 4,000 characters, or Slack may split
    /// it.
    pub text: &'a str,
    /// An array of Block Kit blocks; if it is empty, only the text is sent.
    pub blocks: &'a Value,
    /// Sent in the metadata, which every member of the workspace can read.
    pub delivery_id: DeliveryId,
    /// Answer in the thread of this message.
    pub thread_ts: Option<&'a str>,
}

#[derive(Deserialize)]
struct WirePosted {
    channel: ChannelId,
    ts: String,
    /// The message as Slack stored it.
    message: Option<Box<RawValue>>,
}

impl WirePosted {
    /// The place where the message was stored, if the answer can be read.
    fn sent(self, thread: Option<&str>) -> Option<Outcome> {
        let unthreaded = thread.is_some() && self.message.is_some_and(|raw| !in_thread(&raw));
        is_ts(&self.ts).then_some(Outcome::Sent { channel: self.channel, ts: self.ts, unthreaded })
    }
}

/// Slack does not refuse a reply to a deleted message. It stores the reply outside any thread and
/// says ok; the only sign is that the stored message has no `thread_ts` (slack-go/slack#1571).
fn in_thread(message: &RawValue) -> bool {
    let message: Value = serde_json::from_str(message.get()).unwrap_or_default();
    let thread = message.get("thread_ts").and_then(Value::as_str);
    !message.is_object() || thread.is_some_and(|ts| !ts.is_empty())
}

impl Client {
    /// Posts once (chat.postMessage) and returns the outcome. Never retries. Writes nothing from
    /// `begin_before` on.
    pub async fn chat_post_message(
        &self,
        token: &Secret,
        message: &PostMessage<'_>,
        begin_before: Instant,
    ) -> Result<Outcome, TooLate> {
        let call = MethodCall {
            method: Method::ChatPostMessage,
            effect: Effect::Once,
            auth: Auth::Bearer(token),
            body: Body::JsonBefore(arguments(message), begin_before),
        };
        Ok(match self.call::<WirePosted>(call).await {
            // Slack says ok, so the message is stored; if the answer does not say where, history
            // will.
            Ok(answer) => answer
                .value
                .sent(message.thread_ts)
                .unwrap_or_else(|| Outcome::Unknown { code: "unreadable_answer".to_owned() }),
            Err(error) if TooLate::is(&error) => return Err(TooLate),
            Err(error) => error.into(),
        })
    }
}

/// An existing message and its new content. Debug is not implemented.
#[derive(Clone, Copy)]
pub struct UpdateMessage<'a> {
    pub channel: &'a ChannelId,
    pub ts: &'a str,
    /// As in [`PostMessage`].
    pub text: &'a str,
    /// As in [`PostMessage`]; an empty array removes all blocks.
    pub blocks: &'a Value,
}

impl Client {
    /// Changes a message (chat.update). Its metadata stays. An unclear answer is
    /// [`Outcome::NotSent`], because repeating the change has the same effect. Writes nothing from
    /// `begin_before` on.
    pub async fn chat_update(
        &self,
        token: &Secret,
        message: &UpdateMessage<'_>,
        begin_before: Instant,
    ) -> Result<Outcome, TooLate> {
        let arguments = json!({
            "channel": message.channel.as_str(),
            "ts": message.ts,
            "text": message.text,
            "blocks": message.blocks,
        });
        self.change(Method::ChatUpdate, token, arguments, begin_before).await
    }

    /// Deletes a message (chat.delete); otherwise the same as [`Client::chat_update`].
    pub async fn chat_delete(
        &self,
        token: &Secret,
        channel: &ChannelId,
        ts: &str,
        begin_before: Instant,
    ) -> Result<Outcome, TooLate> {
        let arguments = json!({ "channel": channel.as_str(), "ts": ts });
        self.change(Method::ChatDelete, token, arguments, begin_before).await
    }

    async fn change(
        &self,
        method: Method,
        token: &Secret,
        arguments: Value,
        begin_before: Instant,
    ) -> Result<Outcome, TooLate> {
        let call = MethodCall {
            method,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::JsonBefore(arguments, begin_before),
        };
        Ok(match self.call::<WirePosted>(call).await {
            Ok(answer) => answer
                .value
                .sent(None)
                .unwrap_or_else(|| Outcome::NotSent { code: "unreadable_answer".to_owned() }),
            Err(error) if TooLate::is(&error) => return Err(TooLate),
            Err(error) => error.into(),
        })
    }
}

fn arguments(message: &PostMessage<'_>) -> Value {
    let channel = match message.destination {
        Destination::Person(user) => user.as_str(),
        Destination::Conversation(channel) => channel.as_str(),
    };
    let mut arguments = json!({
        "channel": channel,
        "text": message.text,
        "metadata": {
            "event_type": EVENT_TYPE,
            "event_payload": { "delivery_id": message.delivery_id.to_string() },
        },
        // Slack must not add previews: they would load pages on the reader's behalf.
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if message.blocks.as_array().is_some_and(|blocks| !blocks.is_empty()) {
        arguments["blocks"] = message.blocks.clone();
    }
    if let Some(ts) = message.thread_ts {
        arguments["thread_ts"] = Value::from(ts);
    }
    arguments
}

/// Has the form `1503435956.000247`. It is checked because it is stored and shown.
fn is_ts(ts: &str) -> bool {
    (1..=32).contains(&ts.len()) && ts.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
