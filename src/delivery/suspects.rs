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
        let now = Instant::now();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = queue.since else {
            queue.since = Some(now);
            return Ok(Suspect(self));
        };
        let (closest, farthest) = (self.retry.mul_f64(CLOSEST), self.retry.mul_f64(FARTHEST));
        // One that hangs holds up all others.
        let each = queue.took.max(now - since).clamp(closest, farthest);
        let longest = now + self.retry.mul_f64(LONGEST);
        queue.last = (queue.last.max(now) + each).min(longest);
        Err(queue.last - now)
    }
}

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = queue.since.take() {
            queue.took = since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time() {
        let suspects = Suspects::new(RETRY);
        let first = suspects.begin().ok().unwrap();
        assert_eq!(suspects.begin().err(), Some(RETRY));
        drop(first);
        assert!(suspects.begin().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_others_come_one_after_the_other_at_the_pace_of_the_last_one() {
        let suspects = Suspects::new(RETRY);
        let last = Duration::from_millis(200);
        let first = suspects.begin().ok().unwrap();
        tokio::time::advance(last).await;
        drop(first);
        let _second = suspects.begin().ok().unwrap();
        let waits: Vec<_> = (0..3).map(|_| suspects.begin().err().unwrap()).collect();
        assert_eq!(waits, [last, last * 2, last * 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_asked_about_less_and_less() {
        let suspects = Suspects::new(RETRY);
        let _hangs = suspects.begin().ok().unwrap();
        let began = Instant::now();
        let mut times = 0;
        while began.elapsed() < RETRY * 100 {
            let wait = suspects.begin().err().unwrap();
            tokio::time::advance(wait).await;
            times += 1;
        }
        assert_eq!(times, 14, "after 1, 1, 2, 4, 8 seconds, and then every 10");
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_without_bounds() {
        let suspects = Suspects::new(RETRY);
        let _hangs = suspects.begin().ok().unwrap();
        let waits: Vec<_> = (0..10_000).map(|_| suspects.begin().err().unwrap()).collect();
        assert_eq!(waits.iter().max(), Some(&RETRY.mul_f64(LONGEST)));
    }
}
