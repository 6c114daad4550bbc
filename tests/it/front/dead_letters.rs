//! Dead letters: listed, and sent again, in order, once.

use std::collections::HashMap;
use std::time::Duration;

use herald::domain::time::micros;
use herald::rpc::pb::{self, DeliveryState, ReplaySkip};
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;
use tonic::Code;

use crate::support::client::{bad_fields, notify, person, reason, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

fn refuse(world: &World, code: &str) {
    world.sandbox.script(Fault::new("chat.postMessage", FaultKind::Error { code: code.into() }));
}

async fn failed(world: &World, filter: pb::FailedFilter, size: i32) -> Vec<pb::FailedDelivery> {
    let mut request = pb::ListFailedRequest {
        tenant_id: TENANT.into(),
        filter: Some(filter),
        page_size: size,
        ..pb::ListFailedRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let page = world.client.list_failed(request.clone()).await.unwrap();
        assert!(size == 0 || page.deliveries.len() <= usize::try_from(size).unwrap());
        all.extend(page.deliveries);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

fn ids(deliveries: &[pb::FailedDelivery]) -> Vec<String> {
    deliveries
        .iter()
        .filter_map(|failed| Some(failed.delivery.as_ref()?.delivery_id.clone()))
        .collect()
}

fn replay(request_id: &str, delivery_ids: Vec<String>) -> pb::ReplayDeliveriesRequest {
    pb::ReplayDeliveriesRequest {
        tenant_id: TENANT.into(),
        request_id: request_id.into(),
        delivery_ids,
        ..pb::ReplayDeliveriesRequest::default()
    }
}

#[tokio::test]
async fn they_are_listed_by_reason_and_page_and_sent_once_more() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        refuse(world, "restricted_action");
        for number in 0..5 {
            let users = if number == 4 { "clara" } else { "ben" };
            let answer = world.client.notify(task(&format!("t{number}"), &[users])).await.unwrap();
            world.client.ended(TENANT, &answer.notification_id).await;
        }
        world.sandbox.clear_faults();
        let all = failed(world, pb::FailedFilter::default(), 2).await;
        assert_eq!(all.len(), 5);
        let filter = pb::FailedFilter { user_id: "clara".into(), ..pb::FailedFilter::default() };
        let hers = failed(world, filter, 0).await;
        assert_eq!(ids(&hers), ids(&all)[..1], "the last to end comes first");
        let delivery = hers[0].delivery.clone().unwrap();
        assert_eq!((&*delivery.reason, &*delivery.code), ("rejected", "restricted_action"));
        for (filter, count) in [
            (pb::FailedFilter { reason: "rejected".into(), ..pb::FailedFilter::default() }, 5),
            (pb::FailedFilter { code: "is_archived".into(), ..pb::FailedFilter::default() }, 0),
            (
                pb::FailedFilter {
                    state: DeliveryState::Expired.into(),
                    ..pb::FailedFilter::default()
                },
                0,
            ),
            (
                pb::FailedFilter { ended_from: delivery.updated_at, ..pb::FailedFilter::default() },
                1,
            ),
            (
                pb::FailedFilter {
                    ended_before: delivery.updated_at,
                    ..pb::FailedFilter::default()
                },
                4,
            ),
        ] {
            assert_eq!(failed(world, filter.clone(), 0).await.len(), count, "{filter:?}");
        }
        // The same call twice, another call, and an id that does not exist: each is replayed once.
        let mut named = ids(&all);
        named.push("01900000-0000-7000-8000-000000000000".into());
        let call = replay("again", named.clone());
        let (one, two) = tokio::join!(
            world.client.replay_deliveries(call.clone()),
            world.client.replay_deliveries(call)
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one, two);
        assert_eq!(one.deliveries[5].skipped(), ReplaySkip::NotFound);
        assert!(one.deliveries[..5].iter().all(|one| !one.replayed_as.is_empty()));
        let other = world.client.replay_deliveries(replay("other", named.clone())).await.unwrap();
        for (first, later) in one.deliveries.iter().zip(&other.deliveries).take(5) {
            assert_eq!(later.skipped(), ReplaySkip::AlreadyReplayed);
            assert_eq!(later.replayed_as, first.replayed_as);
        }
        let reused = world.client.replay_deliveries(replay("again", named[..1].to_vec())).await;
        assert_eq!(reason(&reused.unwrap_err()), "REQUEST_ID_REUSED");
        // Ben's four messages in the order of acceptance.
        let sent = world.messages(5).await;
        let bens: Vec<_> = sent.iter().filter(|m| m.user.as_deref() == Some("U0DEMOBEN")).collect();
        for (number, message) in bens.iter().enumerate() {
            assert!(message.text.contains(&format!("t{number}")), "{bens:?}");
        }
        let record = world.client.ended(TENANT, &all[0].notification_id).await;
        assert_eq!(
            (record[0].state(), record[1].state()),
            (DeliveryState::Failed, DeliveryState::Sent)
        );
        assert_eq!(record[0].replayed_as, record[1].delivery_id);
        assert_eq!(record[1].replay_of, record[0].delivery_id);
        assert!(failed(world, pb::FailedFilter::default(), 0).await.is_empty());
        for answer in &one.deliveries {
            world.replayed(&answer.replayed_as);
        }
    })
    .await;
}

