//! Herald as its users see it: replicas on real sockets over a real database, with the sandbox
//! Slack on the other side. Tests use the API; the store is only read when a test ends, to account
//! for accepted deliveries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::config::Settings;
use herald::domain::secret::Secret;
use herald::rpc::{CallerConfig, RoleConfig, pb};
use herald::sandbox::browser::{self, Decision, Page};
use herald::sandbox::{self, Fault, FaultKind, LogEntry, Sandbox, StoredMessage};
use herald::server::{self, RunningServer};
use herald::telemetry::Watchdog;
use sea_orm::ConnectionTrait as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::books::Books;
use super::client::{Client, key_of};
use super::store::{TestStore, test_stores};

/// The length of one of Slack's seconds here, in seconds.
pub(crate) const SCALE: f64 = 0.02;
/// Far longer than anything here takes: a longer wait would never succeed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The tenant of tests that need only one.
pub(crate) const TENANT: &str = "acme";

/// The pause between two checks of things that give no signal across the socket.
const LOOK: Duration = Duration::from_millis(10);

/// How a world begins.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Slack enforces its rate limits.
    pub(crate) rate_limits: bool,
    /// Posts a minute that Slack accepts in the workspace, and that Herald knows of.
    pub(crate) posts_per_minute: Option<u32>,
    pub(crate) replicas: usize,
    /// Callers with their keys; without any, all callers are administrators.
    pub(crate) callers: Vec<CallerConfig>,
    /// The workspace's members; `None` for those of the demo.
    pub(crate) members: Option<Vec<Value>>,
    pub(crate) require_approval: bool,
    /// The factor for every duration.
    pub(crate) scale: f64,
    /// Whether the tenant is connected, may send, and has its member list.
    pub(crate) ready: bool,
    /// Changes settings of every replica.
    pub(crate) adjust: fn(&mut Settings),
    /// The time after which custom fields are fetched again even if nothing changed.
    pub(crate) fields_refresh_seconds: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rate_limits: false,
            posts_per_minute: None,
            replicas: 1,
            callers: Vec::new(),
            members: None,
            require_approval: false,
            scale: SCALE,
            ready: true,
            adjust: |_| {},
            fields_refresh_seconds: 86_400,
        }
    }
}

/// Runs `test` once for each database, with the tenant connected and sending on.
pub(crate) async fn for_each_database(test: impl AsyncFn(&mut World)) {
    Plan::default().run(test).await;
}

impl Plan {
    /// Runs `test` once for each database; afterwards the outbox must be explained.
    pub(crate) async fn run(self, test: impl AsyncFn(&mut World)) {
        for store in test_stores().await {
            let mut world = Box::pin(World::start(store, self.clone())).await;
            if self.ready {
                world.make_ready().await;
            }
            test(&mut world).await;
            world.assert_outbox_explained().await;
            world.stop().await;
        }
    }
}

/// One running server.
pub(crate) struct Replica {
    pub(crate) rpc: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) watchdog: Watchdog,
    stop: CancellationToken,
    task: JoinHandle<Result<(), server::Error>>,
}

impl Replica {
    pub(crate) async fn start(settings: Settings) -> Self {
        let server = Box::pin(RunningServer::start(settings)).await.unwrap();
        let (rpc, health, http) = (server.rpc, server.health, server.http);
        let watchdog = server.watchdog();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { rpc, health, http, watchdog, stop, task }
    }

    /// Ends it as SIGTERM does; [`Self::stopped`] waits for the end.
    pub(crate) fn terminate(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Herald, its database, and Slack.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) replicas: Vec<Replica>,
    store: TestStore,
    /// A client for the tenant [`TENANT`], at the first replica.
    pub(crate) client: Client,
    /// The accepted deliveries, as answers named them.
    books: Arc<Mutex<Books>>,
    plan: Plan,
}

