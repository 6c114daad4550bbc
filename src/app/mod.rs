//! One file for each question a caller can ask. No tonic and no axum in here.
//!
//! Every question takes a [`Call`] (who asks, about which tenant, on whose behalf) and checks
//! permission before it looks anything up.

mod caller;
mod cancel_notification;
mod clear_identity;
mod connect;
mod delete_person;
mod error;
pub mod get_notification;
pub mod get_person;
pub mod get_preferences;
pub mod get_workspace;
pub mod list_event_types;
mod list_notifications;
pub mod list_people;
pub mod notify;
mod pin_identity;
pub mod records;
mod refresh_directory;
pub mod resolve_identity;
pub mod set_preference;
mod tenant;
pub mod test_slack;
pub mod update_settings;
mod upsert_people;
pub mod watch_deliveries;
pub mod watch_notification;

use std::sync::Arc;

pub use caller::{Acting, Actor, Caller, Reach, Role};
pub use connect::{Callback, ConnectLink, Connected};
pub use error::{Error, Violation};

use crate::directory::Directory;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::person::Person;
use crate::store::Store;
use crate::workspace::Workspaces;

/// Answers questions. Cheap to clone; shared by every connection.
#[derive(Clone)]
pub struct App {
    store: Store,
    workspaces: Workspaces,
    directory: Directory,
    config: Arc<Config>,
}

/// What this layer needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Slack sends people back to: the public address of `/slack/oauth/callback`.
    pub redirect_url: url::Url,
    /// How long a connect link works.
    pub connect_link_lifetime: std::time::Duration,
}

/// Who asks, about which tenant, on whose behalf.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: Caller,
    pub tenant: TenantId,
    pub actor: Option<Actor>,
}

impl Call {
    /// Weighs caller and actor; refuses a tenant out of reach.
    pub fn acting(&self) -> Result<Acting, Error> {
        self.caller.acting(&self.tenant, self.actor.as_ref())
    }
}

/// Whom a question is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Somebody the store may know.
    Known(UserId),
    /// Somebody described in the call.
    Described(Person),
}

impl Subject {
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        match self {
            Self::Known(id) => id,
            Self::Described(person) => &person.user_id,
        }
    }
}

impl App {
    pub fn new(store: Store, workspaces: Workspaces, directory: Directory, config: Config) -> Self {
        Self { store, workspaces, directory, config: Arc::new(config) }
    }
}
