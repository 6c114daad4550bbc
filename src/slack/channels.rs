//! Channels: creates, changes and lists them, and invites and removes people.
//!
//! Only creating must never be repeated by mistake: Slack has made two channels of one name for two
//! calls (slackapi/node-slack-sdk#1589). Everything else may be repeated; Slack refuses what is
//! done already with a code of its own, such as `already_archived`.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Error;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use super::wire::{self, Invited, Paging};
use crate::domain::capacity::slack_method::Method;
use crate::domain::channels::members::is_about_a_person;
use crate::domain::channels::progress::SeenChannel;
use crate::domain::ids::{ChannelId, SlackUserId};
use crate::domain::secret::Secret;

/// Channels and people of one page: Slack allows fewer than 1,000.
const PAGE: &str = "999";

/// One page of channels. Pages may be short; only the absence of a cursor ends the list.
#[derive(Debug, Clone)]
pub struct ChannelsPage {
    pub channels: Vec<SeenChannel>,
    pub next_cursor: Option<String>,
}

/// One page of the people in a channel, in no order.
#[derive(Debug, Clone)]
pub struct ChannelMembersPage {
    pub members: Vec<SlackUserId>,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct WireOne {
    channel: WireChannel,
}

#[derive(Deserialize)]
struct WireRenamed {
    channel: WireName,
}

#[derive(Deserialize)]
struct WireName {
    name: String,
}

#[derive(Deserialize)]
struct WireList {
    /// Each is parsed separately: one odd channel must not hide the others.
    channels: Vec<Box<RawValue>>,
    response_metadata: Option<Paging>,
}

#[derive(Deserialize)]
struct WireMembers {
    members: Vec<Value>,
    response_metadata: Option<Paging>,
}

#[derive(Deserialize)]
struct WireChannel {
    id: ChannelId,
    name: String,
    #[serde(default, deserialize_with = "wire::lenient")]
    creator: Option<SlackUserId>,
    created: Option<Value>,
    #[serde(default, deserialize_with = "wire::lenient")]
    is_private: Option<bool>,
    #[serde(default, deserialize_with = "wire::lenient")]
    is_archived: Option<bool>,
    #[serde(default, deserialize_with = "wire::lenient")]
    is_member: Option<bool>,
    #[serde(default, deserialize_with = "wire::lenient")]
    is_general: Option<bool>,
    #[serde(default, deserialize_with = "wire::lenient")]
    topic: Option<WireNote>,
    #[serde(default, deserialize_with = "wire::lenient")]
    purpose: Option<WireNote>,
}

/// A topic or a purpose.
#[derive(Default, Deserialize)]
struct WireNote {
    value: String,
}

impl From<WireChannel> for SeenChannel {
    fn from(wire: WireChannel) -> Self {
        Self {
            id: wire.id,
            name: wire.name,
            creator: wire.creator,
            created_at: wire.created.as_ref().and_then(wire::time).unwrap_or_default(),
            is_private: wire.is_private.unwrap_or(false),
            is_archived: wire.is_archived.unwrap_or(false),
            is_member: wire.is_member.unwrap_or(false),
            is_general: wire.is_general.unwrap_or(false),
            topic: wire.topic.unwrap_or_default().value,
            purpose: wire.purpose.unwrap_or_default().value,
        }
    }
}

impl Client {
    /// Creates a channel that the app is a member of, once. An unclear answer is
    /// [`Error::Unknown`]: look before another attempt. `team_id` is needed for org-wide
    /// installations and ignored for others.
    pub async fn conversations_create(
        &self,
        token: &Secret,
        name: &str,
        is_private: bool,
        team_id: Option<&str>,
    ) -> Result<SeenChannel, Error> {
        let mut arguments = json!({ "name": name, "is_private": is_private });
        if let Some(team) = team_id {
            arguments["team_id"] = Value::from(team);
        }
        let call = MethodCall {
            method: Method::ConversationsCreate,
            effect: Effect::Once,
            auth: Auth::Bearer(token),
            body: Body::Json(arguments),
        };
        Ok(self.call::<WireOne>(call).await?.value.channel.into())
    }

    /// One page of the public channels and of the private ones that the app is in, archived ones
    /// included. Among the refusals, `invalid_cursor` means to begin again.
    pub async fn conversations_list(
        &self,
        token: &Secret,
        cursor: Option<&str>,
        team_id: Option<&str>,
    ) -> Result<ChannelsPage, Error> {
        let mut fields = vec![
            ("limit", PAGE.to_owned()),
            ("types", "public_channel,private_channel".to_owned()),
            ("exclude_archived", "false".to_owned()),
        ];
        fields.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        fields.extend(team_id.map(|team| ("team_id", team.to_owned())));
        let call = repeatable(Method::ConversationsList, token, Body::Form(fields));
        let page: WireList = self.call(call).await?.value;
        let channels = page.channels.iter();
        Ok(ChannelsPage {
            channels: channels.filter_map(|raw| seen(raw)).collect(),
            next_cursor: wire::next_cursor(page.response_metadata),
        })
    }

    /// The channel as it is now. Topic and purpose are as Slack writes them: with `&amp;`, `&lt;`
    /// and `&gt;`.
    pub async fn conversations_info(
        &self,
        token: &Secret,
        channel: &ChannelId,
    ) -> Result<SeenChannel, Error> {
        let fields = vec![("channel", channel.as_str().to_owned())];
        let call = repeatable(Method::ConversationsInfo, token, Body::Form(fields));
        Ok(self.call::<WireOne>(call).await?.value.channel.into())
    }

