//! Loopback addresses: secrets may travel unencrypted only within this host.

use std::borrow::Cow;

use url::{Host, Url};

/// The problem of a listen address that does not parse.
pub const LISTEN_ADDRESS: &str = "must be an IP address and a port, such as 127.0.0.1:50051, or \
    0.0.0.0:50051 for all interfaces (localhost:50051 works too; other host names do not)";

/// A listen address with `localhost`, the only name that needs no lookup, as a number.
#[must_use]
pub fn numeric(address: &str) -> Cow<'_, str> {
    match address.strip_prefix("localhost:") {
        Some(port) => Cow::Owned(format!("127.0.0.1:{port}")),
        None => Cow::Borrowed(address),
    }
}

/// Whether a URL certainly names this host. Names other than `localhost` are resolved elsewhere, so
/// they never count.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_a_number_and_other_names_are_not() {
        assert_eq!(numeric("localhost:1"), "127.0.0.1:1");
        for same in ["example.com:1", "localhost", "127.0.0.1:2", "[::1]:3", ""] {
            assert_eq!(numeric(same), same);
        }
    }

    #[test]
    fn this_host_and_no_other() {
        for own in ["localhost", "127.0.0.1:8", "127.8.9.1", "[::1]", "[::1]:80/x"] {
            assert!(is_loopback(&Url::parse(&format!("http://{own}")).unwrap()), "{own}");
        }
        for other in ["slack.com", "localhost.evil.test", "128.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!is_loopback(&Url::parse(&format!("http://{other}")).unwrap()), "{other}");
        }
        assert!(!is_loopback(&Url::parse("data:text").unwrap()));
    }
}
