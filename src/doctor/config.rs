//! The settings of checks (`[doctor]`) and of alerts (`[alerts]`).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, de};
use url::Url;
use zeroize::Zeroizing;

use super::webhook::Webhook;
use crate::domain::loopback::is_loopback;
use crate::domain::secret::Secret;

/// How connections are checked without a caller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds between two checks of a connection, at most: checks of many connections are spread
    /// over this time. A new connection is checked for the first time after one to two hours, when
    /// events from Slack should have arrived. `0`: connections are checked only by CheckConnection.
    /// Default `86400`.
    pub check_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { check_seconds: 86_400 }
    }
}

impl Config {
    /// Refuses values out of range; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        if self.check_seconds != 0 && !(60..=604_800).contains(&self.check_seconds) {
            return Err("check_seconds must be 0, or between 60 and 604800".into());
        }
        Ok(())
    }
}

/// Where connections that are not well are reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// The URL to which Herald posts an alert when a connection comes into another state, such as
    /// `https://platform.example.com/hooks/herald` (docs/doctor.md). It must be https unless its
    /// host is this machine. Default: none, nothing is posted.
    #[serde(deserialize_with = "url")]
    pub webhook_url: Option<Url>,
    /// The secret that signs alerts, as Standard Webhooks writes it: `whsec_` and 24 to 64 bytes in
    /// base64. Needed with `webhook_url`. Default: none.
    pub webhook_secret: Secret,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { webhook_url: None, webhook_secret: Secret::new("") }
    }
}

impl AlertsConfig {
    /// Refuses an address over which alerts would travel in plain text, and a weak secret.
    pub fn validate(&self) -> Result<(), String> {
        let Some(url) = &self.webhook_url else { return Ok(()) };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(url) => {}
            _ => {
                return Err(
                    "webhook_url must be an https address; plain http is allowed only for \
                            this host (localhost, 127.0.0.1, [::1])"
                        .into(),
                );
            }
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("webhook_url must be an address without a user name or fragment".into());
        }
        self.key().map(drop)
    }

    /// The webhook, if there is one.
    pub(super) fn webhook(&self) -> Result<Option<Webhook>, String> {
        let Some(url) = &self.webhook_url else { return Ok(None) };
        Webhook::new(url.clone(), self.key()?).map(Some)
    }

    fn key(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let text = self.webhook_secret.expose().strip_prefix("whsec_");
        let key = text.and_then(|text| BASE64_STANDARD.decode(text).ok()).map(Zeroizing::new);
        key.filter(|key| (24..=64).contains(&key.len())).ok_or_else(|| {
            "webhook_secret must be whsec_ and 24 to 64 bytes in base64, if webhook_url is set"
                .to_owned()
        })
    }
}

fn url<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Url>, D::Error> {
    let text = Option::<String>::deserialize(source)?;
    text.map(|text| Url::parse(&text)).transpose().map_err(|_| {
        de::Error::custom("must be an address with its scheme, such as https://a.example.com/hook")
    })
}

/// The time between two looks for work that other replicas left.
const LOOK: Duration = Duration::from_secs(10);
/// When a new connection is checked first, at the earliest: events from Slack should have arrived
/// by then.
const FIRST: Duration = Duration::from_secs(3600);
/// The part of the time between two checks by which the next one may come earlier. After the first
/// check it is large: connections that were made within an hour are then checked all over the day.
const EARLIER: f64 = 0.1;
const EARLIER_AT_FIRST: f64 = 0.9;
/// The wait after a check that failed because of the database.
const RETRY: Duration = Duration::from_secs(600);
/// How often connections are counted for the metrics.
const COUNT: Duration = Duration::from_secs(60);
/// The waits after failed attempts to send an alert, as Standard Webhooks suggests them: about
/// three days in all.
const WAITS: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The settings as they are used: durations, each shortened by the time factor.
#[derive(Debug, Clone)]
pub(super) struct DoctorTiming {
    pub(super) look: Duration,
    /// `None`: connections are not checked without a caller.
    pub(super) every: Option<Duration>,
    pub(super) first: Duration,
    pub(super) retry: Duration,
    pub(super) count: Duration,
    scale: f64,
}

impl DoctorTiming {
    pub(super) fn of(config: &Config, scale: f64) -> Self {
        let scaled = |duration: Duration| duration.mul_f64(scale).max(Duration::from_millis(1));
        let every = Some(config.check_seconds).filter(|seconds| *seconds > 0);
        let every = every.map(|seconds| scaled(Duration::from_secs(seconds)));
        let first = every.map_or(scaled(FIRST), |every| every.min(scaled(FIRST)));
        Self { look: scaled(LOOK), every, first, retry: scaled(RETRY), count: scaled(COUNT), scale }
    }

