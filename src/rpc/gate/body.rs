//! The one message of a request, read whole before it is processed.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic::body::Body;

use crate::listen::UnusedBytes;
use crate::rpc::wire;

/// A message's head: whether it is compressed, and how many bytes it has (gRPC over HTTP/2).
const HEAD: usize = 5;

/// The message of a request without its head; empty if the request has no message.
pub(super) fn message(whole: &[u8]) -> &[u8] {
    whole.get(HEAD..).unwrap_or_default()
}

/// Reads a message of at most `most` bytes, and returns it with its head; empty if the request has
/// no message. As soon as its length is known, before any more of it is read, `reserve` is called
/// for that many bytes. Once it has, the pieces are noted as of use to the connection.
pub(super) async fn read<H>(
    mut body: Body,
    most: usize,
    unused: &UnusedBytes,
    reserve: impl FnOnce(usize) -> Result<H, Status>,
) -> Result<(Bytes, Option<H>), Status> {
    let (mut reserve, mut room) = (Some(reserve), None);
    let (mut bytes, mut end) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
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
        unused.piece(data.len());
    }
    match end {
        Some(end) if bytes.len() == end => Ok((bytes.freeze(), room)),
        None if bytes.is_empty() => Ok((Bytes::new(), None)),
        _ => Err(wire::malformed("its end is missing")),
    }
}
