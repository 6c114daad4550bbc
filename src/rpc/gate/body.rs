//! The one message of a request, read whole before it is processed.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::rpc::wire;

/// A message's head: whether it is compressed, and how many bytes it has (gRPC over HTTP/2).
const HEAD: usize = 5;

/// The bytes of a request with its head; `None` if it has no message.
pub(super) struct Whole(Option<Bytes>);

impl Whole {
    /// The message without its head.
    pub(super) fn message(&self) -> &[u8] {
        self.0.as_ref().and_then(|bytes| bytes.get(HEAD..)).unwrap_or_default()
    }
}

/// Reads a message of at most `most` bytes. As soon as its length is known, before any more of it
/// is read, `reserve` is called for that many bytes.
pub(super) async fn read<H>(
    mut body: Body,
    most: usize,
    reserve: impl FnOnce(usize) -> Result<H, Status>,
) -> Result<(Whole, Option<H>), Status> {
    let (mut reserve, mut room) = (Some(reserve), None);
    let (mut bytes, mut end) = (BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        bytes.extend_from_slice(&data);
        if let Some(mut head) = bytes.get(..HEAD)
            && let Some(reserve) = reserve.take()
        {
            if head.get_u8() != 0 {
                return Err(wire::malformed("it is compressed, which this server does not accept"));
            }
            let length = head.get_u32() as usize;
            if length > most {
                return Err(wire::too_large(most));
            }
            room = Some(reserve(length)?);
            bytes.reserve((HEAD + length).saturating_sub(bytes.len()));
            end = Some(HEAD + length);
        }
        if end.is_some_and(|end| bytes.len() > end) {
            return Err(wire::malformed("it is followed by more"));
        }
    }
    match end {
        Some(end) if bytes.len() == end => Ok((Whole(Some(bytes.freeze())), room)),
        None if bytes.is_empty() => Ok((Whole(None), None)),
        _ => Err(wire::malformed("its end is missing")),
    }
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
