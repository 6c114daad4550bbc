//! Messages about one subject: threads, replacements, retractions, and marking as done.

use std::collections::BTreeMap;

use herald::rpc::pb::{self, DeliveryState, SubjectAction, WaitCause};
use herald::sandbox::{Fault, FaultKind, Raw, StoredMessage};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use tonic::Code;

use crate::support::client::{bad_fields, is_terminal, micros, notify, person, task};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

/// `text` about the subject `task:1`.
fn about(text: &str, users: &[&str], action: SubjectAction) -> pb::NotifyRequest {
    pb::NotifyRequest {
        subject_key: "task:1".into(),
        subject_action: action.into(),
        ..task(text, users)
    }
}

/// Takes back or crosses out, without a new text; no users means all recipients.
fn wordless(request_id: &str, users: &[&str], action: SubjectAction) -> pb::NotifyRequest {
    pb::NotifyRequest {
        subject_key: "task:1".into(),
        subject_action: action.into(),
        data: None,
        link: String::new(),
        ..notify(request_id, "task.assigned", users)
    }
}

/// Notifies and waits for the end of every delivery.
async fn done(world: &World, request: pb::NotifyRequest) -> Vec<pb::Delivery> {
    let answer = world.client.notify(request).await.unwrap();
    world.client.ended(TENANT, &answer.notification_id).await
}

fn states(deliveries: &[pb::Delivery]) -> Vec<(DeliveryState, &str)> {
    deliveries.iter().map(|delivery| (delivery.state(), delivery.reason.as_str())).collect()
}

fn blocks(message: &StoredMessage) -> String {
    message.blocks.to_string()
}

fn fault(method: &str, code: &str) -> Fault {
    Fault::new(method, FaultKind::Error { code: code.into() })
}

#[tokio::test]
async fn an_answer_stands_in_the_thread_of_the_first_message() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // It has no subject, so it is not the root of a thread.
        done(world, task("before", &["ben"])).await;
        let first = done(world, about("first", &["ben"], SubjectAction::NewMessage)).await;
        done(world, about("second", &["ben"], SubjectAction::NewMessage)).await;
        let answer = done(world, about("answer", &["ben"], SubjectAction::Reply)).await;
        let messages = world.messages(4).await;
        assert_eq!(messages[3].thread_ts.as_ref(), Some(&first[0].ts));
        assert_eq!(messages.iter().filter(|message| message.thread_ts.is_some()).count(), 1);
        assert_eq!(answer[0].subject_key, "task:1");
        assert_eq!(answer[0].subject_action(), SubjectAction::Reply);
        assert_eq!(answer[0].attempt_log[0].method, "chat.postMessage");
        // Another subject has no thread here.
        let other = pb::NotifyRequest {
            subject_key: "task:2".into(),
            ..about("other", &["ben"], SubjectAction::Reply)
        };
        done(world, other).await;
        assert_eq!(world.messages(5).await[4].thread_ts, None);
    })
    .await;
}

#[tokio::test]
async fn the_last_message_gets_new_words() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        done(world, about("first", &["ben"], SubjectAction::NewMessage)).await;
        let last = done(world, about("last", &["ben"], SubjectAction::NewMessage)).await;
        let replaced = done(world, about("better", &["ben"], SubjectAction::Replace)).await;
        assert_eq!(states(&replaced), [(DeliveryState::Sent, "")]);
        assert_eq!(replaced[0].ts, last[0].ts);
        assert_eq!(replaced[0].attempt_log[0].method, "chat.update");
        let messages = world.messages(2).await;
        assert!(messages[0].text.contains("first") && !messages[0].edited);
        assert!(messages[1].text.contains("better") && messages[1].edited, "{:?}", messages[1]);
        // Crossing out keeps the text that is shown now.
        done(world, wordless("done", &["ben"], SubjectAction::Done)).await;
        assert!(blocks(&world.messages(2).await[1]).contains("~*better*~"));
        // A crossed-out message can be replaced again.
        done(world, about("reopened", &["ben"], SubjectAction::Replace)).await;
        let messages = world.messages(2).await;
        assert!(blocks(&messages[1]).contains("*reopened*") && !blocks(&messages[1]).contains('~'));
    })
    .await;
}

