//! Bodies that no one wants: the server takes one window of a refused call, reads a connection of
//! them slowly, and reads only so many bytes a second of a known caller.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::connections::{ATTACKER, connection};
use super::counted::Counted;
use super::memory::{Client, call};
use super::{NOTIFY, Neighbour, Site, callers, key, raw};
use crate::support::client::reason;

/// Bytes that a client may send of a call before the server reads them.
const WINDOW: u64 = 64 << 10;
/// The same for its connection.
const CONNECTION: u64 = 512 << 10;
/// Bytes of no use that a connection may send, and those that it may send in a second beyond them.
const ALLOWED: u64 = 1 << 20;
const RATE: u64 = 256 << 10;
/// Headers, settings and other frames that are not a body.
const OTHER: u64 = 4 << 10;

fn keys() -> String {
    callers(&[("neighbour", "service", "acme"), ("attacker", "service", "evil")])
}

/// An attacker's connection, and the bytes that it has sent.
async fn attacker(to: SocketAddr) -> (Client, Arc<AtomicU64>) {
    let sent = Arc::<AtomicU64>::default();
    let stream = Counted::new(connection(ATTACKER, to, b"").await, Arc::clone(&sent));
    let (client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    (client, sent)
}

/// A call that declares a message of 60 MiB, and sends of it what the server takes.
fn endless(principal: Option<&str>) -> Request<Body> {
    let piece = Bytes::from_static(&[0; 16 << 10]);
    let head = [&[0][..], &(60_u32 << 20).to_be_bytes()].concat();
    let pieces = stream::iter([Bytes::from(head)]).chain(stream::repeat(piece));
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    let mut request = call(NOTIFY, b"", 0).map(|_| body);
    if let Some(principal) = principal {
        let value = format!("Bearer {}", key(principal)).parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn one_window_of_a_refused_body_is_taken() {
    let site = Site::start(&[keys()]).await;
    // An unknown caller, and a known one whose message is too large.
    for (principal, status) in [(None, "16"), (Some("attacker"), "8")] {
        let (mut client, sent) = attacker(site.herald.rpc).await;
        let answer = client.send_request(endless(principal)).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], status, "{answer:?}");
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent <= WINDOW + OTHER, "{sent} bytes of {principal:?}");
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_refused_calls_is_read_slowly() {
    const ROUNDS: u64 = 3;
    const STREAMS: u64 = 256;
    let site = Site::start(&[keys()]).await;
    let neighbour = Neighbour::start(&site.herald);
    neighbour.answered(10).await;
    let since = Instant::now();
    let (client, sent) = attacker(site.herald.rpc).await;
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let calls = (0..STREAMS).map(|_| {
            let mut client = client.clone();
            async move { client.send_request(endless(None)).await }
        });
        // The server may close a connection that sends on streams that have ended.
        for answer in join_all(calls).await.into_iter().flatten() {
            assert_eq!(answer.headers()["grpc-status"], "16", "{answer:?}");
            refused += 1;
        }
    }
    assert!(refused >= STREAMS, "{refused}");
    let (sent, millis) = (sent.load(Ordering::Relaxed), since.elapsed().as_millis());
    let may = ALLOWED + RATE * u64::try_from(millis).unwrap() / 1000;
    // Bytes that the server has not read yet, and a piece that it had read when it became too much.
    let may = may + CONNECTION + ROUNDS * STREAMS * 200 + OTHER + (64 << 10);
    println!("{sent} bytes in {millis} ms, of {may}");
    assert!(sent <= may, "{sent} bytes in {millis} ms, of {may}");
    neighbour.answered(10).await;
    neighbour.stop().await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_sends_so_many_bytes_a_second() {
    const LIMIT: &str = "rpc.caller_bytes_per_second";
    let limits = ["rpc.max_request_bytes=1048576".into(), format!("{LIMIT}=16384")];
    let site = Site::start(&[&limits[..], &[keys()]].concat()).await;
    let to = site.herald.channel();
    // Empty recipients, two bytes each, and far too many: the refusal comes after reading them.
    let large = Bytes::from([0x22, 0].repeat(1 << 19));
    let tries = async |who| raw(&to, NOTIFY, Some(who), large.clone()).await.unwrap_err();
    let read = tries("attacker").await;
    assert_eq!(read.code(), Code::InvalidArgument, "{read}");
    let refused = tries("attacker").await;
    assert_eq!(reason(&refused), "QUOTA_EXCEEDED", "{refused}");
    let limit = &refused.get_details_error_info().unwrap().metadata["limit"];
    assert!(limit == LIMIT && refused.message().contains(LIMIT), "{refused}");
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO, "{wait:?}");
    assert_eq!(site.refusals(LIMIT).await, 1);
    // Another caller has bytes of its own.
    let other = tries("neighbour").await;
    assert_eq!(other.code(), Code::InvalidArgument, "{other}");
    site.ends_well().await;
}
