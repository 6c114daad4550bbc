//! The remote end of the socket, for tests of the transport: plays one script, request by request.
//! It is not a fake Slack (that is the sandbox): it sends the given bytes, and breaks connections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
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
