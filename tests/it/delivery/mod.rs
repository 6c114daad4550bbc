//! Delivery against the sandbox Slack, on every database: real client, real store, shortened time.

mod ambiguous;
mod changes;
mod checks;
mod clock;
mod fair;
mod flow;
mod limits;
mod mentions;
mod recovered;
mod resolving;
mod slow;
mod upkeep;

use std::time::Duration;

use herald::delivery::{Config, Delivery};
use herald::directory::{self, Directory};
use herald::domain::capacity::priority::Priority;
use herald::domain::ids::{
    ChannelId, DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId,
    SlackUserId, TenantId, UserId,
};
use herald::domain::message::render::Rendered;
use herald::domain::settings::{Identity, Rule, Settings};
use herald::domain::time::Timestamp;
use herald::sandbox::{self, LogEntry, Sandbox};
use herald::slack;
use herald::store::{
    Accept, DeliveryKind, DeliveryRecord, NewDelivery, NewInstallation, NotificationTerms, Store,
    Target,
};
use herald::telemetry::Metrics;
use herald::workspace::{self, Workspaces};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::store::{TestStore, connect_tenant, test_stores};

/// The length of one of Slack's seconds.
const SECOND: Duration = Duration::from_millis(10);
const SCALE: f64 = 0.01;
/// Far longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

const SCOPES: &[&str] = &[
    "chat:write",
    "im:write",
    "im:history",
    "channels:history",
    "groups:history",
    "users:read",
    "users:read.email",
];

/// A connected workspace with one tenant, and its delivery once started.
struct World {
    store: TestStore,
    sandbox: Sandbox,
    workspaces: Workspaces,
    directory: Directory,
    installation: InstallationId,
}

/// A running delivery; aborted with the test.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Stops like a process that is told to end: turns under way are finished first.
    async fn drain(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// One world per database.
async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for store in test_stores().await {
        worlds.push(World::new(store).await);
    }
    worlds
}

impl World {
    async fn new(store: TestStore) -> Self {
        Self::scaled(store, SCALE).await
    }

    /// With the given time scale.
    async fn scaled(store: TestStore, scale: f64) -> Self {
        let sandbox = Sandbox::start(sandbox::Config {
            addr: ([127, 0, 0, 1], 0).into(),
            rate_limits: false,
            time_scale: scale,
            seed_members: (1..=50).map(member).collect(),
            ..sandbox::Config::default()
        })
        .await
        .unwrap();
        store.tenancy().ensure_tenant(&tenant()).await.unwrap();
        let settings = Settings { sending_allowed: true, ..Settings::default() };
        store.tenancy().save_settings(&tenant(), &settings).await.unwrap();
        let installation = connect(&store, &sandbox, SCOPES).await;
        let (workspaces, directory) = upper(&store, &sandbox, scale);
        Self { store, sandbox, workspaces, directory, installation }
    }

    fn start(&self) -> Running {
        self.start_with(&Config::default())
    }

    fn start_with(&self, config: &Config) -> Running {
        let store = self.store.store.clone();
        run(store, self.workspaces.clone(), self.directory.clone(), config)
    }

    /// Another replica, with connections and caches of its own.
    async fn replica(&self) -> Running {
        let store = self.store.replica().await;
        let (workspaces, directory) = upper(&store, &self.sandbox, SCALE);
        run(store, workspaces, directory, &Config::default())
    }

    /// Accepts a message to the member with this text.
    async fn post(&self, lane: &str, text: &str) -> DeliveryId {
        self.post_kind(lane, text, DeliveryKind::Normal).await
    }

    async fn post_kind(&self, lane: &str, text: &str, kind: DeliveryKind) -> DeliveryId {
        self.accept(self.message(lane, text, kind), HOUR).await
    }

    async fn post_expiring(&self, lane: &str, text: &str, expires_in: Duration) -> DeliveryId {
        self.accept(self.message(lane, text, DeliveryKind::Normal), expires_in).await
    }

    fn message(&self, lane: &str, text: &str, kind: DeliveryKind) -> NewDelivery {
        let (text, blocks) = (text.into(), json!([]));
        let rendered = Rendered { text, blocks, shortened: false, cut: Vec::new() };
        NewDelivery {
            id: DeliveryId(uuid::Uuid::now_v7()),
            user: lane.starts_with('U').then(|| user(lane)),
            channel: None,
            target: Target::Lane { installation: self.installation, lane: lane.into() },
            content: Some(serde_json::to_vec(&rendered).unwrap()),
            kind,
            priority: Priority::Normal,
            also: Vec::new(),
            trace: None,
        }
    }

    async fn accept(&self, new: NewDelivery, expires_in: Duration) -> DeliveryId {
        let id = new.id;
        let accept = Accept { expires_in, ..accept_of(vec![new]) };
        self.store.outbox().accept(accept).await.unwrap();
        id
    }

