//! Readers of the main tenant's feeds: they resume at any replica, miss no number, and are notified
//! when a feed begins anew.

use herald::rpc::pb;
use herald::rpc::pb::channel_change::Change;
use herald::rpc::pb::channel_service_client::ChannelServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tokio::time::{Duration, sleep};
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::book::{Book, now};
use crate::evidence::{FeedEntry, FeedNews};
use crate::tenant::Tenant;

/// The pause before it resumes at the next replica.
const AGAIN: Duration = Duration::from_millis(200);

/// Reads forever. In the log of faults, `epoch` means that it learned of a new epoch, and `gap`
/// that a number was missing or came twice.
pub(crate) async fn read(replicas: Vec<Channel>, book: Book) {
    let mut position = 0;
    for replica in replicas.iter().cycle() {
        let broken = follow(replica.clone(), &mut position, &book).await;
        if let Some(epoch) = broken.err().as_ref().and_then(epoch) {
            book.strike("epoch", None, format!("from {position} to {epoch}")).over();
            position = epoch;
        }
        sleep(AGAIN).await;
    }
}

/// Reads until the stream ends.
async fn follow(replica: Channel, position: &mut i64, book: &Book) -> Result<(), Status> {
    let request = pb::WatchDeliveriesRequest {
        tenant_id: Tenant::MAIN.name(),
        after_sequence: Some(*position),
        actor: None,
    };
    let mut service = HeraldServiceClient::new(replica);
    let mut stream = service.watch_deliveries(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        for change in &message.changes {
            if change.sequence != *position + 1 {
                let what = format!("{} after {position}", change.sequence);
                book.strike("gap", None, what).over();
            }
            *position = change.sequence;
        }
    }
    Ok(())
}

/// Reads the feed of channels forever, and logs its entries.
pub(crate) async fn read_channels(replicas: Vec<Channel>, book: Book) {
    let mut position = 0;
    for replica in replicas.iter().cycle() {
        let broken = follow_channels(replica.clone(), &mut position, &book).await;
        if let Some(sequence) = broken.err().as_ref().and_then(epoch) {
            book.channel_feed(&FeedEntry { sequence, at: now(), news: FeedNews::Epoch });
            position = sequence;
        }
        sleep(AGAIN).await;
    }
}

/// Reads until the stream ends.
async fn follow_channels(replica: Channel, position: &mut i64, book: &Book) -> Result<(), Status> {
    let request = pb::WatchChannelsRequest {
        tenant_id: Tenant::MAIN.name(),
        after_sequence: Some(*position),
        actor: None,
    };
    let mut service = ChannelServiceClient::new(replica);
    let mut stream = service.watch_channels(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        for change in message.changes {
            *position = change.sequence;
            let sequence = change.sequence;
            book.channel_feed(&FeedEntry { sequence, at: now(), news: news(change) });
        }
    }
    Ok(())
}

fn news(change: pb::ChannelChange) -> FeedNews {
    let key = change.channel_key;
    match change.change {
        Some(Change::Channel(channel)) => FeedNews::Channel {
            key,
            state: named(channel.state().as_str_name(), "CHANNEL_STATE_"),
            obstacle: named(channel.obstacle().as_str_name(), "CHANNEL_OBSTACLE_"),
        },
        Some(Change::Member(member)) => FeedNews::Member {
            key,
            state: named(member.state().as_str_name(), "CHANNEL_MEMBER_STATE_"),
            user: member.user_id,
        },
        Some(Change::Released(_)) | None => FeedNews::Released { key },
    }
}

/// The name of a state in small letters, without what all of them begin with; empty: none.
pub(crate) fn named(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase();
    if name == "unspecified" { String::new() } else { name }
}

fn epoch(status: &Status) -> Option<i64> {
    let info = status.get_details_error_info()?;
    let epoch = info.metadata.get("epoch_sequence").filter(|_| info.reason == "FEED_EPOCH_CHANGED");
    epoch?.parse().ok()
}
