//! Observes the bytes of a connection as they pass.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::life::Activity;
use super::unused::UnusedBytes;

/// Bytes that an HTTP/2 client sends first: the preface, and an empty settings frame.
const GREETING: usize = 24 + 9;

/// A stream that notes when its first bytes have arrived and when written bytes are not taken, and
/// that is read slowly once too many of its bytes were of no use.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    activity: Arc<Activity>,
    /// Bytes still missing from the greeting; `None` if the first request serves as the greeting.
    missing: Option<usize>,
    /// `None`: it is read as fast as it arrives.
    unused: Option<UnusedBytes>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    /// A client that sends its first request at once.
    pub(super) fn new(inner: T, activity: Arc<Activity>) -> Self {
        Self { inner, activity, missing: None, unused: None, pause: None }
    }

    /// The same for a client of HTTP/2, which sends a greeting before its first request.
    pub(super) fn greeting(self, unused: UnusedBytes) -> Self {
        Self { missing: Some(GREETING), unused: Some(unused), ..self }
    }

    /// Waits while too many bytes were of no use.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(unused) = &self.unused {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(wait) = unused.pause(Instant::now()) else {
                break;
            };
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
        Poll::Ready(())
    }

    fn wrote<R>(&self, polled: Poll<R>) -> Poll<R> {
        self.activity.stuck.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_pause(cx));
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, into);
        let read = into.filled().len() - before;
        if let Some(unused) = &self.unused
            && read > 0
        {
            unused.read(read, Instant::now());
        }
        if let Some(missing) = self.missing {
            let missing = missing.saturating_sub(read);
            self.missing = Some(missing).filter(|missing| *missing > 0);
            if missing == 0 {
                self.activity.greeted.store(true, Ordering::Relaxed);
            }
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wrote(polled)
    }
}
