//! Notify to a channel by its key: the message waits until the channel is ready in Slack, and then
//! keeps its place; and the notice before a channel is archived.

use std::time::Duration;

use herald::domain::time::Timestamp;
use herald::rpc::pb::{
    self, ChannelState, DeliveryState as State, NotifyRequest, SubjectAction, VerdictKind,
    WaitCause, recipient::Target,
};
use herald::sandbox::ChannelChange;

use super::support::{Channels, KEY, LEGAL, NAME, listen, people_change, wish};
use crate::support::client::{bad_fields, task};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

const HOUR: Duration = Duration::from_secs(3600);

fn proto(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1_000_000) * 1000).unwrap();
    prost_types::Timestamp { seconds: time.0.div_euclid(1_000_000), nanos }
}

/// `text` for the channel with this key.
fn to(key: &str, text: &str) -> NotifyRequest {
    let recipient = pb::Recipient { target: Some(Target::ChannelKey(key.into())), roles: vec![] };
    NotifyRequest { recipients: vec![recipient], ..task(text, &[]) }
}

/// Makes a wish whose channel is not created within this test.
async fn scheduled(world: &World) -> Channels {
    let channels = Channels::new(world);
    let create_not_before = Some(proto(world.now().await.plus(HOUR)));
    channels.wish(KEY, pb::ChannelWish { create_not_before, ..wish(NAME) }).await;
    channels
}

/// The texts of all messages, in Slack's order.
fn texts(world: &World) -> Vec<String> {
    world.sandbox.messages().into_iter().map(|message| message.text).collect()
}

/// Slack has these messages in this order, and no other.
fn assert_sent(world: &World, wanted: &[&str]) {
    let sent = texts(world);
    assert_eq!(sent.len(), wanted.len(), "{sent:?}");
    for (text, wanted) in sent.iter().zip(wanted) {
        assert!(text.contains(wanted), "{wanted} is missing in {sent:?}");
    }
}

async fn only(world: &World, id: &str) -> pb::Delivery {
    world.client.notification(TENANT, id).await.unwrap().deliveries.remove(0)
}

#[tokio::test]
async fn a_key_that_no_channel_has_is_refused() {
    for_each_database(async |world| {
        scheduled(world).await;
        let mut request = to("track:unknown", "lost");
        request.recipients.insert(0, to(KEY, "").recipients.remove(0));
        for dry_run in [false, true] {
            let request = NotifyRequest { dry_run, ..request.clone() };
            let status = world.client.notify(request).await.unwrap_err();
            assert_eq!(bad_fields(&status), ["recipients[1].channel_key"]);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM deliveries").await, 0);
    })
    .await;
}

/// The third is accepted the moment the channel is ready: it does not overtake those that wait.
#[tokio::test]
async fn messages_wait_for_their_channel_and_keep_their_order() {
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let mut ids = Vec::new();
        for text in ["one", "two"] {
            let answer = world.client.notify(to(KEY, text)).await.unwrap();
            let verdict = &answer.verdicts[0];
            let key = pb::verdict::Recipient::ChannelKey(KEY.into());
            assert_eq!(verdict.recipient.as_ref(), Some(&key));
            assert_eq!(verdict.kind(), VerdictKind::Queued);
            assert!(verdict.sentence.contains("until the channel is ready"), "{verdict:?}");
            assert!(verdict.estimated_send_time.is_none());
            ids.push(answer.notification_id);
        }
        let waiting = only(world, &ids[0]).await;
        assert_eq!((waiting.state(), waiting.channel_key.as_str()), (State::Pending, KEY));
        assert!(waiting.slack_target.is_empty() && waiting.due_at.is_none(), "{waiting:?}");
        assert!(waiting.sentence.contains("until the channel is ready"), "{waiting:?}");
        assert_eq!(waiting.trace.unwrap().waits[0].cause(), WaitCause::Channel);
        assert_sent(world, &[]);

        channels.wish(KEY, wish(NAME)).await;
        let channel = channels.in_state(KEY, ChannelState::Ready).await;
        let last = world.client.notify(to(KEY, "three")).await.unwrap();
        ids.push(last.notification_id);
        for id in &ids {
            let sent = world.client.ended(TENANT, id).await.remove(0);
            assert_eq!((sent.state(), &sent.channel_id), (State::Sent, &channel.channel_id));
            assert_eq!(
                (sent.slack_target, sent.channel_key),
                (channel.channel_id.clone(), KEY.into())
            );
        }
        assert_sent(world, &["one", "two", "three"]);
        // Without a wait, the answer says when the message should be sent.
        let at_once = world.client.notify(to(KEY, "four")).await.unwrap();
        assert!(at_once.verdicts[0].estimated_send_time.is_some());
        assert_eq!(at_once.verdicts[0].sentence, "Queued.");
        world.client.ended(TENANT, &at_once.notification_id).await;
    })
    .await;
}

