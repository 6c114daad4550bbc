//! Requests to servers other than Slack's: the issuers of tokens, and Vault. Redirects are not
//! followed, and proxies named in the environment are not used. Also the bounded reading of
//! answers, of these servers and of Slack.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use zeroize::Zeroizing;

/// Why the body of an answer was not read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It has more bytes than allowed.
    TooLong,
    /// The connection failed.
    Broken(reqwest::Error),
}

/// Idle connections are closed on this side before the server closes them during a request, and
/// before a firewall forgets them.
const IDLE: Duration = Duration::from_secs(30);
/// A connection whose bytes the other side does not acknowledge for this long is broken, and so is
/// one that acknowledges none of its probes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;
/// An HTTP/2 connection on which an answer is pending is asked for a sign of life after a silence,
/// and is broken if none comes. It carries all requests to its server, and a request that ends by
/// its time-out does not close it.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// Limits how long a connection that broke unnoticed (a failover, a firewall) can hold requests up:
/// about ten seconds.
pub(crate) fn noticing_loss(builder: ClientBuilder) -> ClientBuilder {
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(UNACKNOWLEDGED);
    builder
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(UNACKNOWLEDGED)
        .tcp_keepalive_interval(PROBE_EVERY)
        .tcp_keepalive_retries(PROBES)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_ANSWER)
}

/// A client that trusts these authorities; `None`: those of the system. `timeout` is for one
/// request together with its answer. The error is a sentence.
pub(crate) fn client(trusted: Option<RootCertStore>, timeout: Duration) -> Result<Client, String> {
    let refused = |error: rustls::Error| format!("no certificate authorities: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let tls = match trusted {
        None => tls.with_platform_verifier().map_err(refused)?.with_no_client_auth(),
        Some(trusted) => tls.with_root_certificates(trusted).with_no_client_auth(),
    };
    noticing_loss(Client::builder())
        .tls_backend_preconfigured(tls)
        .timeout(timeout)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
        .map_err(|error| format!("no HTTP client: {}", error.without_url()))
}

/// The body of an answer, if it has at most `most` bytes (after decompression). It may contain a
/// secret, so its memory is wiped.
pub(crate) async fn body(
    answer: &mut Response,
    most: usize,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    // A compressed answer does not state its length.
    let stated = answer.content_length().and_then(|length| usize::try_from(length).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(stated.unwrap_or_default().min(most)));
    while let Some(chunk) = answer.chunk().await.map_err(BodyError::Broken)? {
        if bytes.len() + chunk.len() > most {
            return Err(BodyError::TooLong);
        }
        make_room(&mut bytes, chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Makes room for more bytes. A vector that grows by itself leaves its bytes in the memory that it
/// had before; here that memory is wiped.
fn make_room(bytes: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let capacity = needed.max(2 * bytes.capacity());
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}

/// The error with its causes, without the address.
pub(crate) fn sentence(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_grows_moves_to_other_memory_with_its_bytes() {
        let mut bytes = Zeroizing::new(Vec::with_capacity(4));
        bytes.extend_from_slice(b"abcd");
        let before = bytes.as_ptr();
        make_room(&mut bytes, 0);
        assert_eq!((bytes.as_ptr(), bytes.capacity()), (before, 4));
        make_room(&mut bytes, 1);
        assert_ne!(bytes.as_ptr(), before, "it grew by itself");
        assert!(bytes.capacity() >= 8 && **bytes == *b"abcd");
    }
}
