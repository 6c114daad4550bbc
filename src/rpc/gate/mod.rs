//! Checks on every request before it is decoded: its caller must be known and within its limits,
//! its bytes must find room, its lists must be within their bounds, and its tenant within its
//! limits. A request of a few bytes can decode to a hundred times as many, so none of these checks
//! may wait until after decoding.
//!
//! Health and reflection are outside the gate; their limits are in `open`.

mod body;
mod shape;

mod scan;

mod outline;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;

use super::around::{Around, HttpAnswer, Inner};
use super::arrival::{Arrived, ShownCredentials, timeout};
use super::call::Server;
use super::callers::Identified;
use super::limits::{OfCaller, OfTenant};
use super::{measure, status, wire};
use crate::app::{Error, Violation};
use crate::domain::ids::TenantId;
use crate::listen::{Peer, UnusedBytes};
pub use outline::{Outlined, Outlines};
use scan::ScanRefusal;
use shape::{MethodShape, Shapes};

/// Requests beyond this size are outlined outside the async workers, one at a time: 16 MiB can have
/// eight million fields, and a worker that reads them answers no other call meanwhile.
const LARGE: usize = 64 << 10;
/// Memory of a decoded JSON value beyond its bytes on the wire.
const VALUE_BYTES: usize = 64;
/// The longest that a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Refusals of the gate and of `open` are answered after this time, so that a client that repeats a
/// refused call as soon as it has the answer makes no more than ten calls a second, times its calls
/// under way. It does not slow down a client that gives its calls up. During the wait a call holds
/// nothing of a share.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// The layer around all services.
#[derive(Clone)]
pub(super) struct Gate {
    server: Server,
    shapes: Arc<Shapes>,
    /// Whose turn it is to be outlined, of the large requests.
    outlining: Arc<Semaphore>,
}

/// The outline of a request that was read.
struct Contents {
    /// `None`: no valid id. The method refuses it, together with all other bad fields.
    tenant: Option<TenantId>,
    values: usize,
    whole: Bytes,
    /// The share of its bytes.
    held: Option<OfCaller>,
}

/// Shares that a call holds until it is answered.
struct Holding {
    _call: (OfCaller, Option<OfTenant>),
    _message: Option<OfCaller>,
    _values: OfCaller,
    stream: Option<Stream>,
}

/// Shares that a stream holds until it ends.
struct Stream {
    _of_caller: OfCaller,
    _of_tenant: Option<OfTenant>,
    /// The end of the caller's credentials, which ends the stream; `None`: they do not end.
    end: Option<End>,
}

type End = Pin<Box<dyn Future<Output = Status> + Send>>;

impl Gate {
    /// `most_bytes`: the size of the largest request.
    pub(super) fn new(server: Server, most_bytes: usize) -> Result<Self, prost::DecodeError> {
        let shapes = Arc::new(Shapes::new(most_bytes)?);
        Ok(Self { server, shapes, outlining: Arc::new(Semaphore::new(1)) })
    }

