//! Fresh stores for contract tests: SQLite always, PostgreSQL if a server is configured.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::ids::{InstallationId, TenantId};
use herald::domain::secret::Secret;
use herald::store::{
    Backend, Config, ConnectCompletion, ConnectGrant, CrawlLease, CrawledPage, NewInstallation,
    Saved, Store,
};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use tempfile::TempDir;

/// The URL of a server whose user may create databases; tests/run sets it.
const VARIABLE: &str = "HERALD_TEST_POSTGRES";
/// Any 32 bytes.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// For a connection: a machine that is busy with other tests may need more than the default of 5 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// A migrated store, with everything that is needed to open it again.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) config: Config,
    /// The folder lives as long as the store.
    _dir: TempDir,
}

impl Deref for TestStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestStore {
    /// A connection that bypasses the store, to read rows and to tamper with them.
    pub(crate) async fn raw(&self) -> DatabaseConnection {
        raw(&self.config).await
    }

    /// [`counts`] over a connection of its own.
    pub(crate) async fn counts(&self, tenant: &TenantId) -> BTreeMap<&'static str, i64> {
        counts(&self.raw().await, tenant).await
    }

    /// Another replica: its own connections and caches on the same database.
    pub(crate) async fn replica(&self) -> Store {
        Store::open(&self.config).await.unwrap()
    }
}

/// A connection to the database of a store with this configuration.
pub(crate) async fn raw(config: &Config) -> DatabaseConnection {
    let url = match &config.url {
        Some(url) => url.expose().to_owned(),
        None => format!("sqlite:{}", config.data_dir.join("herald.db").display()),
    };
    Database::connect(url).await.unwrap()
}

/// How many deliveries a tenant has in each state, including history; states without deliveries are
/// absent. The sum is all accepted deliveries minus those that retention removed (invariant I1).
pub(crate) async fn counts(
    raw: &DatabaseConnection,
    tenant: &TenantId,
) -> BTreeMap<&'static str, i64> {
    let text = format!(
        "SELECT state, COUNT(*)
            FROM (
                SELECT state
                FROM deliveries
                WHERE tenant = '{tenant}'
                UNION ALL
                SELECT state
                FROM deliveries_history
                WHERE tenant = '{tenant}') AS every
            GROUP BY state"
    );
    let text = Statement::from_string(raw.get_database_backend(), text);
    let rows = raw.query_all_raw(text).await.unwrap();
    let counts = rows.iter().map(|row| {
        let code: String = row.try_get_by_index(0).unwrap();
        (State::from_code(&code).unwrap().code(), row.try_get_by_index::<i64>(1).unwrap())
    });
    counts.collect()
}

/// Connects a tenant, which then exists, to a workspace, whichever other tenants use it, as a
/// person's approval in Slack does.
pub(crate) async fn connect_tenant(
    store: &Store,
    tenant: &TenantId,
    new: &NewInstallation,
) -> InstallationId {
    store.tenancy().ensure_tenant(tenant).await.unwrap();
    let users = store.tenancy().tenants_in_workspace(new).await.unwrap();
    let others: Vec<TenantId> = users.into_iter().map(|(user, _)| user).collect();
    let grant = ConnectGrant { tenant, state: "none", installation: new, others: &others };
    match store.tenancy().complete_connect(&grant).await.unwrap() {
        ConnectCompletion::Connected(id) => id,
        in_use @ ConnectCompletion::InUse(_) => panic!("{in_use:?}"),
    }
}

/// Publishes a member list of one page with one member.
pub(crate) async fn publish_list(store: &Store, lease: &CrawlLease, again_after: Duration) {
    let page = CrawledPage {
        number: 0,
        body: b"{}".to_vec(),
        members: 1,
        next_cursor: None,
        page_size: lease.checkpoint.page_size,
    };
    let saved = store.member_lists().save_page(lease, page, Duration::from_secs(600)).await;
    assert_eq!(saved.unwrap(), Saved::Stored);
    store.member_lists().publish(lease, again_after).await.unwrap().unwrap();
}

/// One fresh store per database.
pub(crate) async fn test_stores() -> Vec<TestStore> {
    let mut stores = vec![sqlite().await];
    match server() {
        Some(server) => stores.push(postgres(&server).await),
        None => println!("PostgreSQL is left out: {VARIABLE} is not set"),
    }
    assert_eq!(stores[0].backend(), Backend::Sqlite);
    stores
}

/// Settings for a fresh database each, without a schema.
pub(crate) async fn test_configs() -> Vec<(Config, TempDir)> {
    let mut configs = vec![sqlite_config()];
    if let Some(server) = server() {
        configs.push(postgres_config(&server).await);
    }
    configs
}

#[expect(clippy::disallowed_methods, reason = "tests/run names the server this way")]
fn server() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

fn sqlite_config() -> (Config, TempDir) {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().to_owned();
    (Config { data_dir, acquire_timeout: PATIENCE, ..Config::default() }, dir)
}

async fn postgres_config(server: &str) -> (Config, TempDir) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("herald_test_{}_{number}", std::process::id());
    let admin = Database::connect(server).await.unwrap();
    admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(&name);
    let config = Config {
        url: Some(Secret::new(url.as_str())),
        key: Some(Secret::new(KEY)),
        max_connections: 8,
        acquire_timeout: PATIENCE,
        ..Config::default()
    };
    (config, TempDir::new().unwrap())
}

async fn sqlite() -> TestStore {
    migrated(sqlite_config()).await
}

async fn postgres(server: &str) -> TestStore {
    migrated(postgres_config(server).await).await
}

async fn migrated((config, dir): (Config, TempDir)) -> TestStore {
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    TestStore { store, config, _dir: dir }
}
