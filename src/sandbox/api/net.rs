//! Connections that can be cut: a fault resets one, and stopping the sandbox ends all.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Accepts connections that end when `stop` is cancelled.
pub(in crate::sandbox) struct Cuttable {
    pub(in crate::sandbox) listener: TcpListener,
    pub(in crate::sandbox) stop: CancellationToken,
}

/// One accepted connection.
pub(in crate::sandbox) struct Connection {
    stream: TcpStream,
    cut: CancellationToken,
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A handler's handle to its connection.
#[derive(Clone)]
pub(in crate::sandbox) struct Cut {
    token: CancellationToken,
    /// The other end.
    pub(in crate::sandbox) from: SocketAddr,
}

impl Cut {
    /// Resets the connection: later writes are not sent.
    pub(in crate::sandbox) fn reset(&self) {
        self.token.cancel();
    }
}

impl Listener for Cuttable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Waits and retries on errors, as the trait requires.
        let (stream, from) = Listener::accept(&mut self.listener).await;
        let cut = self.stop.child_token();
        let waiting = Box::pin(cut.clone().cancelled_owned());
        // Answers are small; waiting to fill a packet would only delay them.
        drop(stream.set_nodelay(true));
        (Connection { stream, cut, waiting }, from)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        Self { token: stream.io().cut.clone(), from: *stream.remote_addr() }
    }
}

impl Connection {
    /// An error if the connection is cut; the peer then sees a reset.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.is_cancelled() || self.waiting.as_mut().poll(context).is_ready() {
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