    async fn record(&self, id: DeliveryId) -> DeliveryRecord {
        self.store.records().delivery(&tenant(), id).await.unwrap().unwrap()
    }

    /// Waits until the delivery has ended.
    async fn ended(&self, id: DeliveryId) -> DeliveryRecord {
        self.until(id, |record| record.state.is_terminal()).await
    }

    /// Waits until the delivery's record is as wanted; checks whenever Slack got a request or a
    /// delivery ended.
    async fn until(
        &self,
        id: DeliveryId,
        wanted: impl Fn(&DeliveryRecord) -> bool,
    ) -> DeliveryRecord {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut ends = self.store.outbox().ended();
        loop {
            let record = self.record(id).await;
            if wanted(&record) {
                return record;
            }
            assert!(tokio::time::Instant::now() < deadline, "{record:?} {:?}", self.posts());
            // Steps other than an end give no signal.
            tokio::time::timeout(SECOND, ends.recv()).await.ok();
        }
    }

    /// The texts that Slack stored, in its order.
    fn texts(&self) -> Vec<String> {
        self.sandbox.messages().into_iter().map(|message| message.text).collect()
    }

    /// The requests to post.
    fn posts(&self) -> Vec<LogEntry> {
        self.calls("chat.postMessage")
    }

    fn calls(&self, method: &str) -> Vec<LogEntry> {
        self.sandbox.log().into_iter().filter(|entry| entry.method == method).collect()
    }

    async fn identify(&self, lane: &str, member: &str) {
        let identity = Identity {
            slack_user_id: SlackUserId::parse(member).unwrap(),
            display_name: member.to_owned(),
            rule: Rule::Matched,
            installation: self.installation,
            stored_at: Timestamp(0),
        };
        self.store.people().store_identity(&tenant(), &user(lane), &identity).await.unwrap();
    }
}

/// The stored form of a Notify call by [`tenant`].
fn accept_of(deliveries: Vec<NewDelivery>) -> Accept {
    let id = uuid::Uuid::now_v7();
    Accept {
        id: NotificationId(id),
        tenant: tenant(),
        principal: Principal::parse("platform").unwrap(),
        request_id: RequestId::parse(id.to_string()).unwrap(),
        fingerprint: [0; 32],
        event_type: EventType::parse("task.assigned").unwrap(),
        data: br#"{"task":{"name":"Sign"},"process":{"name":"Onboarding"}}"#.to_vec(),
        link: Some("https://platform.example/task/1".into()),
        about: NotificationTerms::default(),
        answer: Vec::new(),
        deliveries,
        people: Vec::new(),
        identities: Vec::new(),
        expires_in: HOUR,
        trace_context: None,
    }
}

fn run(store: Store, workspaces: Workspaces, directory: Directory, config: &Config) -> Running {
    let delivery = Delivery::new(store, workspaces, directory, Metrics::unobserved(), config);
    let stop = CancellationToken::new();
    let task = tokio::spawn(delivery.run(stop.clone()));
    Running { stop, task }
}

/// The sandbox's workspace with a new token.
fn installed(sandbox: &Sandbox, scopes: &[&str]) -> NewInstallation {
    NewInstallation {
        app_id: "A0SANDBOX01".into(),
        enterprise_id: None,
        team_id: Some("T0SANDBOX01".into()),
        org_wide: false,
        team_name: "Demo Workspace".into(),
        bot_user_id: sandbox.bot_user_id(),
        bot_name: "herald".into(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        token: sandbox.install(scopes),
        refresh_token: None,
        token_expires_at: None,
        installed_by: None,
        app_path: String::new(),
    }
}

/// Installs the app again, which revives a dead installation.
async fn connect(store: &Store, sandbox: &Sandbox, scopes: &[&str]) -> InstallationId {
    let installation = connect_tenant(store, &tenant(), &installed(sandbox, scopes)).await;
    store.lanes().wake(installation).await.unwrap();
    installation
}

/// The parts of a replica above the store.
fn upper(store: &Store, sandbox: &Sandbox, scale: f64) -> (Workspaces, Directory) {
    let config =
        slack::Config { base_url: sandbox.url(), time_scale: scale, ..slack::Config::default() };
    let client = slack::Client::new(&config, Metrics::unobserved()).unwrap();
    let workspaces = Workspaces::new(store.clone(), client, workspace::Config::default());
    let directory = Directory::new(
        store.clone(),
        workspaces.clone(),
        Metrics::unobserved(),
        directory::Config::default(),
    );
    (workspaces, directory)
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// The user whose lane this is.
fn user(lane: &str) -> UserId {
    UserId::parse(format!("person-{lane}")).unwrap()
}

fn member(number: usize) -> serde_json::Value {
    json!({
        "id": format!("U{number}"), "name": format!("person{number}"),
        "profile": { "email": format!("person{number}@example.com") },
    })
}

fn channel(id: &str) -> ChannelId {
    ChannelId::parse(id).unwrap()
}