    /// Judges one request: it continues with its caller, or is refused.
    async fn admit(
        &self,
        request: Request<Body>,
        method: MethodShape,
    ) -> Result<(Request<Body>, Holding), Status> {
        let now = Instant::now();
        let (mut parts, body) = request.into_parts();
        let metadata = MetadataMap::from_headers(parts.headers.clone());
        let keys = self.server.app.keys();
        let certificate = parts.extensions.get::<Peer>().and_then(|peer| peer.names.clone());
        let callers = &self.server.callers;
        let identified = callers.identify(&metadata, certificate.as_deref(), keys).await;
        let Identified { caller, lasting, shown } = identified.inspect_err(|refused| {
            let method =
                parts.extensions.get::<measure::MethodName>().map_or("", |method| method.0);
            self.server.turned_away(method, refused);
        })?;
        // Requests without a connection occur only in tests.
        let unused = parts.extensions.get::<UnusedBytes>().cloned().unwrap_or_default();
        unused.call();
        let limits = &self.server.limits;
        let call = limits.call(&caller)?;
        let stream = method.streams.then(|| limits.watch(&caller)).transpose()?;
        let until = now + timeout(&metadata).unwrap_or(ARRIVAL).min(ARRIVAL);
        let reading = async {
            let room = |bytes| limits.message(&caller, bytes);
            let (whole, held) = body::read(body, method.most_bytes, &unused, room).await?;
            self.outline(method, whole, held).await
        };
        let read = tokio::time::timeout_at(until, reading).await;
        let Contents { tenant, values, whole, held } = read.map_err(|_| status::deadline())??;
        let values = limits.bytes(&caller, values * VALUE_BYTES)?;
        // A caller uses nothing of a tenant out of its reach; the call is refused a moment later.
        let tenant = tenant.filter(|tenant| caller.reach.contains(tenant));
        let about = tenant.as_ref().map(|tenant| limits.call_about(tenant)).transpose()?;
        let stream = match stream {
            None => None,
            Some(of_caller) => {
                let about = tenant.as_ref().map(|tenant| limits.watch_about(tenant));
                let end = lasting.end(keys.clone()).map(|end| Box::pin(end) as End);
                Some(Stream { _of_caller: of_caller, _of_tenant: about.transpose()?, end })
            }
        };
        if let Some(shown) = shown {
            parts.extensions.insert(ShownCredentials(shown));
        }
        parts.extensions.insert(caller);
        parts.extensions.insert(Arrived(now));
        let request = Request::from_parts(parts, Body::new(Full::new(whole)));
        let holding = Holding { _call: (call, about), _message: held, _values: values, stream };
        Ok((request, holding))
    }

    /// Outlines a request. It holds its share of the bytes for as long as it is being read, even if
    /// its caller has gone.
    async fn outline(
        &self,
        method: MethodShape,
        whole: Bytes,
        held: Option<OfCaller>,
    ) -> Result<Contents, Status> {
        if whole.len() <= LARGE {
            return contents(&self.shapes, method, whole, held);
        }
        let turn = Arc::clone(&self.outlining).acquire_owned().await;
        let turn = turn.map_err(|closed| Error::Internal(closed.into()))?;
        let shapes = Arc::clone(&self.shapes);
        let work = move || {
            let _turn = turn;
            contents(&shapes, method, whole, held)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|panicked| Error::Internal(panicked.into()))?
    }
}

fn contents(
    shapes: &Shapes,
    method: MethodShape,
    whole: Bytes,
    held: Option<OfCaller>,
) -> Result<Contents, Status> {
    let outline = scan::scan(shapes, method.request, body::message(&whole)).map_err(refused)?;
    let (tenant, values) = (tenant(outline.tenant), outline.values);
    Ok(Contents { tenant, values, whole, held })
}

fn tenant(spelt: &[u8]) -> Option<TenantId> {
    TenantId::parse(std::str::from_utf8(spelt).ok()?).ok()
}

fn refused(refusal: ScanRefusal) -> Status {
    match refusal {
        ScanRefusal::Malformed(problem) => wire::malformed(&problem),
        ScanRefusal::TooMany(problems) => {
            let violation = |(field, problem): (String, String)| Violation::new(field, problem);
            Error::Invalid(problems.into_iter().map(violation).collect()).into()
        }
    }
}

impl Around for Gate {
    async fn answer(self, request: Request<Body>, inner: impl Inner) -> HttpAnswer {
        let path = request.uri().path().trim_start_matches('/');
        let Some(method) = self.shapes.method(path) else {
            return inner.ask(request).await;
        };
        match self.admit(request, method).await {
            Ok((request, holding)) => {
                let answer = inner.ask(request).await?;
                Ok(match holding.stream {
                    None => answer,
                    Some(stream) => {
                        answer.map(|body| Body::new(Streamed { body, stream, over: false }))
                    }
                })
            }
            Err(status) => {
                tokio::time::sleep(PAUSE).await;
                Ok(status.into_http())
            }
        }
    }
}

/// The body of an answer, which holds a stream's shares until it ends.
struct Streamed {
    body: Body,
    stream: Stream,
    /// The credentials ended.
    over: bool,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(end) = &mut self.stream.end
            && let Poll::Ready(status) = end.as_mut().poll(cx)
        {
            self.over = true;
            let mut trailers = http::HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(http_body::Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
