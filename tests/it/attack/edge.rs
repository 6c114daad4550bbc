//! The public HTTP port: the request limit of one address, the proxies that may report client
//! addresses, and the paths that do not exist there.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::{Client, Method, Response, StatusCode};

use super::{Site, callers};
use crate::support::process::PATIENCE;

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const OTHERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

async fn site() -> Site {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = [
        callers(&[("neighbour", "service", "acme")]),
        "http.slack_requests_per_second=1".into(),
        "http.trusted_proxies=[\"127.0.0.2\"]".into(),
    ];
    Site::start(&settings).await
}

/// Requests from one address.
struct Visitor<'a> {
    site: &'a Site,
    client: Client,
}

impl<'a> Visitor<'a> {
    fn new(site: &'a Site, from: Ipv4Addr) -> Self {
        let client = Client::builder().local_address(Some(IpAddr::V4(from))).timeout(PATIENCE);
        Self { site, client: client.build().unwrap() }
    }

    /// `says` is the header in which a proxy names the client's address.
    async fn asks(&self, method: Method, path: &str, says: Option<&str>) -> Response {
        let address = format!("http://{}{path}", self.site.herald.http);
        let mut request = self.client.request(method, address);
        if let Some(says) = says {
            request = request.header("x-forwarded-for", says);
        }
        request.send().await.unwrap()
    }

    /// Repeats a request until it is limited; returns that answer.
    async fn insists(&self, says: impl Fn(usize) -> Option<String>) -> Response {
        for turn in 0..200 {
            let says = says(turn);
            let answer = self.asks(Method::POST, "/slack/events", says.as_deref()).await;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        }
        panic!("no limit in 200 requests");
    }

    async fn status(&self, path: &str, says: Option<&str>) -> u16 {
        self.asks(Method::GET, path, says).await.status().as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_use_up_the_others() {
    let site = site().await;
    let attacker = Visitor::new(&site, ATTACKER);
    let answer = attacker.insists(|_| None).await;
    let headers = answer.headers();
    assert!(headers.contains_key("retry-after") && headers["x-frame-options"] == "DENY");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    // Only a proxy's word about client addresses counts.
    attacker.insists(|turn| Some(format!("198.51.100.{turn}"))).await;
    assert_eq!(attacker.status("/slack/oauth/callback", Some("198.51.100.250")).await, 429);
    assert_eq!(attacker.status("/healthz", None).await, 200);
    let others = Visitor::new(&site, OTHERS);
    let answer = others.asks(Method::POST, "/slack/events", None).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let page = others.asks(Method::GET, "/metrics", None).await.text().await.unwrap();
    let counted = "herald_refusals_total{limit=\"http.slack_requests_per_second\"} ";
    let line = page.lines().find_map(|line| line.strip_prefix(counted)).unwrap();
    assert!(line.parse::<u64>().unwrap() >= 2, "{line}");
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_by_a_proxy_is_known_by_what_it_says() {
    let site = site().await;
    let proxy = Visitor::new(&site, PROXY);
    // Entries before the last address are the client's own word.
    proxy.insists(|turn| Some(format!("192.0.2.{turn}, 198.51.100.1"))).await;
    let answer = proxy.asks(Method::POST, "/slack/events", Some("198.51.100.2")).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_inside_is_there_for_the_outside() {
    let site = site().await;
    let (proxy, inside) = (Visitor::new(&site, PROXY), Visitor::new(&site, OTHERS));
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(proxy.status(path, Some("198.51.100.1")).await, 404, "{path}");
        assert_eq!(inside.status(path, None).await, 200, "{path}");
    }
    assert_eq!(proxy.status("/", Some("198.51.100.1")).await, 200);
    // Administration is only on the other port.
    for path in
        ["/herald.v1.AdminService/GetWorkspace", "/herald.v1.HeraldService/Notify", "/admin"]
    {
        for visitor in [&proxy, &inside] {
            let answer = visitor.asks(Method::POST, path, None).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
    site.ends_well().await;
}
