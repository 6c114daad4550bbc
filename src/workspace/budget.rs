//! The documented limits of the methods Herald calls, counted per workspace over all replicas.

use std::time::Duration;

use crate::domain::budget::Budget;

/// A method and its tier (slack-platform.md sections 3 and 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    UsersList,
    UsersInfo,
    UsersLookupByEmail,
    UsersProfileGet,
    ConversationsOpen,
    ConversationsHistory,
    ConversationsReplies,
    ChatPostMessage,
    AuthTest,
    ChatUpdate,
    ChatDelete,
}

impl From<Budget> for Method {
    fn from(budget: Budget) -> Self {
        match budget {
            Budget::Posts => Self::ChatPostMessage,
            Budget::Updates => Self::ChatUpdate,
            Budget::Deletions => Self::ChatDelete,
        }
    }
}

impl Method {
    /// Slack's name; also the key of the budget.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UsersList => "users.list",
            Self::UsersInfo => "users.info",
            Self::UsersLookupByEmail => "users.lookupByEmail",
            Self::UsersProfileGet => "users.profile.get",
            Self::ConversationsOpen => "conversations.open",
            Self::ConversationsHistory => "conversations.history",
            Self::ConversationsReplies => "conversations.replies",
            Self::ChatPostMessage => "chat.postMessage",
            Self::AuthTest => "auth.test",
            Self::ChatUpdate => "chat.update",
            Self::ChatDelete => "chat.delete",
        }
    }

    /// The time between two calls that the guaranteed rate allows. Posting has its own limit per
    /// channel, kept by the lanes; the one for the whole workspace is not published, so only a
    /// 429 pauses it.
    #[must_use]
    pub fn interval(self) -> Duration {
        let per_minute = match self {
            Self::UsersList => 20,
            Self::UsersLookupByEmail
            | Self::ConversationsOpen
            | Self::ConversationsHistory
            | Self::ConversationsReplies
            | Self::ChatUpdate
            | Self::ChatDelete => 50,
            Self::UsersInfo | Self::UsersProfileGet => 100,
            // "Hundreds a minute".
            Self::AuthTest => 300,
            Self::ChatPostMessage => return Duration::ZERO,
        };
        Duration::from_secs(60) / per_minute
    }
}
