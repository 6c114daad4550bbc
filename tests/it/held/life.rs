//! A message that waits for its person can be overtaken, reach its time, expire and be replayed.

use std::time::Duration;

use herald::rpc::pb::{self, DeliveryState as State, NotifyRequest, SubjectAction, WaitCause};
use serde_json::json;

use super::{arrive, hold, load_nia, newcomer, only};
use crate::support::client::{fields, notify, task};
use crate::support::world::{TENANT, World, for_each_database, until};

/// `text` for nia about `subject`, held.
fn about(subject: &str, text: &str, action: SubjectAction) -> NotifyRequest {
    let request = NotifyRequest {
        subject_key: subject.into(),
        subject_action: action.into(),
        ..task(text, &["nia"])
    };
    hold(request)
}

/// Takes back or crosses out; no users means all recipients.
fn wordless(
    request_id: &str,
    subject: &str,
    users: &[&str],
    action: SubjectAction,
) -> NotifyRequest {
    NotifyRequest {
        subject_key: subject.into(),
        subject_action: action.into(),
        data: None,
        link: String::new(),
        ..notify(request_id, "task.assigned", users)
    }
}

/// Notifies and waits until the message is held: a stranger may be looked up in Slack first.
async fn until_held(world: &World, request: NotifyRequest) -> String {
    let id = world.client.notify(request).await.unwrap().notification_id;
    world.client.deliveries_until(TENANT, &id, |delivery| delivery.state() == State::Held).await;
    id
}

/// This much later, as a `deliver_after`.
async fn in_time(world: &World, by: Duration) -> Option<prost_types::Timestamp> {
    let at = world.now().await.plus(by).0;
    let nanos = i32::try_from(at.rem_euclid(1_000_000) * 1000).unwrap();
    Some(prost_types::Timestamp { seconds: at.div_euclid(1_000_000), nanos })
}

async fn ends(world: &World, id: &str) -> (State, String) {
    let ended = world.client.ended(TENANT, id).await.remove(0);
    (ended.state(), ended.reason)
}

fn causes(delivery: &pb::Delivery) -> Vec<WaitCause> {
    delivery.trace.iter().flat_map(|trace| &trace.waits).map(pb::Wait::cause).collect()
}

/// If a task is completed before its person appears, the message is never sent, even if the later
/// call reaches no one.
#[tokio::test]
async fn what_is_over_before_they_come_is_not_sent() {
    for_each_database(async |world| {
        load_nia(world).await;
        let superseded = (State::Canceled, "superseded".to_owned());
        for (at, action) in [SubjectAction::Done, SubjectAction::Retract].into_iter().enumerate() {
            for (who, users) in [("named", &["nia"][..]), ("everybody", &[])] {
                let subject = format!("task:{at}:{who}");
                let new = SubjectAction::NewMessage;
                let waits = until_held(world, about(&subject, &format!("w {subject}"), new)).await;
                // A message that still waits for its time is overtaken too.
                let deferred = NotifyRequest {
                    deliver_after: in_time(world, Duration::from_secs(3600)).await,
                    ..about(&subject, &format!("d {subject}"), new)
                };
                let deferred = world.client.notify(deferred).await.unwrap().notification_id;
                let over = wordless(&format!("over {subject}"), &subject, users, action);
                let over = world.client.notify(over).await.unwrap().notification_id;
                assert_eq!(ends(world, &waits).await, superseded, "{subject}");
                assert_eq!(ends(world, &deferred).await, superseded, "{subject}");
                // The person is not there yet.
                assert_eq!(ends(world, &over).await.0, State::Unreachable, "{subject}");
            }
        }
        // Even if a switch keeps the later call from sending.
        let waits = until_held(world, about("off", "off", SubjectAction::NewMessage)).await;
        world.client.switch_sending(TENANT, false).await;
        let over = wordless("over off", "off", &["nia"], SubjectAction::Done);
        let over = world.client.notify(over).await.unwrap().notification_id;
        assert_eq!(ends(world, &over).await.0, State::Suppressed);
        world.client.switch_sending(TENANT, true).await;
        assert_eq!(ends(world, &waits).await, superseded);
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        // GetWorkspace reports the list before every replica has it in memory.
        until("nia is found", async || {
            let subject = Some(pb::resolve_identity_request::Subject::UserId("nia".into()));
            let question =
                pb::ResolveIdentityRequest { tenant_id: TENANT.into(), subject, actor: None };
            world.client.resolve_identity(question).await.unwrap().member
        })
        .await;
        let seen = world.client.notify(task("seen", &["nia"])).await.unwrap();
        world.client.ended(TENANT, &seen.notification_id).await;
        assert!(world.messages(1).await[0].text.contains("seen"));
    })
    .await;
}

