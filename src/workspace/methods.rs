//! The requests to Slack for a workspace, each within its budget.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Error, Method, Workspaces, is_of_migration};
use crate::domain::delivery::Outcome;
use crate::domain::ids::{ChannelId, InstallationId, SlackUserId};
use crate::domain::secret::Secret;
use crate::slack::{
    self, FieldsJson, MemberJson, MembersPage, MessagesPage, Objection, PostMessage, Range,
    TooLate, UpdateMessage,
};
use crate::store::{self, Installation};

/// How long an interactive question waits for its budget.
pub const INTERACTIVE: Duration = Duration::from_secs(5);

/// A request to post that was made.
#[derive(Debug, Clone)]
pub struct RequestMade {
    pub outcome: Outcome,
    /// When the request began; the pace of its conversation counts from here.
    pub started: Instant,
    /// The time of the request only.
    pub took: Duration,
}

/// A change of an existing message.
#[derive(Clone, Copy)]
pub enum MessageChange<'a> {
    Update(UpdateMessage<'a>),
    Delete { channel: &'a ChannelId, ts: &'a str },
}

impl MessageChange<'_> {
    fn method(&self) -> Method {
        match self {
            Self::Update(_) => Method::ChatUpdate,
            Self::Delete { .. } => Method::ChatDelete,
        }
    }
}

impl Workspaces {
    /// The installation, whether its token works or not.
    pub async fn installation(&self, id: InstallationId) -> Result<Option<Installation>, Error> {
        Ok(self.store.tenancy().installation(id).await?)
    }

    /// The workspace's id in Slack, which some methods want although a token of one workspace needs
    /// none.
    pub(super) async fn team(&self, id: InstallationId) -> Result<Option<String>, Error> {
        Ok(self.installation(id).await?.and_then(|installation| installation.team_id))
    }

    /// One page of members, all kinds (`users.list`). Waits at most `patience` for the budget.
    pub async fn users_page(
        &self,
        id: InstallationId,
        cursor: Option<&str>,
        limit: u32,
        patience: Duration,
    ) -> Result<MembersPage, Error> {
        let team = self.team(id).await?;
        self.call(id, Method::UsersList, patience, async |slack, token| {
            slack.users_list(token, cursor, limit, team.as_deref()).await
        })
        .await
    }

    /// The member with this address; `None` if there is none, or the member is deactivated. Waits
    /// at most `patience` for the budget.
    pub async fn lookup_by_email(
        &self,
        id: InstallationId,
        email: &str,
        patience: Duration,
    ) -> Result<Option<MemberJson>, Error> {
        self.call(id, Method::UsersLookupByEmail, patience, async |slack, token| {
            slack.users_lookup_by_email(token, email).await
        })
        .await
    }

    /// The member with this id, as Slack has it now.
    pub async fn user_info(
        &self,
        id: InstallationId,
        user: &SlackUserId,
    ) -> Result<Option<MemberJson>, Error> {
        self.call(id, Method::UsersInfo, INTERACTIVE, async |slack, token| {
            slack.users_info(token, user).await
        })
        .await
    }

    /// The custom profile fields of one member; `None` if there is no such member. Waits at most
    /// `patience` for the budget.
    pub async fn profile_fields(
        &self,
        id: InstallationId,
        user: &SlackUserId,
        patience: Duration,
    ) -> Result<Option<FieldsJson>, Error> {
        self.call(id, Method::UsersProfileGet, patience, async |slack, token| {
            slack.users_profile_get(token, user).await
        })
        .await
    }

    /// The bot's conversation with one person; always the same one.
    pub async fn open_conversation(
        &self,
        id: InstallationId,
        user: &SlackUserId,
    ) -> Result<ChannelId, Error> {
        self.call(id, Method::ConversationsOpen, INTERACTIVE, async |slack, token| {
            slack.conversations_open(token, user).await
        })
        .await
    }

    /// Slack's objections to blocks (`blocks.validate`); none if it accepts them.
    pub async fn check_blocks(
        &self,
        id: InstallationId,
        blocks: &Value,
    ) -> Result<Vec<Objection>, Error> {
        self.call(id, Method::BlocksValidate, INTERACTIVE, async |slack, token| {
            slack.blocks_validate(token, blocks).await
        })
        .await
    }

    /// Publishes a person's Home tab in place of the one before.
    pub async fn publish_home(
        &self,
        id: InstallationId,
        user: &SlackUserId,
        blocks: &Value,
    ) -> Result<(), Error> {
        self.call(id, Method::ViewsPublish, INTERACTIVE, async |slack, token| {
            slack.views_publish(token, user, blocks).await
        })
        .await
    }

    /// One page of a conversation, newest first, with our metadata. Waits for the budget only for a
    /// later page, because otherwise the reader would have to start over. For a first page
    /// [`Error::Busy`] says when to retry.
    pub async fn history(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        range: &Range<'_>,
    ) -> Result<MessagesPage, Error> {
        let patience = if range.cursor.is_some() { INTERACTIVE } else { Duration::ZERO };
        self.call(id, Method::ConversationsHistory, patience, async |slack, token| {
            slack.conversations_history(token, channel, range).await
        })
        .await
    }

