//! A reader of the main tenant's feed: it resumes at any replica, misses no number, and is notified
//! when the feed begins anew.

use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tokio::time::{Duration, sleep};
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::book::Book;
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

fn epoch(status: &Status) -> Option<i64> {
    let info = status.get_details_error_info()?;
    let epoch = info.metadata.get("epoch_sequence").filter(|_| info.reason == "FEED_EPOCH_CHANGED");
    epoch?.parse().ok()
}
