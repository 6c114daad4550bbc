//! Suspects: messages during which a worker died. A process sends one of them at a time, so that
//! the message that kills workers can be distinguished from those under way beside it.
//!
//! A suspect whose turn comes while another one is being sent is postponed, to a time after those
//! that were postponed before it. If all of them came again at the same pace, a process that was
//! killed with hundreds of messages under way would claim and postpone hundreds of them a second,
//! and these turns would cost the database more than all other messages.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest and the longest time between two postponed suspects, and the longest time that one
/// waits, as multiples of the pause before another try.
const CLOSEST: f64 = 0.05;
const FARTHEST: f64 = 10.0;
const LONGEST: f64 = 60.0;

pub(super) struct Suspects {
    /// The pause before another try.
    retry: Duration,
    queue: Mutex<Queue>,
}

struct Queue {
    /// Since when a suspect is being sent.
    since: Option<Instant>,
    /// How long the last one took.
    took: Duration,
    /// The time of the suspect that was postponed last.
    last: Instant,
}

/// The only suspect that is being sent, until it is dropped.
pub(super) struct Suspect<'a>(&'a Suspects);

impl Suspects {
    pub(super) fn new(retry: Duration) -> Self {
        let queue = Queue { since: None, took: retry, last: Instant::now() };
        Self { retry, queue: Mutex::new(queue) }
    }

    /// A suspect's turn has come. An error says in how much time to try again.
    pub(super) fn begin(&self) -> Result<Suspect<'_>, Duration> {
        self.begin_at(Instant::now()).map(|()| Suspect(self))
    }

    fn begin_at(&self, now: Instant) -> Result<(), Duration> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = queue.since else {
            queue.since = Some(now);
            return Ok(());
        };
        let (closest, farthest) = (self.retry.mul_f64(CLOSEST), self.retry.mul_f64(FARTHEST));
        // One that hangs holds up all others.
        let each = queue.took.max(now - since).clamp(closest, farthest);
        let longest = now + self.retry.mul_f64(LONGEST);
        queue.last = (queue.last.max(now) + each).min(longest);
        Err(queue.last - now)
    }

    fn end_at(&self, now: Instant) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = queue.since.take() {
            queue.took = now - since;
        }
    }
}

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        self.0.end_at(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(1);

    #[test]
    fn one_at_a_time() {
        let suspects = Suspects::new(Duration::ZERO);
        let first = suspects.begin();
        assert!(first.is_ok() && suspects.begin().is_err());
        drop(first);
        assert!(suspects.begin().is_ok());
    }

    #[test]
    fn the_others_come_one_after_the_other_at_the_pace_of_the_last_one() {
        let (suspects, began) = (Suspects::new(RETRY), Instant::now());
        let last = Duration::from_millis(200);
        assert_eq!(suspects.begin_at(began), Ok(()));
        suspects.end_at(began + last);
        assert_eq!(suspects.begin_at(began + last), Ok(()));
        let waits = [(); 3].map(|()| suspects.begin_at(began + last));
        assert_eq!(waits, [Err(last), Err(last * 2), Err(last * 3)]);
    }

    #[test]
    fn one_that_hangs_is_asked_about_less_and_less() {
        let (suspects, began) = (Suspects::new(RETRY), Instant::now());
        assert_eq!(suspects.begin_at(began), Ok(()));
        let (mut now, mut times) = (began, 0);
        while now - began < RETRY * 100 {
            now += suspects.begin_at(now).unwrap_err();
            times += 1;
        }
        assert_eq!(times, 14, "after 1, 1, 2, 4, 8 seconds, and then every 10");
    }

    #[test]
    fn no_wait_is_without_bounds() {
        let (suspects, began) = (Suspects::new(RETRY), Instant::now());
        assert_eq!(suspects.begin_at(began), Ok(()));
        let waits = (0..10_000).map(|_| suspects.begin_at(began).unwrap_err());
        assert_eq!(waits.max(), Some(RETRY.mul_f64(LONGEST)));
    }
}
