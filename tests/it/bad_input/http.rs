//! HTTP and the wire below gRPC: hostile requests are refused, and service continues.

use herald::rpc::pb;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use super::{Rows, assert_reason, object, user};
use crate::support::world::{Replica, for_each_database};

/// Paths, a long path, another verb, and four messages that are built in tests.
pub(super) const CASES: usize = PATHS.len() + 6;

const PATHS: &[(&str, u16)] = &[
    ("/slack/oauth/callback", 400),
    ("/slack/oauth/callback?state=", 400),
    ("/slack/oauth/callback?state=forged&code=1", 400),
    ("/slack/oauth/callback?code=1", 400),
    ("/slack/oauth/callback?state=a&state=b", 400),
    ("/slack/oauth/callback?state=%00%ff", 400),
    ("/nowhere", 404),
    ("/../../etc/passwd", 404),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_http_is_refused_and_stores_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let base = format!("http://{}", world.replicas[0].http);
        let browser = reqwest::Client::builder().build().unwrap();
        let long = "x".repeat(4000);
        let state = format!("/slack/oauth/callback?state={long}&code=1");
        for (path, status) in PATHS.iter().copied().chain([(state.as_str(), 400)]) {
            let answer = browser.get(format!("{base}{path}")).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
            let html = answer.text().await.unwrap();
            assert!(!html.contains("forged") && !html.contains(&long), "{path} is echoed");
        }
        let posted = browser.post(format!("{base}/slack/oauth/callback")).send().await.unwrap();
        assert_eq!(posted.status().as_u16(), 405);
        rows.assert_unchanged("HTTP").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_message_is_refused_and_others_are_served_on() {
    for_each_database(async |world| {
        let mut settings = world.settings();
        settings.rpc.max_request_bytes = 64 << 10;
        let small = Replica::start(settings).await;
        let rows = Rows::of(world).await;
        let client = world.client_at(small.rpc).await;
        let data = object(&format!(r#"{{"x": "{}"}}"#, "x".repeat(100 << 10)));
        let request = pb::NotifyRequest {
            tenant_id: "acme".into(),
            recipients: vec![user("ben")],
            data: Some(data),
            ..pb::NotifyRequest::default()
        };
        let status = client.notify(request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert_eq!(status.message(), "the request is larger than 65536 bytes");
        assert_reason("an oversize message", &status, "MESSAGE_TOO_LARGE");
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["limit_bytes"], "65536");
        rows.assert_unchanged("an oversize message").await;
        client.workspace("acme").await.unwrap();
        small.stopped().await;
    })
    .await;
}

/// Sends one kind of message where another is expected.
async fn sent<T: Message + 'static>(channel: &Channel, method: &str, message: T) -> Status {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/herald.v1.{method}").parse().unwrap();
    let codec = ProstCodec::<T, pb::NotifyResponse>::default();
    grpc.unary(Request::new(message), path, codec).await.unwrap_err()
}

/// The refusal of bytes that are not a message of `method`, a name such as `herald.v1.X/Y`.
pub(crate) async fn not_a_message(rpc: std::net::SocketAddr, method: &str) -> Status {
    let channel = Channel::from_shared(format!("http://{rpc}")).unwrap().connect().await.unwrap();
    let method = method.trim_start_matches("herald.v1.");
    sent(&channel, method, pb::UpsertPeopleResponse { stored: 5 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let address = format!("http://{}", world.replicas[0].rpc);
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        let number = || pb::UpsertPeopleResponse { stored: 5 };
        // The tenant's id is not UTF-8.
        let bytes = vec![0xffu8, 0xfe];
        let statuses = [
            sent(&channel, "HeraldService/Notify", number()).await,
            sent(&channel, "HeraldService/WatchDeliveries", number()).await,
            sent(&channel, "AdminService/UpdateSettings", bytes).await,
        ];
        for status in statuses {
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert_reason("a hostile message", &status, "MALFORMED_MESSAGE");
            let wanted = "the request is not a message of this method: ";
            assert!(status.message().starts_with(wanted), "{status}");
        }
        rows.assert_unchanged("a hostile message").await;
        world.client.workspace("acme").await.unwrap();
    })
    .await;
}