    /// One page of the people in a channel, bots included.
    pub async fn conversations_members(
        &self,
        token: &Secret,
        channel: &ChannelId,
        cursor: Option<&str>,
    ) -> Result<ChannelMembersPage, Error> {
        let mut fields = vec![("channel", channel.as_str().to_owned()), ("limit", PAGE.to_owned())];
        fields.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let call = repeatable(Method::ConversationsMembers, token, Body::Form(fields));
        let page: WireMembers = self.call(call).await?.value;
        let members = page.members.iter().filter_map(Value::as_str);
        Ok(ChannelMembersPage {
            members: members.filter_map(|id| SlackUserId::parse(id).ok()).collect(),
            next_cursor: wire::next_cursor(page.response_metadata),
        })
    }

    /// Invites at most 100 people, and returns those that Slack refuses, each with its code. With
    /// `force` the others are in. Without it they are not: one refusal holds up all, except that of
    /// a deactivated person. A refusal that concerns no single person is an error.
    pub async fn conversations_invite(
        &self,
        token: &Secret,
        channel: &ChannelId,
        users: &[SlackUserId],
        force: bool,
    ) -> Result<Vec<(SlackUserId, String)>, Error> {
        let ids: Vec<&str> = users.iter().map(SlackUserId::as_str).collect();
        // A form: Slack once took no list of ids from JSON (slackapi/python-slack-sdk#1053).
        let fields = vec![
            ("channel", channel.as_str().to_owned()),
            ("users", ids.join(",")),
            ("force", force.to_string()),
        ];
        let call = repeatable(Method::ConversationsInvite, token, Body::Form(fields));
        match (self.call::<Invited>(call).await, users) {
            (Ok(answer), _) => Ok(answer.value.errors.0),
            // Slack need not name the only person that the call is about.
            (Err(Error::Rejected { code, .. }), [user]) if is_about_a_person(&code) => {
                Ok(vec![(user.clone(), code)])
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Removes a person. `not_in_channel` is the answer if that person is not in the channel, or if
    /// the app is not.
    pub async fn conversations_kick(
        &self,
        token: &Secret,
        channel: &ChannelId,
        user: &SlackUserId,
    ) -> Result<(), Error> {
        let arguments = json!({ "channel": channel.as_str(), "user": user.as_str() });
        self.done(Method::ConversationsKick, token, arguments).await
    }

    /// Makes the app a member of a public channel; also if it is one already.
    pub async fn conversations_join(
        &self,
        token: &Secret,
        channel: &ChannelId,
    ) -> Result<(), Error> {
        self.done(Method::ConversationsJoin, token, json!({ "channel": channel.as_str() })).await
    }

    /// Archives a channel.
    pub async fn conversations_archive(
        &self,
        token: &Secret,
        channel: &ChannelId,
    ) -> Result<(), Error> {
        self.done(Method::ConversationsArchive, token, json!({ "channel": channel.as_str() })).await
    }

    /// Opens an archived channel again. Slack says that bot tokens cannot do this at present
    /// (Slack's documentation: conversations.unarchive).
    pub async fn conversations_unarchive(
        &self,
        token: &Secret,
        channel: &ChannelId,
    ) -> Result<(), Error> {
        let arguments = json!({ "channel": channel.as_str() });
        self.done(Method::ConversationsUnarchive, token, arguments).await
    }

    /// Renames a channel; the name as Slack stored it.
    pub async fn conversations_rename(
        &self,
        token: &Secret,
        channel: &ChannelId,
        name: &str,
    ) -> Result<String, Error> {
        let arguments = json!({ "channel": channel.as_str(), "name": name });
        let call = repeatable(Method::ConversationsRename, token, Body::Json(arguments));
        Ok(self.call::<WireRenamed>(call).await?.value.channel.name)
    }

    /// Sets the topic, at most 250 characters.
    pub async fn conversations_set_topic(
        &self,
        token: &Secret,
        channel: &ChannelId,
        topic: &str,
    ) -> Result<(), Error> {
        let arguments = json!({ "channel": channel.as_str(), "topic": topic });
        self.done(Method::ConversationsSetTopic, token, arguments).await
    }

    /// Sets the purpose, at most 250 characters.
    pub async fn conversations_set_purpose(
        &self,
        token: &Secret,
        channel: &ChannelId,
        purpose: &str,
    ) -> Result<(), Error> {
        let arguments = json!({ "channel": channel.as_str(), "purpose": purpose });
        self.done(Method::ConversationsSetPurpose, token, arguments).await
    }

    /// A call whose answer says no more than ok.
    async fn done(&self, method: Method, token: &Secret, arguments: Value) -> Result<(), Error> {
        let call = repeatable(method, token, Body::Json(arguments));
        self.call::<IgnoredAny>(call).await.map(drop)
    }
}

fn repeatable(method: Method, token: &Secret, body: Body) -> MethodCall<'_> {
    MethodCall { method, effect: Effect::Repeatable, auth: Auth::Bearer(token), body }
}

/// `None`: no channel, or one without a name, such as a direct message.
fn seen(raw: &RawValue) -> Option<SeenChannel> {
    serde_json::from_str::<WireChannel>(raw.get()).ok().map(SeenChannel::from)
}
