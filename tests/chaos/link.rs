//! A connection that breaks on command: a TCP proxy between two parties, which can delay, cut or
//! lose bytes.
//!
//! On the way to Slack it also records when a request began: the time of its first byte is passed
//! to the sandbox in the headers `X-Request-Start` and `Via`, and the sandbox logs them. It
//! understands only HTTP/1.1 without pipelining, which is what Herald uses for a plain address.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::book::now;

/// The most bytes that are passed on at once.
const PIECE: usize = 64 * 1024;
/// The time after which a server closes a connection that went dark.
const SERVER_NOTICES: Duration = Duration::from_secs(30);

/// The effect on bytes that pass. *Up* is from the client, *down* is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Every piece arrives this much later.
    Delay(Duration),
    /// Answers wait until the weather changes; then they arrive.
    HoldDown,
    /// Half of the next piece passes; then the connection is reset.
    Cut,
    /// Half of the next answer passes; then that direction is closed.
    HalfClose,
    /// Nothing arrives upstream, and the sender gets no error.
    SwallowUp,
    /// Everything arrives upstream, and no answer comes back.
    SwallowDown,
    /// Requests, or answers, arrive garbled.
    GarbleUp,
    GarbleDown,
}

/// The addresses that requests go to, by bearer token; all links to Slack share them.
#[derive(Clone, Default)]
pub(crate) struct Routes(Arc<RwLock<HashMap<String, SocketAddr>>>);

impl Routes {
    pub(crate) fn add(&self, token: &str, to: SocketAddr) {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        routes.insert(token.to_owned(), to);
    }

    fn of(&self, head: &[u8]) -> Option<SocketAddr> {
        let head = String::from_utf8_lossy(head);
        let (_, rest) = head.split_once("Bearer ")?;
        let token = rest.split(['\r', '\n']).next()?;
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(token).copied()
    }
}

/// How requests are marked, and where their tokens send them.
#[derive(Clone)]
pub(crate) struct Stamp {
    pub(crate) name: Arc<str>,
    pub(crate) routes: Routes,
}

/// One proxy: a fixed address, and an upstream that may change.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    upstream: watch::Sender<Option<SocketAddr>>,
    weather: watch::Sender<Weather>,
    /// The number of times that the open connections went dark.
    dark: watch::Sender<u64>,
    stamp: Option<Stamp>,
}

/// Why both directions stop.
enum Stop {
    Broken,
    /// The next request is for another upstream: its first piece, and its destination.
    Turn(Vec<u8>, SocketAddr),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Link {
    /// Listens, and forwards to the upstream if there is one.
    pub(crate) async fn listen(
        upstream: Option<SocketAddr>,
        stamp: Option<Stamp>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let link = Self {
            address: listener.local_addr()?,
            upstream: watch::Sender::new(upstream),
            weather: watch::Sender::new(Weather::Clear),
            dark: watch::Sender::new(0),
            stamp,
        };
        let serving = link.clone();
        tokio::spawn(async move {
            loop {
                // An error concerns one connection; the next one may succeed.
                let Ok((near, _)) = listener.accept().await else { continue };
                tokio::spawn(serving.clone().serve(near));
            }
        });
        Ok(link)
    }

    pub(crate) fn lead_to(&self, upstream: Option<SocketAddr>) {
        self.upstream.send_replace(upstream);
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Open connections carry nothing from now on, and never end by themselves.
    pub(crate) fn darken(&self) {
        self.dark.send_modify(|times| *times += 1);
    }

    async fn serve(self, mut near: TcpStream) {
        let mut dark = self.dark.subscribe();
        // Small pieces must not wait for each other.
        drop(near.set_nodelay(true));
        let mut first = None;
        let Some(mut upstream) = *self.upstream.borrow() else { return reset(&near) };
        if self.stamp.is_some() {
            // The head of a request decides where it goes.
            let Ok(head) = piece(&mut near).await else { return };
            upstream = self.route(&head).unwrap_or(upstream);
            first = Some(head);
        }
        loop {
            let Ok(mut far) = TcpStream::connect(upstream).await else { return reset(&near) };
            drop(far.set_nodelay(true));
            let (near_read, near_write) = near.split();
            let (far_read, far_write) = far.split();
            let head = AtomicBool::new(true);
            let up = Pump { link: &self, upstream, up: true, head: &head };
            let down = Pump { link: &self, upstream, up: false, head: &head };
            let both = async {
                tokio::try_join!(
                    up.run(near_read, far_write, first.take()),
                    down.run(far_read, near_write, None)
                )
            };
            let ended = tokio::select! {
                _ = dark.changed() => return stay_dark(near, far).await,
                ended = both => ended,
            };
            match ended {
                Err(Stop::Turn(piece, to)) => (first, upstream) = (Some(piece), to),
                Err(Stop::Broken) => {
                    reset(&near);
                    return reset(&far);
                }
                Ok(_) => return,
            }
        }
    }

    /// Where a request with this head goes.
    fn route(&self, head: &[u8]) -> Option<SocketAddr> {
        let stamp = self.stamp.as_ref()?;
        stamp.routes.of(head).or_else(|| *self.upstream.borrow())
    }
}

/// Neither side sees the end: the client's side stays open until the client closes it. The server's
/// side is reset after a while, as by a server's keepalive.
async fn stay_dark(mut near: TcpStream, far: TcpStream) {
    let client = async {
        let mut nowhere = tokio::io::sink();
        drop(tokio::io::copy(&mut near, &mut nowhere).await);
    };
    let server = async {
        tokio::time::sleep(SERVER_NOTICES).await;
        reset(&far);
        drop(far);
    };
    tokio::join!(client, server);
}

fn reset(stream: &TcpStream) {
    // A stream without the option is closed a moment later in any case.
    drop(stream.set_zero_linger());
}

/// The bytes that can be read now; an error at the end of the stream.
async fn piece(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    match from.read_buf(&mut piece).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(piece),
    }
}

/// One direction of one connection.
struct Pump<'a> {
    link: &'a Link,
    upstream: SocketAddr,
    up: bool,
    /// The next bytes up are the head of a request.
    head: &'a AtomicBool,
}

