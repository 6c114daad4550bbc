//! Notices loops that have stopped. A loop reports the beginning of each round, and each step of a
//! long one; a loop that is silent for longer than it promised makes health report NOT_SERVING, and
//! `/readyz` names it. A round that ends in an error counts: the error is logged, and the next
//! round comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The loops of one process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watchdog(Arc<Mutex<Vec<Weak<Watched>>>>);

/// Held by the loop; it is no longer watched once this is dropped.
#[derive(Debug)]
pub struct Rounds(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    name: &'static str,
    within: Duration,
    last: Mutex<Instant>,
    /// It was overdue at the last check.
    late: AtomicBool,
}

impl Watchdog {
    /// Watches a loop that begins a round, or a step of one, at least as often as `within`.
    #[must_use]
    pub fn watch(&self, name: &'static str, within: Duration) -> Rounds {
        let last = Mutex::new(Instant::now());
        let watched = Arc::new(Watched { name, within, last, late: AtomicBool::new(false) });
        let mut loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|watched| watched.strong_count() > 0);
        loops.push(Arc::downgrade(&watched));
        Rounds(watched)
    }

    /// The loops that are watched, by name.
    #[must_use]
    pub fn watched(&self) -> Vec<&'static str> {
        let loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> =
            loops.iter().filter_map(Weak::upgrade).map(|watched| watched.name).collect();
        names.sort_unstable();
        names
    }

    /// The loops that were overdue at this check and at the one before. One check is not enough:
    /// after a freeze of the process all its loops are late, but they continue at once.
    #[must_use]
    pub fn overdue(&self) -> Vec<&'static str> {
        self.overdue_at(Instant::now())
    }

    fn overdue_at(&self, now: Instant) -> Vec<&'static str> {
        let loops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = loops.iter().filter_map(Weak::upgrade);
        watched.filter(|watched| watched.is_late(now)).map(|watched| watched.name).collect()
    }
}

impl Rounds {
    /// A round begins, or a step of a long one.
    pub fn next(&self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Watched {
    fn is_late(&self, now: Instant) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let late = now.duration_since(last) > self.within;
        self.late.swap(late, Ordering::Relaxed) && late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(3600);

    #[test]
    fn a_loop_that_stands_still_is_named_until_it_goes_on() {
        let watchdog = Watchdog::default();
        let still = watchdog.watch("still", WITHIN);
        let _running = watchdog.watch("running", 3 * WITHIN);
        assert_eq!(watchdog.watched(), ["running", "still"]);
        assert!(watchdog.overdue().is_empty());
        let later = Instant::now() + 2 * WITHIN;
        assert!(watchdog.overdue_at(later).is_empty(), "late for the first time");
        assert_eq!(watchdog.overdue_at(later), ["still"]);
        still.next();
        assert!(watchdog.overdue().is_empty());
    }

    #[test]
    fn a_loop_that_ended_is_not_waited_for() {
        let watchdog = Watchdog::default();
        drop(watchdog.watch("ended", WITHIN));
        let later = Instant::now() + 2 * WITHIN;
        assert!(watchdog.overdue_at(later).is_empty());
        assert!(watchdog.overdue_at(later).is_empty());
    }
}
