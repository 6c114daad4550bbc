//! The settings of the member directory (`[directory]`).

use std::time::Duration;

use serde::Deserialize;

/// How member lists are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Memory for member lists (snapshots), in bytes, for all workspaces together. Default
    /// `536870912` (512 MiB). A list that is larger than this is built again for every question, so
    /// keep the value above the size of your largest workspace (about 100 bytes a member).
    pub memory_bytes: u64,
    /// Seconds between two full readings of a workspace's member list; the next one comes up to a
    /// tenth earlier, so that readings of many workspaces spread. Default `3600`.
    pub refresh_seconds: u64,
    /// The same, at most, if events of the workspace arrive (`/slack/events`): each event postpones
    /// the next reading to `refresh_seconds` after the event, but to no later than this time after
    /// the last reading. Default `86400`.
    pub refresh_with_events_seconds: u64,
    /// Seconds for which Slack is not asked again about an e-mail address that is missing from the
    /// member list. `TestSlack` always asks. Default `60`.
    pub absent_seconds: u64,
    /// Milliseconds until a replica notices a member list that another replica read or changed, at
    /// the latest. Default `3000`.
    #[serde(rename = "poll_milliseconds", deserialize_with = "milliseconds")]
    pub poll_interval: Duration,
    /// Seconds after which a member's custom profile fields are fetched again, because Slack does
    /// not report when they are edited. Each member costs one question, and Slack allows 100 a
    /// minute. Default `86400`: a day.
    pub fields_refresh_seconds: u64,
    /// Seconds after which a member list is too old to find people in it. People who were found
    /// before still get messages; messages to other people wait for a newer list or expire.
    /// ResolveIdentity answers from the old list and says that it is old. At least
    /// `refresh_with_events_seconds`. Default `259200` (three days).
    pub max_stale_seconds: u64,
    /// Seconds after which another replica takes over the reading of a list, or an event, from a
    /// replica that no longer renews its lease. A running replica renews it three times in this
    /// time. Default `60`.
    pub lease_seconds: u64,
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    u64::deserialize(source).map(Duration::from_millis)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            refresh_seconds: 3600,
            refresh_with_events_seconds: 24 * 3600,
            absent_seconds: 60,
            poll_interval: Duration::from_secs(3),
            fields_refresh_seconds: 86_400,
            max_stale_seconds: 259_200,
            lease_seconds: 60,
        }
    }
}

impl Config {
    /// Refuses contradictions and values out of range; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        if self.refresh_seconds < 60 {
            return Err("refresh_seconds must be at least 60".into());
        }
        if !(60..=31 * 24 * 3600).contains(&self.fields_refresh_seconds) {
            return Err("fields_refresh_seconds must be between 60 and 2678400".into());
        }
        if self.poll_interval < Duration::from_millis(100) {
            return Err("poll_milliseconds must be at least 100".into());
        }
        if self.refresh_seconds > 31 * 24 * 3600 {
            return Err("refresh_seconds must be at most 31 days".into());
        }
        if self.poll_interval > Duration::from_secs(3600) {
            return Err("poll_milliseconds must be at most an hour".into());
        }
        if self.max_stale_seconds < self.refresh_with_events_seconds {
            return Err("max_stale_seconds must be at least refresh_with_events_seconds".into());
        }
        if self.max_stale_seconds > 366 * 24 * 3600 {
            return Err("max_stale_seconds must be at most a year".into());
        }
        if self.refresh_with_events_seconds < self.refresh_seconds {
            return Err("refresh_with_events_seconds must not be less than refresh_seconds".into());
        }
        if self.refresh_with_events_seconds > 31 * 24 * 3600 {
            return Err("refresh_with_events_seconds must be at most 31 days".into());
        }
        if !(1..=3600).contains(&self.absent_seconds) {
            return Err("absent_seconds must be between 1 and 3600".into());
        }
        if self.lease_seconds > 3600 {
            return Err("lease_seconds must be at most 3600".into());
        }
        if self.lease_seconds < 10 {
            return Err("lease_seconds must be at least 10".into());
        }
        Ok(())
    }
}
