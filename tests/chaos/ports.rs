//! Ports of servers that are stopped and started again.

use std::io;
use std::net::TcpListener;

/// Below the ports that systems give to outgoing connections (32768 and up on Linux, 49152 on
/// others). While a server is stopped, a connection to its port could otherwise get that very port
/// as its own, and the server would not start again.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const ATTEMPTS: usize = 100;

/// A port at which nothing listens.
pub(crate) fn free() -> io::Result<u16> {
    let mut last = io::Error::other("no port was tried");
    for _ in 0..ATTEMPTS {
        let port = rand::random_range(PORTS);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}
