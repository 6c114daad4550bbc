//! A proxy between Herald and PostgreSQL. On command it drops bytes, like a network that loses
//! connections without telling either side: only bytes for connections that LISTEN, or all bytes of
//! all open connections, while new ones work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use herald::domain::secret::Secret;
use herald::store::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running proxy; ends with the test.
pub(crate) struct Proxy {
    /// The same database, through the proxy.
    pub(crate) config: Config,
    switches: Arc<Switches>,
    task: JoinHandle<()>,
}

struct Switches {
    deaf: AtomicBool,
    /// The number of bytes that listeners did not get.
    swallowed: watch::Sender<usize>,
    /// The number of connections that sent LISTEN.
    listeners: watch::Sender<usize>,
    /// The number of connections so far, and how many of them are dark: the first ones.
    opened: AtomicUsize,
    dark: AtomicUsize,
}

impl Switches {
    fn is_dark(&self, number: usize) -> bool {
        number < self.dark.load(Ordering::SeqCst)
    }
}

impl Proxy {
    pub(crate) async fn start(config: &Config) -> Self {
        let mut url = url::Url::parse(config.url.as_ref().unwrap().expose()).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let config = Config { url: Some(Secret::new(url.as_str())), ..config.clone() };
        let switches = Arc::new(Switches {
            deaf: AtomicBool::new(false),
            swallowed: watch::Sender::new(0),
            listeners: watch::Sender::new(0),
            opened: AtomicUsize::new(0),
            dark: AtomicUsize::new(0),
        });
        let task = tokio::spawn(serve(listener, target, switches.clone()));
        Self { config, switches, task }
    }

    /// From now on, listeners get no notifications, and no error.
    pub(crate) fn deafen(&self) {
        self.switches.deaf.store(true, Ordering::SeqCst);
    }

    /// From now on, open connections pass no bytes, and neither side gets an error. New ones work.
    pub(crate) fn darken(&self) {
        let opened = self.switches.opened.load(Ordering::SeqCst);
        self.switches.dark.store(opened, Ordering::SeqCst);
    }

    /// From now on until [`Proxy::darken`], no connection passes bytes, however new it is.
    pub(crate) fn black_out(&self) {
        self.switches.dark.store(usize::MAX, Ordering::SeqCst);
    }

    pub(crate) fn swallowed(&self) -> watch::Receiver<usize> {
        self.switches.swallowed.subscribe()
    }

    pub(crate) fn listeners(&self) -> watch::Receiver<usize> {
        self.switches.listeners.subscribe()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, switches: Arc<Switches>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&target).await else { continue };
        let number = switches.opened.fetch_add(1, Ordering::SeqCst);
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        let listens = Arc::new(AtomicBool::new(false));
        tokio::spawn(ask(number, from_client, to_server, listens.clone(), switches.clone()));
        tokio::spawn(answer(number, from_server, to_client, listens, switches.clone()));
    }
}

async fn ask(
    number: usize,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    listens: Arc<AtomicBool>,
    switches: Arc<Switches>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        if switches.is_dark(number) {
            continue;
        }
        let says_listen = bytes.windows(7).any(|window| window == b"LISTEN ");
        if says_listen && !listens.swap(true, Ordering::SeqCst) {
            switches.listeners.send_modify(|count| *count += 1);
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    stay_open_if_dark(number, &switches).await;
}

async fn answer(
    number: usize,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    listens: Arc<AtomicBool>,
    switches: Arc<Switches>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if switches.is_dark(number) {
            continue;
        }
        if listens.load(Ordering::SeqCst) && switches.deaf.load(Ordering::SeqCst) {
            switches.swallowed.send_modify(|bytes| *bytes += length);
        } else if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    stay_open_if_dark(number, &switches).await;
}

/// One side closed a dark connection: the other side is not notified of that either.
async fn stay_open_if_dark(number: usize, switches: &Switches) {
    if switches.is_dark(number) {
        std::future::pending::<()>().await;
    }
}