/// It gets in line when its time comes, behind those accepted since.
#[tokio::test]
async fn a_scheduled_message_gets_in_line_when_it_is_due() {
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let due = proto(world.now().await.plus(HOUR));
        let later = NotifyRequest { deliver_after: Some(due), ..to(KEY, "later") };
        let later = world.client.notify(later).await.unwrap().notification_id;
        assert_eq!(only(world, &later).await.due_at, Some(due));
        let now = world.client.notify(to(KEY, "now")).await.unwrap().notification_id;
        let time = world.now().await.0;
        let come = format!("UPDATE deliveries SET due_at = {time} WHERE due_at < expires_at");
        assert_eq!(world.execute(&come).await.unwrap(), 1);
        // In line, it waits for no time any more.
        let in_line = |delivery: &pb::Delivery| delivery.due_at.is_none();
        world.client.deliveries_until(TENANT, &later, in_line).await;
        channels.wish(KEY, wish(NAME)).await;
        for id in [&now, &later] {
            assert_eq!(world.client.ended(TENANT, id).await[0].state(), State::Sent);
        }
        assert_sent(world, &["now", "later"]);
    })
    .await;
}

#[tokio::test]
async fn it_expires_while_it_waits_and_can_be_replayed() {
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let expires_in = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let request = NotifyRequest { expires_in, ..to(KEY, "late") };
        let id = world.client.notify(request).await.unwrap().notification_id;
        let expired = world.client.ended(TENANT, &id).await.remove(0);
        assert_eq!((expired.state(), expired.attempts), (State::Expired, 0));
        let request = pb::ReplayDeliveriesRequest {
            tenant_id: TENANT.into(),
            request_id: "again".into(),
            delivery_ids: vec![expired.delivery_id],
            ..pb::ReplayDeliveriesRequest::default()
        };
        let replayed = world.client.replay_deliveries(request).await.unwrap();
        world.replayed(&replayed.deliveries[0].replayed_as);
        channels.wish(KEY, wish(NAME)).await;
        world.messages(1).await;
        let both = world.client.ended(TENANT, &id).await;
        assert_eq!([both[0].state(), both[1].state()], [State::Expired, State::Sent]);
    })
    .await;
}

#[tokio::test]
async fn it_ends_if_the_channel_is_released_or_the_notification_canceled() {
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let canceled = world.client.notify(to(KEY, "canceled")).await.unwrap().notification_id;
        let request = pb::CancelNotificationRequest {
            tenant_id: TENANT.into(),
            notification_id: canceled.clone(),
            actor: None,
        };
        let answer = world.client.cancel_notification(request).await.unwrap();
        assert_eq!(answer.canceled_deliveries, 1);
        assert_eq!(only(world, &canceled).await.state(), State::Canceled);

        let due = Some(proto(world.now().await.plus(HOUR)));
        let later = NotifyRequest { deliver_after: due, ..to(KEY, "scheduled") };
        let mut ids = Vec::new();
        for request in [to(KEY, "released"), later] {
            ids.push(world.client.notify(request).await.unwrap().notification_id);
        }
        channels.release(KEY).await.unwrap();
        for id in &ids {
            let ended = world.client.ended(TENANT, id).await.remove(0);
            assert_eq!(ended.state(), State::Canceled);
            assert_eq!(
                (ended.reason.as_str(), ended.channel_key.as_str()),
                ("channel_released", KEY)
            );
        }
        // A repeat gets its answer although the key is unknown by now.
        let again = world.client.notify(to(KEY, "released")).await.unwrap();
        assert_eq!(again.notification_id, ids[0]);
        let status = world.client.notify(to(KEY, "too late")).await.unwrap_err();
        assert_eq!(bad_fields(&status), ["recipients[0].channel_key"]);
        assert_sent(world, &[]);
    })
    .await;
}

