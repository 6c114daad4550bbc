//! A request body that is withheld once it is too late to send it.
//!
//! Between the decision to send and the first byte there are a name lookup, a connection and TLS. A
//! process that is frozen there continues whenever it is thawed. The HTTP library asks for the body
//! once the connection is established and the request is about to be written, so the deadline is
//! checked here: without its body a request is incomplete, and Slack stores nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Error;

/// It was too late to begin: nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is too late to begin the call")]
pub struct TooLate;

impl TooLate {
    /// Its code among those of [`Error::Transient`].
    const CODE: &str = "too_late";

    /// The error of a call whose body was withheld.
    pub(super) fn error() -> Error {
        Error::Transient { code: Self::CODE.to_owned() }
    }

    /// Whether a call failed because its body was withheld.
    pub(super) fn is(error: &Error) -> bool {
        matches!(error, Error::Transient { code } if code == Self::CODE)
    }
}

/// Whether a body was requested too late. The library reports a body's error only for HTTP/1.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyRefused(Arc<AtomicBool>);

impl BodyRefused {
    pub(super) fn was(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The whole body in one piece, if it is requested in time.
pub(super) struct Timely {
    bytes: Option<Bytes>,
    begin_before: Instant,
    refused: BodyRefused,
}

impl Timely {
    pub(super) fn new(
        bytes: impl Into<Bytes>,
        begin_before: Instant,
        refused: BodyRefused,
    ) -> Self {
        Self { bytes: Some(bytes.into()), begin_before, refused }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        if Instant::now() < self.begin_before {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        self.refused.0.store(true, Ordering::Release);
        Poll::Ready(Some(Err(TooLate)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    /// Exact, so that the request states its length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body::Body as _;

    use super::*;

    #[test]
    fn it_is_handed_out_once_and_in_time_alone() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut poll = |body: &mut Timely| {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(&mut context) else { panic!() };
            frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
        };
        let refused = BodyRefused::default();
        let later = Instant::now() + Duration::from_secs(3600);
        let mut body = Timely::new("words", later, refused.clone());
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
        assert_eq!(poll(&mut body), Some(Ok(Bytes::from("words"))));
        assert!(body.is_end_stream() && poll(&mut body).is_none() && !refused.was());
        let mut late = Timely::new("words", Instant::now(), refused.clone());
        assert_eq!(poll(&mut late), Some(Err(TooLate)));
        assert!(refused.was());
    }
}
