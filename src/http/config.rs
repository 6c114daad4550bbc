//! The settings of the HTTP side, and their validation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};
use url::{Origin, Url};

use crate::domain::loopback::{LISTEN_ADDRESS, is_loopback, numeric};
use crate::listen::Files;

/// The path to which Slack redirects, below the public address.
pub(super) const CALLBACK_PATH: &str = "slack/oauth/callback";
/// The page that a connect link opens, below the public address.
pub(super) const CONNECT_PATH: &str = "slack/oauth/connect";
/// The page that an identity link opens, below the public address.
pub(super) const IDENTITY_PATH: &str = "slack/identity";
/// The folder of previews, below the public address.
pub(super) const PREVIEW_PATH: &str = "slack/preview";
/// The path to which Slack sends events, below the public address.
pub(super) const EVENTS_PATH: &str = "slack/events";
/// The path to which Slack sends interactions, below the public address.
pub(super) const INTERACTIONS_PATH: &str = "slack/interactions";
/// The folder of the apps of tenants, below the public address. Each has its own path there, with
/// addresses like those of the deployment's app.
pub(super) const APPS_PATH: &str = "slack/apps";

/// The address on which HTTP is served, and how browsers and Slack reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on. Default `127.0.0.1:8080`.
    #[serde(deserialize_with = "listen_address")]
    pub address: SocketAddr,
    /// The URL by which browsers and Slack reach this server, such as
    /// `https://herald.example.com/`; if it has a path, the ingress must remove it. It must be
    /// https unless its host is this machine. Default: `http://` (with TLS `https://`) and
    /// `address`, which works only on the same machine.
    #[serde(with = "url_text")]
    pub public_url: Option<Url>,
    /// A PEM file with the server's certificate, followed by its intermediate certificates. It is
    /// read again when the file changes. Default: none, plain text; the ingress then terminates
    /// TLS.
    pub tls_certificate: Option<PathBuf>,
    /// A PEM file with the private key of `tls_certificate`. Default: none.
    pub tls_key: Option<PathBuf>,
    /// Requests a second that one address (for IPv6, one /64 network) may make below `/slack/`,
    /// with bursts of up to five seconds' worth; more are answered 429. `0` removes the limit.
    /// Default `100`.
    pub slack_requests_per_second: u32,
    /// Addresses and networks of the proxies in front of Herald, such as `["10.0.0.0/8"]`. Herald
    /// trusts the client address that they report. Requests through them reach only `/` and
    /// `/slack/`. Default: none, the address of the connection counts.
    #[serde(with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which proxies report the client address, `x-forwarded-for` or `forwarded` (RFC
    /// 7239). Name the one that your proxies set. Default `x-forwarded-for`.
    pub forwarded_header: ForwardedHeader,
    /// Origins to which a connect link may send the browser back (`return_url` of BeginConnect),
    /// such as `["https://platform.example.com"]`. They must be https unless their host is this
    /// machine. Default: none, every link ends on a page of Herald's.
    pub return_origins: Vec<String>,
}

/// Origins that the settings may list.
const MAX_RETURN_ORIGINS: usize = 100;

/// The header in which proxies report the client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    XForwardedFor,
    Forwarded,
}

/// An address to listen on: `127.0.0.1:50051`, `[::1]:50051` or `localhost:50051`.
fn listen_address<'de, D: Deserializer<'de>>(source: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(source)?;
    numeric(&text).parse().map_err(|_| de::Error::custom(LISTEN_ADDRESS))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            tls_certificate: None,
            tls_key: None,
            slack_requests_per_second: 100,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            return_origins: Vec::new(),
        }
    }
}

/// A setting of the HTTP side is invalid; the operator must change it. The sentence begins with the
/// setting's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Slack redirects only to https, and the code in the redirect must not travel in plain text.
    #[error(
        "public_url must be an https address; plain http is allowed only for this host \
         (localhost, 127.0.0.1, [::1])"
    )]
    Scheme,
    #[error("public_url must be an address without a user name, query or fragment")]
    PublicUrl,
    #[error("{0}")]
    Tls(String),
    #[error("slack_requests_per_second must be at most 1000000")]
    Rate,
    /// A browser sent there must not be sent elsewhere by anyone between.
    #[error(
        "return_origins must be at most {} origins such as https://platform.example.com: https \
         (plain http only for this host), without a path",
        MAX_RETURN_ORIGINS
    )]
    ReturnOrigin,
    /// Browsers on other machines could not be sent back here.
    #[error("public_url must be set if address is {0}: browsers come back to it")]
    Missing(SocketAddr),
}

