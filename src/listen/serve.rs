//! One port: the loop that accepts connections, and the handling of each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::accept::Accepting;
use super::io::Watched;
use super::life::{Activity, Life, Next};
use super::places::{ConnectionPlace, Places};
use super::tls::{self, Tls};
use super::unused::UnusedBytes;
use super::{Config, Ending, Peer, Protocol, Times};
use crate::telemetry::Metrics;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A port that listens.
#[derive(Debug)]
pub struct Port {
    /// For log messages.
    pub name: &'static str,
    pub listener: TcpListener,
    pub protocol: Protocol,
    pub metrics: Metrics,
    /// Without it everything is in plain text.
    pub tls: Option<Tls>,
    /// Addresses whose connections count only towards the total: proxies.
    uncounted: Vec<IpNet>,
    places: Places,
    times: Times,
}

/// Connections that the health port takes: kubelets, and people.
const HEALTH: usize = 64;
/// The part of them that one address may hold: silent connections keep no kubelet out.
const HEALTH_PER_ADDRESS: usize = 32;
/// How often a connection is examined.
const LOOK: Duration = Duration::from_millis(500);
/// HTTP/2 settings that keep one client from using up the server's memory.
const STREAMS: u32 = 256;
const HEADER_LIST_BYTES: u32 = 16 << 10;
/// Bytes that a connection may send before they are read.
const CONNECTION_BYTES: u32 = 512 << 10;
/// A client may send this much of a call's body before it learns that the call is refused. A caller
/// with a round trip of 75 ms still sends 16 MiB within the time that a request has to arrive.
const STREAM_BYTES: u32 = 64 << 10;
/// Bytes of an answer that one stream keeps until the client reads them, however large a window the
/// client opens: with the streams of a connection, a bound on the memory that it can hold.
const SEND_BYTES: usize = 16 << 10;
/// Longest headers of an HTTP/1 request, in bytes.
const HEADER_BYTES: usize = 32 << 10;

impl Port {
    /// A port for callers; `most`: connections at the same time.
    pub fn new(
        name: &'static str,
        listener: TcpListener,
        protocol: Protocol,
        metrics: Metrics,
        config: &Config,
        most: usize,
    ) -> Self {
        let places = Places::new(most, config.max_connections_per_address);
        Self {
            name,
            listener,
            protocol,
            metrics,
            tls: None,
            uncounted: Vec::new(),
            places,
            times: config.times(),
        }
    }

    /// The same port with TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The same port behind these proxies, which open many connections each.
    #[must_use]
    pub fn behind(self, proxies: Vec<IpNet>) -> Self {
        Self { uncounted: proxies, ..self }
    }

    /// The health port, with its own limit, in plain text.
    pub fn of_health(listener: TcpListener, metrics: Metrics, config: &Config) -> Self {
        let places = Places::new(HEALTH, HEALTH_PER_ADDRESS);
        let times = Times { idle: config.idle.min(Duration::from_secs(60)), ..config.times() };
        let (name, protocol) = ("health", Protocol::Grpc);
        let (tls, uncounted) = (None, Vec::new());
        Self { name, listener, protocol, metrics, tls, uncounted, places, times }
    }
}

/// Serves until `stop`, then takes no new connections and returns when the open ones have ended.
/// Dropping this future drops them.
pub async fn serve<S, B>(port: Port, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
{
    let mut accepting = Accepting::new(port.name, port.listener);
    let builder = Arc::new(builder(port.protocol, &port.times));
    let mut connections = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepting.next() => accepted,
        };
        let counted = !port.uncounted.iter().any(|one| one.contains(&address.ip().to_canonical()));
        let place = match port.places.take(address.ip(), counted) {
            Ok(place) => place,
            Err(limit) => {
                port.metrics.refused(limit);
                continue;
            }
        };
        let connection = Connection {
            address,
            protocol: port.protocol,
            times: port.times,
            stop: stop.clone(),
            builder: Arc::clone(&builder),
            _place: place,
        };
        // Without it small answers are delayed; if it cannot be set, the connection still works.
        stream.set_nodelay(true).ok();
        let config = port.tls.as_ref().map(Tls::config);
        let service = service.clone();
        connections.spawn(async move {
            let peer = Peer { address, names: None };
            match config {
                None => connection.run(stream, peer, service).await,
                Some(config) => {
                    let accepting = connection.secured(TlsAcceptor::from(config), stream);
                    if let Some((stream, peer)) = accepting.await {
                        connection.run(stream, peer, service).await;
                    }
                }
            }
        });
    }
    drop(accepting);
    while connections.join_next().await.is_some() {}
}

fn builder(protocol: Protocol, times: &Times) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(times.handshake)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .initial_stream_window_size(STREAM_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    match protocol {
        Protocol::Grpc => builder.http2_only(),
        Protocol::Http => builder,
    }
}

