//! Health and reflection, which every client may call: their own limits.
//!
//! A client that reads nothing (an HTTP/2 window of 0) leaves its answers in the server's memory,
//! and the largest file of reflection has 70 KB. So few calls of reflection are under way at the
//! same time, and each ends after a time even if its client reads nothing. Streams of health are
//! small and may stay open, but not in any number. A Check is never refused for its number, because
//! probes depend on it; like every question, it must be small and arrive in time.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server;
use tonic_reflection::pb::v1::server_reflection_server as v1;
use tonic_reflection::pb::v1alpha::server_reflection_server as v1alpha;

use super::around::{Around, HttpAnswer, Inner};
use super::gate::PAUSE;
use super::{status, wire};
use crate::listen::{Held, Peer, ResourcePool, holding, network};

/// Most bytes of a question to health or reflection.
pub(super) const QUESTION_BYTES: usize = 4 << 10;
/// Calls of reflection under way at one port; one address gets half of those that are left free.
const REFLECTIONS: usize = 32;
/// Streams of health open at one port, shared in the same way.
const HEALTH_WATCHES: usize = 256;
/// The longest that a call of reflection may take with all its answers, and that a question about
/// health may take to arrive; both from the headers of the request.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes of an answer of reflection that are handed to the connection at once. The bytes that it
/// took (about `SEND_BYTES` of a stream at most) stay in memory after the call until they are read.
const PIECE: usize = 1 << 10;

/// The part of an address.
type OfAddress = Held<IpAddr>;

/// The layer around health and reflection of one port.
#[derive(Debug, Clone)]
pub(super) struct Open {
    reflections: ResourcePool<IpAddr>,
    watches: ResourcePool<IpAddr>,
}

/// A call that needs no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reflection,
    Watch,
    Check,
}

impl Kind {
    fn of(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        match service {
            v1::SERVICE_NAME | v1alpha::SERVICE_NAME => Some(Self::Reflection),
            health_server::SERVICE_NAME if method == "Watch" => Some(Self::Watch),
            health_server::SERVICE_NAME => Some(Self::Check),
            _ => None,
        }
    }
}

impl Open {
    pub(super) fn new() -> Self {
        Self {
            reflections: ResourcePool::new(REFLECTIONS),
            watches: ResourcePool::new(HEALTH_WATCHES),
        }
    }

    /// The place of a call, if its kind needs one.
    fn place(&self, kind: Kind, address: IpAddr) -> Result<Option<OfAddress>, Status> {
        let (pool, limit) = match kind {
            Kind::Reflection => (&self.reflections, "rpc.open_reflections"),
            Kind::Watch => (&self.watches, "rpc.open_health_watches"),
            Kind::Check => return Ok(None),
        };
        let place = pool.take(&address, 1, 1);
        place.map(Some).ok_or_else(|| status::overloaded(limit))
    }
}

impl Around for Open {
    async fn answer(self, request: Request<Body>, inner: impl Inner) -> HttpAnswer {
        let Some(kind) = Kind::of(request.uri().path()) else {
            return inner.ask(request).await;
        };
        // Requests without a connection occur only in tests.
        let address = request.extensions().get::<Peer>().map(|peer| network(peer.address.ip()));
        let until = Instant::now() + LONGEST;
        let place = self.place(kind, address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let place = match place {
            Ok(place) => place,
            Err(status) => {
                tokio::time::sleep(PAUSE).await;
                return Ok(status.into_http());
            }
        };
        let request = request.map(|body| Body::new(Question::new(body, until)));
        let answer = wire::explained(inner.ask(request).await?, QUESTION_BYTES);
        // An answer that consists of a status has nothing that could be left unread.
        let unread = !answer.body().is_end_stream();
        Ok(match (kind, place) {
            (Kind::Reflection, Some(place)) if unread => {
                answer.map(|body| brief(body, place, until))
            }
            (Kind::Watch, Some(place)) if unread => {
                answer.map(|body| Body::new(holding(body, place)))
            }
            _ => answer,
        })
    }
}

/// The body of a request, which ends with an error when its time is over.
struct Question {
    body: Body,
    end: Pin<Box<Sleep>>,
}

impl Question {
    fn new(body: Body, until: Instant) -> Self {
        Self { body, end: Box::pin(tokio::time::sleep_until(until)) }
    }
}

impl http_body::Body for Question {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(status::deadline())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// The body of an answer with a time limit, in small pieces. A task reads the whole body and then
/// drops it with its place: a connection asks for no frame while its client reads nothing.
fn brief(body: Body, place: OfAddress, until: Instant) -> Body {
    let (to, pieces) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let _place = place;
        // Without its end in time, the answer gets another one.
        tokio::time::timeout_at(until, cut(body, to)).await.ok();
    });
    let rest = Some((pieces, AbortOnDropHandle::new(task)));
    let frames = stream::unfold(rest, |rest| async move {
        let (mut pieces, task) = rest?;
        let frame = pieces.recv().await.unwrap_or_else(late);
        let last = frame.as_ref().map_or(true, Frame::is_trailers);
        Some((frame, (!last).then_some((pieces, task))))
    });
    Body::new(StreamBody::new(frames))
}

/// The end of an answer whose time is over.
fn late() -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status::deadline().add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

/// Cuts a body into pieces, each with its own memory.
async fn cut(mut body: Body, to: mpsc::Sender<Result<Frame<Bytes>, Status>>) {
    while let Some(frame) = body.frame().await {
        let rest = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                for piece in data.chunks(PIECE) {
                    let piece = Frame::data(Bytes::copy_from_slice(piece));
                    if to.send(Ok(piece)).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Ok(Err(trailers)) => Ok(trailers),
            Err(status) => Err(status),
        };
        if to.send(rest).await.is_err() {
            return;
        }
    }
}