#[tokio::test]
async fn done_keeps_the_words_of_all_messages_and_takes_the_buttons() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        done(world, about("first", &["ben"], SubjectAction::NewMessage)).await;
        done(world, about("second", &["ben"], SubjectAction::Reply)).await;
        let crossed = done(world, wordless("done", &["ben"], SubjectAction::Done)).await;
        assert_eq!(states(&crossed), [(DeliveryState::Sent, "")], "{crossed:?}");
        assert_eq!(crossed[0].attempt_log.len(), 2);
        for (message, words) in world.messages(2).await.iter().zip(["first", "second"]) {
            let blocks = blocks(message);
            assert!(blocks.contains(&format!("~*{words}*~")) && blocks.contains('✔'), "{blocks}");
            assert!(!blocks.contains("actions"), "{blocks}");
        }
        let again = done(world, wordless("again", &["ben"], SubjectAction::Done)).await;
        assert_eq!(states(&again), [(DeliveryState::Canceled, "nothing_to_do")]);
    })
    .await;
}

#[tokio::test]
async fn a_broadcast_is_taken_back_from_everybody_who_got_it() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara", "daichi"]).await;
        done(world, about("all", &["ben", "clara"], SubjectAction::NewMessage)).await;
        done(world, about("an answer", &["ben"], SubjectAction::Reply)).await;
        done(world, task("something else", &["daichi"])).await;
        // A person's preference is about getting messages, not about losing them.
        let off = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "clara".into(),
            value: pb::PreferenceValue::Off.into(),
            ..pb::SetPreferenceRequest::default()
        };
        world.client.set_preference(off).await.unwrap();
        let answer =
            world.client.notify(wordless("back", &[], SubjectAction::Retract)).await.unwrap();
        let named: Vec<_> = answer.verdicts.iter().map(|verdict| &verdict.recipient).collect();
        let user = |id: &str| Some(pb::verdict::Recipient::UserId(id.into()));
        assert_eq!(named, [&user("ben"), &user("clara")]);
        let taken = world.client.ended(TENANT, &answer.notification_id).await;
        assert!(taken.iter().all(|delivery| delivery.state() == DeliveryState::Sent), "{taken:?}");
        assert_eq!(taken[0].attempt_log.len(), 2);
        let gone: Vec<_> = world.messages(4).await.iter().map(|message| message.deleted).collect();
        assert_eq!(gone, [true, true, true, false]);
        let nobody =
            world.client.notify(wordless("again", &[], SubjectAction::Retract)).await.unwrap();
        let ended = world.client.ended(TENANT, &nobody.notification_id).await;
        assert!(ended.iter().all(|delivery| delivery.reason == "nothing_to_do"), "{ended:?}");
    })
    .await;
}

/// If a task is completed before its message is sent, the message is not sent.
#[tokio::test]
async fn what_waits_is_overtaken() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.throttle("U0DEMOBEN", 5);
        for (at, action) in [SubjectAction::Done, SubjectAction::Retract].into_iter().enumerate() {
            let blocker =
                world.client.notify(task(&format!("blocker {at}"), &["ben"])).await.unwrap();
            let waits = about(&format!("waits {at}"), &["ben"], SubjectAction::NewMessage);
            let waits = world.client.notify(waits).await.unwrap();
            let over = wordless(&format!("over {at}"), &["ben"], action);
            let over = world.client.notify(over).await.unwrap();
            let overtaken = world.client.ended(TENANT, &waits.notification_id).await;
            assert_eq!(states(&overtaken), [(DeliveryState::Canceled, "superseded")]);
            world.sandbox.clear_faults();
            world.client.ended(TENANT, &blocker.notification_id).await;
            let over = world.client.ended(TENANT, &over.notification_id).await;
            assert_eq!(states(&over), [(DeliveryState::Canceled, "nothing_to_do")]);
            world.throttle("U0DEMOBEN", 5);
        }
        world.sandbox.clear_faults();
        world.messages(2).await;
    })
    .await;
}

/// The replacement takes the place of the waiting message, so the text of the message before it
/// stays.
#[tokio::test]
async fn a_replacement_takes_the_place_of_what_waits() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        done(world, about("first", &["ben"], SubjectAction::NewMessage)).await;
        world.throttle("U0DEMOBEN", 5);
        world.client.notify(task("blocker", &["ben"])).await.unwrap();
        let waits = about("waits", &["ben"], SubjectAction::Reply);
        let waits = world.client.notify(waits).await.unwrap();
        let better = about("better", &["ben"], SubjectAction::Replace);
        let better = world.client.notify(better).await.unwrap();
        world.sandbox.clear_faults();
        let overtaken = world.client.ended(TENANT, &waits.notification_id).await;
        assert_eq!(states(&overtaken), [(DeliveryState::Canceled, "superseded")]);
        let sent = world.client.ended(TENANT, &better.notification_id).await;
        assert_eq!(sent[0].subject_action(), SubjectAction::Reply);
        let messages = world.messages(3).await;
        assert!(messages[0].text.contains("first") && !messages[0].edited);
        assert!(messages[2].text.contains("better"));
        assert_eq!(messages[2].thread_ts.as_ref(), Some(&messages[0].ts));
    })
    .await;
}