impl World {
    async fn start(store: TestStore, plan: Plan) -> Self {
        // Another test may have installed one already; that one works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = sandbox::Config {
            addr: ([127, 0, 0, 1], 0).into(),
            rate_limits: plan.rate_limits,
            time_scale: plan.scale,
            require_approval: plan.require_approval,
            ..sandbox::Config::default()
        };
        if let Some(posts) = plan.posts_per_minute {
            config.posts_per_minute = posts;
        }
        if let Some(members) = &plan.members {
            config.seed_members.clone_from(members);
        }
        let sandbox = Sandbox::start(config).await.unwrap();
        let mut replicas = Vec::new();
        for _ in 0..plan.replicas {
            let settings = settings(&store, &sandbox, &plan);
            replicas.push(Replica::start(settings).await);
        }
        let books = Arc::default();
        let client = Client::connect(replicas[0].rpc, None, Arc::clone(&books)).await;
        Self { sandbox, replicas, store, client, books, plan }
    }

    /// The settings of one more replica.
    pub(crate) fn settings(&self) -> Settings {
        settings(&self.store, &self.sandbox, &self.plan)
    }

    /// Another client with the same books: at that replica, with that key.
    pub(crate) async fn client(&self, replica: usize, key: Option<&str>) -> Client {
        Client::connect(self.replicas[replica].rpc, key, Arc::clone(&self.books)).await
    }

    /// The same with given credentials, or none.
    pub(crate) fn bearing(&self, replica: usize, bearer: Option<&str>) -> Client {
        self.over(super::process::channel(self.replicas[replica].rpc), bearer)
    }

    /// The same over a connection of any kind.
    pub(crate) fn over(&self, channel: tonic::transport::Channel, bearer: Option<&str>) -> Client {
        Client::bearing(channel, bearer, Arc::clone(&self.books))
    }

    /// Another client with the same books, at that address.
    pub(crate) async fn client_at(&self, rpc: SocketAddr) -> Client {
        Client::connect(rpc, None, Arc::clone(&self.books)).await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.store.config.url.is_some()
    }

    /// A connection that bypasses the store, to count rows.
    pub(crate) async fn raw(&self) -> sea_orm::DatabaseConnection {
        self.store.raw().await
    }

    /// The number that this query of one row answers.
    pub(crate) async fn count(&self, text: &str) -> i64 {
        let raw = self.raw().await;
        let statement = sea_orm::Statement::from_string(raw.get_database_backend(), text);
        raw.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    /// Runs a statement without Herald; returns the number of rows that it changed.
    pub(crate) async fn execute(&self, text: &str) -> Result<u64, String> {
        let done = self.raw().await.execute_unprepared(text).await;
        done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
    }

    /// Connects the tenant, turns sending on, and waits for the member list.
    pub(crate) async fn make_ready(&self) {
        let page = self.connect(TENANT).await;
        assert_eq!(page.status, 200, "{}", page.html);
        self.client.switch_sending(TENANT, true).await;
        self.members_read(TENANT, 1).await;
    }

    /// An administrator follows a connect link and approves.
    pub(crate) async fn connect(&self, tenant: &str) -> Page {
        let link = self.client.begin_connect(tenant).await.unwrap();
        self.decide(&link.authorize_url, Decision::Allow).await
    }

    /// The database's time.
    pub(crate) async fn now(&self) -> herald::domain::time::Timestamp {
        self.store.now().await.unwrap()
    }

    /// The database counts as a copy of an earlier time, as after `herald recover`.
    pub(crate) async fn recover(&self) {
        self.store.upkeep().begin_epoch().await.unwrap();
    }

    pub(crate) async fn decide(&self, link: &str, decision: Decision) -> Page {
        browser::decide(&Url::parse(link).unwrap(), decision).await.unwrap()
    }

    /// Waits until every replica serves at least this generation of the member list.
    pub(crate) async fn members_read(&self, tenant: &str, generation: i64) -> pb::Directory {
        let mut last = pb::Directory::default();
        for replica in 0..self.replicas.len() {
            let client = self.client(replica, self.client.key()).await;
            last = until("the member list is read", async || {
                let workspace = client.workspace(tenant).await.unwrap();
                let read = workspace.directory?;
                (read.generation >= generation && read.members > 0).then_some(read)
            })
            .await;
        }
        last
    }

    /// Waits until Slack stored this many messages, and returns them in Slack's order.
    pub(crate) async fn messages(&self, count: usize) -> Vec<StoredMessage> {
        let mut stored = self.sandbox.stored();
        let enough = stored.wait_for(|stored| *stored >= count as u64);
        let waited = tokio::time::timeout(PATIENCE, enough).await.is_ok();
        let messages = self.sandbox.messages();
        assert!(waited && messages.len() == count, "{count} wanted, there: {messages:#?}");
        messages
    }

    /// Waits until every accepted delivery ended, and returns all messages that Slack stored.
    pub(crate) async fn settled(&self) -> Vec<StoredMessage> {
        let accepted = self.books.lock().unwrap().notifications.clone();
        for (tenant, id) in accepted {
            self.client.ended(&tenant, &id).await;
        }
        self.sandbox.messages()
    }

    /// The requests of one method that Slack got.
    pub(crate) fn calls(&self, method: &str) -> Vec<LogEntry> {
        self.sandbox.log().into_iter().filter(|entry| entry.method == method).collect()
    }

    /// Waits until Slack answered this many requests of one method.
    pub(crate) async fn called(&self, method: &str, count: usize) -> Vec<LogEntry> {
        until(method, async || Some(self.calls(method)).filter(|calls| calls.len() >= count)).await
    }

    /// Waits until Slack stored this many messages, as long as more keep coming.
    pub(crate) async fn stored(&self, count: usize) {
        let mut stored = self.sandbox.stored();
        while *stored.borrow_and_update() < count as u64 {
            tokio::time::timeout(PATIENCE, stored.changed()).await.unwrap().unwrap();
        }
    }

    /// Posts to this member or channel are answered 429 until faults are cleared.
    pub(crate) fn throttle(&self, channel: &str, retry_after_seconds: u32) {
        let kind = FaultKind::Status {
            code: 429,
            body: String::new(),
            retry_after: Some(retry_after_seconds.to_string()),
        };
        let fault = Fault::new("chat.postMessage", kind);
        self.sandbox.script(Fault { channel: Some(channel.into()), ..fault });
    }

    /// Records that this delivery replays a dead letter of [`TENANT`].
    pub(crate) fn replayed(&self, delivery: &str) {
        if !delivery.is_empty() {
            self.books.lock().unwrap().replayed(TENANT, delivery);
        }
    }

    /// Records that deliveries of this tenant may still be under way when the test ends.
    pub(crate) fn may_stay(&self, delivery: &str) {
        self.books.lock().unwrap().may_stay.insert(delivery.to_owned());
    }

    /// Stops the replicas as SIGTERM does, so that their pending records are written. The database
    /// stays.
    pub(crate) async fn drain(&mut self) {
        for replica in self.replicas.drain(..) {
            replica.stopped().await;
        }
    }

    /// Every accepted recipient must be accounted for in the store and, if sent, in Slack (I1, I2).
    async fn assert_outbox_explained(&self) {
        let books = self.books.lock().unwrap().clone();
        books.balance(&self.store, &self.sandbox).await;
    }

    pub(crate) async fn stop(self) {
        for replica in self.replicas {
            replica.stopped().await;
        }
        self.sandbox.stop().await;
    }
}

