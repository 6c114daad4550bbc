//! Identifies the client of a request, restricts its paths, and limits its rate.
//!
//! A forwarding header is trusted only from `trusted_proxies`, and only the part of its list that
//! they added: the list is read from the right, up to the first address that is not a proxy.
//! Entries further left are claims of the client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use ipnet::IpNet;

use super::config::{Config, ForwardedHeader};
use super::outcome;
use crate::listen::{Peer, Rates, network};
use crate::telemetry::Metrics;

/// The published paths; all others are only for requests from inside.
const PUBLISHED: &str = "/slack/";
/// The burst, as a multiple of the rate.
const BURST: u32 = 5;

/// The check that all requests pass. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Edge {
    trusted: Arc<[IpNet]>,
    header: ForwardedHeader,
    rates: Arc<Rates<IpAddr>>,
    metrics: Metrics,
}

/// The address that a request counts for: the client's (for IPv6, its /64 network). An extension of
/// every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountedAddress(pub(super) IpAddr);

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client {
    address: IpAddr,
    /// Whether the request came through a listed proxy.
    proxied: bool,
}

impl Edge {
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let rate = config.slack_requests_per_second;
        Self {
            trusted: config.trusted_proxies.clone().into(),
            header: config.forwarded_header,
            rates: Arc::new(Rates::new(rate, rate.saturating_mul(BURST))),
            metrics,
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Client { address: peer, proxied: false };
        }
        let mut address = peer;
        let lines = headers.get_all(self.header.name()).iter().rev();
        let listed = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for element in listed {
            // An unreadable element proves nothing, nor do the elements before it.
            let Some(before) = self.header.address(element) else {
                break;
            };
            address = before;
            if !self.trusts(before) {
                break;
            }
        }
        Client { address, proxied: true }
    }
}

/// Requests from outside reach only published paths, at a limited rate for each address.
pub(super) async fn pass(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let published = path.starts_with(PUBLISHED);
    // Requests without a connection occur only in tests.
    if let Some(peer) = request.extensions().get::<Peer>() {
        let client = edge.client(peer.address.ip(), request.headers());
        if client.proxied && !published && path != "/" {
            return outcome::not_found().into_response();
        }
        let address = network(client.address);
        if published && let Err(wait) = edge.rates.take(&address) {
            edge.metrics.refused("http.slack_requests_per_second");
            return outcome::too_often(wait).into_response();
        }
        request.extensions_mut().insert(CountedAddress(address));
    }
    next.run(request).await
}

impl ForwardedHeader {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The address in one element of the list.
    fn address(self, element: &str) -> Option<IpAddr> {
        let element = match self {
            Self::XForwardedFor => element.trim(),
            Self::Forwarded => {
                // RFC 7239, section 4: pairs of a name and a value, which may be quoted.
                let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
                let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
                named.next()?.1.trim().trim_matches('"')
            }
        };
        let bare = element.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = bare.unwrap_or(element).parse::<IpAddr>().ok();
        let address = address.or_else(|| Some(element.parse::<SocketAddr>().ok()?.ip()));
        address.map(|address| address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(header: ForwardedHeader, trusted: &[&str]) -> Edge {
        let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let config = Config { trusted_proxies, forwarded_header: header, ..Config::default() };
        Edge::new(&config, Metrics::unobserved())
    }

    fn client(edge: &Edge, peer: &str, name: &'static str, lines: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        let client = edge.client(peer.parse().unwrap(), &headers);
        (client.address.to_string(), client.proxied)
    }

    #[test]
    fn only_listed_proxies_are_believed_and_only_what_they_added() {
        let edge = edge(ForwardedHeader::XForwardedFor, &["10.0.0.0/8", "fd00::/8"]);
        let x = |peer, lines: &[&str]| client(&edge, peer, "x-forwarded-for", lines);
        assert_eq!(x("192.0.2.1", &["198.51.100.7"]), ("192.0.2.1".into(), false));
        assert_eq!(x("10.0.0.1", &["198.51.100.7"]), ("198.51.100.7".into(), true));
        assert_eq!(x("::ffff:10.0.0.1", &["198.51.100.7"]), ("198.51.100.7".into(), true));
        // The client wrote the first element, or the first line.
        assert_eq!(x("10.0.0.1", &["1.1.1.1, 198.51.100.7"]), ("198.51.100.7".into(), true));
        assert_eq!(x("10.0.0.1", &["1.1.1.1", "198.51.100.7"]), ("198.51.100.7".into(), true));
        // Two proxies in a row.
        assert_eq!(x("10.0.0.1", &["198.51.100.7, 10.9.9.9"]), ("198.51.100.7".into(), true));
        assert_eq!(x("10.0.0.1", &["1.1.1.1, nonsense"]), ("10.0.0.1".into(), true));
        assert_eq!(x("10.0.0.1", &[]), ("10.0.0.1".into(), true));
        assert_eq!(x("fd00::1", &["[2001:db8::1]:443"]), ("2001:db8::1".into(), true));
        // Other headers are ignored.
        let other = client(&edge, "10.0.0.1", "forwarded", &["for=1.1.1.1"]);
        assert_eq!(other, ("10.0.0.1".into(), true));
    }

    #[test]
    fn the_standard_header_is_read_as_the_standard_says() {
        let edge = edge(ForwardedHeader::Forwarded, &["10.0.0.1/32"]);
        let x = |lines: &[&str]| client(&edge, "10.0.0.1", "forwarded", lines).0;
        assert_eq!(x(&["for=198.51.100.7;proto=https;by=10.0.0.1"]), "198.51.100.7");
        assert_eq!(x(&["For=\"[2001:db8:cafe::17]:4711\""]), "2001:db8:cafe::17");
        assert_eq!(x(&["for=1.1.1.1, for=\"198.51.100.7:80\""]), "198.51.100.7");
        assert_eq!(x(&["for=_hidden"]), "10.0.0.1");
        assert_eq!(x(&["for=unknown"]), "10.0.0.1");
    }
}
