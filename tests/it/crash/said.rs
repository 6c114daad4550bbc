//! The output of a process: a log line, and its start with a collector at https.

use herald::sandbox::{Fault, FaultKind};
use serde_json::Value;

use super::{TENANT, message, service, site_on};
use crate::support::process::until;

/// An operator of many tenants must be able to see whose message it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_delivered_is_logged_with_its_tenant() {
    let site = site_on(false, 1).await.unwrap();
    let herald = site.start_connected().await;
    let kind = FaultKind::Error { code: "restricted_action".into() };
    site.sandbox.script(Fault::new("chat.postMessage", kind));
    service(herald.channel()).notify(message(0, 1)).await.unwrap();
    let line = until("the failed delivery is logged", async || {
        let log = herald.log();
        let line = log.lines().find(|line| line.contains("a message was not delivered"));
        line.map(str::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    for (name, value) in [
        ("level", "WARN"),
        ("tenant", TENANT),
        ("state", "failed"),
        ("reason", "rejected"),
        ("code", "restricted_action"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(line["delivery"].is_string() && line["workspace"].is_string(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_may_be_at_https() {
    let mut site = site_on(false, 1).await.unwrap();
    site.more.push("otlp.endpoint=https://127.0.0.1:1".into());
    // It serves: if the collector is down, only spans are lost.
    site.start().await;
}