/// One connection.
struct Connection {
    address: SocketAddr,
    protocol: Protocol,
    times: Times,
    stop: CancellationToken,
    builder: Arc<Builder<TokioExecutor>>,
    _place: ConnectionPlace,
}

impl Connection {
    /// Performs the handshake; `None` if it fails or takes too long.
    async fn secured(
        &self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
    ) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, Peer)> {
        let handshake = tokio::time::timeout(self.times.handshake, acceptor.accept(stream));
        match self.stop.run_until_cancelled(handshake).await? {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let names = certificates.and_then(<[_]>::first).map(tls::names).map(Arc::new);
                Some((stream, Peer { address: self.address, names }))
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %self.address, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    async fn run<T, S, B>(self, stream: T, peer: Peer, service: S)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        let activity = Arc::new(Activity::default());
        let (ending, unused) = (CancellationToken::new(), UnusedBytes::default());
        let carried = Carried { peer, ending: Ending(ending.clone()), unused: unused.clone() };
        let calls = service_fn({
            let activity = Arc::clone(&activity);
            move |mut request: Request<Incoming>| {
                activity.greeted.store(true, Ordering::Relaxed);
                let under_way = activity.begin();
                carried.onto(&mut request);
                let answer = service.clone().oneshot(request);
                async move {
                    let answer = answer.await?;
                    Ok::<_, Infallible>(answer.map(|body| holding(body, under_way)))
                }
            }
        });
        let watched = Watched::new(stream, Arc::clone(&activity));
        let watched = match self.protocol {
            Protocol::Grpc => watched.greeting(unused),
            Protocol::Http => watched,
        };
        let serving = self.builder.serve_connection(TokioIo::new(watched), calls);
        let mut serving = std::pin::pin!(serving);
        let mut life = Life::new(self.times, Instant::now(), rand::random());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %self.address, "a connection broke");
                    }
                    return;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    life.end(Instant::now());
                    serving.as_mut().graceful_shutdown();
                }
                _ = looks.tick() => match life.look(&activity, Instant::now()) {
                    Next::Go => {}
                    Next::End => serving.as_mut().graceful_shutdown(),
                    Next::EndStreams => ending.cancel(),
                    Next::Drop => return,
                },
            }
        }
    }
}

/// The extensions of every request of a connection.
struct Carried {
    peer: Peer,
    ending: Ending,
    unused: UnusedBytes,
}

impl Carried {
    fn onto(&self, request: &mut Request<Incoming>) {
        let extensions = request.extensions_mut();
        extensions.insert(self.peer.clone());
        extensions.insert(self.ending.clone());
        extensions.insert(self.unused.clone());
    }
}

/// The body of an answer, which holds this until its last byte is taken or its client is gone.
pub fn holding<B: Body, T>(body: B, held: T) -> impl Body<Data = B::Data, Error = B::Error> {
    // The function owns it, and is dropped with the body.
    body.inspect_frame(move |_| {
        let _ = &held;
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Bytes of one piece of an answer.
    const PIECE: usize = 1 << 10;

    /// A client of HTTP/2 that opens the largest windows and asks for `/` (RFC 9113, RFC 7541).
    const GREEDY: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\x06\x04\0\0\0\0\0\
        \0\x04\x7f\xff\xff\xff\
        \0\0\x04\x08\0\0\0\0\0\
        \x7f\xff\0\0\
        \0\0\x0b\x01\x05\0\0\0\x01\
        \x82\x86\x84\x41\x06herald";

    #[tokio::test]
    async fn a_client_that_reads_nothing_leaves_a_bounded_part_of_its_answer_in_memory() {
        let pulled = Arc::new(AtomicUsize::new(0));
        let answers = service_fn({
            let pulled = Arc::clone(&pulled);
            move |_: Request<Incoming>| {
                let pulled = Arc::clone(&pulled);
                let pieces = stream::repeat_with(move || {
                    pulled.fetch_add(PIECE, Ordering::Relaxed);
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; PIECE])))
                });
                std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(pieces))))
            }
        });
        let (mut client, server) = tokio::io::duplex(4 * PIECE);
        let builder = builder(Protocol::Grpc, &Config::default().times());
        let serving = tokio::spawn(async move {
            builder.serve_connection(TokioIo::new(server), answers).await.is_ok()
        });
        client.write_all(GREEDY).await.unwrap();
        // The server runs at each yield, until it has to wait for the client.
        let (mut before, mut still) = (0, 0);
        while still < 100 {
            tokio::task::yield_now().await;
            let now = pulled.load(Ordering::Relaxed);
            still = if now == before { still + 1 } else { 0 };
            before = now;
        }
        assert!(!serving.is_finished());
        // The bytes in the pipe and the frame that is being written are beside it.
        assert!((SEND_BYTES..=2 * SEND_BYTES).contains(&before), "{before}");
    }
}