/// A parked one may be in Slack, and the answer says so.
#[tokio::test]
async fn what_may_repeat_says_so_and_what_was_sent_is_not_replayed() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let sent = world.client.notify(task("sent", &["ben"])).await.unwrap();
        let sent = world.client.ended(TENANT, &sent.notification_id).await;
        let mut expiring = task("expired", &["ben"]);
        expiring.expires_in = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        world.throttle("U0DEMOBEN", 600);
        let expired = world.client.notify(expiring).await.unwrap();
        let notification = expired.notification_id;
        let expired = world.client.ended(TENANT, &notification).await;
        assert_eq!(expired[0].state(), DeliveryState::Expired);
        world.sandbox.clear_faults();
        let named = vec![sent[0].delivery_id.clone(), expired[0].delivery_id.clone()];
        let answer = world.client.replay_deliveries(replay("r", named)).await.unwrap();
        assert_eq!(answer.deliveries[0].skipped(), ReplaySkip::NotFailed);
        assert_eq!(answer.deliveries[1].skipped(), ReplaySkip::Unspecified);
        world.replayed(&answer.deliveries[1].replayed_as);
        let replayed = world.client.ended(TENANT, &notification).await;
        assert_eq!(replayed[1].state(), DeliveryState::Sent);
        world.messages(2).await;
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    for_each_database(async |world| {
        let bad =
            async |request| bad_fields(&world.client.replay_deliveries(request).await.unwrap_err());
        assert_eq!(bad(replay("", vec![])).await, ["request_id", "delivery_ids"]);
        let id = "01900000-0000-7000-8000-000000000000".to_owned();
        assert_eq!(bad(replay("r", vec!["x".into()])).await, ["delivery_ids[0]"]);
        assert_eq!(bad(replay("r", vec![id.clone(); 1001])).await, ["delivery_ids"]);
        let filter = Some(pb::FailedFilter::default());
        assert_eq!(
            bad(pb::ReplayDeliveriesRequest { filter, ..replay("r", vec![id]) }).await,
            ["delivery_ids"]
        );
        let filter = pb::FailedFilter {
            state: DeliveryState::Sent.into(),
            reason: "Bad Reason".into(),
            event_type: "task".into(),
            ..pb::FailedFilter::default()
        };
        let request = pb::ReplayDeliveriesRequest {
            filter: Some(filter.clone()),
            max_deliveries: 1001,
            ..replay("r", vec![])
        };
        let wanted = ["filter.state", "filter.reason", "filter.event_type", "max_deliveries"];
        assert_eq!(bad(request).await, wanted);
        let list = pb::ListFailedRequest {
            tenant_id: TENANT.into(),
            filter: Some(filter),
            page_token: "AAAA".into(),
            ..pb::ListFailedRequest::default()
        };
        let status = world.client.list_failed(list).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            bad_fields(&status),
            ["page_token", "filter.state", "filter.reason", "filter.event_type"]
        );
    })
    .await;
}

/// faults.md 32: order and rate are kept, and each is sent once.
#[tokio::test]
async fn many_are_replayed_in_order_and_once() {
    replay_all(100, 10).await;
}

#[tokio::test]
#[ignore = "minutes; tests/run --soak"]
async fn soak_ten_thousand_are_replayed_in_order_and_once() {
    replay_all(1000, 10).await;
}

