//! The settings of channels (`[channels]`).

use std::time::Duration;

use serde::Deserialize;

use crate::domain::channels::members::retry_after;

/// How channels are made and kept. Durations are those of a real Slack; tests shorten all of them
/// by one factor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Channels that one replica works on at the same time. Each has at most one request to Slack
    /// under way, and most of them wait for Slack's limits. Default `32`.
    pub workers: u32,
    /// Seconds after which another replica takes over a channel whose worker fell silent. A live
    /// worker renews its lease. At least twice `slack.request_timeout` and 40 seconds, so that a
    /// request ends within the lease under which it began. Default `120`.
    pub lease_seconds: u64,
    /// Milliseconds between two looks for channels that another replica was asked for, and for
    /// people who appeared in Slack. Default `1000`.
    pub poll_milliseconds: u64,
    /// Seconds until a channel with an obstacle that a person may remove in Slack is tried again,
    /// such as a name that is taken. Default `600`.
    pub blocked_retry_seconds: u64,
    /// Seconds until a person who is not in Slack is looked for again although the member list did
    /// not change; after a change they are looked for at once. Default `3600`.
    pub member_retry_seconds: u64,
    /// Seconds after which a channel and its members are read again at the latest although no event
    /// from Slack reported a change, because events can be lost. A reading is one request for the
    /// channel and one for each page of its members; channels take turns in the last quarter of the
    /// time. Default `86400`.
    pub check_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 32,
            lease_seconds: 120,
            poll_milliseconds: 1000,
            blocked_retry_seconds: 600,
            member_retry_seconds: 3600,
            check_seconds: 86_400,
        }
    }
}

impl Config {
    /// Refuses values out of range; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        let ranges = [
            ("workers", u64::from(self.workers), 1, 1000),
            ("lease_seconds", self.lease_seconds, 10, 3600),
            ("poll_milliseconds", self.poll_milliseconds, 10, 3_600_000),
            ("blocked_retry_seconds", self.blocked_retry_seconds, 10, 86_400),
            ("member_retry_seconds", self.member_retry_seconds, 10, 86_400),
            ("check_seconds", self.check_seconds, 60, 604_800),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} must be between {least} and {most}"));
            }
        }
        Ok(())
    }
}

/// The wait for something that is likely to be over soon.
const SOON: Duration = Duration::from_secs(5);
/// How long after an unclear request Slack may still be carrying it out, or may not list its
/// channel yet.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Nothing is known to wake the channel, or it may have been missed.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a page of a list may wait for its budget: otherwise the list starts over.
const PAGE: Duration = Duration::from_secs(15);
/// How often channels are counted for the metrics.
const COUNT: Duration = Duration::from_secs(60);

/// The settings as they are used: durations, each shortened by the time factor.
#[derive(Debug, Clone)]
pub(super) struct ChannelTiming {
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) blocked: Duration,
    pub(super) member: Duration,
    pub(super) check: Duration,
    pub(super) soon: Duration,
    pub(super) look_again: Duration,
    pub(super) idle: Duration,
    pub(super) page: Duration,
    pub(super) count: Duration,
    /// The factor, for durations that `domain` decides.
    pub(super) scale: f64,
}

impl ChannelTiming {
    pub(super) fn of(config: &Config, scale: f64) -> Self {
        let scaled = |duration: Duration| duration.mul_f64(scale).max(Duration::from_millis(1));
        Self {
            lease: scaled(Duration::from_secs(config.lease_seconds)),
            poll: scaled(Duration::from_millis(config.poll_milliseconds)),
            blocked: scaled(Duration::from_secs(config.blocked_retry_seconds)),
            member: scaled(Duration::from_secs(config.member_retry_seconds)),
            check: scaled(Duration::from_secs(config.check_seconds)),
            soon: scaled(SOON),
            look_again: scaled(LOOK_AGAIN),
            idle: scaled(IDLE),
            page: scaled(PAGE),
            count: scaled(COUNT),
            scale,
        }
    }

    /// The wait after this many failures in a row that may pass: no longer than after an obstacle,
    /// so that channels continue soon after Slack was down for hours.
    pub(super) fn after_failures(&self, failures: u32) -> Duration {
        retry_after(failures).mul_f64(self.scale).min(self.blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting() {
        Config::default().validate().unwrap();
        let wrong = Config { workers: 0, ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("workers "));
        let wrong = Config { lease_seconds: u64::MAX, ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("lease_seconds "));
    }

    #[test]
    fn an_outage_of_slack_is_not_waited_for_twice() {
        let timing = ChannelTiming::of(&Config::default(), 1.0);
        let seconds = [1, 2, 5, 20].map(|failures| timing.after_failures(failures).as_secs());
        assert_eq!(seconds, [30, 60, 480, 600]);
    }

    #[test]
    fn one_factor_shortens_everything() {
        let timing = ChannelTiming::of(&Config::default(), 0.01);
        assert_eq!(timing.lease, Duration::from_millis(1200));
        assert_eq!(timing.look_again, Duration::from_millis(300));
    }
}