impl Pump<'_> {
    /// Copies until the end, which is passed on; an error ends both directions.
    async fn run(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        mut waiting: Option<Vec<u8>>,
    ) -> Result<(), Stop> {
        let mut weather = self.link.weather.subscribe();
        loop {
            let mut piece = match waiting.take() {
                Some(piece) => piece,
                None => match piece(&mut from).await {
                    Ok(piece) => piece,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(to.shutdown().await?);
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            // The first piece of a request, or of an answer.
            let first = self.head.swap(!self.up, Ordering::Relaxed) == self.up;
            if self.up && first {
                let to = self.link.route(&piece);
                if let Some(to) = to.filter(|to| *to != self.upstream) {
                    return Err(Stop::Turn(piece, to));
                }
                self.stamped(&mut piece);
            }
            match *weather.borrow_and_update() {
                Weather::GarbleUp if self.up && first => garble(&mut piece),
                Weather::GarbleDown if !self.up && first => garble(&mut piece),
                _ => {}
            }
            if !self.pass(&piece, &mut to, &mut weather).await? {
                return Ok(());
            }
        }
    }

    /// Returns `false` if this direction is closed.
    async fn pass(
        &self,
        piece: &[u8],
        to: &mut WriteHalf<'_>,
        weather: &mut watch::Receiver<Weather>,
    ) -> io::Result<bool> {
        let now = *weather.borrow();
        match now {
            Weather::Delay(time) => tokio::time::sleep(time).await,
            Weather::HoldDown if !self.up => {
                // The sender lives as long as the link.
                drop(weather.wait_for(|now| *now != Weather::HoldDown).await);
            }
            Weather::Cut => {
                to.write_all(&piece[..piece.len() / 2]).await?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Weather::HalfClose if !self.up => {
                to.write_all(&piece[..piece.len() / 2]).await?;
                to.shutdown().await?;
                return Ok(false);
            }
            Weather::SwallowUp if self.up => return swallow(weather).await,
            Weather::SwallowDown if !self.up => return swallow(weather).await,
            _ => {}
        }
        to.write_all(piece).await?;
        Ok(true)
    }

    fn stamped(&self, piece: &mut Vec<u8>) {
        let Some(Stamp { name, .. }) = &self.link.stamp else { return };
        let Some(line) = piece.windows(2).position(|pair| pair == b"\r\n") else { return };
        let stamp = format!("x-request-start: t={}\r\nvia: 1.1 {name}\r\n", now());
        piece.splice(line + 2..line + 2, stamp.into_bytes());
    }
}

/// Drops bytes until the weather changes, and then the connection, because bytes are missing.
async fn swallow(weather: &mut watch::Receiver<Weather>) -> io::Result<bool> {
    // The sender lives as long as the link.
    drop(weather.changed().await);
    Err(io::ErrorKind::ConnectionReset.into())
}

/// Changes the first bytes, so that the piece can no longer be understood.
fn garble(piece: &mut [u8]) {
    for byte in piece.iter_mut().take(12) {
        *byte ^= 0x15;
    }
}
