//! The settings of the gRPC side (`[rpc]`).

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::CallerConfig;

/// Where and for whom calls are served.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where gRPC is served. Default `127.0.0.1:50051`.
    pub address: SocketAddr,
    /// Where gRPC health is served in plain text, for kubelets. Default `127.0.0.1:50052`.
    pub health_address: SocketAddr,
    /// Lets everybody in as an administrator of every tenant. Refused on any address but
    /// loopback. Default `false`.
    pub insecure: bool,
    /// Who may call: `[[rpc.callers]]` entries, below. Default: none, which is refused unless
    /// `insecure` is set.
    pub callers: Vec<CallerConfig>,
    /// Calls under way at the same time; more are refused with `RESOURCE_EXHAUSTED`. Default
    /// `1024`. Health and reflection do not count.
    pub max_concurrent_calls: usize,
    /// Calls a second that one caller (one `principal`) may make at one replica, a second's worth of
    /// them at once; more are refused with `RESOURCE_EXHAUSTED`. `0` is any number. Default `0`.
    pub caller_calls_per_second: u32,
    /// Streams (WatchNotification, WatchDeliveries) open at the same time; more are refused with
    /// `RESOURCE_EXHAUSTED`. Default `256`.
    pub max_watches: usize,
    /// Bytes of one request. Default `67108864` (64 MiB): 1,000 recipients described at 16 KiB each fit.
    pub max_request_bytes: usize,
    /// Seconds that a call may take at most, whatever deadline it names; streams last. Default `60`.
    #[serde(rename = "longest_call_seconds", deserialize_with = "seconds")]
    pub longest_call: Duration,
}

fn seconds<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    u64::deserialize(source).map(Duration::from_secs)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 50051)),
            health_address: SocketAddr::from(([127, 0, 0, 1], 50052)),
            insecure: false,
            callers: Vec::new(),
            max_concurrent_calls: 1024,
            caller_calls_per_second: 0,
            max_watches: 256,
            max_request_bytes: 64 << 20,
            longest_call: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Refuses what cannot work; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_concurrent_calls == 0 || self.max_concurrent_calls > 1_000_000 {
            return Err("max_concurrent_calls must be between 1 and 1000000".into());
        }
        if self.caller_calls_per_second > 1_000_000 {
            return Err("caller_calls_per_second must be at most 1000000".into());
        }
        if self.max_watches == 0 || self.max_watches > 1_000_000 {
            return Err("max_watches must be between 1 and 1000000".into());
        }
        if !(1 << 10..=1 << 30).contains(&self.max_request_bytes) {
            return Err("max_request_bytes must be between 1 KiB and 1 GiB".into());
        }
        if self.longest_call < Duration::from_secs(1) {
            return Err("longest_call_seconds must be at least 1".into());
        }
        if !self.insecure && self.callers.is_empty() {
            return Err("callers is empty, so nobody could call: add a [[rpc.callers]] entry, or \
                        set rpc.insecure=true to try Herald on this machine"
                .into());
        }
        Ok(())
    }
}
