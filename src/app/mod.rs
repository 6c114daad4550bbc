//! One file for each operation a caller can request. There is no tonic and no axum in here.
//!
//! Every operation takes a [`Call`] (the caller, the tenant, the actor) and checks permission
//! before any lookup.

mod connect_end;
mod error;
pub mod records;

pub mod api_keys;
mod backlog;
mod caller;
mod cancel_notification;
mod changes;
mod clear_identity;
mod connect_scopes;
mod delete_person;
mod estimate;
pub mod event_types;
pub mod feeds;
pub mod get_notification;
pub mod get_person;
pub mod get_preferences;
mod home_queue;
mod keys;
pub mod leave;
mod list_audit;
pub mod list_event_types;
mod list_failed;
mod list_notifications;
mod refresh_directory;
mod rename_person;
pub mod slack_app;
mod take_event;
mod tenant;
mod tenant_types;
pub mod update_settings;
mod upsert_people;
pub mod watch_channels;
pub mod watch_deliveries;

mod direct;
pub mod get_workspace;
pub mod identity_link;
pub mod match_coverage;
mod merge_people;
pub mod notify;
pub mod operators;
pub mod pin_identities;
mod pin_identity;
pub mod replay_deliveries;
pub mod resolve_identity;
pub mod set_preference;
pub mod templates;
pub mod test_slack;
pub mod trail;
pub mod watch_notification;

pub mod channels;
pub mod check_connection;
mod connect;
pub mod list_people;
pub mod preview_template;
pub mod watch_workspace;

mod open_home;

mod choose_team;

pub mod slack_app_manifest;
mod take_interaction;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use caller::{Acting, Actor, Caller, Reach, Role};
pub use choose_team::{ChosenTeam, TEAM};
pub use connect::{Callback, ConnectLink, ConnectWish, LinkUse};
pub use connect_end::{ConnectEnd, Connected, Cookie, LackingFeature, Start, TeamOption, Unusable};
pub use error::{Error, Violation};
pub use keys::{KeyHolder, Keys};
pub use take_event::{SignedRequest, Taken};
pub use take_interaction::InteractionTaken;
pub use trail::{Config as AuditConfig, Trail};

use crate::directory::{Directory, Turns};
use crate::domain::access::Right;
use crate::domain::identity::person::Person;
use crate::domain::ids::{TenantId, UserId};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::workspace::Workspaces;

/// Answers calls. Cheap to clone; shared by every connection.
#[derive(Clone)]
pub struct App {
    store: Store,
    workspaces: Workspaces,
    directory: Directory,
    metrics: Metrics,
    config: Arc<Config>,
    /// The waiting messages of each tenant.
    backlogs: backlog::Counts,
    /// Bounds the scans over all people of a tenant.
    scans: Arc<Semaphore>,
    recent_backlogs: estimate::RecentBacklogs,
    recent_types: tenant_types::RecentTypes,
    recent_words: templates::RecentWords,
    /// Changes of each tenant's settings, event types and templates.
    changes: changes::Changes,
    /// One task of this replica at a time ends installations that no tenant uses.
    ending: Arc<tokio::sync::Mutex<()>>,
    /// Bounds the planning of large calls.
    turns: Turns,
    trail: Trail,
    keys: Keys,
    /// Home tabs that people opened and that are not published yet.
    homes: home_queue::OpenedHomes,
}

/// The settings of this layer.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address that Slack sends people back to: the public address of `/slack/oauth/callback`.
    /// Each attempt has its own address below it.
    pub redirect_url: url::Url,
    /// The address to which Slack sends the events of the deployment's app.
    pub events_url: url::Url,
    /// The address to which Slack sends the interactions of the deployment's app.
    pub interactions_url: url::Url,
    /// The public address below which the apps of tenants have their addresses.
    pub apps_url: url::Url,
    /// The public address of the page that a connect link opens.
    pub connect_url: url::Url,
    /// The public address of the page that an identity link opens.
    pub identity_url: url::Url,
    /// The public address below which browsers get previews.
    pub preview_url: url::Url,
    /// The origins to which a connect link may send the browser back.
    pub return_origins: Vec<url::Origin>,
    /// The platform's name on the pages of connecting.
    pub display_name: String,
    /// How long a connect link works.
    pub connect_link_lifetime: std::time::Duration,
    /// Messages of one tenant that may wait at the same time.
    pub max_waiting: u64,
    pub audit: trail::Config,
}

/// The caller, the tenant that the call is about, and the actor on whose behalf it is made.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: Caller,
    pub tenant: TenantId,
    pub actor: Option<Actor>,
}

impl Call {
    /// Combines caller and actor; refuses a tenant out of reach.
    pub fn acting(&self) -> Result<Acting, Error> {
        self.caller.acting(&self.tenant, self.actor.as_ref())
    }

    /// Whether the call may do this for the tenant as a whole.
    pub fn may(&self, right: &Right) -> Result<Acting, Error> {
        caller::may(right, self.acting()?)
    }

    /// Whether the call may do this for a person.
    pub fn may_about(&self, right: &Right, person: &UserId) -> Result<Acting, Error> {
        caller::may_about(right, self.acting()?, person)
    }

    /// Whether the call may see this: all of it, or only the returned person's part.
    pub fn may_see(&self, right: &Right) -> Result<Option<UserId>, Error> {
        caller::may_see(right, self.acting()?)
    }
}

/// The person that a call is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A person that the store may know.
    Known(UserId),
    /// A person described in the call.
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
        let recent_backlogs = estimate::recent_backlogs();
        let recent_types = tenant_types::recent_types();
        let recent_words = templates::recent_words();
        let turns = Turns::new();
        let trail = Trail::new(store.clone(), metrics.clone(), &config.audit);
        let keys = Keys::new(store.clone(), metrics.clone());
        Self {
            store,
            workspaces,
            directory,
            metrics,
            config,
            backlogs,
            scans,
            recent_backlogs,
            recent_types,
            recent_words,
            changes: changes::Changes::default(),
            ending: Arc::default(),
            turns,
            trail,
            keys,
            homes: home_queue::OpenedHomes::default(),
        }
    }

    /// Records calls that change nothing.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The API keys of the store.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}