    /// The wait before the first check of a new connection, by a random number from 0 to 1: `first`
    /// to twice that, but no longer than the time between two checks.
    pub(super) fn first_check(&self, random: f64) -> Duration {
        self.first.mul_f64(1.0 + random).min(self.every.unwrap_or(self.first))
    }

    /// The wait after so many failed attempts to send an alert; `None`: it is given up.
    pub(super) fn after_attempts(&self, attempts: u32) -> Option<Duration> {
        let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
        let seconds = WAITS.get(index)?;
        Some(Duration::from_secs(*seconds).mul_f64(self.scale))
    }

    /// The longest of these waits.
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_secs(WAITS.into_iter().max().unwrap_or_default()).mul_f64(self.scale)
    }
}

/// The wait before the next check of a connection, by a random number from 0 to 1: `every` at most,
/// so that none is left out for longer.
pub(super) fn next_check(every: Duration, after_first: bool, random: f64) -> Duration {
    let earlier = if after_first { EARLIER_AT_FIRST } else { EARLIER };
    every.mul_f64(1.0 - random * earlier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alerts(url: &str, secret: &str) -> AlertsConfig {
        AlertsConfig {
            webhook_url: Some(Url::parse(url).unwrap()),
            webhook_secret: Secret::new(secret),
        }
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_refusal_names_the_setting() {
        for good in [0, 60, 86_400] {
            Config { check_seconds: good }.validate().unwrap();
        }
        for bad in [1, u64::MAX] {
            let sentence = Config { check_seconds: bad }.validate().unwrap_err();
            assert!(sentence.starts_with("check_seconds "), "{sentence}");
        }
        AlertsConfig::default().validate().unwrap();
        for url in ["https://a.b/hook?x=1", "http://127.0.0.1:9/", "http://localhost/"] {
            alerts(url, SECRET).validate().unwrap();
        }
        for url in ["http://a.b/", "ftp://a.b/", "https://u:p@a.b/", "https://a.b/#f"] {
            let sentence = alerts(url, SECRET).validate().unwrap_err();
            assert!(sentence.starts_with("webhook_url "), "{url}: {sentence}");
        }
        let short = format!("whsec_{}", BASE64_STANDARD.encode([7; 23]));
        for secret in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", &short] {
            let sentence = alerts("https://a.b/", secret).validate().unwrap_err();
            assert!(sentence.starts_with("webhook_secret "), "{sentence}");
            assert!(secret.is_empty() || !sentence.contains(secret), "{sentence}");
        }
    }

    #[test]
    fn connections_made_together_are_checked_all_over_the_day() {
        const HOUR: f64 = 3600.0;
        let timing = DoctorTiming::of(&Config::default(), 1.0);
        let every = timing.every.unwrap();
        let hours = |wait: Duration| wait.as_secs_f64() / HOUR;
        let mut in_each_hour = [0; 24];
        for number in 0..2400 {
            let random = f64::from(number) / 2400.0;
            let first = timing.first_check(random);
            assert!((1.0..=2.0).contains(&hours(first)), "{first:?}");
            let second = next_check(every, true, random);
            assert!((every / 10..=every).contains(&second), "{second:?}");
            let hour = (1..24).find(|hour| hours(second) <= f64::from(*hour)).unwrap_or(24);
            in_each_hour[usize::try_from(hour - 1).unwrap()] += 1;
            let later = next_check(every, false, random);
            assert!((every.mul_f64(0.9)..=every).contains(&later), "{later:?}");
        }
        // The first hours have the rest before the second check.
        assert!(in_each_hour[3..].iter().all(|count| (100..=120).contains(count)));
        let often = DoctorTiming::of(&Config { check_seconds: 60 }, 1.0);
        assert_eq!(often.first_check(0.5), Duration::from_secs(60));
    }

    #[test]
    fn attempts_end_after_three_days() {
        let timing = DoctorTiming::of(&Config::default(), 1.0);
        let waits: Vec<Duration> = (1..).map_while(|it| timing.after_attempts(it)).collect();
        assert_eq!(waits.len(), 9);
        assert!(waits.is_sorted());
        let all: Duration = waits.iter().sum();
        assert!(all > Duration::from_secs(3 * 86_400), "{all:?}");
        assert_eq!(Some(&timing.longest_wait()), waits.last());
        assert_eq!(timing.after_attempts(0), None);
    }

    #[test]
    fn a_short_interval_shortens_the_first_wait() {
        let of = |check_seconds| DoctorTiming::of(&Config { check_seconds }, 0.5);
        assert_eq!(of(60).first, Duration::from_secs(30));
        assert_eq!(of(86_400).first, Duration::from_secs(1800));
        assert_eq!((of(0).every, of(0).first), (None, Duration::from_secs(1800)));
    }
}
