//! Server streams: they run at the client's own pace (nothing is read ahead), their number is
//! bounded by the gate, and they end with UNAVAILABLE when the server drains or their connection is
//! too old, so that clients resume elsewhere.

use std::pin::Pin;

use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::arrival::timeout;
use super::call::{Inbound, Server, span};
use super::{encode_channels, encode_records, pb, status};
use crate::app::Error;
use crate::app::watch_channels::FeedOfChannels;
use crate::app::watch_deliveries::Feed;
use crate::app::watch_notification::{NotificationWatch, Update};
use crate::listen::Ending;

/// The answer of a streaming method.
pub(super) type Stream<M> =
    Pin<Box<dyn futures_util::Stream<Item = Result<M, Status>> + Send + 'static>>;

/// A source of messages, one after the other.
pub(super) trait MessageSource: Send + 'static {
    type Message: Send + 'static;

    /// Waits for the next message; `None`: there are no more.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Message>, Error>> + Send;
}

impl MessageSource for Feed {
    type Message = pb::WatchDeliveriesResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Error> {
        let batch = Self::next(self).await?;
        Ok(Some(pb::WatchDeliveriesResponse {
            changes: batch.changes.into_iter().map(encode_records::change).collect(),
            last_sequence: batch.last_sequence,
        }))
    }
}

impl MessageSource for FeedOfChannels {
    type Message = pb::WatchChannelsResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Error> {
        let batch = Self::next(self).await?;
        Ok(Some(pb::WatchChannelsResponse {
            changes: batch.changes.into_iter().map(encode_channels::change).collect(),
            last_sequence: batch.last_sequence,
        }))
    }
}

impl MessageSource for NotificationWatch {
    type Message = pb::WatchNotificationResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Error> {
        use pb::watch_notification_response::Update as Sent;
        let update = Self::next(self).await?.map(|update| match update {
            Update::Notification(record) => {
                Sent::Notification(encode_records::notification(*record))
            }
            Update::Change(change) => Sent::Change(encode_records::change(*change)),
        });
        Ok(update.map(|update| pb::WatchNotificationResponse { update: Some(update) }))
    }
}

impl Server {
    /// Opens a stream the way [`Server::serve`] answers a call, then sends the messages of its
    /// source.
    pub(super) async fn watch<M, S: MessageSource>(
        &self,
        request: Request<M>,
        open: impl AsyncFnOnce(Inbound, M) -> Result<S, Error>,
    ) -> Result<Response<Stream<S::Message>>, Status> {
        let until = timeout(request.metadata()).map(|left| tokio::time::Instant::now() + left);
        let ending = request.extensions().get::<Ending>().map(|ending| ending.0.clone());
        let span = span(&request);
        let source = self.answer(request, open).instrument(span).await?;
        let closing = self.closing.clone();
        let ending = ending.unwrap_or_default();
        let watching = Watching { source, until, closing, ending };
        Ok(Response::new(Box::pin(stream::unfold(Some(watching), step))))
    }
}

struct Watching<S> {
    source: S,
    until: Option<tokio::time::Instant>,
    closing: CancellationToken,
    /// Cancelled when its connection is too old.
    ending: CancellationToken,
}

/// The next message, or the status that ends the stream.
async fn step<S: MessageSource>(
    watching: Option<Watching<S>>,
) -> Option<(Result<S::Message, Status>, Option<Watching<S>>)> {
    let mut watching = watching?;
    let late = async {
        match watching.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    let told = tokio::select! {
        biased;
        () = watching.closing.cancelled() => Err(status::draining()),
        () = watching.ending.cancelled() => Err(status::old()),
        () = late => Err(status::deadline()),
        told = watching.source.next() => told.map_err(Status::from),
    };
    match told {
        Ok(Some(message)) => Some((Ok(message), Some(watching))),
        Ok(None) => None,
        Err(status) => Some((Err(status), None)),
    }
}
