//! The database continues from a copy that was taken before messages were sent (docs/recovery.md):
//! after `herald recover` no message is sent twice, all are sent, and readers of the feed are
//! notified.

use herald::rpc::pb::{self, DeliveryState, SubjectAction};
use sea_orm::{ConnectionTrait as _, Database};
use tempfile::TempDir;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use herald::sandbox::{Fault, FaultKind};

use super::{Site, TENANT, all_sent, judge, member_id, message, service, sites};
use crate::support::process::{Herald, recover, until};

const PEOPLE: usize = 3;
/// Messages to each person; the last is a reply to the first.
const MESSAGES: usize = 5;

fn hold(site: &Site, channel: Option<String>) {
    let kind = FaultKind::Status { code: 429, body: String::new(), retry_after: Some("30".into()) };
    site.sandbox.script(Fault { channel, ..Fault::new("chat.postMessage", kind) });
}

/// Copies the database of a site whose processes have stopped, and points the site at the copy.
/// Returns the configuration of the original, and the folder of the copy.
async fn copy(site: &mut Site) -> (herald::store::Config, TempDir) {
    let original = site.store.clone();
    let dir = TempDir::new().unwrap();
    if let Some(url) = &original.url {
        let source = url::Url::parse(url.expose()).unwrap();
        let name = source.path().trim_start_matches('/').to_owned();
        let (mut admin, mut target) = (source.clone(), source);
        admin.set_path("postgres");
        target.set_path(&format!("{name}_copy"));
        let admin = Database::connect(admin.as_str()).await.unwrap();
        let drop = format!("DROP DATABASE IF EXISTS {name}_copy");
        admin.execute_unprepared(&drop).await.unwrap();
        let create = format!("CREATE DATABASE {name}_copy TEMPLATE {name}");
        // Its last connections may be about to end.
        until("the database is copied", async || admin.execute_unprepared(&create).await.ok())
            .await;
        site.store.url = Some(herald::domain::secret::Secret::new(target.as_str()));
    } else {
        for file in std::fs::read_dir(&original.data_dir).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        dir.path().clone_into(&mut site.store.data_dir);
    }
    (original, dir)
}

async fn stop(mut herald: Herald) {
    herald.signal("TERM");
    assert!(herald.ended().await.success());
}

async fn watch(
    herald: &Herald,
    after: Option<i64>,
) -> Result<Streaming<pb::WatchDeliveriesResponse>, Status> {
    let request =
        pb::WatchDeliveriesRequest { tenant_id: TENANT.into(), after_sequence: after, actor: None };
    Ok(service(herald.channel()).watch_deliveries(request).await?.into_inner())
}

/// Reads the feed until it has reported this many deliveries as sent.
async fn read(
    stream: &mut Streaming<pb::WatchDeliveriesResponse>,
    sent: usize,
) -> Vec<pb::DeliveryChange> {
    let mut changes: Vec<pb::DeliveryChange> = Vec::new();
    let is_sent = |change: &&pb::DeliveryChange| change.state() == DeliveryState::Sent;
    while changes.iter().filter(is_sent).count() < sent {
        changes.extend(stream.message().await.unwrap().unwrap().changes);
    }
    changes
}

/// Where a reader of an earlier epoch may continue.
fn epoch_in(status: &Status) -> i64 {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((status.code(), info.reason.as_str()), (Code::OutOfRange, "FEED_EPOCH_CHANGED"));
    info.metadata["epoch_sequence"].parse().unwrap()
}

/// Accepts all messages, copies the store before any is sent, and sends all except one person's on
/// the original. Returns the notifications, the reader's position, and the folder of the copy.
async fn lost_time(site: &mut Site) -> (Vec<String>, i64, TempDir) {
    let herald = site.start_connected().await;
    hold(site, None);
    let mut accepted = Vec::new();
    for number in 0..MESSAGES {
        let mut call = message(number, PEOPLE);
        if number == 0 || number == MESSAGES - 1 {
            call.subject_key = "task:1".into();
            let action = if number == 0 { SubjectAction::NewMessage } else { SubjectAction::Reply };
            call.subject_action = action.into();
        }
        let answer = service(herald.channel()).notify(call).await.unwrap();
        accepted.push(answer.into_inner().notification_id);
    }
    stop(herald).await;
    let (original, dir) = copy(site).await;
    let taken = std::mem::replace(&mut site.store, original);
    site.sandbox.clear_faults();
    hold(site, Some(member_id(PEOPLE - 1)));
    let mut herald = site.start().await;
    let mut feed = watch(&herald, Some(0)).await.unwrap();
    let changes = read(&mut feed, MESSAGES * (PEOPLE - 1)).await;
    herald.kill();
    site.store = taken;
    site.sandbox.clear_faults();
    (accepted, changes.last().unwrap().sequence, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_in_the_lost_time_is_not_sent_again() {
    for mut site in sites(PEOPLE).await {
        let (accepted, position, _dir) = lost_time(&mut site).await;
        let told = recover(&site.settings());
        let all = MESSAGES * PEOPLE;
        assert!(told.contains(&format!("before anything is sent: {all} (")), "{told}");
        let herald = site.start().await;
        all_sent(&herald.channel(), &accepted).await;
        let stored = site.sandbox.messages();
        assert!(!judge::repeats(&stored), "a message is there twice");
        assert_eq!(judge::verdict(&stored, PEOPLE, MESSAGES), Ok(()));
        let replies = stored.iter().filter(|message| message.thread_ts.is_some());
        assert_eq!(replies.count(), PEOPLE);
        let epoch = epoch_in(&watch(&herald, Some(position)).await.unwrap_err());
        assert!(told.contains(&format!("epoch {epoch}.")), "{told}");
        let mut feed = watch(&herald, Some(epoch)).await.unwrap();
        let changes = read(&mut feed, all).await;
        let numbers: Vec<i64> = changes.iter().map(|change| change.sequence).collect();
        let until = epoch + i64::try_from(changes.len()).unwrap();
        assert_eq!(numbers, (epoch + 1..=until).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_when_the_store_is_recovered() {
    for site in sites(1).await {
        let herald = site.start_connected().await;
        hold(&site, None);
        let answer = service(herald.channel()).notify(message(0, 1)).await.unwrap().into_inner();
        let mut feed = watch(&herald, None).await.unwrap();
        // The stream is open. The acceptance may be numbered only now, and then it comes first.
        assert!(feed.message().await.unwrap().is_some());
        let request = pb::WatchNotificationRequest {
            tenant_id: TENANT.into(),
            notification_id: answer.notification_id.clone(),
            actor: None,
        };
        let mut one = service(herald.channel()).watch_notification(request).await.unwrap();
        assert!(one.get_mut().message().await.unwrap().is_some());
        recover(&site.settings());
        // Changes from before the recovery may still come first.
        let status = loop {
            match feed.message().await {
                Ok(changes) => assert!(changes.is_some(), "the stream ended without a status"),
                Err(status) => break status,
            }
        };
        let epoch = epoch_in(&status);
        let status = loop {
            match one.get_mut().message().await {
                Ok(told) => assert!(told.is_some(), "the stream ended as if all were sent"),
                Err(status) => break status,
            }
        };
        assert_eq!(epoch_in(&status), epoch);
        site.sandbox.clear_faults();
        all_sent(&herald.channel(), &[answer.notification_id]).await;
        assert_eq!(site.sandbox.messages().len(), 1);
    }
}
