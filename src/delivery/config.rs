//! The settings of delivery (`[delivery]`).

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::delivery::Policy;
use crate::domain::ids::EventType;
use crate::store::IDEMPOTENCY;

/// In seconds. No setting here makes sense for longer, and far longer durations overflow.
const MONTH: u64 = 31 * 24 * 3600;
/// At the guaranteed rate, Slack answers questions about a hundred people in this time.
const LOOK_UP: Duration = Duration::from_secs(120);

/// How messages are sent. Durations are those of a real Slack; tests shorten all of them by one
/// factor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Conversations that one replica works on at the same time; each has at most one request to
    /// Slack under way. Default `64`.
    pub workers: u32,
    /// Percent of the workers that one tenant may keep busy, so that the other tenants always find
    /// a free one. Default `50`.
    pub tenant_share: u32,
    /// The number of requests, beyond those of `workers`, that may wait at one replica for an
    /// answer that takes Slack longer than a second. They hold no worker, and each slow workspace
    /// has a share of them. Default `500`.
    pub slow_requests: u32,
    /// Seconds after which another replica takes over a conversation whose worker no longer renews
    /// its lease. At least twice `slack.request_timeout`, so that a request ends within the lease
    /// under which it began. Default `60`.
    pub lease_seconds: u64,
    /// Milliseconds between two searches for messages that another replica accepted; messages that
    /// this replica accepted are taken up at once. Default `1000`.
    pub poll_milliseconds: u64,
    /// Requests for one message, at most; throttled ones do not count. Default `10`.
    pub max_attempts: u32,
    /// Milliseconds of the wait after the first failed request; it doubles each time. Default
    /// `1000`.
    pub base_delay_milliseconds: u64,
    /// Seconds of the longest wait between two requests. Default `300`.
    pub max_delay_seconds: u64,
    /// If Slack gave no clear answer and the conversation's history cannot be read: `true` sends
    /// the message again (at least once), `false` parks it (at most once). Default `true`.
    pub resend_unreadable: bool,
    /// Event types whose messages are parked where `resend_unreadable` would send them again.
    /// Default: none.
    pub park_event_types: Vec<String>,
    /// Seconds after which a member list is too old to say whether an account is deactivated; Slack
    /// is then asked about the recipient, as far as its limits allow. Default `7200`: twice the
    /// default of `directory.refresh_seconds`.
    pub confirm_after_seconds: u64,
    /// Seconds after its end when a delivery moves from the active table to the history. It stays
    /// readable. Default `600`.
    pub archive_after_seconds: u64,
    /// Messages of one tenant that may wait at the same time; Notify and ReplayDeliveries refuse
    /// more with `RESOURCE_EXHAUSTED`. Default `1000000`.
    pub max_waiting: u64,
    /// Days that notifications and their outcomes are kept after they were accepted; longer while a
    /// message still waits. At least 2: request ids are known for 48 hours. Default `30`.
    pub history_days: u32,
    /// Days that the feeds of changes (`WatchDeliveries`, `WatchChannels`) are kept: a reader that
    /// was disconnected for longer gets an error that says so. Default `14`.
    pub feed_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 64,
            tenant_share: 50,
            slow_requests: 500,
            lease_seconds: 60,
            poll_milliseconds: 1000,
            max_attempts: 10,
            base_delay_milliseconds: 1000,
            max_delay_seconds: 300,
            resend_unreadable: true,
            park_event_types: Vec::new(),
            confirm_after_seconds: 7200,
            archive_after_seconds: 600,
            max_waiting: 1_000_000,
            history_days: 30,
            feed_days: 14,
        }
    }
}

impl Config {
    /// Refuses contradictions and values out of range; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        let least = [
            ("workers", u64::from(self.workers), 1),
            ("tenant_share", u64::from(self.tenant_share), 1),
            ("lease_seconds", self.lease_seconds, 10),
            ("poll_milliseconds", self.poll_milliseconds, 10),
            ("max_attempts", u64::from(self.max_attempts), 1),
            ("base_delay_milliseconds", self.base_delay_milliseconds, 1),
            ("max_waiting", self.max_waiting, 1000),
            ("history_days", u64::from(self.history_days), 2),
            ("feed_days", u64::from(self.feed_days), 1),
        ];
        for (name, value, least) in least {
            if value < least {
                return Err(format!("{name} must be at least {least}"));
            }
        }
        let most = [
            ("workers", u64::from(self.workers), 10_000),
            ("tenant_share", u64::from(self.tenant_share), 100),
            ("slow_requests", u64::from(self.slow_requests), 100_000),
            ("lease_seconds", self.lease_seconds, 3600),
            ("poll_milliseconds", self.poll_milliseconds, 3_600_000),
            ("base_delay_milliseconds", self.base_delay_milliseconds, MONTH * 1000),
            ("max_delay_seconds", self.max_delay_seconds, MONTH),
            ("confirm_after_seconds", self.confirm_after_seconds, MONTH),
            ("archive_after_seconds", self.archive_after_seconds, MONTH),
        ];
        for (name, value, most) in most {
            if value > most {
                return Err(format!("{name} must be at most {most}"));
            }
        }
        if self.max_delay_seconds * 1000 < self.base_delay_milliseconds {
            return Err("max_delay_seconds must not be less than base_delay_milliseconds".into());
        }
        Ok(())
    }
}