/// A call without recipients reaches the message that waits.
#[tokio::test]
async fn what_waits_for_a_channel_can_be_retracted() {
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let about = |request: NotifyRequest| NotifyRequest { subject_key: "s".into(), ..request };
        let first = world.client.notify(about(to(KEY, "wrong"))).await.unwrap().notification_id;
        let retract = NotifyRequest {
            subject_action: SubjectAction::Retract.into(),
            recipients: Vec::new(),
            ..about(to(KEY, "retract"))
        };
        let retract = world.client.notify(retract).await.unwrap();
        let key = pb::verdict::Recipient::ChannelKey(KEY.into());
        assert_eq!(retract.verdicts[0].recipient.as_ref(), Some(&key));
        let first = world.client.ended(TENANT, &first).await.remove(0);
        assert_eq!((first.state(), first.reason.as_str()), (State::Canceled, "superseded"));
        channels.wish(KEY, wish(NAME)).await;
        let retract = world.client.ended(TENANT, &retract.notification_id).await.remove(0);
        assert_eq!((retract.state(), retract.reason.as_str()), (State::Canceled, "nothing_to_do"));
        assert_sent(world, &[]);
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_shows_the_message_and_the_wait() {
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let dry = NotifyRequest { dry_run: true, ..to(KEY, "dry") };
        let verdict = world.client.notify(dry.clone()).await.unwrap().verdicts.remove(0);
        assert_eq!(verdict.kind(), VerdictKind::Queued);
        assert!(verdict.preview.unwrap().text.contains("dry"));
        assert_eq!(verdict.trace.unwrap().waits[0].cause(), WaitCause::Channel);
        channels.wish(KEY, wish(NAME)).await;
        channels.in_state(KEY, ChannelState::Ready).await;
        let verdict = world.client.notify(dry).await.unwrap().verdicts.remove(0);
        assert!(verdict.trace.unwrap().waits.is_empty());
        assert_eq!(world.count("SELECT COUNT(*) FROM deliveries").await, 0);
        assert_sent(world, &[]);
    })
    .await;
}

/// Slack no longer knows the old id: a message that stayed in its lane would fail.
#[tokio::test]
async fn messages_follow_a_channel_whose_id_changes() {
    for_each_database(async |world| {
        listen(world);
        let channels = Channels::new(world);
        let before = channels.made(wish(NAME), Vec::new()).await.channel_id;
        world.throttle(&before, 5);
        let mut ids = Vec::new();
        for text in ["one", "two"] {
            ids.push(world.client.notify(to(KEY, text)).await.unwrap().notification_id);
        }
        world.called("chat.postMessage", 1).await;
        let id = Some("C0MOVED".to_owned());
        people_change(world, &before, &ChannelChange { id, ..ChannelChange::default() });
        channels.until(KEY, "moved", |channel| channel.channel_id == "C0MOVED").await;
        world.sandbox.clear_faults();
        for id in &ids {
            let sent = world.client.ended(TENANT, id).await.remove(0);
            assert_eq!((sent.state(), sent.channel_id.as_str()), (State::Sent, "C0MOVED"));
        }
        assert_sent(world, &["one", "two"]);
    })
    .await;
}

