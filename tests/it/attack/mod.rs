//! Attacks on the ports, each bounded and over loopback: one caller, or an unknown client, cannot
//! harm the others.

mod attackers;
mod audit;
mod canaries;
mod canary_channel;
mod changes;
mod commands;
mod connecting;
mod connections;
mod counted;
mod database;
pub(crate) mod dump;
mod edge;
mod expressions;
mod forgetting;
mod health;
mod http2;
mod keys;
mod lasting;
mod memory;
mod pace;
mod planted;
mod rights;
mod shares;
mod shredding;
mod thief;
mod tls;
mod unread;
mod unused_keys;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::client::demo_person;
use crate::support::process::{Herald, until};

pub(super) const NOTIFY: &str = "herald.v1.HeraldService/Notify";

/// A process with a store of its own, whose callers have the keys of [`key`].
pub(super) struct Site {
    pub(super) herald: Herald,
    _dir: TempDir,
}

/// The key of that principal.
pub(super) fn key(principal: &str) -> String {
    format!("{principal}-7c1f0e5b93d2")
}

/// Entries of `rpc.callers`: principal, role, tenant.
pub(super) fn callers(callers: &[(&str, &str, &str)]) -> String {
    let entries = callers.iter().map(|(principal, role, tenant)| {
        let hash = Sha256::digest(key(principal));
        let hash = hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let user = if *role == "user" { ", user_id = \"mallory\"" } else { "" };
        format!(
            "{{principal = \"{principal}\", key_sha256 = \"{hash}\", role = \"{role}\", \
             tenants = [\"{tenant}\"]{user}}}"
        )
    });
    format!("rpc.callers=[{}]", entries.collect::<Vec<_>>().join(", "))
}

impl Site {
    pub(super) async fn start(more: &[String]) -> Self {
        Self::started(None, more).await
    }

    /// In a process with this limit of open files, as `ulimit` takes it.
    pub(super) async fn start_within(files: &str, more: &[String]) -> Self {
        Self::started(Some(files), more).await
    }

    async fn started(files: Option<&str>, more: &[String]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut settings: Vec<String> = [
            "rpc.address=127.0.0.1:0",
            "rpc.health_address=127.0.0.1:0",
            "http.address=127.0.0.1:0",
            // No server listens there, and none is called.
            "slack.base_url=http://127.0.0.1:9/",
            "log.format=json",
            "process.lame_duck_seconds=0",
        ]
        .map(String::from)
        .to_vec();
        settings.push(format!("store.data_dir={}", dir.path().join("data").display()));
        settings.extend_from_slice(more);
        let herald = match files {
            None => Herald::serve(&settings).await,
            Some(files) => Herald::serve_within(files, &settings).await,
        };
        Self { herald, _dir: dir }
    }

    /// The most memory that the process ever had, in bytes.
    pub(super) fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.herald.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// The number of refusals by this limit.
    pub(super) async fn refusals(&self, limit: &str) -> u64 {
        refusals(self.herald.http, limit).await
    }

    /// The process serves, and ends within its grace when told to.
    pub(super) async fn ends_well(mut self) {
        assert_eq!(self.herald.status().await, Some(ServingStatus::Serving));
        self.herald.signal("TERM");
        assert!(self.herald.ended().await.success());
        assert!(!self.herald.log().contains("the grace period is over"), "calls were dropped");
    }
}

/// The number of refusals by this limit in `/metrics`.
pub(super) async fn refusals(http: SocketAddr, limit: &str) -> u64 {
    // Another test may have installed one already; that one works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let page = reqwest::get(format!("http://{http}/metrics")).await.unwrap();
    let page = page.text().await.unwrap();
    let series = format!("herald_refusals_total{{limit=\"{limit}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

/// Adds the key of a principal.
pub(super) fn with_key<T>(principal: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(principal) = principal {
        let value = format!("Bearer {}", key(principal)).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Sends any bytes as the message of a method.
pub(super) async fn raw(
    channel: &Channel,
    method: &str,
    principal: Option<&str>,
    message: Bytes,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/{method}").parse().unwrap();
    grpc.unary(with_key(principal, message), path, Raw).await.map(drop)
}

/// Passes bytes through unchanged.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A caller of another tenant who makes one call after the other until told to stop.
pub(super) struct Neighbour {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Neighbour {
    /// `neighbour` is the principal, `acme` the tenant.
    pub(super) fn start(herald: &Herald) -> Self {
        Self::over(herald.channel())
    }

    /// The same over a given connection.
    pub(super) fn over(channel: Channel) -> Self {
        let (stop, answered) = (Arc::default(), Arc::default());
        let task = tokio::spawn(ask_on(channel, Arc::clone(&stop), Arc::clone(&answered)));
        Self { stop, answered, task }
    }

    /// Waits until this many more calls were answered.
    pub(super) async fn answered(&self, more: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        until("the neighbour is answered", async || {
            let going = !self.task.is_finished();
            assert!(going, "the neighbour was refused");
            (self.answered.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// Stops, and asserts that no call was refused.
    pub(super) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// The neighbour's simplest call; from then on the tenant exists.
pub(super) async fn stores_ben(channel: Channel) -> Result<(), Status> {
    let people = vec![demo_person("ben")];
    let request = pb::UpsertPeopleRequest { tenant_id: "acme".into(), people, actor: None };
    AdminServiceClient::new(channel).upsert_people(with_key(Some("neighbour"), request)).await?;
    Ok(())
}

async fn ask_on(channel: Channel, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    stores_ben(channel.clone()).await.unwrap();
    let mut client = HeraldServiceClient::new(channel);
    // A caller with pauses between its calls.
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        pause.tick().await;
        let question = pb::ResolveIdentityRequest {
            tenant_id: "acme".into(),
            subject: Some(pb::resolve_identity_request::Subject::UserId("ben".into())),
            actor: None,
        };
        client.resolve_identity(with_key(Some("neighbour"), question)).await.unwrap();
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