/// Readers of the feed see changes that another replica numbered within this time.
const FOLLOW: Duration = Duration::from_secs(1);
/// Longer than two of `directory.poll_milliseconds`' default.
const HELD_SOON: Duration = Duration::from_secs(10);

/// The settings as they are used: durations, each shortened by the time factor.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    /// The least time between the starts of two posts in one conversation (Slack's documentation:
    /// Rate limits).
    pub(super) channel_interval: Duration,
    pub(super) confirm_after: Duration,
    pub(super) archive_after: Duration,
    /// How long a message waits for Slack's answer about a person missing from the member list.
    pub(super) look_up: Duration,
    /// Between two looks for changes that other replicas numbered.
    pub(super) follow: Duration,
    /// How long the feed of changes is kept.
    pub(super) feed_kept: Duration,
    /// How long ended deliveries are kept.
    pub(super) history_kept: Duration,
    /// The wait after messages were held: by then every replica's member list is as new as the one
    /// that was used.
    pub(super) held_soon: Duration,
    /// The time between two looks at held messages if nothing changed.
    pub(super) held_again: Duration,
    /// The time between two rounds of upkeep.
    pub(super) upkeep: Duration,
    /// The wait before one of our own operations is tried again, not one of Slack's: the store, a
    /// refused lookup.
    pub(super) retry: Duration,
    pub(super) policy: Policy,
    /// Event types that are parked if the policy would send again without knowing what became of
    /// the first request.
    pub(super) parked_types: HashSet<String>,
}

impl Timing {
    /// The policy for messages of one event type.
    pub(super) fn policy_for(&self, event: &EventType) -> Policy {
        let resend_unreadable =
            self.policy.resend_unreadable && !self.parked_types.contains(event.as_str());
        Policy { resend_unreadable, ..self.policy.clone() }
    }
}

impl Timing {
    pub(super) fn of(config: &Config, scale: f64) -> Self {
        let scaled = |duration: Duration| duration.mul_f64(scale).max(Duration::from_millis(1));
        let policy = Policy {
            max_attempts: config.max_attempts,
            base_delay: Duration::from_millis(config.base_delay_milliseconds),
            max_delay: Duration::from_secs(config.max_delay_seconds),
            resend_unreadable: config.resend_unreadable,
            ..Policy::default()
        };
        Self {
            lease: scaled(Duration::from_secs(config.lease_seconds)),
            poll: scaled(Duration::from_millis(config.poll_milliseconds)),
            channel_interval: scaled(Duration::from_secs(1)),
            confirm_after: scaled(Duration::from_secs(config.confirm_after_seconds)),
            archive_after: scaled(Duration::from_secs(config.archive_after_seconds)),
            look_up: scaled(LOOK_UP),
            follow: scaled(FOLLOW),
            feed_kept: scaled(Duration::from_secs(24 * 3600 * u64::from(config.feed_days))),
            history_kept: scaled(
                Duration::from_secs(24 * 3600 * u64::from(config.history_days)).max(IDEMPOTENCY),
            ),
            held_soon: scaled(HELD_SOON),
            held_again: scaled(Duration::from_secs(3600)),
            upkeep: scaled(Duration::from_secs(30)),
            retry: scaled(Duration::from_secs(1)),
            policy: policy.scaled(scale),
            parked_types: config.park_event_types.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_agrees_with_the_policys() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(Timing::of(&config, 1.0).policy, Policy::default());
    }

    #[test]
    fn a_refusal_names_the_setting() {
        let wrong = Config { lease_seconds: 1, ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("lease_seconds "));
        let wrong = Config { confirm_after_seconds: u64::MAX, ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("confirm_after_seconds "));
        let wrong = Config { max_delay_seconds: u64::MAX, ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("max_delay_seconds "));
        let wrong = Config { max_delay_seconds: 0, ..Config::default() };
        assert!(wrong.validate().unwrap_err().starts_with("max_delay_seconds "));
    }

    #[test]
    fn request_ids_outlive_whatever_is_set() {
        let least = Config { history_days: 0, ..Config::default() };
        assert!(least.validate().unwrap_err().starts_with("history_days "));
        assert_eq!(Timing::of(&least, 1.0).history_kept, IDEMPOTENCY);
    }

    #[test]
    fn one_factor_shortens_everything() {
        let timing = Timing::of(&Config::default(), 0.01);
        assert_eq!(timing.lease, Duration::from_millis(600));
        assert_eq!(timing.channel_interval, Duration::from_millis(10));
        assert_eq!(timing.policy.probe_after[2], Duration::from_millis(300));
    }
}