/// This many messages to each of this many people die and are replayed, each call made twice.
async fn replay_all(people: usize, each: usize) {
    let email = |number: usize| format!("p{number}@example.com");
    let members = (0..people).map(|number| {
        let name = format!("p{number}");
        json!({"id": format!("U{number:04}"), "name": name, "profile": {"email": email(number)}})
    });
    let members = Some(members.collect());
    // With a known limit, Herald does not learn a lower one from the 429s below.
    let plan = Plan { members, posts_per_minute: Some(100_000), ..Plan::default() };
    plan.run(async |world| {
        let records = (0..people).map(|number| person(&format!("p{number}"), &email(number)));
        world.client.upsert(TENANT, records.collect()).await;
        let users: Vec<String> = (0..people).map(|number| format!("p{number}")).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        // No message is sent before it expires.
        let wait =
            FaultKind::Status { code: 429, body: String::new(), retry_after: Some("50".into()) };
        world.sandbox.script(Fault::new("chat.postMessage", wait));
        let mut accepted = Vec::new();
        for number in 0..each {
            let mut request = task(&format!("No {number}."), &users);
            request.expires_in = Some(prost_types::Duration { seconds: 1, nanos: 0 });
            accepted.push(world.client.notify(request).await.unwrap());
        }
        for answer in &accepted {
            world.client.ended(TENANT, &answer.notification_id).await;
        }
        world.sandbox.clear_faults();
        let posted_before = world.calls("chat.postMessage").len();
        let mut replayed = 0;
        for call in 0.. {
            let request = pb::ReplayDeliveriesRequest {
                filter: Some(pb::FailedFilter::default()),
                max_deliveries: i32::try_from(people).unwrap(),
                ..replay(&format!("call {call}"), vec![])
            };
            let answer = world.client.replay_deliveries(request.clone()).await.unwrap();
            let again = world.client.replay_deliveries(request).await.unwrap();
            assert_eq!(answer.deliveries, again.deliveries);
            replayed += answer.deliveries.len();
            for one in &answer.deliveries {
                world.replayed(&one.replayed_as);
            }
            if !answer.more {
                break;
            }
        }
        assert_eq!(replayed, people * each);
        world.stored(people * each).await;
        for answer in &accepted {
            world.client.ended(TENANT, &answer.notification_id).await;
        }
        let messages = world.sandbox.messages();
        assert_eq!(messages.len(), people * each);
        let mut per_person: HashMap<_, Vec<_>> = HashMap::new();
        for message in &messages {
            per_person.entry(message.user.clone()).or_default().push(message);
        }
        assert_eq!(per_person.len(), people);
        for theirs in per_person.values() {
            for (number, message) in theirs.iter().enumerate() {
                assert!(message.text.contains(&format!("No {number}.")), "{theirs:?}");
            }
        }
        let posts = &world.calls("chat.postMessage")[posted_before..];
        assert_eq!(posts.len(), people * each);
        // One a second in a conversation, measured when the requests were read.
        let second = micros(Duration::from_secs(1).mul_f64(crate::support::world::SCALE));
        let mut last: HashMap<String, i64> = HashMap::new();
        for post in posts {
            assert_eq!(post.http_status, 200, "{post:?}");
            let lane = post.args["channel"].as_str().unwrap().to_owned();
            if let Some(before) = last.insert(lane, post.started_at_micros) {
                let apart = post.started_at_micros - before;
                assert!(2 * apart >= second, "{apart} of {second} microseconds apart");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn only_an_administrator_may() {
    use crate::support::world::caller;
    use herald::rpc::RoleConfig;
    let callers = vec![
        caller("admin", RoleConfig::Administrator, &[TENANT, "other"]),
        caller("platform", RoleConfig::Service, &[TENANT, "other"]),
    ];
    let plan = Plan { callers, ready: false, ..Plan::default() };
    plan.run(async |world| {
        world.client = world.client(0, Some("admin")).await;
        world.make_ready().await;
        let platform = world.client(0, Some("platform")).await;
        let list =
            pb::ListFailedRequest { tenant_id: TENANT.into(), ..pb::ListFailedRequest::default() };
        let status = platform.list_failed(list).await.unwrap_err();
        assert_eq!(reason(&status), "ROLE_NOT_ALLOWED");
        let status = platform
            .replay_deliveries(replay("r", vec!["01900000-0000-7000-8000-000000000000".into()]))
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "ROLE_NOT_ALLOWED");
        // Another tenant's dead letters do not exist here.
        world.client.load(&["ben"]).await;
        refuse(world, "restricted_action");
        let answer = world.client.notify(notify("n", "task.assigned", &["ben"])).await.unwrap();
        let failed = world.client.ended(TENANT, &answer.notification_id).await;
        let settings = pb::Settings { sending_allowed: true, ..pb::Settings::default() };
        world.client.set("other", settings, &["sending_allowed"]).await.unwrap();
        let mut theirs = replay("r", vec![failed[0].delivery_id.clone()]);
        theirs.tenant_id = "other".into();
        let answer = world.client.replay_deliveries(theirs).await.unwrap();
        assert_eq!(answer.deliveries[0].skipped(), ReplaySkip::NotFound);
    })
    .await;
}
