//! The settings of the gRPC side (`[rpc]`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{CallerConfig, IssuerConfig};
use crate::domain::loopback::{LISTEN_ADDRESS, numeric};
use crate::listen::Files;

/// The addresses and the callers of the gRPC side.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address of gRPC. Default `127.0.0.1:50051`.
    #[serde(deserialize_with = "listen_address")]
    pub address: SocketAddr,
    /// The address of gRPC health in plain text, for kubelets. Default `127.0.0.1:50052`.
    #[serde(deserialize_with = "listen_address")]
    pub health_address: SocketAddr,
    /// A PEM file with the server's certificate, followed by its intermediate certificates. It is
    /// read again when the file changes; open connections keep the old certificate. Default: none,
    /// plain text.
    pub tls_certificate: Option<PathBuf>,
    /// A PEM file with the private key of `tls_certificate`. Default: none.
    pub tls_key: Option<PathBuf>,
    /// A PEM file with the certificate authority of the clients. If it is set, clients are asked
    /// for a certificate, and one that they show must be signed by this authority. Default: none.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is refused. Default `false`.
    pub tls_client_required: bool,
    /// Admits every caller as an administrator of every tenant. Refused on any address but
    /// loopback. Default `false`.
    pub insecure: bool,
    /// The permitted callers: `[[rpc.callers]]` entries, below. Default: none, which is refused
    /// unless there are `issuers` or `insecure` is set.
    pub callers: Vec<CallerConfig>,
    /// The issuers whose tokens are accepted: `[[rpc.issuers]]` entries, below. Default: none.
    pub issuers: Vec<IssuerConfig>,
    /// Calls under way at the same time; more are refused with `RESOURCE_EXHAUSTED`. One caller,
    /// and one tenant, may hold no more of them than are free: half if it is the only one, a third
    /// each if there are two. A caller with role `user` may hold a sixteenth of that. Health and
    /// reflection do not count. Default `1024`.
    pub max_concurrent_calls: usize,
    /// Calls a second that one caller (one `principal`) may make at one replica, possibly all of
    /// them at once; more are refused with `RESOURCE_EXHAUSTED`. `0` means no limit. Default
    /// `2000`.
    pub caller_calls_per_second: u32,
    /// The same for a caller with role `user`. Default `20`.
    pub user_calls_per_second: u32,
    /// The same for one tenant, over all its callers. Default `1000`.
    pub tenant_calls_per_second: u32,
    /// Bytes of requests a second that one caller may send to one replica, a second's worth of them
    /// at once and at least one request of the largest size; more are refused with
    /// `RESOURCE_EXHAUSTED`. A caller with role `user` gets a sixteenth. `0` means no limit.
    /// Default `16777216` (16 MiB).
    pub caller_bytes_per_second: usize,
    /// Streams (WatchNotification, WatchDeliveries, WatchChannels, WatchWorkspace, WatchWorkspaces)
    /// open at the same time, shared like calls; more are refused with `RESOURCE_EXHAUSTED`.
    /// Default `256`.
    pub max_watches: usize,
    /// Calls that wait for Slack at the same time: those of TestSlack and CheckConnection, and
    /// those of PreviewTemplate that send the message or have Slack check it. Shared like calls;
    /// more are refused with `RESOURCE_EXHAUSTED`. Default `128`.
    pub max_waiting_tests: usize,
    /// The size limit of a request of Notify, UpsertPeople, EnsureChannel, SetChannelMembers or
    /// AddChannelMembers, in bytes; other methods take 4 MiB at most. Default `16777216` (16 MiB):
    /// 1,000 people described at 16 KiB each fit.
    pub max_request_bytes: usize,
    /// Bytes of all requests under way, as received, plus 64 for each JSON value in them; more are
    /// refused with `RESOURCE_EXHAUSTED`. A caller that already holds some gets no more than are
    /// left free. Default `33554432` (32 MiB).
    pub max_bytes_under_way: usize,
    /// Seconds after which a call ends with `DEADLINE_EXCEEDED`, even if its own deadline is later;
    /// streams are exempt. Default `60`.
    #[serde(rename = "longest_call_seconds", deserialize_with = "seconds")]
    pub longest_call: Duration,
}

/// An address to listen on: `127.0.0.1:50051`, `[::1]:50051` or `localhost:50051`.
fn listen_address<'de, D: Deserializer<'de>>(source: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(source)?;
    numeric(&text).parse().map_err(|_| de::Error::custom(LISTEN_ADDRESS))
}

fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    u64::deserialize(source).map(Duration::from_secs)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 50051)),
            health_address: SocketAddr::from(([127, 0, 0, 1], 50052)),
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            tls_client_required: false,
            insecure: false,
            callers: Vec::new(),
            issuers: Vec::new(),
            max_concurrent_calls: 1024,
            caller_calls_per_second: 2000,
            user_calls_per_second: 20,
            tenant_calls_per_second: 1000,
            caller_bytes_per_second: 16 << 20,
            max_watches: 256,
            max_waiting_tests: 128,
            max_request_bytes: 16 << 20,
            max_bytes_under_way: 32 << 20,
            longest_call: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// The files of TLS; `None` if it is off.
    pub fn tls(&self) -> Result<Option<Files>, String> {
        let (certificate, key) = (self.tls_certificate.as_deref(), self.tls_key.as_deref());
        Files::of(certificate, key, self.tls_client_ca.as_deref(), self.tls_client_required)
    }

    /// Refuses contradictions and values out of range; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        self.tls()?;
        if self.max_concurrent_calls == 0 || self.max_concurrent_calls > 1_000_000 {
            return Err("max_concurrent_calls must be between 1 and 1000000".into());
        }
        for (name, rate) in [
            ("caller_calls_per_second", self.caller_calls_per_second),
            ("user_calls_per_second", self.user_calls_per_second),
            ("tenant_calls_per_second", self.tenant_calls_per_second),
        ] {
            if rate > 1_000_000 {
                return Err(format!("{name} must be at most 1000000"));
            }
        }
        if self.caller_bytes_per_second > 1 << 30 {
            return Err("caller_bytes_per_second must be at most 1073741824".into());
        }
        if self.max_watches == 0 || self.max_watches > 1_000_000 {
            return Err("max_watches must be between 1 and 1000000".into());
        }
        if self.max_waiting_tests == 0 || self.max_waiting_tests > 1_000_000 {
            return Err("max_waiting_tests must be between 1 and 1000000".into());
        }
        if !(1 << 10..=1 << 30).contains(&self.max_request_bytes) {
            return Err("max_request_bytes must be between 1 KiB and 1 GiB".into());
        }
        if !(self.max_request_bytes..=1 << 40).contains(&self.max_bytes_under_way) {
            return Err("max_bytes_under_way must be between max_request_bytes and 1 TiB".into());
        }
        if self.longest_call < Duration::from_secs(1) {
            return Err("longest_call_seconds must be at least 1".into());
        }
        for (index, issuer) in self.issuers.iter().enumerate() {
            issuer.validate().map_err(|sentence| format!("issuers[{index}].{sentence}"))?;
        }
        let shows = |caller: &CallerConfig| caller.certificate.is_some();
        if let Some(index) = self.callers.iter().position(shows)
            && self.tls_client_ca.is_none()
        {
            return Err(format!("callers[{index}].certificate needs tls_client_ca"));
        }
        if !self.insecure && self.callers.is_empty() && self.issuers.is_empty() {
            return Err("callers is empty, so no one could call: add a [[rpc.callers]] or \
                        [[rpc.issuers]] entry, or set rpc.insecure=true to try Herald on this \
                        machine"
                .into());
        }
        Ok(())
    }
}
