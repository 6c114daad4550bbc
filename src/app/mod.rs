//! One file for each question a caller can ask. No tonic and no axum in here.
//!
//! Every question takes a [`Call`] (who asks, about which tenant, on whose behalf) and checks
//! permission before it looks anything up.

mod backlog;
mod caller;
mod cancel_notification;
mod clear_identity;
mod connect;
mod delete_person;
mod error;
mod estimate;
pub mod get_notification;
pub mod get_person;
pub mod get_preferences;
pub mod get_workspace;
pub mod list_event_types;
mod list_failed;
mod list_notifications;
pub mod list_people;
pub mod match_coverage;
pub mod notify;
mod pin_identity;
pub mod records;
mod refresh_directory;
pub mod replay_deliveries;
pub mod resolve_identity;
pub mod set_preference;
mod take_event;
mod tenant;
pub mod test_slack;
pub mod update_settings;
mod upsert_people;
pub mod watch_deliveries;
pub mod watch_notification;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use caller::{Acting, Actor, Caller, Reach, Role};
pub use connect::{Callback, ConnectLink, Connected};
pub use error::{Error, Violation};
pub use take_event::{SignedRequest, Taken};

use crate::directory::Directory;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::person::Person;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::workspace::Workspaces;

/// Answers questions. Cheap to clone; shared by every connection.
#[derive(Clone)]
pub struct App {
    store: Store,
    workspaces: Workspaces,
    directory: Directory,
    metrics: Metrics,
    config: Arc<Config>,
    /// What waits of each tenant.
    backlogs: backlog::Counts,
    /// Bounds the scans over all people of a tenant.
    scans: Arc<Semaphore>,
    outlooks: estimate::Outlooks,
}

/// What this layer needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Slack sends people back to: the public address of `/slack/oauth/callback`.
    pub redirect_url: url::Url,
    /// How long a connect link works.
    pub connect_link_lifetime: std::time::Duration,
    /// Messages of one tenant that may wait at the same time.
    pub max_waiting: u64,
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

    /// Notify and reading notifications: the platform's back end or an administrator calls, on
    /// behalf of whichever user; a key of the user role does not.
    pub fn may_notify(&self) -> Result<(), Error> {
        self.acting()?;
        match self.caller.role {
            Role::Service | Role::Administrator => Ok(()),
            Role::User(_) => Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only a service or an administrator may do this",
            )),
        }
    }

    /// A record says who somebody is, so it comes from the platform: whoever could describe
    /// themselves could name another's address and receive, or look up, what is theirs.
    fn may_name(&self, subject: &Subject) -> Result<(), Error> {
        match (&self.caller.role, subject) {
            (Role::User(_), Subject::Described(_)) => Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only a service or an administrator may describe a person; name the user_id",
            )),
            _ => Ok(()),
        }
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
    pub fn new(
        store: Store,
        workspaces: Workspaces,
        directory: Directory,
        metrics: Metrics,
        config: Config,
    ) -> Self {
        let (config, backlogs) = (Arc::new(config), backlog::counts());
        let scans = Arc::new(Semaphore::new(match_coverage::SCANS));
        let outlooks = estimate::outlooks();
        Self { store, workspaces, directory, metrics, config, backlogs, scans, outlooks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Principal;

    #[test]
    fn a_user_does_not_say_who_they_are() {
        let ann = UserId::parse("ann").unwrap();
        let call = |role| Call {
            caller: Caller {
                principal: Principal::parse("p").unwrap(),
                role,
                reach: Reach::All,
                may_act_for_users: false,
            },
            tenant: TenantId::parse("acme").unwrap(),
            actor: None,
        };
        let described = Subject::Described(Person::bare(ann.clone()));
        let user = call(Role::User(ann.clone()));
        assert!(matches!(user.may_name(&described), Err(Error::Denied { .. })));
        assert!(user.may_name(&Subject::Known(ann)).is_ok());
        assert!(call(Role::Service).may_name(&described).is_ok());
    }
}
