//! Which addresses are this host itself: there alone may what is secret travel in the clear.

use url::{Host, Url};

/// Whether a URL names this host for certain. Names other than `localhost` are looked up elsewhere,
/// so they never count.
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
