//! Measures how much longer the replicas' work takes because they share the machine's processors.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::replica::Replica;

/// The pause between two looks.
const PERIOD: Duration = Duration::from_millis(500);

/// The time that the replicas' threads got on the processors; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processors(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The last figures of each thread, by its folder.
    threads: HashMap<PathBuf, Share>,
    total: Share,
}

/// Nanoseconds in which threads ran, and in which they were ready to run but others ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    ran: u64,
    waited: u64,
}

impl Processors {
    /// Looks at the replicas' threads forever.
    pub(crate) async fn watch(self, replicas: Vec<Replica>) {
        loop {
            sleep(PERIOD).await;
            let running = replicas.iter().filter_map(Replica::probes).map(|probes| probes.process);
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            running.for_each(|process| seen.look(process));
        }
    }

    /// Forgets what was seen so far.
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total = Share::default();
    }

    /// How many times as long the replicas' work took as with processors of their own; one on a
    /// system that does not say.
    pub(crate) fn stretch(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total.stretch()
    }
}

impl Seen {
    fn look(&mut self, process: u32) {
        // A process or a thread that has ended has no folder any more.
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return };
        for thread in threads.flatten().map(|thread| thread.path()) {
            let text = std::fs::read_to_string(thread.join("schedstat"));
            let Some(now) = text.ok().and_then(|text| Share::read(&text)) else { continue };
            let before = self.threads.insert(thread, now).unwrap_or_default();
            self.total.ran += now.ran.saturating_sub(before.ran);
            self.total.waited += now.waited.saturating_sub(before.waited);
        }
    }
}

impl Share {
    /// Reads a line of `schedstat` (Linux's documentation: Scheduler Statistics): nanoseconds that
    /// the thread ran, nanoseconds that it waited, and a count.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().map(str::parse);
        Some(Self { ran: fields.next()?.ok()?, waited: fields.next()?.ok()? })
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn stretch(self) -> f64 {
        if self.ran == 0 { 1.0 } else { (self.ran + self.waited) as f64 / self.ran as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stretch_is_the_time_with_the_others_over_the_time_without() {
        let share = Share::read("2000 6000 17\n");
        assert_eq!(share, Some(Share { ran: 2_000, waited: 6_000 }));
        let stretch = share.map(Share::stretch);
        assert_eq!(stretch, Some(4.0));
        assert_eq!(Share::read("nothing"), None);
        assert!((Share::default().stretch() - 1.0).abs() < f64::EPSILON);
    }

    /// This process is busy, so its share of the processors grows.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_runs_is_seen() {
        let mut seen = Seen::default();
        seen.look(std::process::id());
        let before = seen.total.ran;
        assert!(before > 0);
        let mut number = 1_u64;
        while seen.total.ran == before {
            number = std::hint::black_box(number.wrapping_mul(31));
            seen.look(std::process::id());
        }
        assert!(number != 0 && seen.total.ran > before);
    }
}
