//! Requests that are small on the wire and large in memory, from callers and from unknown clients.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use herald::rpc::pb;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::connections::{ATTACKER, OTHERS, connection};
use super::{NOTIFY, Neighbour, Site, callers, raw};
use crate::support::client::{bad_fields, reason};
use crate::support::process::{channel, until};

/// The most memory that the process may use.
pub(super) const MEMORY: usize = 256 << 20;
/// Empty recipients: two bytes each.
const EMPTY_RECIPIENT: [u8; 2] = [0x22, 0];

fn keys() -> String {
    callers(&[("neighbour", "service", "acme"), ("attacker", "service", "evil")])
}

/// One connection for each attacker: an attacker slows down only its own.
fn attackers(site: &Site, count: usize) -> Vec<Channel> {
    (0..count).map(|_| channel(site.herald.rpc)).collect()
}

fn empty_recipients(bytes: usize) -> Bytes {
    EMPTY_RECIPIENT.repeat(bytes / 2).into()
}

/// The process never exceeded its memory limit, and ends properly.
async fn stayed_small(site: Site) {
    let peak = site.peak();
    println!("{} MiB at the most", peak >> 20);
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_before_their_bytes_are_read() {
    let site = Site::start(&[keys()]).await;
    let neighbour = Neighbour::start(&site.herald);
    neighbour.answered(10).await;
    for megabytes in [10, 60] {
        let message = empty_recipients(megabytes << 20);
        let channels = attackers(&site, 8);
        let calls = channels.iter().map(|to| raw(to, NOTIFY, None, message.clone()));
        for answer in join_all(calls).await {
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
            assert_eq!(reason(&status), "CREDENTIALS_MISSING");
        }
        neighbour.answered(10).await;
    }
    neighbour.stop().await;
    stayed_small(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_takes_no_more_memory_than_its_share() {
    // Without its limit of bytes a second, which would refuse most of them earlier.
    let site = Site::start(&[keys(), "rpc.caller_bytes_per_second=0".into()]).await;
    let neighbour = Neighbour::start(&site.herald);
    neighbour.answered(10).await;
    // Empty recipients, empty JSON values, and one text of the full size.
    let list = |values: usize| {
        let values = vec![prost_types::Value::default(); values];
        let kind = prost_types::value::Kind::ListValue(prost_types::ListValue { values });
        let value = prost_types::Value { kind: Some(kind) };
        let data = prost_types::Struct { fields: [("x".to_owned(), value)].into() };
        pb::NotifyRequest {
            tenant_id: "evil".into(),
            data: Some(data),
            ..pb::NotifyRequest::default()
        }
    };
    let large = pb::NotifyRequest { link: "x".repeat(15 << 20), ..pb::NotifyRequest::default() };
    let messages = [
        empty_recipients(15 << 20),
        list(7 << 20).encode_to_vec().into(),
        list(190_000).encode_to_vec().into(),
        large.encode_to_vec().into(),
    ];
    for message in messages {
        let channels = attackers(&site, 16);
        let calls = channels.iter().map(|to| raw(to, NOTIFY, Some("attacker"), message.clone()));
        for answer in join_all(calls).await {
            let status = answer.unwrap_err();
            let reason = reason(&status);
            match status.code() {
                Code::InvalidArgument => assert_eq!(reason, "INVALID_ARGUMENT"),
                _ => assert_eq!(
                    (status.code(), reason),
                    (Code::ResourceExhausted, "OVERLOADED".into())
                ),
            }
        }
        neighbour.answered(10).await;
    }
    neighbour.stop().await;
    stayed_small(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_and_each_list_has_its_limit() {
    let site = Site::start(&[keys()]).await;
    let to = site.herald.channel();
    let attack = async |method: &str, message: Bytes| {
        raw(&to, method, Some("attacker"), message).await.unwrap_err()
    };
    let told = attack(NOTIFY, empty_recipients(1 << 20)).await;
    assert_eq!(bad_fields(&told), ["recipients"]);
    let people = [0x12, 0].repeat(1001);
    let told = attack("herald.v1.AdminService/UpsertPeople", people.into()).await;
    assert_eq!(bad_fields(&told), ["people"]);
    let large = vec![0x0a; (16 << 20) + 1];
    let told = attack(NOTIFY, large.into()).await;
    assert_eq!(reason(&told), "MESSAGE_TOO_LARGE");
    for method in ["HeraldService/ResolveIdentity", "AdminService/SimulateMapping"] {
        let large = vec![0x0a; (4 << 20) + 1];
        let told = attack(&format!("herald.v1.{method}"), large.into()).await;
        assert_eq!(
            (told.code(), reason(&told).as_str()),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
        );
    }
    // These two need no credentials, so they accept only small requests.
    let large: Bytes = vec![0x0a; (4 << 10) + 1].into();
    let told = raw(&to, "grpc.health.v1.Health/Check", None, large.clone()).await.unwrap_err();
    assert_eq!(reason(&told), "MESSAGE_TOO_LARGE", "{told}");
    let reflection = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    raw(&to, reflection, None, large).await.unwrap_err();
    // The message of a stranger is not decoded.
    let told = raw(&to, NOTIFY, None, Bytes::from_static(&[0xff])).await.unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
    site.ends_well().await;
}

/// The streams that a client may open on one connection.
const STREAMS: usize = 256;

pub(super) type Client = http2::SendRequest<Body>;

/// A client over HTTP/2 that takes at most this many bytes of an answer before it reads them.
pub(super) async fn client(from: Ipv4Addr, to: SocketAddr, window: u32) -> Client {
    let stream = TokioIo::new(connection(from, to, b"").await);
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings.initial_stream_window_size(window);
    let (client, connection) = settings.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Sends the same request on every stream of several connections at once.
pub(super) async fn flood(
    clients: &[Client],
    request: &dyn Fn() -> Request<Body>,
) -> Vec<Response<Incoming>> {
    let calls = clients.iter().flat_map(|client| {
        (0..STREAMS).map(move |_| {
            let (mut client, request) = (client.clone(), request());
            async move { client.send_request(request).await.unwrap() }
        })
    });
    join_all(calls).await
}

/// A call of gRPC with these messages.
pub(super) fn call(method: &str, message: &[u8], times: usize) -> Request<Body> {
    let length = u32::try_from(message.len()).unwrap();
    let framed = [&[0][..], &length.to_be_bytes(), message].concat();
    let request = Request::post(format!("http://herald/{method}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    request.body(Body::from(framed.repeat(times))).unwrap()
}

/// Asks several times for the largest file.
fn reflection() -> Request<Body> {
    let symbol = MessageRequest::FileContainingSymbol("herald.v1.AdminService".into());
    let message = ServerReflectionRequest { message_request: Some(symbol), ..Default::default() };
    let method = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    call(method, &message.encode_to_vec(), 4)
}

/// Whether it was refused, which must be by this limit.
fn refused(answer: &HeaderMap, limit: &str) -> bool {
    let Some(status) = answer.get("grpc-status") else {
        return false;
    };
    assert_eq!(status, "8", "{answer:?}");
    assert!(answer["grpc-message"].to_str().unwrap().contains(limit), "{answer:?}");
    true
}

/// The calls that were admitted. All others must have been refused by this limit.
pub(super) fn admitted(answers: Vec<Response<Incoming>>, limit: &str) -> Vec<Response<Incoming>> {
    let all = answers.len();
    let admitted: Vec<_> =
        answers.into_iter().filter(|answer| !refused(answer.headers(), limit)).collect();
    println!("{limit}: {} of {all} were admitted", admitted.len());
    admitted
}

pub(super) async fn health(site: &Site) {
    for to in [site.herald.rpc, site.herald.health] {
        let question = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel(to)).check(question).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_read_nothing_leave_few_answers_in_memory() {
    let site = Site::start(&[keys()]).await;
    let neighbour = Neighbour::start(&site.herald);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(client(ATTACKER, site.herald.rpc, 0).await);
    }
    let files = admitted(flood(&clients, &reflection).await, "rpc.open_reflections");
    assert!((1..=16).contains(&files.len()), "{}", files.len());
    let watch = || call("grpc.health.v1.Health/Watch", b"", 1);
    let watches = admitted(flood(&clients, &watch).await, "rpc.open_health_watches");
    assert!((1..=128).contains(&watches.len()), "{}", watches.len());
    // No other client notices.
    health(&site).await;
    neighbour.answered(10).await;
    let mut other = client(OTHERS, site.herald.rpc, 1 << 20).await;
    for request in [reflection(), watch()] {
        let answer = other.send_request(request).await.unwrap();
        assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
    }
    // A call of reflection ends although its client reads nothing.
    until("the attacker's next call of reflection", async || {
        let answer = clients[0].clone().send_request(reflection()).await.unwrap();
        (!refused(answer.headers(), "rpc.open_reflections")).then_some(())
    })
    .await;
    drop((files, watches, clients, other));
    neighbour.stop().await;
    stayed_small(site).await;
}

/// An event from Slack, without a signature.
fn event(body: Body) -> Request<Body> {
    Request::post("http://herald/slack/events").body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_strangers_find_little_room_and_little_time() {
    let site = Site::start(&[keys(), "http.slack_requests_per_second=0".into()]).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(client(ATTACKER, site.herald.http, 1 << 20).await);
    }
    // Almost as large as allowed, and without an end.
    let most = Bytes::from(vec![b'x'; herald::slack::events::BODY_BYTES - 1]);
    let unending = || {
        let part = stream::iter([Ok::<_, Infallible>(most.clone())]);
        event(Body::from_stream(part.chain(stream::pending())))
    };
    let attack = flood(&clients, &unending);
    let honest = async {
        let mut other = client(OTHERS, site.herald.http, 1 << 20).await;
        for _ in 0..100 {
            let answer = other.send_request(event(Body::from("{}"))).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        }
        health(&site).await;
    };
    let (answers, ()) = tokio::join!(attack, honest);
    for answer in &answers {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    }
    assert!(site.refusals("http.bytes_under_way").await > 0);
    drop((answers, clients));
    stayed_small(site).await;
}
