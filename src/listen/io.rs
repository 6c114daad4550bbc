//! Observes the bytes of a connection as they pass.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::life::Activity;

/// Bytes that an HTTP/2 client sends first: the preface, and an empty settings frame.
const GREETING: usize = 24 + 9;

/// A stream that notes when its first bytes have arrived and when written bytes are not taken.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    activity: Arc<Activity>,
    /// Bytes still missing from the greeting; `None` if the first request serves as the greeting.
    missing: Option<usize>,
}

impl<T> Watched<T> {
    /// `greets`: whether the client sends a greeting before its first request, as in HTTP/2.
    pub(super) fn new(inner: T, activity: Arc<Activity>, greets: bool) -> Self {
        Self { inner, activity, missing: greets.then_some(GREETING) }
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
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, into);
        if let Some(missing) = self.missing {
            let missing = missing.saturating_sub(into.filled().len() - before);
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