impl Config {
    /// The TLS files; none if TLS is off.
    pub fn tls(&self) -> Result<Option<Files>, String> {
        Files::of(self.tls_certificate.as_deref(), self.tls_key.as_deref(), None, false)
    }

    /// Refuses an address that Slack would refuse, or over which a code would travel in plain text.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.tls().map_err(ConfigError::Tls)?;
        if self.slack_requests_per_second > 1_000_000 {
            return Err(ConfigError::Rate);
        }
        let listed = self.return_origins.len();
        if listed > MAX_RETURN_ORIGINS || self.return_origins().len() != listed {
            return Err(ConfigError::ReturnOrigin);
        }
        let Some(url) = &self.public_url else {
            return if self.address.ip().is_loopback() {
                Ok(())
            } else {
                Err(ConfigError::Missing(self.address))
            };
        };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(url) => {}
            _ => return Err(ConfigError::Scheme),
        }
        let extra = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        if extra { Err(ConfigError::PublicUrl) } else { Ok(()) }
    }

    /// The origins to which links may send browsers back; without those that are not origins.
    #[must_use]
    pub fn return_origins(&self) -> Vec<Origin> {
        self.return_origins.iter().filter_map(|text| return_origin(text)).collect()
    }

    /// The public address, with a trailing slash. If `address` has port 0, set it to the bound
    /// address first.
    #[must_use]
    pub fn base(&self) -> Url {
        let mut base = self.public_url.clone().unwrap_or_else(|| {
            let scheme = if self.tls_certificate.is_some() { "https" } else { "http" };
            of_address(scheme, self.address)
        });
        if !base.path().ends_with('/') {
            let with_slash = format!("{}/", base.path());
            base.set_path(&with_slash);
        }
        base
    }

    /// The URL to which Slack sends people back; it must be among the redirect URLs of the Slack
    /// app.
    #[must_use]
    pub fn redirect_url(&self) -> Url {
        self.below(CALLBACK_PATH)
    }

    /// The page that a connect link opens.
    #[must_use]
    pub fn connect_url(&self) -> Url {
        self.below(CONNECT_PATH)
    }

    /// The page that an identity link opens.
    #[must_use]
    pub fn identity_url(&self) -> Url {
        self.below(IDENTITY_PATH)
    }

    /// The address below which browsers get previews; it ends in a slash.
    #[must_use]
    pub fn preview_url(&self) -> Url {
        self.below(&format!("{PREVIEW_PATH}/"))
    }

    /// The URL to which Slack sends events.
    #[must_use]
    pub fn events_url(&self) -> Url {
        self.below(EVENTS_PATH)
    }

    /// The URL to which Slack sends interactions.
    #[must_use]
    pub fn interactions_url(&self) -> Url {
        self.below(INTERACTIONS_PATH)
    }

    /// The address below which the apps of tenants have their addresses.
    #[must_use]
    pub fn apps_url(&self) -> Url {
        self.below(APPS_PATH)
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.base();
        let path = format!("{}{path}", url.path());
        url.set_path(&path);
        url
    }
}

/// An origin as the settings name it, with or without a slash at its end.
fn return_origin(text: &str) -> Option<Origin> {
    let url = Url::parse(text).ok()?;
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    (bare && safe).then(|| url.origin())
}

fn of_address(scheme: &str, address: SocketAddr) -> Url {
    #[expect(clippy::expect_used, reason = "a socket address is an authority by its grammar")]
    Url::parse(&format!("{scheme}://{}/", without_zone(address))).expect("an address")
}

/// A zone (`%2`) has meaning only on its own machine and has no place in a URL.
fn without_zone(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

mod url_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use url::Url;

    #[expect(clippy::ref_option, reason = "serde hands the field over like this")]
    pub(super) fn serialize<S: Serializer>(
        url: &Option<Url>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        url.as_ref().map(Url::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Url>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Url::parse(&text)).transpose().map_err(|_| {
            D::Error::custom(
                "must be an address with its scheme, such as https://herald.example.com/",
            )
        })
    }
}

