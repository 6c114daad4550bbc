//! Herald's HTTP side with its own database, and a runtime.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use herald::app::{self, App, Call, Caller, ConnectWish, LinkUse, Reach, Role};
use herald::directory::{self, Directory};
use herald::domain::ids::{Principal, TenantId};
use herald::domain::secret::Secret;
use herald::http::{self as pages, Cookies, Edge, HttpState, Readiness};
use herald::slack;
use herald::slack::signature::sign;
use herald::store::{self, Store};
use herald::telemetry::{Exposition, OtlpConfig};
use herald::workspace::{self, Workspaces};
use http::{Request, Response, StatusCode};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use url::Url;

const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// An address at which no server listens.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1/";

pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Another target may have installed one already; that one works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// The routes, and the store and services behind them.
pub(crate) struct Front {
    app: App,
    routes: axum::Router,
    _readiness: watch::Sender<Readiness>,
    _folder: TempDir,
}

impl Front {
    pub(crate) fn open() -> Self {
        RUNTIME.block_on(Self::start())
    }

    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let data_dir = folder.path().to_owned();
        let config = store::Config { data_dir, ..store::Config::default() };
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        let exposition = Exposition::new(&OtlpConfig::default()).unwrap();
        let metrics = exposition.metrics();
        let base_url = Url::parse(NOWHERE).unwrap();
        let config = slack::Config { base_url, ..slack::Config::default() };
        let slack = slack::Client::new(&config, metrics.clone()).unwrap();
        let config = workspace::Config {
            client_id: "1.2".into(),
            client_secret: Secret::new("client-secret"),
            signing_secret: Secret::new(SIGNING_SECRET),
            ..workspace::Config::default()
        };
        let workspaces = Workspaces::new(store.clone(), slack, config);
        let config = directory::Config::default();
        let directory = Directory::new(store.clone(), workspaces.clone(), metrics.clone(), config);
        let config = pages::Config::default();
        let (edge, cookies) = (Edge::new(&config, metrics.clone()), Cookies::of(&config));
        let config = app::Config {
            redirect_url: config.redirect_url(),
            events_url: config.events_url(),
            interactions_url: config.interactions_url(),
            apps_url: config.apps_url(),
            connect_url: config.connect_url(),
            identity_url: config.identity_url(),
            preview_url: config.preview_url(),
            return_origins: Vec::new(),
            display_name: "Herald".to_owned(),
            connect_link_lifetime: Duration::from_secs(24 * 3600),
            max_waiting: 1000,
            audit: app::AuditConfig::default(),
        };
        let app = App::new(store, workspaces, directory, metrics, config);
        let (ready, readiness) = watch::channel(Readiness::ready());
        let tasks = TaskTracker::new();
        let routes = pages::router(HttpState {
            app: app.clone(),
            readiness,
            exposition,
            edge,
            cookies,
            tasks,
        });
        Self { app, routes, _readiness: ready, _folder: folder }
    }

    /// The response of the routes to this request.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.routes.clone().oneshot(request).await.unwrap()
    }

    /// Status and text of the answer to `body` at this path, with the signature of `signed`.
    pub(crate) fn post(&self, path: &str, signed: &[u8], body: &[u8]) -> (StatusCode, String) {
        #[expect(clippy::disallowed_methods, reason = "this is Slack's clock")]
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let timestamp = now.to_string();
        let request = Request::post(path)
            .header("x-slack-signature", sign(&Secret::new(SIGNING_SECRET), &timestamp, signed))
            .header("x-slack-request-timestamp", timestamp)
            .body(Body::from(body.to_vec()))
            .unwrap();
        RUNTIME.block_on(async {
            let answer = self.ask(request).await;
            let (status, body) = (answer.status(), answer.into_body());
            let body = to_bytes(body, usize::MAX).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    /// Makes a connect link and returns its state.
    pub(crate) async fn link(&self) -> String {
        let caller = Caller {
            principal: Principal::parse("operator").unwrap(),
            role: Role::Administrator,
            reach: Reach::All,
            may_act_for_users: false,
            may_administer_for_users: false,
        };
        let call = Call { caller, tenant: TenantId::parse("acme").unwrap(), actor: None };
        let url = self.app.begin_connect(&call, &ConnectWish::default()).await.unwrap().url;
        url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
    }

    /// The attempt of an unused link; `None` once the link is used.
    pub(crate) async fn attempt(&self, state: &str) -> Option<String> {
        match self.app.start_connect(state).await.unwrap() {
            LinkUse::Usable(start) => Some(start.cookie.attempt),
            LinkUse::Unusable(_) => None,
        }
    }
}