/// Both replicas look for notices. A wish with another end gets another notice.
/// The text of the latest of so many messages, which is a notice. No call of the test is answered
/// with its delivery, so it is booked here once it has ended.
async fn notice(world: &World, number: usize) -> String {
    let message = world.messages(number).await.pop().unwrap();
    assert!(message.text.contains("will be archived"), "{}", message.text);
    let delivery = message.metadata["event_payload"]["delivery_id"].as_str().unwrap();
    let sent =
        format!("SELECT COUNT(*) FROM deliveries WHERE state = 'sent' AND id = '{delivery}'");
    until("the notice is settled", async || (world.count(&sent).await == 1).then_some(())).await;
    world.replayed(delivery);
    message.text
}

#[tokio::test]
async fn a_channel_is_told_once_that_it_will_be_archived() {
    let two = Plan { replicas: 2, ..Plan::default() };
    two.run(async |world| {
        let channels = Channels::new(world);
        let ends = |after: Timestamp| pb::ChannelWish {
            archive_after: Some(proto(after)),
            archive_notice: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..wish(NAME)
        };
        let start = world.now().await;
        for (number, end) in (1..).zip([start.plus(HOUR), start.plus(2 * HOUR)]) {
            channels.wish(KEY, ends(end)).await;
            let text = notice(world, number).await;
            assert!(text.contains(LEGAL), "{text}");
            until("the notice is noted", async || {
                let due = "SELECT COUNT(*) FROM channels WHERE notice_due IS NOT NULL";
                (world.count(due).await == 0).then_some(())
            })
            .await;
        }
        let accepted = "SELECT COUNT(*) FROM notifications WHERE principal = 'herald'";
        assert_eq!(world.count(accepted).await, 2);
    })
    .await;
}

/// Rows that this release cannot read come first, and are more than one read returns. Red if
/// `app/channels/notices.rs`, `send_notices`, ends after its first read.
#[tokio::test]
async fn notices_that_cannot_be_sent_hold_up_no_other() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        channels.made(wish(NAME), Vec::new()).await;
        let end = world.now().await.plus(HOUR);
        let broken = format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers \
             WHERE n < 250) INSERT INTO channels (id, tenant, channel_key, wish, progress, state, \
             archive_after, notice_due, touched_at, created_at, changed_at) \
             SELECT 'broken-' || n, tenant, 'broken:' || n, wish, progress, 'ready', {}, 1, \
             touched_at, created_at, changed_at FROM numbers, channels \
             WHERE channel_key = '{KEY}'",
            end.0
        );
        assert_eq!(world.execute(&broken).await.unwrap(), 250);
        let ending = pb::ChannelWish {
            archive_after: Some(proto(end)),
            archive_notice: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..wish(NAME)
        };
        channels.wish(KEY, ending).await;
        notice(world, 1).await;
    })
    .await;
}

/// Red if `app/channels/change.rs`, `release_channel`, ends the messages before the release.
#[tokio::test]
async fn messages_continue_to_wait_if_the_release_fails() {
    /// On SQLite, and on PostgreSQL.
    const REFUSE: [&str; 2] = [
        "CREATE TRIGGER refuse BEFORE DELETE ON channels BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no'; END $$; CREATE TRIGGER refuse BEFORE DELETE ON channels \
         FOR EACH ROW EXECUTE FUNCTION refuse()",
    ];
    const ALLOW: [&str; 2] = ["DROP TRIGGER refuse", "DROP TRIGGER refuse ON channels"];
    for_each_database(async |world| {
        let channels = scheduled(world).await;
        let id = world.client.notify(to(KEY, "waits")).await.unwrap().notification_id;
        let own = usize::from(world.is_postgres());
        world.execute(REFUSE[own]).await.unwrap();
        channels.release(KEY).await.unwrap_err();
        assert_eq!(only(world, &id).await.state(), State::Pending);
        world.execute(ALLOW[own]).await.unwrap();
        channels.release(KEY).await.unwrap();
        let ended = world.client.ended(TENANT, &id).await.remove(0);
        assert_eq!((ended.state(), ended.reason.as_str()), (State::Canceled, "channel_released"));
    })
    .await;
}
