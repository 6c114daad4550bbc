//! The settings of connections (`[listen]`).

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::Times;

/// Limits on the number and the lifetime of connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Open connections of the gRPC port, and as many of the HTTP port; more are closed at once.
    /// The number is reduced if the limit of open files is too low. The health port has its own
    /// limit: 64, of which one address may have 32. Default `1024`.
    pub max_connections: usize,
    /// Connections from one address (for IPv6, one /64 network) to a port at the same time; those
    /// in `http.trusted_proxies` are not counted. Behind a load balancer that hides client
    /// addresses, set it to `max_connections`. Default `256`.
    pub max_connections_per_address: usize,
    /// Seconds that a TLS handshake, a first message or the headers of an HTTP request may take.
    /// Default `10`.
    #[serde(rename = "handshake_seconds", deserialize_with = "seconds")]
    pub handshake: Duration,
    /// Seconds after which a connection without a call under way is closed. Default `300`.
    #[serde(rename = "idle_seconds", deserialize_with = "seconds")]
    pub idle: Duration,
    /// Seconds, give or take a tenth, after which a connection takes no new calls, so that clients
    /// spread over new replicas and see new certificates. `0`: never. Default `3600`.
    #[serde(rename = "max_age_seconds", deserialize_with = "seconds")]
    pub max_age: Duration,
    /// Seconds that the calls of a connection have to end after `max_age_seconds`; remaining
    /// streams end with `DRAINING`. Default `300`.
    #[serde(rename = "age_grace_seconds", deserialize_with = "seconds")]
    pub age_grace: Duration,
}

fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    u64::deserialize(source).map(Duration::from_secs)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_address: 256,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            max_age: Duration::from_secs(3600),
            age_grace: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// Refuses invalid settings; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        if !(1..=1_000_000).contains(&self.max_connections) {
            return Err("max_connections must be between 1 and 1000000".into());
        }
        if !(1..=self.max_connections).contains(&self.max_connections_per_address) {
            let sentence = "max_connections_per_address must be between 1 and max_connections";
            return Err(sentence.into());
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&self.handshake) {
            return Err("handshake_seconds must be between 1 and 300".into());
        }
        if !(Duration::from_secs(1)..=DAY).contains(&self.idle) {
            return Err("idle_seconds must be between 1 and 86400".into());
        }
        if self.max_age > 30 * DAY {
            return Err("max_age_seconds must be at most 2592000".into());
        }
        if !(Duration::from_secs(1)..=DAY).contains(&self.age_grace) {
            return Err("age_grace_seconds must be between 1 and 86400".into());
        }
        Ok(())
    }

    pub(super) fn times(&self) -> Times {
        Times {
            handshake: self.handshake,
            idle: self.idle,
            age: (!self.max_age.is_zero()).then_some(self.max_age),
            grace: self.age_grace,
        }
    }
}