mod networks {
    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error};

    use super::IpAddr;

    pub(super) fn serialize<S: Serializer>(
        networks: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        texts.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let network = |text: &String| {
            let alone = text.parse::<IpAddr>().map(IpNet::from);
            alone.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
                D::Error::custom("must be addresses or networks, such as [\"10.0.0.0/8\"]")
            })
        };
        texts.iter().map(network).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(url: &str) -> Config {
        Config { public_url: Some(Url::parse(url).unwrap()), ..Config::default() }
    }

    fn listening(address: &str) -> Config {
        Config { address: address.parse().unwrap(), ..Config::default() }
    }

    #[test]
    fn the_default_serves_one_machine() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.redirect_url().as_str(), "http://127.0.0.1:8080/slack/oauth/callback");
    }

    #[test]
    fn the_redirect_is_below_the_public_address() {
        for (url, redirect) in [
            ("https://herald.example.com", "https://herald.example.com/slack/oauth/callback"),
            ("https://a.b:8443/x/y", "https://a.b:8443/x/y/slack/oauth/callback"),
            ("https://a.b/x/", "https://a.b/x/slack/oauth/callback"),
        ] {
            assert_eq!(public(url).redirect_url().as_str(), redirect);
        }
        let apps = public("https://a.b/x/").apps_url();
        assert_eq!(apps.as_str(), "https://a.b/x/slack/apps");
        for (address, redirect) in [
            ("[::1]:81", "http://[::1]:81/slack/oauth/callback"),
            ("[fe80::1%3]:81", "http://[fe80::1]:81/slack/oauth/callback"),
        ] {
            assert_eq!(listening(address).redirect_url().as_str(), redirect);
        }
    }

    #[test]
    fn codes_never_travel_in_the_clear() {
        for ok in ["http://127.0.0.1:9", "http://[::1]:9/", "http://localhost/", "https://a.b/"] {
            assert_eq!(public(ok).validate(), Ok(()), "{ok}");
        }
        for bad in ["http://a.b/", "http://localhost.evil.test/", "ftp://a/", "data:text"] {
            assert_eq!(public(bad).validate(), Err(ConfigError::Scheme), "{bad}");
        }
        for bad in ["https://a@b/", "https://:p@b/", "https://b/?q", "https://b/#f"] {
            assert_eq!(public(bad).validate(), Err(ConfigError::PublicUrl), "{bad}");
        }
    }

    #[test]
    fn whoever_listens_to_others_says_how_they_reach_it() {
        assert_eq!(listening("[::1]:8080").validate(), Ok(()));
        let sentence = listening("0.0.0.0:8080").validate().unwrap_err().to_string();
        assert!(sentence.starts_with("public_url must be set"), "{sentence}");
        let told = Config { address: listening("0.0.0.0:8080").address, ..public("https://a.b/") };
        assert_eq!(told.validate(), Ok(()));
    }

    #[test]
    fn browsers_are_sent_back_to_origins_only() {
        let listing =
            |text: &str| Config { return_origins: vec![text.to_owned()], ..Config::default() };
        for ok in ["https://a.b", "https://a.b:8443/", "http://localhost:3000", "http://[::1]"] {
            assert_eq!(listing(ok).validate(), Ok(()), "{ok}");
            assert_eq!(listing(ok).return_origins(), [Url::parse(ok).unwrap().origin()]);
        }
        for bad in ["", "a.b", "http://a.b", "https://a.b/x", "https://a.b?q", "https://a@b", "*"] {
            assert_eq!(listing(bad).validate(), Err(ConfigError::ReturnOrigin), "{bad}");
        }
    }

    #[test]
    fn settings_are_read_and_written_as_people_write_them() {
        let text = r#"{"address": "0.0.0.0:80", "public_url": "https://a.b"}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.address.port(), 80);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&again).unwrap(), config);
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
        assert!(serde_json::from_str::<Config>(r#"{"adress": "0.0.0.0:80"}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"public_url": "a.b"}"#).is_err());
    }
}
