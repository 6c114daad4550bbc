//! Abuse of HTTP/2 (faults.md, 30): streams that are reset as soon as they are opened, and headers
//! without an end. The connection is closed, and no other client notices.

use tokio::io::AsyncWriteExt as _;

use super::connections::{ATTACKER, GREETING, connection, ended};
use super::{Neighbour, Site, callers};

/// Kinds of frames, and a flag (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// The error code of a stream that is no longer needed.
const CANCEL: u32 = 8;
/// `POST /` over `http`, from the static table (RFC 7541, appendix A).
const POST: &[u8] = &[0x83, 0x86, 0x84];
/// The header `a: b`, not indexed.
const FIELD: &[u8] = &[0, 1, b'a', 1, b'b'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens streams and resets each of them at once.
fn rapid_resets() -> Vec<u8> {
    let stream = |number: u32| {
        let id = 2 * number + 1;
        let reset = frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
        [frame(HEADERS, END_HEADERS, id, POST), reset].concat()
    };
    (0..10_000).flat_map(stream).collect()
}

/// Headers that continue in every next frame.
fn endless_headers() -> Vec<u8> {
    let more = frame(CONTINUATION, 0, 1, &FIELD.repeat(3_000));
    [frame(HEADERS, 0, 1, POST), more.repeat(100)].concat()
}

/// Red for the resets if `builder` in `listen/serve.rs` allows any number of them
/// (`max_pending_accept_reset_streams(None)`), and for the headers if it allows lists of any length
/// (`max_header_list_size(u32::MAX)`).
#[tokio::test(flavor = "multi_thread")]
async fn who_resets_streams_or_never_ends_headers_is_closed() {
    let settings = [
        callers(&[("neighbour", "service", "acme")]),
        "listen.handshake_seconds=300".to_owned(),
        "listen.idle_seconds=300".to_owned(),
    ];
    let site = Site::start(&settings).await;
    let neighbour = Neighbour::start(&site.herald);
    neighbour.answered(10).await;
    for abuse in [rapid_resets(), endless_headers()] {
        for to in [site.herald.rpc, site.herald.health, site.herald.http] {
            let mut stream = connection(ATTACKER, to, GREETING).await;
            // It may be closed before it has sent everything.
            stream.write_all(&abuse).await.ok();
            ended(&mut stream).await;
        }
        neighbour.answered(10).await;
    }
    neighbour.stop().await;
    site.ends_well().await;
}
