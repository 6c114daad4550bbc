//! The cookie that ties a connect attempt to the browser that opened its link.

use http::{HeaderMap, HeaderValue, header};

use super::Config;
use crate::app::Cookie;

/// The name and attributes of cookies at the public address.
#[derive(Debug, Clone, Copy)]
pub struct Cookies {
    /// Over https the name begins with `__Host-`, which no other host and no plain connection can
    /// set. Plain http is only for this host.
    secure: bool,
}

/// The prefix of the name; the attempt follows.
const NAME: &str = "herald-connect-";
/// Longest cookie header that is read, in bytes.
const HEADER_BYTES: usize = 16 * 1024;

impl Cookies {
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { secure: config.base().scheme() == "https" }
    }

    fn name(self, attempt: &str) -> String {
        format!("{}{NAME}{attempt}", if self.secure { "__Host-" } else { "" })
    }

    /// Sets the cookie. `Lax`: browsers send it when Slack sends them back, but not with requests
    /// from other pages.
    pub(super) fn set(self, cookie: &Cookie) -> Option<HeaderValue> {
        self.header(&cookie.attempt, &cookie.state, cookie.lifetime.as_secs())
    }

    /// Removes the cookie.
    pub(super) fn clear(self, attempt: &str) -> Option<HeaderValue> {
        self.header(attempt, "", 0)
    }

    fn header(self, attempt: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
        let (name, secure) = (self.name(attempt), if self.secure { "; Secure" } else { "" });
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// The value that the browser kept for the attempt; `None` if the cookie appears twice.
    pub(super) fn get(self, headers: &HeaderMap, attempt: &str) -> Option<String> {
        let name = self.name(attempt);
        let mut found = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok().filter(|text| text.len() <= HEADER_BYTES))
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned());
        let first = found.next();
        if found.next().is_some() { None } else { first }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use url::Url;

    use super::*;

    fn cookies(url: &str) -> Cookies {
        Cookies::of(&Config { public_url: Some(Url::parse(url).unwrap()), ..Config::default() })
    }

    #[test]
    fn over_https_no_other_host_can_set_it() {
        let lifetime = Duration::from_secs(60);
        let cookie = Cookie { attempt: "a".into(), state: "s".into(), lifetime };
        let set = |url: &str| cookies(url).set(&cookie).unwrap();
        assert_eq!(
            set("https://herald.example.com/below"),
            "__Host-herald-connect-a=s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            set("http://127.0.0.1:8080"),
            "herald-connect-a=s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn the_one_of_the_attempt_is_read() {
        let https = cookies("https://herald.example.com");
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            https.get(&headers, "a")
        };
        let here = "x=1; __Host-herald-connect-a=s; __Host-herald-connect-b=t";
        assert_eq!(read(here).as_deref(), Some("s"));
        for none in [
            "",
            "herald-connect-a=s",
            "__Host-herald-connect-b=t",
            "__Host-herald-connect-a=s; __Host-herald-connect-a=t",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
