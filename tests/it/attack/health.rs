//! Health needs no caller, so its own limits apply to unknown clients, on both of its ports.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use tonic_types::StatusExt as _;

use super::connections::ATTACKER;
use super::memory::{admitted, call, client, flood, health};
use super::{Site, callers, raw};
use crate::support::process::{PATIENCE, channel};

const CHECK: &str = "grpc.health.v1.Health/Check";
const WATCH: &str = "grpc.health.v1.Health/Watch";

async fn site() -> Site {
    Site::start(&[callers(&[("neighbour", "service", "acme")])]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_message_does_not_arrive_is_ended() {
    let site = site().await;
    let (rpc, port) = (site.herald.rpc, site.herald.health);
    let questions = [(rpc, CHECK), (port, CHECK), (port, WATCH)].map(async |(to, method)| {
        let silence = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let mut client = client(ATTACKER, to, 1 << 20).await;
        let asked = client.send_request(call(method, b"", 1).map(|_| silence));
        let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4", "{method}: {answer:?}");
    });
    join_all(questions).await;
    health(&site).await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_too_large_is_refused_in_words() {
    let site = site().await;
    let large: Bytes = vec![0x0a; (4 << 10) + 1].into();
    for to in [site.herald.rpc, site.herald.health] {
        for method in [CHECK, WATCH] {
            let told = raw(&channel(to), method, None, large.clone()).await.unwrap_err();
            let info = told.get_details_error_info().unwrap();
            assert_eq!(info.reason, "MESSAGE_TOO_LARGE", "{method}: {told}");
            assert_eq!(info.metadata["limit_bytes"], "4096", "{method} at {to}");
        }
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_the_health_port_have_a_limit_and_refusals_are_counted() {
    let site = site().await;
    let clients = [client(ATTACKER, site.herald.health, 1 << 20).await];
    let answers = flood(&clients, &|| call(WATCH, b"", 1)).await;
    let all = answers.len();
    let watches = admitted(answers, "rpc.open_health_watches");
    assert!((1..=128).contains(&watches.len()), "{}", watches.len());
    let refused = u64::try_from(all - watches.len()).unwrap();
    assert_eq!(site.refusals("rpc.open_health_watches").await, refused);
    health(&site).await;
    drop((watches, clients));
    site.ends_well().await;
}
