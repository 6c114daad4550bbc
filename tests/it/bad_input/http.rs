//! HTTP and the wire below gRPC: hostile requests are refused, and others are served on.

use herald::rpc::pb;
use tonic::Code;

use super::{Rows, object, user};
use crate::support::world::{Replica, for_each_database};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_http_is_refused_and_stores_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let base = format!("http://{}", world.replicas[0].http);
        let browser = reqwest::Client::builder().build().unwrap();
        let long = "x".repeat(4000);
        let cases = [
            ("/slack/oauth/callback", 400),
            ("/slack/oauth/callback?state=", 400),
            ("/slack/oauth/callback?state=forged&code=1", 400),
            ("/slack/oauth/callback?code=1", 400),
            (&format!("/slack/oauth/callback?state={long}&code=1"), 400),
            ("/slack/oauth/callback?state=a&state=b", 400),
            ("/slack/oauth/callback?state=%00%ff", 400),
            ("/nowhere", 404),
            ("/../../etc/passwd", 404),
        ];
        for (path, status) in cases {
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
        let mut settings = world.settings(&[]);
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
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
        rows.assert_unchanged("an oversize message").await;
        client.workspace("acme").await.unwrap();
        small.stopped().await;
    })
    .await;
}