#[tokio::test]
async fn what_slack_refuses_has_a_decided_end() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // Gone, or no longer editable: posted as a new message.
        let mut stored = 0;
        for code in ["message_not_found", "cant_update_message", "edit_window_closed"] {
            done(world, about(&format!("{code} 1"), &["ben"], SubjectAction::NewMessage)).await;
            world.sandbox.script(fault("chat.update", code).times(1));
            let anew = about(&format!("{code} 2"), &["ben"], SubjectAction::Replace);
            let anew = done(world, anew).await;
            assert_eq!(states(&anew), [(DeliveryState::Sent, "")], "{code}");
            assert_eq!(anew[0].attempt_log[0].outcome, "unfit");
            stored += 2;
            let last = world.messages(stored).await.pop().unwrap();
            assert!(last.text.contains(&format!("{code} 2")) && last.thread_ts.is_none());
        }
        // Already deleted in Slack: the retraction counts as done.
        world.sandbox.script(fault("chat.delete", "message_not_found"));
        let back = done(world, wordless("back", &["ben"], SubjectAction::Retract)).await;
        assert_eq!(states(&back), [(DeliveryState::Sent, "")]);
        world.sandbox.clear_faults();
        // Not editable: failed, with Slack's code.
        done(world, about("late", &["ben"], SubjectAction::NewMessage)).await;
        world.sandbox.script(fault("chat.update", "edit_window_closed"));
        let late = done(world, wordless("late done", &["ben"], SubjectAction::Done)).await;
        assert_eq!(states(&late), [(DeliveryState::Failed, "rejected")]);
        assert_eq!(late[0].code, "edit_window_closed");
        world.sandbox.clear_faults();
        world.sandbox.script(fault("chat.delete", "cant_delete_message").times(1));
        let kept = done(world, wordless("kept", &["ben"], SubjectAction::Retract)).await;
        assert_eq!(states(&kept), [(DeliveryState::Failed, "rejected")]);
        assert_eq!(kept[0].code, "cant_delete_message");
    })
    .await;
}

/// A change whose answer got lost is repeated; a reply is looked for in its thread.
#[tokio::test]
async fn unclear_answers_do_no_harm() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        done(world, about("first", &["ben"], SubjectAction::NewMessage)).await;
        let cut = |method: &str| Fault::new(method, FaultKind::Reset).times(1).after();
        world.sandbox.script(cut("chat.postMessage"));
        let answer = done(world, about("answer", &["ben"], SubjectAction::Reply)).await;
        assert_eq!(states(&answer), [(DeliveryState::Sent, "")]);
        assert_eq!(world.calls("conversations.replies").len(), 1);
        world.sandbox.script(cut("chat.update"));
        done(world, about("better", &["ben"], SubjectAction::Replace)).await;
        assert_eq!(world.calls("chat.update").len(), 2);
        world.sandbox.script(cut("chat.delete"));
        let back = done(world, wordless("back", &["ben"], SubjectAction::Retract)).await;
        assert_eq!(states(&back), [(DeliveryState::Sent, "")]);
        assert!(world.messages(2).await.iter().all(|message| message.deleted));
        assert_eq!(world.calls("chat.postMessage").len(), 2);
    })
    .await;
}

/// `update_failed` does not say whether the message was changed; repeating the change does no harm.
#[tokio::test]
async fn a_change_that_slack_could_not_make_is_tried_again() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        done(world, about("first", &["ben"], SubjectAction::NewMessage)).await;
        world.sandbox.script(fault("chat.update", "update_failed").times(1));
        let better = done(world, about("better", &["ben"], SubjectAction::Replace)).await;
        assert_eq!(states(&better), [(DeliveryState::Sent, "")]);
        assert_eq!(world.calls("chat.update").len(), 2);
        assert!(world.messages(1).await[0].text.contains("better"));
    })
    .await;
}

