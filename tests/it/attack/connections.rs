//! Connections that send nothing, or only a part: they end after a time, one address can hold only
//! a few, and they keep no other client out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{Neighbour, Site, callers, stores_ben, with_key};
use crate::support::client::reason;
use crate::support::process::{PATIENCE, until};

/// The addresses of attackers, and of all other clients: all of 127.0.0.0/8 is this machine.
pub(super) const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
pub(super) const OTHERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The first bytes of an HTTP/2 client: the preface, and empty settings.
pub(super) const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
pub(super) const HALF_HEADERS: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: herald\r\nX-Slow: ";

fn settings(more: &[&str]) -> Vec<String> {
    let keys = callers(&[("neighbour", "service", "acme")]);
    more.iter().map(ToString::to_string).chain([keys]).collect()
}

/// A connection from an address that sends these bytes and then nothing.
pub(super) async fn connection(from: Ipv4Addr, to: SocketAddr, says: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = tokio::time::timeout(PATIENCE, socket.connect(to)).await.unwrap().unwrap();
    // An unwanted connection is closed before it can send.
    stream.write_all(says).await.ok();
    stream
}

/// Waits until the connection ends.
pub(super) async fn ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // Closed or reset: either way it has ended.
    end.unwrap().ok();
}

/// How many of them have ended already. Bytes sent before the end are skipped.
fn closed(streams: &[TcpStream]) -> usize {
    let is_closed = |stream: &&TcpStream| {
        let mut said = [0; 1024];
        loop {
            match stream.try_read(&mut said) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    };
    streams.iter().filter(is_closed).count()
}

fn channel_from(from: Ipv4Addr, to: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{to}")).unwrap();
    endpoint.local_address(Some(from.into())).connect_lazy()
}

/// The status of a page over HTTP, for another client.
async fn page(site: &Site, path: &str) -> u16 {
    // Another test may have installed one already; that one works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().local_address(Some(OTHERS.into()));
    let client = client.timeout(PATIENCE).build().unwrap();
    let address = format!("http://{}{path}", site.herald.http);
    client.get(address).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_half_of_it_is_closed() {
    // The idle limit would end them only after the test has given up.
    let times = ["listen.handshake_seconds=1", "listen.idle_seconds=300"];
    let site = Site::start(&settings(&times)).await;
    let herald = &site.herald;
    let cases: [(SocketAddr, &[u8]); 6] = [
        (herald.rpc, b""),
        (herald.rpc, &GREETING[..10]),
        (herald.health, b""),
        (herald.http, b""),
        (herald.http, HALF_HEADERS),
        (herald.http, GREETING),
    ];
    all_end(cases).await;
    site.ends_well().await;
}

async fn all_end<const N: usize>(cases: [(SocketAddr, &[u8]); N]) {
    let ends = cases.map(async |(to, says)| {
        let mut stream = connection(ATTACKER, to, says).await;
        ended(&mut stream).await;
    });
    join_all(ends).await;
}

/// A client that answers every ping and makes no requests, until its connection ends.
async fn idle_client(to: SocketAddr) {
    let stream = TokioIo::new(connection(OTHERS, to, b"").await);
    let client = http2::handshake::<_, _, axum::body::Body>(TokioExecutor::new(), stream);
    let (_requests, connection) = client.await.unwrap();
    // Closed or reset: either way it has ended.
    tokio::time::timeout(PATIENCE, connection).await.unwrap().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_nothing_is_closed_though_they_answer() {
    let times = ["listen.handshake_seconds=300", "listen.idle_seconds=1"];
    let site = Site::start(&settings(&times)).await;
    let herald = &site.herald;
    join_all([herald.rpc, herald.health].map(idle_client)).await;
    all_end([(herald.rpc, GREETING), (herald.health, GREETING)]).await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_silent_connections_keep_nobody_out() {
    herald::listen::raise_file_limit().unwrap();
    let mut site = Site::start(&settings(&["listen.handshake_seconds=300"])).await;
    let neighbour = Neighbour::over(channel_from(OTHERS, site.herald.rpc));
    neighbour.answered(10).await;
    let mut silent = Vec::new();
    for (to, says) in [
        (site.herald.rpc, &b""[..]),
        (site.herald.http, HALF_HEADERS),
        (site.herald.health, &b""[..]),
    ] {
        for _ in 0..400 {
            silent.push(connection(ATTACKER, to, says).await);
        }
    }
    until("all but 256 from one address, and 32 for health, are closed", async || {
        (closed(&silent[..400]) == 144
            && closed(&silent[400..800]) == 144
            && closed(&silent[800..]) == 368)
            .then_some(())
    })
    .await;
    neighbour.answered(10).await;
    assert_eq!(page(&site, "/healthz").await, 200);
    assert_eq!(site.herald.status().await, Some(ServingStatus::Serving));
    neighbour.stop().await;
    // The process ends within its grace, whatever is still open.
    site.herald.signal("TERM");
    assert!(site.herald.ended().await.success());
    assert!(!site.herald.log().contains("the grace period is over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_and_room_comes_back_where_every_place_is_taken() {
    let full = ["listen.max_connections=20", "listen.max_connections_per_address=20"];
    let site = Site::start(&settings(&[full[0], full[1], "listen.handshake_seconds=2"])).await;
    let mut silent = Vec::new();
    for to in [site.herald.rpc, site.herald.http] {
        for _ in 0..25 {
            silent.push(connection(ATTACKER, to, b"").await);
        }
    }
    assert_eq!(site.herald.status().await, Some(ServingStatus::Serving));
    // Silent connections are closed in time; then there is room for others.
    let neighbour = until("there is room again", async || {
        let asked = stores_ben(channel_from(OTHERS, site.herald.rpc)).await;
        asked.is_ok().then(|| Neighbour::over(channel_from(OTHERS, site.herald.rpc)))
    })
    .await;
    neighbour.answered(10).await;
    neighbour.stop().await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_ends_its_streams_in_words() {
    let ages = ["listen.max_age_seconds=1", "listen.age_grace_seconds=1"];
    let site = Site::start(&settings(&ages)).await;
    stores_ben(site.herald.channel()).await.unwrap();
    for _ in 0..2 {
        let mut client = HeraldServiceClient::new(site.herald.channel());
        let question = pb::WatchDeliveriesRequest {
            tenant_id: "acme".into(),
            after_sequence: None,
            actor: None,
        };
        let question = with_key(Some("neighbour"), question);
        let mut stream = client.watch_deliveries(question).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().unwrap().changes.is_empty());
        let end = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
        let status = end.unwrap_err();
        let told = (status.code(), reason(&status));
        assert_eq!(told, (Code::Unavailable, "DRAINING".to_owned()));
    }
    // Calls continue over one connection after the other. The client has to repeat a call that it
    // makes just while its connection ends; tonic's does not.
    let (channel, since) = (site.herald.channel(), Instant::now());
    while since.elapsed() < Duration::from_secs(5) {
        until("a call", async || stores_ben(channel.clone()).await.ok()).await;
    }
    site.ends_well().await;
}

/// Processor time so far, in hundredths of a second, of `PID` or `thread-self`.
fn ticks(of: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_file_it_rests_and_goes_on() {
    const FILES: usize = 72;
    let site = Site::start_within("-n 72", &settings(&["listen.handshake_seconds=300"])).await;
    let mut silent = Vec::new();
    for number in 0..60 {
        // From several addresses, because one address may hold only half of them.
        let from = Ipv4Addr::new(127, 0, 0, 10 + number / 15);
        silent.push(connection(from, site.herald.health, b"").await);
    }
    until("no file is left", async || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", site.herald.id())).unwrap().count();
        (open >= FILES).then_some(())
    })
    .await;
    // The processor time of a busy loop on this machine, however loaded it is.
    let (id, before) = (site.herald.id().to_string(), ticks(&site.herald.id().to_string()));
    let turning = tokio::task::spawn_blocking(|| {
        let (since, before) = (Instant::now(), ticks("thread-self"));
        while since.elapsed() < Duration::from_secs(3) {
            std::hint::spin_loop();
        }
        ticks("thread-self") - before
    });
    let (turned, spent) = (turning.await.unwrap(), ticks(&id) - before);
    assert!(4 * spent < turned, "{spent} spent without files, {turned} by a busy loop");
    drop(silent);
    until("it serves again", async || {
        site.herald.status().await.filter(|s| *s == ServingStatus::Serving)
    })
    .await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_files_as_it_may_open_are_opened() {
    let site = Site::start_within("-Sn 256", &settings(&[])).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", site.herald.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let figures: Vec<&str> = line.split_whitespace().rev().take(3).collect();
    assert_eq!(figures[1], figures[2], "{line}");
    site.ends_well().await;
}
