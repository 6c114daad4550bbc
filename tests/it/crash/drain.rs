//! A process that is asked to stop reports NOT_SERVING first and finishes the calls under way. No
//! accepted message is lost, and an open stream does not delay the end (I11; faults.md 24).

use herald::rpc::pb;
use herald::sandbox::{Fault, FaultKind};
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{TENANT, all_sent, judge, message, person, service, sites};
use crate::support::process::{Herald, PATIENCE};

/// An open Watch that has reported SERVING.
async fn watch(herald: &Herald) -> tonic::Streaming<tonic_health::pb::HealthCheckResponse> {
    let mut health = HealthClient::new(herald.channel());
    let request = HealthCheckRequest { service: "herald.v1.HeraldService".into() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    watch
}

fn test_message(number: usize) -> pb::TestSlackRequest {
    pb::TestSlackRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::test_slack_request::Subject::UserId(person(number))),
        actor: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_end_finishes_what_is_under_way() {
    for site in sites(2).await {
        let mut herald = site.start_connected().await;
        let mut watch = watch(&herald).await;
        // A post that waits for Slack's answer; it is under way when the signal comes.
        let late = FaultKind::Delay { seconds: 2.0 };
        let mut slow = Fault::new("chat.postMessage", late).after().times(1);
        slow.channel = Some(super::member_id(1));
        site.sandbox.script(slow);
        let mut stored = site.sandbox.stored();
        let channel = herald.channel();
        let test = tokio::spawn(async move { service(channel).test_slack(test_message(1)).await });
        let there = stored.wait_for(|count| *count == 1);
        timeout(PATIENCE, there).await.unwrap().unwrap();
        // And a caller that keeps calling until it is refused.
        let channel = herald.channel();
        let calling = tokio::spawn(async move {
            let mut ids = Vec::new();
            loop {
                match service(channel.clone()).notify(message(ids.len(), 1)).await {
                    Ok(answer) => ids.push(answer.into_inner().notification_id),
                    Err(_) => return ids,
                }
            }
        });
        timeout(PATIENCE, stored.wait_for(|count| *count >= 3)).await.unwrap().unwrap();

        herald.signal("TERM");
        let said = timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(said.status(), ServingStatus::NotServing);
        let answer = test.await.unwrap().unwrap().into_inner();
        assert_eq!(answer.delivery.unwrap().state(), pb::DeliveryState::Sent);
        // Within the grace of 25 s: the watch, still open, does not use it up.
        let status = timeout(PATIENCE, herald.ended()).await.unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(herald.log().contains("\"stopped\""));
        drop(watch);

        let ids = calling.await.unwrap();
        let herald = site.start().await;
        // The last call may have been accepted although it was refused to the caller; repeating it
        // gives the same notification.
        let last = service(herald.channel()).notify(message(ids.len(), 1)).await.unwrap();
        let ids = [ids, vec![last.into_inner().notification_id]].concat();
        all_sent(&herald.channel(), &ids).await;
        let mut messages = site.sandbox.messages();
        messages.retain(|message| message.user.as_deref() == Some("U000"));
        assert_eq!(judge::verdict(&messages, 1, ids.len()), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    for site in sites(1).await {
        let mut herald = site.start_connected().await;
        let mut watch = watch(&herald).await;
        let never = FaultKind::Hang { seconds: 600.0 };
        site.sandbox.script(Fault::new("chat.postMessage", never).after());
        let mut stored = site.sandbox.stored();
        service(herald.channel()).notify(message(0, 1)).await.unwrap();
        timeout(PATIENCE, stored.wait_for(|count| *count == 1)).await.unwrap().unwrap();
        herald.signal("TERM");
        let said = timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(said.status(), ServingStatus::NotServing);
        herald.signal("TERM");
        assert_eq!(herald.ended().await.code(), Some(130));
    }
}
