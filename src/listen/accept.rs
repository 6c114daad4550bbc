//! Accepts connections. When the process or the machine cannot provide another one, the loop rests
//! between its attempts instead of spinning.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// The first rest, and the longest.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Accepts the connections of one listener.
#[derive(Debug)]
pub(super) struct Accepting {
    port: &'static str,
    listener: TcpListener,
    rest: Rest,
}

impl Accepting {
    pub(super) fn new(port: &'static str, listener: TcpListener) -> Self {
        Self { port, listener, rest: Rest::default() }
    }

    /// The next connection. Cancel-safe.
    pub(super) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.rest = Rest::default();
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.rest.is_first() {
                        tracing::warn!(%error, port = self.port, "cannot accept connections");
                    }
                    tokio::time::sleep(self.rest.next()).await;
                }
            }
        }
    }
}

/// The client closed the connection before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [Kind::ConnectionAborted, Kind::ConnectionReset, Kind::ConnectionRefused];
    kinds.contains(&error.kind())
}

/// How long to rest: twice as long each time, up to a second.
#[derive(Debug, Default)]
struct Rest(Duration);

impl Rest {
    fn is_first(&self) -> bool {
        self.0.is_zero()
    }

    fn next(&mut self) -> Duration {
        self.0 = (self.0 * 2).clamp(FIRST, LONGEST);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_and_have_an_end() {
        let mut rest = Rest::default();
        assert!(rest.is_first());
        assert_eq!(rest.next(), Duration::from_millis(10));
        assert_eq!(rest.next(), Duration::from_millis(20));
        let rests: Duration = (0..20).map(|_| rest.next()).sum();
        assert!(!rest.is_first() && rest.next() == LONGEST);
        assert!(rests > Duration::from_secs(14), "{rests:?}");
    }
}