/// Polls until there is an answer, for things that give no signal across the socket.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "timed out waiting: {what}");
    }
}

/// A caller with the key that [`Client::connect`] makes from its name.
pub(crate) fn caller(principal: &str, role: RoleConfig, tenants: &[&str]) -> CallerConfig {
    let hash = Sha256::digest(key_of(principal).as_bytes());
    CallerConfig {
        principal: principal.into(),
        key_sha256: Some(
            hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
        ),
        certificate: None,
        role,
        user_id: None,
        tenants: tenants.iter().map(ToString::to_string).collect(),
        may_act_for_users: false,
        may_administer_for_users: false,
    }
}

fn settings(store: &TestStore, sandbox: &Sandbox, plan: &Plan) -> Settings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let slack = sandbox::Config::default();
    let mut settings = Settings::default();
    settings.rpc.insecure = plan.callers.is_empty();
    settings.rpc.callers.clone_from(&plan.callers);
    (settings.rpc.address, settings.rpc.health_address, settings.http.address) = (free, free, free);
    settings.store = store.config.clone();
    settings.slack.base_url = sandbox.url();
    settings.slack.time_scale = plan.scale;
    settings.app.client_id = slack.client_id;
    settings.app.posts_per_minute = plan.posts_per_minute.unwrap_or(0);
    settings.app.client_secret = Secret::new(slack.client_secret.expose());
    settings.app.signing_secret = Secret::new(slack.signing_secret.expose());
    // Scaled, but for a busy machine: no replica dies here, so none needs to be replaced.
    settings.delivery.lease_seconds = 1500;
    settings.directory.lease_seconds = 1500;
    settings.channels.lease_seconds = 1500;
    // Checks without a caller have tests of their own; other tests count the calls to Slack.
    settings.doctor.check_seconds = 0;
    // However busy the machine is, a remembered absence is not forgotten within a test.
    settings.directory.absent_seconds = 3600;
    settings.directory.fields_refresh_seconds = plan.fields_refresh_seconds;
    // Tests may call as often as they like; the rate limits have tests of their own.
    settings.rpc.caller_calls_per_second = 0;
    settings.rpc.user_calls_per_second = 0;
    settings.rpc.tenant_calls_per_second = 0;
    settings.rpc.caller_bytes_per_second = 0;
    settings.process.lame_duck_seconds = 0;
    settings.process.grace_seconds = 20;
    (plan.adjust)(&mut settings);
    settings
}
