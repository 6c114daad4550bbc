//! Writes the logs: append-only, one line at a time, from all actors at once.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::evidence::{self, Blow, Call, ChannelCall, ChannelEnd, Fate, FeedEntry, Probe};

/// The time now, by the clock that all logs share.
#[expect(clippy::disallowed_methods, reason = "the checker stands outside and has its own clock")]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// One file of lines.
pub(crate) struct Lines(Mutex<BufWriter<File>>);

impl Lines {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(BufWriter::new(File::create(path)?))))
    }

    pub(crate) fn write(&self, line: &impl Serialize) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_writer(&mut *file, line).map_err(io::Error::from);
        // A log with gaps proves nothing.
        written.and_then(|()| writeln!(file)).unwrap_or_else(|error| panic!("a log: {error}"));
    }

    pub(crate) fn flush(&self) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().unwrap_or_else(|error| panic!("a log: {error}"));
    }
}

/// The clients' logs and the log of faults; cheap to clone.
#[derive(Clone)]
pub(crate) struct Book(Arc<Inner>);

struct Inner {
    calls: Lines,
    blows: Lines,
    fates: Lines,
    probes: Lines,
    channel_calls: Lines,
    channel_ends: Lines,
    channel_feed: Lines,
}

impl Book {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            calls: Lines::create(&dir.join(evidence::CALLS))?,
            blows: Lines::create(&dir.join(evidence::BLOWS))?,
            fates: Lines::create(&dir.join(evidence::FATES))?,
            probes: Lines::create(&dir.join(evidence::PROBES))?,
            channel_calls: Lines::create(&dir.join(evidence::CHANNEL_CALLS))?,
            channel_ends: Lines::create(&dir.join(evidence::CHANNEL_ENDS))?,
            channel_feed: Lines::create(&dir.join(evidence::CHANNEL_FEED))?,
        })))
    }

    pub(crate) fn call(&self, call: &Call) {
        self.0.calls.write(call);
    }

    pub(crate) fn fate(&self, fate: &Fate) {
        self.0.fates.write(fate);
    }

    pub(crate) fn probe(&self, probe: &Probe) {
        self.0.probes.write(probe);
    }

    pub(crate) fn channel_call(&self, call: &ChannelCall) {
        self.0.channel_calls.write(call);
    }

    pub(crate) fn channel_end(&self, end: &ChannelEnd) {
        self.0.channel_ends.write(end);
    }

    pub(crate) fn channel_feed(&self, entry: &FeedEntry) {
        self.0.channel_feed.write(entry);
    }

    pub(crate) fn blow(&self, blow: &Blow) {
        self.0.blows.write(blow);
    }

    /// Begins a fault; [`Begun::over`] logs it.
    pub(crate) fn strike(
        &self,
        kind: &str,
        replica: Option<usize>,
        what: impl Into<String>,
    ) -> Begun {
        let what = what.into();
        Begun {
            book: self.clone(),
            blow: Blow { kind: kind.into(), what, replica, from: now(), until: 0 },
        }
    }

    pub(crate) fn close(&self) {
        self.0.calls.flush();
        self.0.blows.flush();
        self.0.fates.flush();
        self.0.probes.flush();
        self.0.channel_calls.flush();
        self.0.channel_ends.flush();
        self.0.channel_feed.flush();
    }
}

/// A fault under way. It is logged when it is over, or dropped.
pub(crate) struct Begun {
    book: Book,
    blow: Blow,
}

impl Begun {
    /// It turned out to be another fault than was intended.
    pub(crate) fn became(&mut self, kind: &str, what: impl Into<String>) {
        (self.blow.kind, self.blow.what) = (kind.into(), what.into());
    }

    pub(crate) fn over(self) {
        drop(self);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.blow.until = now();
        self.book.blow(&self.blow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::BLOWS;

    #[test]
    fn a_fault_is_logged_as_what_it_became() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path()).unwrap();
        book.strike("frozen", Some(1), "frozen").over();
        let mut blow = book.strike("frozen", Some(2), "frozen");
        blow.became("held", "held back");
        blow.over();
        book.close();
        let log = std::fs::read_to_string(dir.path().join(BLOWS)).unwrap();
        let blows: Vec<Blow> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let blows: Vec<_> =
            blows.iter().map(|blow| (&*blow.kind, blow.replica, &*blow.what)).collect();
        assert_eq!(blows, [("frozen", Some(1), "frozen"), ("held", Some(2), "held back")]);
    }
}
