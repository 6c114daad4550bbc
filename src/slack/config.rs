//! The settings of the Slack client, with their defaults and their validation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::loopback::is_loopback;

/// How to reach Slack. Durations are written as `"30s"`, `"500ms"` or `"1m 30s"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Slack's address: methods are called below `api/`, people are sent to `oauth/v2/authorize`.
    /// Default `https://slack.com/`; GovSlack is `https://slack-gov.com/`. Plain `http` is accepted
    /// only for this host (the sandbox). No other host is ever called.
    #[serde(with = "url_text")]
    pub base_url: Url,
    /// Longest time to establish a connection, including name lookup and TLS; shorter than
    /// `request_timeout`. Default `5s`.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// Longest time for one whole call, including the body of the answer. Default `30s`.
    #[serde(with = "duration_text")]
    pub request_timeout: Duration,
    /// The size limit of an answer, in bytes after decompression. Default `16777216` (16 MiB): a
    /// page of 999 members can have several MiB.
    pub body_limit_bytes: usize,
    /// The `User-Agent` header. Default: `herald/` and the version.
    pub user_agent: String,
    /// The factor by which the waits that Slack dictates (`Retry-After`) are multiplied. Default
    /// `1.0`, which is the only right value for the real Slack; a smaller one makes tests against a
    /// sandbox fast.
    pub time_scale: f64,
}

impl Default for Config {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant; a test parses it")]
        let base_url = Url::parse("https://slack.com/").expect("constant");
        Self {
            base_url,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            body_limit_bytes: 16 * 1024 * 1024,
            user_agent: concat!("herald/", env!("CARGO_PKG_VERSION")).to_owned(),
            time_scale: 1.0,
        }
    }
}

/// A setting of the Slack client is invalid; the operator must change it. The sentence begins with
/// the setting's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "base_url must be an https address; plain http is allowed only for this host \
         (localhost, 127.0.0.1, [::1])"
    )]
    Scheme,
    #[error("base_url must be an address without a user name, query or fragment")]
    BaseUrl,
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
    /// Otherwise a time-out while connecting would look like one after the request was written.
    #[error("connect_timeout must be shorter than request_timeout")]
    Timeouts,
    #[error("body_limit_bytes must be at least 65536")]
    BodyLimit,
    #[error("user_agent must be printable ASCII and not empty")]
    UserAgent,
    #[error("time_scale must be a number above 0 and at most 10")]
    TimeScale,
    /// No usable certificate authorities, for example in an image without `ca-certificates`.
    #[error("base_url is https, but TLS cannot be set up: {0}")]
    Tls(String),
}

impl Config {
    /// Refuses settings that could never work, or that would send tokens in plain text.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self.base_url.scheme() {
            "https" => {}
            "http" if is_loopback(&self.base_url) => {}
            _ => return Err(ConfigError::Scheme),
        }
        let url = &self.base_url;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(ConfigError::BaseUrl);
        }
        for (name, duration) in
            [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)]
        {
            if duration.is_zero() {
                return Err(ConfigError::Zero(name));
            }
        }
        if self.connect_timeout >= self.request_timeout {
            return Err(ConfigError::Timeouts);
        }
        if self.body_limit_bytes < 64 * 1024 {
            return Err(ConfigError::BodyLimit);
        }
        let printable = self.user_agent.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if self.user_agent.is_empty() || !printable {
            return Err(ConfigError::UserAgent);
        }
        // NaN compares false, so it is refused too.
        if !(self.time_scale > 0.0 && self.time_scale <= 10.0) {
            return Err(ConfigError::TimeScale);
        }
        Ok(())
    }

    /// `path` below the base URL, with or without a trailing slash.
    pub(super) fn below(&self, path: &str) -> Result<Url, ConfigError> {
        let mut base = self.base_url.clone();
        if !base.path().ends_with('/') {
            let with_slash = format!("{}/", base.path());
            base.set_path(&with_slash);
        }
        base.join(path).map_err(|_| ConfigError::BaseUrl)
    }
}

mod url_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use url::Url;

    pub(super) fn serialize<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
        let text = String::deserialize(deserializer)?;
        Url::parse(&text).map_err(|_| {
            D::Error::custom("must be an address with its scheme, such as https://slack.com/")
        })
    }
}

mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let signed = jiff::SignedDuration::try_from(*duration).unwrap_or(jiff::SignedDuration::MAX);
        serializer.collect_str(&format_args!("{signed:#}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let signed: jiff::SignedDuration =
            text.parse().map_err(|_| D::Error::custom("not a duration such as \"30s\""))?;
        Duration::try_from(signed).map_err(|_| D::Error::custom("a duration cannot be negative"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> Config {
        Config { base_url: Url::parse(url).unwrap(), ..Config::default() }
    }

    #[test]
    fn the_default_is_slack_and_valid() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.below("api/x.y").unwrap().as_str(), "https://slack.com/api/x.y");
    }

    #[test]
    fn tokens_never_travel_in_the_clear() {
        for ok in ["http://127.0.0.1:9", "http://[::1]:9/", "http://localhost/", "https://a.b/"] {
            assert_eq!(with_url(ok).validate(), Ok(()), "{ok}");
        }
        for bad in ["http://slack.com/", "http://localhost.evil.test/", "ftp://a/", "data:text"] {
            assert_eq!(with_url(bad).validate(), Err(ConfigError::Scheme), "{bad}");
        }
        for bad in ["https://a@b/", "https://:p@b/", "https://b/?q", "https://b/#f"] {
            assert_eq!(with_url(bad).validate(), Err(ConfigError::BaseUrl), "{bad}");
        }
    }

    #[test]
    fn a_base_url_with_a_path_keeps_it() {
        for url in ["http://127.0.0.1:9/slack", "http://127.0.0.1:9/slack/"] {
            let url = with_url(url).below("api/a.b").unwrap();
            assert_eq!(url.as_str(), "http://127.0.0.1:9/slack/api/a.b");
        }
    }

    #[test]
    fn figures_out_of_range_are_refused_by_name() {
        let zero = Config { request_timeout: Duration::ZERO, ..Config::default() };
        assert_eq!(
            zero.validate().unwrap_err().to_string(),
            "request_timeout must be longer than zero"
        );
        let order = Config { connect_timeout: Duration::from_secs(30), ..Config::default() };
        assert_eq!(order.validate(), Err(ConfigError::Timeouts));
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = Config { time_scale: scale, ..Config::default() };
            assert_eq!(config.validate(), Err(ConfigError::TimeScale), "{scale}");
        }
        let agent = Config { user_agent: "a\r\nb".to_owned(), ..Config::default() };
        assert_eq!(agent.validate(), Err(ConfigError::UserAgent));
    }

    #[test]
    fn settings_are_read_and_written_as_people_write_them() {
        let text = r#"{"base_url": "http://127.0.0.1:8081", "connect_timeout": "500ms",
            "request_timeout": "1m 30s", "time_scale": 0.01}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert_eq!(config.request_timeout, Duration::from_secs(90));
        assert_eq!(config.body_limit_bytes, Config::default().body_limit_bytes);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&again).unwrap(), config);
        assert!(serde_json::from_str::<Config>(r#"{"connect_timeout": "-5s"}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"conect_timeout": "5s"}"#).is_err());
    }
}
