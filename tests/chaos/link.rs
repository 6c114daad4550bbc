//! A connection that breaks on command: a TCP proxy between two parties, with weather.
//!
//! On the way to Slack it also notes when a request began: its first byte comes with the headers
//! `X-Request-Start` and `Via` to the sandbox, which keeps them in its log. HTTP/1.1 alone, without
//! pipelining, which is what Herald speaks to a plain address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::book::now;

/// What happens to what passes. *Up* is from who connected, *down* is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Every piece comes so much later.
    Delay(Duration),
    /// The next piece passes by half; then the connection is reset.
    Cut,
    /// The next answer passes by half; then that direction is closed.
    HalfClose,
    /// Nothing arrives up there; who sends is not told.
    SwallowUp,
    /// Everything arrives up there, and no answer comes back.
    SwallowDown,
    /// What arrives up there, or comes back, makes no sense.
    GarbleUp,
    GarbleDown,
}

/// One proxy: an address that stays, and what is behind it, which may change.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    upstream: watch::Sender<Option<SocketAddr>>,
    weather: watch::Sender<Weather>,
    /// The name under which requests are stamped.
    stamp: Option<Arc<str>>,
}

impl Link {
    /// Listens; forwards where there is an upstream.
    pub(crate) async fn listen(
        upstream: Option<SocketAddr>,
        stamp: Option<&str>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let link = Self {
            address: listener.local_addr()?,
            upstream: watch::Sender::new(upstream),
            weather: watch::Sender::new(Weather::Clear),
            stamp: stamp.map(Arc::from),
        };
        let serving = link.clone();
        tokio::spawn(async move {
            loop {
                // An error is of one connection; the next may do.
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

    async fn serve(self, near: TcpStream) {
        let upstream = *self.upstream.borrow();
        let Some(upstream) = upstream else { return reset(&near) };
        let Ok(far) = TcpStream::connect(upstream).await else { return reset(&near) };
        // Small pieces must not wait for each other.
        drop((near.set_nodelay(true), far.set_nodelay(true)));
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let head = AtomicBool::new(true);
        let up = Pump { link: &self, up: true, head: &head };
        let down = Pump { link: &self, up: false, head: &head };
        let both = async {
            tokio::try_join!(up.run(near_read, far_write), down.run(far_read, near_write))
        };
        // Whoever broke took the other with it.
        drop(both.await);
    }
}

fn reset(stream: &TcpStream) {
    // What is left open is closed a moment later in any case.
    drop(stream.set_zero_linger());
}

/// One direction of one connection.
struct Pump<'a> {
    link: &'a Link,
    up: bool,
    /// The next bytes up are the head of a request.
    head: &'a AtomicBool,
}

impl Pump<'_> {
    /// Until the end, which is passed on; an error resets both directions.
    async fn run(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut weather = self.link.weather.subscribe();
        loop {
            let length = from.read(&mut buffer).await;
            let length = match length {
                Ok(0) => {
                    to.shutdown().await?;
                    return Ok(());
                }
                Ok(length) => length,
                Err(error) => return broken(&from, &to, error),
            };
            let mut piece = buffer[..length].to_vec();
            // The first piece of a request, or of an answer.
            let first = self.head.swap(!self.up, Ordering::Relaxed) == self.up;
            if self.up && first {
                self.stamped(&mut piece);
            }
            match *weather.borrow_and_update() {
                Weather::GarbleUp if self.up && first => garble(&mut piece),
                Weather::GarbleDown if !self.up && first => garble(&mut piece),
                _ => {}
            }
            match self.pass(&piece, &mut to, &mut weather).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return broken(&from, &to, error),
            }
        }
    }

    /// `false`: this direction is closed.
    async fn pass(
        &self,
        piece: &[u8],
        to: &mut OwnedWriteHalf,
        weather: &mut watch::Receiver<Weather>,
    ) -> io::Result<bool> {
        let now = *weather.borrow();
        match now {
            Weather::Delay(time) => tokio::time::sleep(time).await,
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
        let Some(name) = &self.link.stamp else { return };
        let Some(line) = piece.windows(2).position(|pair| pair == b"\r\n") else { return };
        let stamp = format!("x-request-start: t={}\r\nvia: 1.1 {name}\r\n", now());
        piece.splice(line + 2..line + 2, stamp.into_bytes());
    }
}

fn broken(from: &OwnedReadHalf, to: &OwnedWriteHalf, error: io::Error) -> io::Result<()> {
    reset(from.as_ref());
    reset(to.as_ref());
    Err(error)
}

/// Until the weather changes; bytes are missing then, so the connection is of no more use.
async fn swallow(weather: &mut watch::Receiver<Weather>) -> io::Result<bool> {
    // The sender lives as long as the link.
    drop(weather.changed().await);
    Err(io::ErrorKind::ConnectionReset.into())
}

/// The beginning, so that nobody takes it for what it was.
fn garble(piece: &mut [u8]) {
    for byte in piece.iter_mut().take(12) {
        *byte ^= 0x15;
    }
}
