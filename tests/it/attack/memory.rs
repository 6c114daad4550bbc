//! Requests that are small on the wire and large in memory, from callers and from strangers.

use bytes::Bytes;
use futures_util::future::join_all;
use herald::rpc::pb;
use prost::Message as _;
use tonic::Code;
use tonic::transport::Channel;

use super::{NOTIFY, Neighbour, Site, callers, raw};
use crate::support::client::{bad_fields, reason};
use crate::support::process::channel;

/// The most memory that the process may use.
const MEMORY: usize = 256 << 20;
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
    let site = Site::start(&[keys()]).await;
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
