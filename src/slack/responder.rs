//! The remote end of the socket, for tests of the transport: plays one script, request by request.
//! It is not a fake Slack (that is the sandbox): it sends the given bytes, and breaks connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Config;

/// The reaction after one request was read completely.
pub(super) enum Play {
    /// Sends these bytes; the connection stays open.
    Answer(Vec<u8>),
    /// Sends these bytes, then ends the stream.
    Cut(Vec<u8>),
    /// Resets the connection without an answer.
    Reset,
    /// Sends these bytes, then nothing for ever.
    Hang(Vec<u8>),
}

/// A listening responder; stops when dropped.
pub(super) struct Responder {
    pub(super) url: Url,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Responder {
    pub(super) async fn start(script: Vec<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let log = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { url: Url::parse(&url).unwrap(), requests, task }
    }

    /// Settings that lead here, with time-outs short enough for a test.
    pub(super) fn config(&self) -> Config {
        Config {
            base_url: self.url.clone(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            ..Config::default()
        }
    }

    /// Stops listening; later connections are refused.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        let stopped = (&mut self.task).await;
        assert!(stopped.unwrap_err().is_cancelled());
    }

    /// Every request read so far: head and body, unchanged.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole HTTP answer.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, headers, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// The head of an answer with a `content-length` of `length` bytes.
pub(super) fn head(status: u16, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    text.into_bytes()
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<VecDeque<Play>>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = request(&mut stream).await {
        log.lock().unwrap().push(request);
        let play = script.lock().unwrap().pop_front();
        match play {
            Some(Play::Answer(bytes)) => {
                // The client may disconnect in the middle of an answer that is too large for it.
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Some(Play::Cut(bytes)) => {
                stream.write_all(&bytes).await.unwrap();
                return;
            }
            Some(Play::Reset) | None => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Some(Play::Hang(bytes)) => {
                stream.write_all(&bytes).await.unwrap();
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// An HTTP/2 server whose open connections can go dark: they get no further answer, not even to a
/// ping, and no error. New ones work.
pub(super) struct Dimmable {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    /// Cancelled for the connections that are dark.
    light: Arc<Mutex<CancellationToken>>,
    task: JoinHandle<()>,
}

impl Dimmable {
    /// `body`: the answer to every request.
    pub(super) async fn start(body: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let light = Arc::new(Mutex::new(CancellationToken::new()));
        let lit = Arc::clone(&light);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let dark = lit.lock().unwrap().clone();
                tokio::spawn(shine(acceptor.clone(), stream, body, dark));
            }
        });
        Self { address, certificate, light, task }
    }

    /// Settings that lead here; the only limit is that of this test.
    pub(super) fn config(&self) -> Config {
        Config {
            base_url: format!("https://{}/", self.address).parse().unwrap(),
            request_timeout: Duration::from_secs(3600),
            ..Config::default()
        }
    }

    /// TLS that trusts this server.
    pub(super) fn trusted(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        tls
    }

    /// The open connections go dark.
    pub(super) fn darken(&self) {
        std::mem::take(&mut *self.light.lock().unwrap()).cancel();
    }
}

impl Drop for Dimmable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn shine(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    body: &'static [u8],
    dark: CancellationToken,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let answers = service_fn(move |_: http::Request<Incoming>| async move {
        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(body))))
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answers);
    tokio::pin!(connection);
    tokio::select! {
        // A client that gives up a connection ends it.
        _ = &mut connection => {}
        // It stays open, but no one looks at it any more.
        () = dark.cancelled() => std::future::pending().await,
    }
}