    /// One page of a thread, including its first message; otherwise like [`Workspaces::history`].
    pub async fn replies(
        &self,
        id: InstallationId,
        channel: &ChannelId,
        thread_ts: &str,
        range: &Range<'_>,
    ) -> Result<MessagesPage, Error> {
        let patience = if range.cursor.is_some() { INTERACTIVE } else { Duration::ZERO };
        self.call(id, Method::ConversationsReplies, patience, async |slack, token| {
            slack.conversations_replies(token, channel, thread_ts, range).await
        })
        .await
    }

    /// Changes or deletes a message once; otherwise like [`Workspaces::post`]. Returns
    /// [`Error::Busy`] if a 429 arrived since the start was given.
    pub async fn change(
        &self,
        id: InstallationId,
        token: &store::Token,
        change: &MessageChange<'_>,
        begin_before: Instant,
    ) -> Result<RequestMade, Error> {
        self.not_paused(id, change.method()).await?;
        let posted = self.once(id, token, async |slack, token| match change {
            MessageChange::Update(message) => slack.chat_update(token, message, begin_before).await,
            MessageChange::Delete { channel, ts } => {
                slack.chat_delete(token, channel, ts, begin_before).await
            }
        });
        let posted = posted.await?;
        if let Outcome::Throttled { after } = &posted.outcome {
            let paused = self.store.budgets().pause(id, change.method().name(), *after).await;
            recorded(id, paused.map_err(Error::from));
        }
        Ok(posted)
    }

    /// Posts once. A refusal by Slack is an outcome, not an error; what it says about limits and
    /// tokens is recorded for all replicas. The only error, [`Error::Late`], means that nothing was
    /// sent: the request would have begun after `begin_before`, when another replica may already
    /// assume that it was never made.
    pub async fn post(
        &self,
        id: InstallationId,
        lane: &str,
        token: &store::Token,
        message: &PostMessage<'_>,
        begin_before: Instant,
    ) -> Result<RequestMade, Error> {
        let posted = self.once(id, token, async |slack, token| {
            slack.chat_post_message(token, message, begin_before).await
        });
        let posted = posted.await?;
        if let Outcome::Throttled { after } = &posted.outcome {
            recorded(id, self.asked_to_wait(id, lane, *after).await.map(drop));
        }
        Ok(posted)
    }

    /// The message may have been sent: a failure to record must not turn its outcome into an error.
    async fn once(
        &self,
        id: InstallationId,
        token: &store::Token,
        request: impl AsyncFnOnce(&slack::Client, &Secret) -> Result<Outcome, TooLate>,
    ) -> Result<RequestMade, Error> {
        let started = Instant::now();
        let answered = request(&self.slack, &token.secret).await;
        let mut outcome = answered.map_err(|TooLate| Error::Late)?;
        let took = started.elapsed();
        if let Outcome::Unauthorized { code } = &outcome {
            if self.confirmed(code, token).await {
                recorded(id, self.stopped_by(id, token, code).await);
            } else {
                outcome = Outcome::NotSent { code: code.clone() };
            }
        } else if let Outcome::NotSent { code } = &outcome
            && is_of_migration(code)
        {
            recorded(id, self.migrates(id).await.map_err(Error::from));
            // The lane sleeps until the move has ended, and the attempt does not count.
            outcome = Outcome::Unauthorized { code: store::MIGRATING.to_owned() };
        }
        Ok(RequestMade { outcome, started, took })
    }

    /// Records that Slack refused the token. If there is another one, or will be, the lane is due
    /// again at once: a worker that met the old token cannot put it to sleep any more.
    async fn stopped_by(
        &self,
        id: InstallationId,
        token: &store::Token,
        code: &str,
    ) -> Result<(), Error> {
        if !self.died(id, token.version, code).await? {
            self.store.lanes().wake(id).await?;
        }
        Ok(())
    }

    /// Whether a refused token is dead. Slack also answers `invalid_auth` to calls from an address
    /// that the app does not allow, and proxies do so too. Then `auth.test` has another answer, and
    /// a working workspace is not stopped (Slack's documentation: chat.postMessage).
    async fn confirmed(&self, code: &str, token: &store::Token) -> bool {
        if code != "invalid_auth" {
            return true;
        }
        matches!(
            self.slack.auth_test(&token.secret).await,
            Err(slack::Error::Unauthorized { .. } | slack::Error::MissingScope { .. })
        )
    }
}

fn recorded(id: InstallationId, recorded: Result<(), Error>) {
    if let Err(error) = recorded {
        tracing::warn!(
            workspace = %id, %error,
            "Slack's answer about limits or the token was not recorded"
        );
    }
}
