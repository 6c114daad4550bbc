//! The Slack client: one request path, typed methods, and a verdict on each call.
//!
//! `client` writes the request and reads the answer; `answer` judges it, by the table in
//! `domain::slack_codes`, into an [`Error`] that says what the caller should do; `oauth`, `openid`,
//! `revoke`, `rotation`, `users`, `conversations`, `channels`, `chat`, `blocks` and `views` are the
//! methods.
//! Nothing is retried or paced here: that is up to the caller, who knows the other replicas.
//! `signature` verifies the requests that Slack sends to Herald; `events`, `channel_events` and
//! `interactions` read them. `manifests` creates and changes apps.

pub mod audience;
mod config;
mod error;
mod retry_after;
pub mod signature;

mod deadline;
mod wire;

mod answer;
pub mod channel_events;
pub mod events;
pub mod interactions;

mod client;

mod blocks;
mod channels;
mod chat;
mod manifests;
mod oauth;
mod openid;
mod revoke;
mod rotation;
mod users;
mod views;

mod conversations;

#[cfg(test)]
mod responder;
#[cfg(test)]
mod tests_of_methods;
#[cfg(test)]
mod tests_of_methods_on_channels;
#[cfg(test)]
mod tests_of_rotation;
#[cfg(test)]
mod tests_of_transport;

#[cfg(test)]
mod tests_of_manifests;

pub use crate::domain::slack_app::AppCredentials;
pub use crate::domain::slack_codes::ErrorClass;
pub use blocks::Objection;
pub use channels::{ChannelMembersPage, ChannelsPage};
pub use chat::{Destination, PostMessage, UpdateMessage};
pub use client::Client;
pub use config::{Config, ConfigError};
pub use conversations::{HistoryMessage, MessagesPage, Range};
pub use deadline::TooLate;
pub use error::Error;
pub use manifests::{CreatedSlackApp, ManifestAnswer, ManifestFault};
pub use oauth::{Access, AuthTest, Authorize};
pub use openid::{SignInPage, SignedIn};
pub use rotation::{EXCHANGED_IDS, NextToken, TeamsPage};
pub use users::{FieldsJson, MembersPage};
pub use wire::{MemberJson, NamedTeam};