/// Slack posts a reply to a deleted message outside any thread, and answers ok. If its answer got
/// lost, the message is found, whether Slack reports the thread as gone or shows an empty one.
#[tokio::test]
async fn an_answer_to_a_deleted_message_is_posted_once_and_says_so() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let empty = json!({ "ok": true, "messages": [] }).to_string();
        for (at, (lost, shown)) in
            [(true, false), (true, true), (false, false)].into_iter().enumerate()
        {
            let first = about(&format!("first {at}"), &["ben"], SubjectAction::NewMessage);
            let subject_key = format!("task:{at}");
            let first =
                done(world, pb::NotifyRequest { subject_key: subject_key.clone(), ..first }).await;
            assert!(world.sandbox.delete_message(&first[0].channel_id, &first[0].ts));
            if lost {
                let cut = Fault::new("chat.postMessage", FaultKind::Reset).times(1).after();
                world.sandbox.script(cut);
            }
            if shown {
                let body = Raw::from(empty.as_str());
                let kind = FaultKind::Body { body, headers: BTreeMap::new() };
                world.sandbox.script(Fault::new("conversations.replies", kind));
            }
            let answer = about(&format!("answer {at}"), &["ben"], SubjectAction::Reply);
            let answer =
                done(world, pb::NotifyRequest { subject_key: subject_key.clone(), ..answer }).await;
            assert_eq!(states(&answer), [(DeliveryState::Sent, "")]);
            let log: Vec<_> =
                answer[0].attempt_log.iter().map(|entry| entry.outcome.as_str()).collect();
            let expected: &[_] =
                if lost { &["unknown", "probe_unthreaded"] } else { &["unthreaded"] };
            assert_eq!(log, expected);
            world.sandbox.clear_faults();
            // The next message replies to the reply, not to the deleted message.
            let next = about(&format!("next {at}"), &["ben"], SubjectAction::Reply);
            done(world, pb::NotifyRequest { subject_key, ..next }).await;
            let messages = world.messages(3 * (at + 1)).await;
            let [_, answer, next] = &messages[3 * at..] else { panic!("{messages:?}") };
            assert_eq!((&answer.thread_ts, &next.thread_ts), (&None, &Some(answer.ts.clone())));
        }
        assert_eq!(world.calls("chat.postMessage").len(), 9);
    })
    .await;
}

#[tokio::test]
async fn changes_keep_slacks_limits() {
    let name = |number: usize| format!("p{number}");
    let members = (0..70).map(|number| {
        let email = format!("{}@example.com", name(number));
        json!({"id": format!("U{number:04}"), "name": name(number), "profile": {"email": email}})
    });
    let members = Some(members.collect());
    // A busy machine's jitter must be small beside the minute.
    let plan = Plan { rate_limits: true, members, scale: 0.1, ..Plan::default() };
    plan.run(async |world| {
        let users: Vec<String> = (0..70).map(name).collect();
        let people = users.iter().map(|user| person(user, &format!("{user}@example.com")));
        world.client.upsert(TENANT, people.collect()).await;
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        done(world, about("all", &users, SubjectAction::NewMessage)).await;
        conversations_rest_no_more(world).await;
        let retract = wordless("back", &[], SubjectAction::Retract);
        let answer = world.client.notify(retract).await.unwrap();
        let back = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(back.len(), 70);
        let calls = world.calls("chat.delete");
        assert!(calls.iter().all(|call| call.http_status == 200), "no avoidable 429");
        // Fifty a minute, as estimated.
        let times: Vec<_> = answer
            .verdicts
            .iter()
            .map(|verdict| micros(verdict.estimated_send_time.as_ref().unwrap()))
            .collect();
        // Over a minute and half a second (`domain/capacity/slack_method.rs`), at a tenth of the
        // scale.
        let (told, allowed) = (times[69] - times[0], 69 * 60_500_000 / 50 / 10);
        assert!(times.is_sorted() && told == allowed, "{told} µs of {allowed}");
        assert!(world.messages(70).await.iter().all(|message| message.deleted));
        // All except the first few wait for the budget; each is the only one in its conversation.
        let waits = back.iter().flat_map(|one| &one.trace).flat_map(|trace| &trace.waits);
        let causes: Vec<_> = waits.map(pb::Wait::cause).collect();
        assert!(causes.iter().all(|cause| *cause == WaitCause::Budget), "{causes:?}");
        assert!(causes.len() >= 60, "{}", causes.len());
    })
    .await;
}

