//! Connecting as a browser sees it: the link, the sandbox's consent page, and the page that people
//! return to.

use axum::body::{Body, to_bytes};
use herald::app::{App, Call, Caller, ConnectWish, Reach, Role};
use herald::directory::Directory;
use herald::domain::ids::{Principal, TenantId};
use herald::http::{Cookies, Edge, HttpState, Readiness, router};
use herald::sandbox::{self, Sandbox};
use herald::slack;
use herald::telemetry::Exposition;
use herald::workspace::{self, Workspaces};
use http::{Method, Request, StatusCode};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use url::Url;

use crate::support::store::{TestStore, test_stores};

struct Browser {
    app: App,
    pages: axum::Router,
    client: reqwest::Client,
}

impl Browser {
    fn new(store: &TestStore, sandbox: &Sandbox) -> Self {
        let exposition = Exposition::new(&herald::telemetry::OtlpConfig::default()).unwrap();
        let config = slack::Config { base_url: sandbox.url(), ..slack::Config::default() };
        let slack = slack::Client::new(&config, exposition.metrics()).unwrap();
        let defaults = sandbox::Config::default();
        let config = workspace::Config {
            client_id: defaults.client_id,
            client_secret: defaults.client_secret,
            ..workspace::Config::default()
        };
        let workspaces = Workspaces::new(store.store.clone(), slack, config);
        let directory = Directory::new(
            store.store.clone(),
            workspaces.clone(),
            exposition.metrics(),
            herald::directory::Config::default(),
        );
        let config = herald::app::Config {
            redirect_url: herald::http::Config::default().redirect_url(),
            events_url: herald::http::Config::default().events_url(),
            interactions_url: herald::http::Config::default().interactions_url(),
            apps_url: herald::http::Config::default().apps_url(),
            connect_url: herald::http::Config::default().connect_url(),
            identity_url: herald::http::Config::default().identity_url(),
            preview_url: herald::http::Config::default().preview_url(),
            return_origins: Vec::new(),
            display_name: "Acme Learning".to_owned(),
            connect_link_lifetime: std::time::Duration::from_secs(600),
            max_waiting: 1000,
            audit: herald::app::AuditConfig::default(),
        };
        let app =
            App::new(store.store.clone(), workspaces, directory, exposition.metrics(), config);
        let (_, readiness) = watch::channel(Readiness::ready());
        let tasks = TaskTracker::new();
        let cookies = Cookies::of(&herald::http::Config::default());
        let edge = Edge::new(&herald::http::Config::default(), exposition.metrics());
        let pages =
            router(HttpState { app: app.clone(), readiness, exposition, edge, cookies, tasks });
        // Another test may have installed one already; that one works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let no_redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(no_redirect).build().unwrap();
        Self { app, pages, client }
    }

    async fn link(&self) -> Url {
        let caller = Caller {
            principal: Principal::parse("operator").unwrap(),
            role: Role::Administrator,
            reach: Reach::All,
            may_act_for_users: false,
            may_administer_for_users: false,
        };
        let call = Call { caller, tenant: TenantId::parse("acme").unwrap(), actor: None };
        self.app.begin_connect(&call, &ConnectWish::default()).await.unwrap().url
    }

    /// Opens the link; returns the address at Slack, and the cookie.
    async fn start(&self, link: &Url) -> (Url, String) {
        let (head, html) = self.ask(Method::GET, &below(link), None).await;
        assert_eq!(head.status, StatusCode::OK, "{html}");
        let page = sandbox::browser::Page { status: 200, html };
        let cookie = head.headers["set-cookie"].to_str().unwrap();
        (page.way_to_slack().unwrap(), cookie.split(';').next().unwrap().to_owned())
    }

    /// Opens the link and decides on the consent page; returns where Slack sends the browser then,
    /// and its cookie.
    async fn decide(&self, link: Url, decision: &str) -> (String, String) {
        let (mut consent, cookie) = self.start(&link).await;
        consent.query_pairs_mut().append_pair("decision", decision);
        let answer = self.client.post(consent).send().await.unwrap();
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        (below(&back), cookie)
    }

    async fn open(&self, method: Method, path: &str, cookie: &str) -> (StatusCode, String) {
        let (head, body) = self.ask(method, path, Some(cookie)).await;
        (head.status, body)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        cookie: Option<&str>,
    ) -> (http::response::Parts, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("cookie", cookie.unwrap_or_default());
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = self.pages.clone().oneshot(request).await.unwrap().into_parts();
        assert_eq!(head.headers["referrer-policy"], "no-referrer");
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (head, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn below(url: &Url) -> String {
    url[url::Position::BeforePath..].to_owned()
}

#[tokio::test]
async fn the_page_says_what_happened() {
    for store in test_stores().await {
        let sandbox = Sandbox::start(sandbox::Config::default()).await.unwrap();
        let browser = Browser::new(&store, &sandbox);

        let (back, cookie) = browser.decide(browser.link().await, "allow").await;
        let (status, _) = browser.open(Method::HEAD, &back, &cookie).await;
        assert_eq!(
            status,
            StatusCode::METHOD_NOT_ALLOWED,
            "a HEAD request does not use up the link"
        );
        let (status, page) = browser.open(Method::GET, &back, &cookie).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        assert!(page.contains("is connected") && page.contains("sending is still off"), "{page}");
        assert!(page.contains("Acme Learning") && !page.contains("herald.v1."), "{page}");
        let (status, _) = browser.open(Method::GET, &back, &cookie).await;
        assert_eq!(status, StatusCode::GONE);

        let (back, cookie) = browser.decide(browser.link().await, "cancel").await;
        let (status, page) = browser.open(Method::GET, &back, &cookie).await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("Not connected") && !page.contains("access request"), "{page}");

        let (consent, cookie) = browser.start(&browser.link().await).await;
        let asked =
            |name: &str| consent.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        let back = below(&Url::parse(&asked("redirect_uri")).unwrap());
        let forged = format!("{back}?code=made-up&state={}", asked("state"));
        let (status, page) = browser.open(Method::GET, &forged, &cookie).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(page.contains("invalid_code") && !page.contains("made-up"), "{page}");

        for unknown in ["", "?state=unknown&code=x", "?state=a&state=b"] {
            let path = format!("/slack/oauth/callback{unknown}");
            let (status, page) = browser.open(Method::GET, &path, "").await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{unknown}");
            assert!(page.contains("This link is not known"), "{page}");
        }
        sandbox.stop().await;
    }
}
