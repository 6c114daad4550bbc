//! Calls in `/metrics`: each gRPC call is counted once, by the answer that its caller got, and each
//! call to Slack by Slack's name of the method.

use std::collections::BTreeMap;

use herald::rpc::pb::{self, SubjectAction};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::client::{notify, task};
use crate::support::process::channel;
use crate::support::world::{TENANT, World, for_each_database, until};

async fn metrics(world: &World) -> String {
    let page = reqwest::get(format!("http://{}/metrics", world.replicas[0].http)).await.unwrap();
    page.text().await.unwrap()
}

/// The value of one series of `herald_rpc_requests_total`.
async fn counted(world: &World, method: &str, code: &str) -> Option<u64> {
    let series = format!("herald_rpc_requests_total{{code=\"{code}\",method=\"{method}\"}} ");
    metrics(world).await.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
}

/// The counts of `herald_slack_requests_total` for this method, by outcome.
async fn calls_to_slack(world: &World, method: &str) -> BTreeMap<String, u64> {
    let series = format!("herald_slack_requests_total{{method=\"{method}\",outcome=\"");
    let text = metrics(world).await;
    let counts = text.lines().filter_map(|line| line.strip_prefix(&series)?.split_once("\"} "));
    counts.map(|(outcome, count)| (outcome.to_owned(), count.parse().unwrap())).collect()
}

async fn comes_to(world: &World, method: &str, code: &str, count: u64) {
    // The server ends a call a moment after its caller has the answer.
    until(&format!("{method} {code} is {count}"), async || {
        let now = counted(world, method, code).await.unwrap();
        assert!(now <= count, "{method} {code}: {now}");
        (now == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_call_is_counted_by_its_answer() {
    const NOTIFY: &str = "herald.v1.HeraldService/Notify";
    const PREFERENCES: &str = "herald.v1.HeraldService/GetPreferences";
    const WATCH: &str = "herald.v1.HeraldService/WatchDeliveries";
    for_each_database(async |world| {
        // The series exist before the first call, so that an increase can be seen.
        assert_eq!(counted(world, NOTIFY, "INTERNAL").await, Some(0));
        assert_eq!(counted(world, PREFERENCES, "OK").await, Some(0));

        world.client.load(&["ben"]).await;
        world.client.notify(notify("once", "request.completed", &["ben"])).await.unwrap();
        comes_to(world, NOTIFY, "OK", 1).await;
        world.stored(1).await;
        let nobody = pb::NotifyRequest { tenant_id: TENANT.into(), ..pb::NotifyRequest::default() };
        assert_eq!(world.client.notify(nobody).await.unwrap_err().code(), Code::InvalidArgument);
        comes_to(world, NOTIFY, "INVALID_ARGUMENT", 1).await;
        // Bytes that are not a message are refused before the method is reached.
        let refused = crate::bad_input::not_a_message(world.replicas[0].rpc, NOTIFY).await;
        assert_eq!(refused.code(), Code::InvalidArgument);
        comes_to(world, NOTIFY, "INVALID_ARGUMENT", 2).await;

        let asked = pb::GetPreferencesRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            actor: None,
        };
        world.client.get_preferences(asked).await.unwrap();
        comes_to(world, PREFERENCES, "OK", 1).await;

        let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
        stream.message().await.unwrap().unwrap();
        drop(stream);
        comes_to(world, WATCH, "CANCELLED", 1).await;

        let mut health = HealthClient::new(channel(world.replicas[0].rpc));
        health.check(Request::new(HealthCheckRequest::default())).await.unwrap();
        until("a call of another service is counted", async || {
            counted(world, "other", "OK").await.filter(|count| *count == 1)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn changes_and_deletions_are_counted_by_slacks_name_of_the_method() {
    for_each_database(async |world| {
        // The series exist before the first call.
        for method in ["chat.update", "chat.delete"] {
            let counts = calls_to_slack(world, method).await;
            assert!(counts.len() > 1 && counts.values().all(|count| *count == 0), "{counts:?}");
        }
        world.client.load(&["ben"]).await;
        let about = |text: &str, action: SubjectAction| pb::NotifyRequest {
            subject_key: "task:1".into(),
            subject_action: action.into(),
            ..task(text, &["ben"])
        };
        // A message is taken back without a new text.
        let back = pb::NotifyRequest {
            data: None,
            link: String::new(),
            ..about("back", SubjectAction::Retract)
        };
        for request in [
            about("first", SubjectAction::NewMessage),
            about("better", SubjectAction::Replace),
            back,
        ] {
            let sent = world.client.notify(request).await.unwrap();
            let ended = world.client.ended(TENANT, &sent.notification_id).await;
            assert_eq!(ended[0].state(), pb::DeliveryState::Sent, "{ended:?}");
        }
        for method in ["chat.postMessage", "chat.update", "chat.delete"] {
            let counts = calls_to_slack(world, method).await;
            assert_eq!((counts["ok"], counts.values().sum::<u64>()), (1, 1), "{method}");
        }
        assert!(calls_to_slack(world, "other").await.values().all(|count| *count == 0));
    })
    .await;
}