/// Waits until the pace allows a post to every conversation.
async fn conversations_rest_no_more(world: &World) {
    let raw = world.raw().await;
    let last = "SELECT MAX(paced_until) FROM lanes";
    let last = Statement::from_string(raw.get_database_backend(), last);
    let last: i64 = raw.query_one_raw(last).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    let over = async || (world.now().await.0 > last).then_some(());
    until("every conversation may be written to", over).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let mut nameless = wordless("nameless", &["ben"], SubjectAction::Done);
        nameless.subject_key.clear();
        let status = world.client.notify(nameless).await.unwrap_err();
        assert_eq!(
            (status.code(), bad_fields(&status)),
            (Code::InvalidArgument, vec!["subject_key".into()])
        );
        let nobody = about("nobody", &[], SubjectAction::NewMessage);
        assert_eq!(bad_fields(&world.client.notify(nobody).await.unwrap_err()), ["recipients"]);
        let long = pb::NotifyRequest {
            subject_key: "x".repeat(257),
            subject_action: 77,
            ..task("long", &["ben"])
        };
        let bad = bad_fields(&world.client.notify(long).await.unwrap_err());
        assert_eq!(bad, ["subject_key", "subject_action"]);
        // The same request again gets the same answer, even if other recipients would be found now.
        let first = about("first", &["ben"], SubjectAction::NewMessage);
        let sent = world.client.notify(first).await.unwrap();
        world.client.ended(TENANT, &sent.notification_id).await;
        let back = wordless("back", &[], SubjectAction::Retract);
        let answer = world.client.notify(back.clone()).await.unwrap();
        assert!(world.client.ended(TENANT, &answer.notification_id).await.iter().all(is_terminal));
        assert_eq!(world.client.notify(back).await.unwrap(), answer);
    })
    .await;
}

/// A failed message is not replayed after its subject is over.
#[tokio::test]
async fn a_dead_letter_about_what_is_over_is_not_replayed() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        world.sandbox.script(fault("chat.postMessage", "restricted_action"));
        let dead = done(world, about("dead", &["ben", "clara"], SubjectAction::NewMessage)).await;
        let other = done(world, task("about nothing", &["ben"])).await;
        assert!(dead.iter().chain(&other).all(|one| one.state() == DeliveryState::Failed));
        world.sandbox.clear_faults();
        done(world, wordless("over", &["ben"], SubjectAction::Done)).await;
        let failed = |which: &[&pb::Delivery]| pb::ReplayDeliveriesRequest {
            tenant_id: TENANT.into(),
            request_id: format!("replay {}", which.len()),
            delivery_ids: which.iter().map(|one| one.delivery_id.clone()).collect(),
            filter: which.is_empty().then(pb::FailedFilter::default),
            ..pb::ReplayDeliveriesRequest::default()
        };
        let named = [&dead[0], &dead[1]];
        let answer = world.client.replay_deliveries(failed(&named)).await.unwrap();
        let [ben, clara] = &answer.deliveries[..] else { panic!("{answer:?}") };
        assert_eq!(ben.skipped(), pb::ReplaySkip::Superseded);
        assert!(ben.replayed_as.is_empty());
        assert_eq!(clara.skipped(), pb::ReplaySkip::Unspecified);
        world.replayed(&clara.replayed_as);
        // All dead letters, without those whose subject is over.
        let answer = world.client.replay_deliveries(failed(&[])).await.unwrap();
        let [one] = &answer.deliveries[..] else { panic!("{answer:?}") };
        assert_eq!(one.delivery_id, other[0].delivery_id);
        world.replayed(&one.replayed_as);
        let sent = world.messages(2).await;
        assert!(sent.iter().all(|message| message.user.is_some()));
        // Slack has them a moment before Herald knows.
        world.settled().await;
    })
    .await;
}

/// A retraction without recipients also applies to people who would get the message by a replay.
#[tokio::test]
async fn who_takes_back_from_everybody_means_those_whom_it_did_not_reach() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.sandbox.script(fault("chat.postMessage", "restricted_action"));
        let dead = done(world, about("dead", &["ben"], SubjectAction::NewMessage)).await;
        world.sandbox.clear_faults();
        done(world, wordless("back", &[], SubjectAction::Retract)).await;
        let request = pb::ReplayDeliveriesRequest {
            tenant_id: TENANT.into(),
            request_id: "replay".into(),
            delivery_ids: vec![dead[0].delivery_id.clone()],
            ..pb::ReplayDeliveriesRequest::default()
        };
        let answer = world.client.replay_deliveries(request).await.unwrap();
        assert_eq!(answer.deliveries[0].skipped(), pb::ReplaySkip::Superseded);
        assert!(world.messages(0).await.is_empty());
    })
    .await;
}
