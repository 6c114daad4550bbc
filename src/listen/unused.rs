//! Bytes of a connection that were of no use to anyone: bodies of refused calls, and the headers of
//! unknown callers.
//!
//! HTTP/2 has no way to stop a body at once: a client may send a whole window before it learns that
//! its call is refused, may begin the next call, and may continue to send on a stream that ended.
//! The server has to read all of this to find the next frame. So a connection that sent too much of
//! it is read at a bounded rate only, and the client has to wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Unused bytes of one connection that are read without a pause. Twice as many as the connection
/// may have under way: a body whose caller is still being looked up is not yet of use.
const ALLOWED: u64 = 1 << 20;
/// Beyond that, unused bytes that are read in a second.
const RATE: u64 = 256 << 10;
/// The size of headers, with the frames around them; a bound, for they are not counted exactly.
const HEADERS: u64 = 16 << 10;
/// A bound for the frame's head around a piece of a body.
const FRAME: u64 = 64;

/// The count of one connection: an extension of every request. Only gRPC is slowed down by it.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct UnusedBytes(Arc<Mutex<UnusedCount>>);

#[derive(Debug)]
struct UnusedCount {
    bytes: u64,
    /// The time up to which the allowance of each second was subtracted.
    until: Instant,
}

impl Default for UnusedBytes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(UnusedCount { bytes: 0, until: Instant::now() })))
    }
}

impl UnusedBytes {
    /// A known caller's headers were of use.
    pub fn call(&self) {
        self.count().used(HEADERS);
    }

    /// A piece of a body was of use.
    pub fn piece(&self, bytes: usize) {
        self.count().used(bytes as u64 + FRAME);
    }

    /// Bytes were read from the connection.
    pub(super) fn read(&self, bytes: usize, now: Instant) {
        self.count().read(bytes as u64, now);
    }

    /// How long to wait before more is read; `None`: not at all.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.count().pause(now)
    }

    fn count(&self) -> MutexGuard<'_, UnusedCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnusedCount {
    fn used(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn read(&mut self, bytes: u64, now: Instant) {
        self.pass(now);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.pass(now);
        let beyond = self.bytes.checked_sub(ALLOWED).filter(|beyond| *beyond > 0)?;
        Some(Duration::from_millis(1 + beyond.saturating_mul(1000) / RATE))
    }

    /// Subtracts the allowance of the time that passed, in whole milliseconds.
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.until).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.until += Duration::from_millis(passed);
        self.used(passed.saturating_mul(RATE) / 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pieces as fast as the pauses allow; returns the bytes after this time.
    fn read_for(count: &mut UnusedCount, begin: Instant, time: Duration, used: u64) -> u64 {
        const PIECE: u64 = 16 << 10;
        let (mut now, mut bytes) = (begin, 0);
        while now < begin + time {
            if let Some(pause) = count.pause(now) {
                now += pause;
            } else {
                count.read(PIECE, now);
                count.used(used);
                bytes += PIECE;
            }
            // A fast machine: a gigabyte and a half in a second.
            now += Duration::from_micros(10);
        }
        bytes
    }

    fn count(begin: Instant) -> UnusedCount {
        UnusedCount { bytes: 0, until: begin }
    }

    #[test]
    fn unused_bytes_are_read_at_a_bounded_rate() {
        let begin = Instant::now();
        let bytes = read_for(&mut count(begin), begin, Duration::from_secs(10), 0);
        let bound = ALLOWED + 10 * RATE;
        assert!((bound * 9 / 10..bound + (64 << 10)).contains(&bytes), "{bytes}");
    }

    #[test]
    fn used_bytes_are_read_without_a_pause() {
        let begin = Instant::now();
        let bytes = read_for(&mut count(begin), begin, Duration::from_secs(1), 16 << 10);
        assert!(bytes > 1 << 30, "{bytes}");
    }

    #[test]
    fn a_silent_connection_saves_up_no_more_than_the_allowance() {
        let begin = Instant::now();
        let mut count = count(begin);
        let later = begin + Duration::from_secs(3600);
        let bytes = read_for(&mut count, later, Duration::from_secs(1), 0);
        assert!(bytes <= ALLOWED + RATE + (64 << 10), "{bytes}");
    }
}