#[tokio::test]
async fn a_replacement_waits_in_its_place() {
    for_each_database(async |world| {
        load_nia(world).await;
        let first = until_held(world, about("task:1", "first", SubjectAction::NewMessage)).await;
        let better = until_held(world, about("task:1", "better", SubjectAction::Replace)).await;
        assert_eq!(ends(world, &first).await, (State::Canceled, "superseded".into()));
        // A replacement that is not held ends at once, and the old text does not come later.
        let old = until_held(world, about("task:2", "old", SubjectAction::NewMessage)).await;
        let mut at_once = about("task:2", "at once", SubjectAction::Replace);
        at_once.hold = pb::HoldPolicy::DoNotHold.into();
        let at_once = world.client.notify(at_once).await.unwrap().notification_id;
        assert_eq!(ends(world, &at_once).await.0, State::Unreachable);
        assert_eq!(ends(world, &old).await, (State::Canceled, "superseded".into()));
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        let sent = world.client.ended(TENANT, &better).await.remove(0);
        assert_eq!((sent.state(), sent.subject_action()), (State::Sent, SubjectAction::NewMessage));
        let messages = world.messages(1).await;
        assert!(messages[0].text.contains("better") && !messages[0].edited, "{messages:?}");
        // Later messages about the subject apply to it.
        let later = about("task:1", "later", SubjectAction::Replace);
        let later = world.client.notify(later).await.unwrap().notification_id;
        assert_eq!(ends(world, &later).await.0, State::Sent);
        let messages = world.messages(1).await;
        assert!(messages[0].text.contains("later") && messages[0].edited, "{messages:?}");
    })
    .await;
}

#[tokio::test]
async fn it_waits_for_its_time_and_for_the_person() {
    for_each_database(async |world| {
        load_nia(world).await;
        // The time comes first. The first call looks the person up in Slack; the second already
        // knows the answer.
        for (number, asked) in [(1, false), (2, true)] {
            let soon = in_time(world, Duration::from_secs(1)).await;
            let request = NotifyRequest {
                deliver_after: soon,
                ..hold(task(&format!("n{number}"), &["nia"]))
            };
            let id = until_held(world, request).await;
            let held = only(world, &id).await;
            let waits = causes(&held);
            assert_eq!(waits[0], WaitCause::DeliverAfter, "{waits:?}");
            assert_eq!(waits.last(), Some(&WaitCause::Arrival), "{waits:?}");
            assert_eq!(waits.contains(&WaitCause::Directory), !asked, "{waits:?}");
            let arrival = held.trace.unwrap().waits.pop().unwrap().started_at.unwrap();
            let soon = soon.unwrap();
            assert!((arrival.seconds, arrival.nanos) >= (soon.seconds, soon.nanos));
        }
        // The person comes first.
        let later = in_time(world, Duration::from_secs(4)).await;
        let request = NotifyRequest { deliver_after: later, ..hold(task("n3", &["nia"])) };
        let id = world.client.notify(request).await.unwrap().notification_id;
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        let sent = world.client.ended(TENANT, &id).await.remove(0);
        assert_eq!(sent.state(), State::Sent);
        let (started, later) = (sent.attempt_log[0].started_at.unwrap(), later.unwrap());
        assert!((started.seconds, started.nanos) >= (later.seconds, later.nanos));
        world.settled().await;
        world.messages(3).await;
    })
    .await;
}

/// "In 15 minutes" counts from the time of a scheduled message, also if its recipient is found
/// after it was accepted.
#[tokio::test]
async fn its_text_counts_from_its_time() {
    for_each_database(async |world| {
        load_nia(world).await;
        let time = in_time(world, Duration::from_secs(4)).await;
        // Counted from the acceptance, this is in more than 15 minutes.
        let starts_at = time.unwrap().seconds + 15 * 60;
        let data = json!({ "event": { "name": "First aid" }, "starts_at": starts_at });
        let request = NotifyRequest {
            deliver_after: time,
            data: Some(fields(data)),
            ..hold(notify("reminder", "event.reminder", &["nia"]))
        };
        let id = world.client.notify(request).await.unwrap().notification_id;
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        let sent = world.client.ended(TENANT, &id).await.remove(0);
        assert_eq!(sent.state(), State::Sent);
        let messages = world.messages(1).await;
        assert!(messages[0].text.contains("starts in 15 minutes"), "{messages:?}");
    })
    .await;
}

#[tokio::test]
async fn what_expired_while_it_was_held_waits_again_when_it_is_replayed() {
    for_each_database(async |world| {
        load_nia(world).await;
        let second = prost_types::Duration { seconds: 1, nanos: 0 };
        let late = NotifyRequest { expires_in: Some(second), ..hold(task("late", &["nia"])) };
        let id = world.client.notify(late).await.unwrap().notification_id;
        let expired = world.client.ended(TENANT, &id).await.remove(0);
        assert_eq!(expired.state(), State::Expired);
        let replay = pb::ReplayDeliveriesRequest {
            tenant_id: TENANT.into(),
            request_id: "again".into(),
            delivery_ids: vec![expired.delivery_id.clone()],
            ..pb::ReplayDeliveriesRequest::default()
        };
        let replayed = world.client.replay_deliveries(replay).await.unwrap().deliveries.remove(0);
        world.replayed(&replayed.replayed_as);
        let waits = |delivery: &pb::Delivery| {
            delivery.delivery_id == expired.delivery_id || delivery.state() == State::Held
        };
        world.client.deliveries_until(TENANT, &id, waits).await;
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        let both = world.client.ended(TENANT, &id).await;
        let sent = both.iter().find(|one| one.delivery_id == replayed.replayed_as).unwrap();
        assert_eq!((sent.state(), &*sent.slack_target), (State::Sent, "UNIA"));
        assert!(causes(sent).contains(&WaitCause::Arrival), "{sent:?}");
        assert!(world.messages(1).await[0].text.contains("late"));
    })
    .await;
}
