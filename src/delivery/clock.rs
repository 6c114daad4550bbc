//! The database's clock is read each second. If it stepped back, times stored before the step lie
//! too far ahead and are moved back (`store::upkeep::clock`). This is also done once at the start,
//! because the clock may have stepped while no replica ran.
//!
//! A step forward makes waits end early. For most waits that is harmless, but not for the time that
//! Slack needs to store a message ([`Steady`]).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::domain::time::Timestamp;
use crate::store;

/// The time between two readings, in real time.
const EVERY: Duration = Duration::from_secs(1);
/// Two readings of one clock may differ by this much, because of the time that they took.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Rounds of moving after a step, and at the start. Some leases that a step left too far ahead
/// belong to turns under way; those turns end.
const ROUNDS: u32 = 60;
/// Rounds after a step that must find nothing to move until the moving is over: a transaction that
/// read the clock before the step may be committed later, but within the limits of
/// `store::database::postgres`. A round that skipped rows, because other transactions held them, is
/// not one of them.
const IN_VAIN: u32 = 10;

/// The rounds of moving that are left. A round looks at all rows; with very many of them it takes
/// several readings of the clock.
struct Moving {
    rounds: u32,
    in_vain: u32,
    /// How far the present round has come, and its result so far.
    outbox: store::ClockPass,
    lists: store::ClockPass,
    done: store::TimesMoved,
}

impl Moving {
    /// Ends after so many rounds that found nothing to move.
    fn new(in_vain: u32) -> Self {
        Self {
            rounds: ROUNDS,
            in_vain,
            outbox: store::ClockPass::default(),
            lists: store::ClockPass::default(),
            done: store::TimesMoved::default(),
        }
    }

    /// Counts the present round if it is complete.
    fn count(&mut self) {
        if self.outbox.is_complete() && self.lists.is_complete() {
            self.rounds -= 1;
            if std::mem::take(&mut self.done) == store::TimesMoved::default() {
                self.in_vain -= 1;
            }
        }
    }
}

/// Compares the database's clock with this process's own, which does not step.
#[derive(Default)]
pub(super) struct Steady(Mutex<Seen>);

/// A reading of the database's clock, and the time of it by this process's own.
#[derive(Clone, Copy)]
struct ClockReading {
    now: Timestamp,
    read: Instant,
}

#[derive(Default)]
struct Seen {
    last: Option<ClockReading>,
    stepped: Option<Instant>,
}

impl Steady {
    /// Takes a reading. Returns whether the database's clock has run at the rate of ours for
    /// `so_long`, as far as is known.
    pub(super) fn has_been(&self, now: Timestamp, read: Instant, so_long: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ClockReading { now: before, read: at }) = seen.last
            && let Some(elapsed) = read.checked_duration_since(at)
        {
            let expected = before.plus(elapsed);
            if expected.since(now).max(now.since(expected)) > TOLERANCE {
                seen.stepped = Some(read);
            }
            seen.last = Some(ClockReading { now, read });
        } else if seen.last.is_none() {
            seen.last = Some(ClockReading { now, read });
        }
        seen.stepped.is_none_or(|at| read.saturating_duration_since(at) >= so_long)
    }
}

impl Delivery {
    pub(super) async fn follow_clock(self, stop: CancellationToken) {
        let mut last = None;
        let mut left = Moving::new(1);
        let watched = self.watch("clock", EVERY);
        while !stop.is_cancelled() {
            watched.next();
            if let Err(error) = self.look_at_clock(&mut last, &mut left).await {
                tracing::debug!(%error, "the database's clock was not read; retrying");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look_at_clock(
        &self,
        last: &mut Option<ClockReading>,
        left: &mut Moving,
    ) -> Result<(), store::Error> {
        let store = &self.inner.store;
        let (now, read) = (store.now().await?, Instant::now());
        self.inner.steady.has_been(now, read, Duration::ZERO);
        if let Some(before) = last.replace(ClockReading { now, read })
            && let Some(by) = stepped_back(before.now, read.duration_since(before.read), now)
        {
            tracing::warn!(?by, "the database's clock stepped back");
            *left = Moving::new(IN_VAIN);
        }
        if left.rounds > 0 && left.in_vain > 0 {
            self.move_times(left).await?;
        }
        Ok(())
    }

    /// A part of a round, or a whole one.
    async fn move_times(&self, left: &mut Moving) -> Result<(), store::Error> {
        let upkeep = self.inner.store.upkeep();
        let before = left.done.moved;
        if left.lists.is_complete() {
            let lease = self.inner.timing.lease.max(EVERY) * 2;
            left.done.include(upkeep.follow_clock(lease, &mut left.outbox).await?);
        }
        if left.outbox.is_complete() {
            let most = self.inner.directory.longest_bookings();
            left.done.include(upkeep.follow_clock_of_lists(&most, &mut left.lists).await?);
        }
        let moved = left.done.moved - before;
        if moved > 0 {
            tracing::info!(moved, "stored times were moved back after the clock's step");
        }
        left.count();
        Ok(())
    }
}

/// The time by which the clock was set back between two readings.
fn stepped_back(before: Timestamp, elapsed: Duration, now: Timestamp) -> Option<Duration> {
    let by = before.plus(elapsed).since(now);
    (by > TOLERANCE).then_some(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_step_either_way_the_clock_must_be_steady_again() {
        let (second, wait) = (Duration::from_secs(1), Duration::from_secs(30));
        let start = Instant::now();
        for step in [600i64, -600] {
            let steady = Steady::default();
            let read = |after: u32, step: i64| {
                let by_ours = Timestamp(1_000_000_000 + i64::from(after) * 1_000_000);
                let now = Timestamp(by_ours.0 + step * 1_000_000);
                steady.has_been(now, start + second * after, wait)
            };
            assert!(read(0, 0) && read(5, 0));
            assert!(!read(6, step), "at the first reading after the step");
            assert!(!read(35, step));
            assert!(read(36, step));
            assert!(!read(37, 0), "the step back again");
        }
    }

    #[test]
    fn a_step_is_told_from_a_late_answer() {
        let (before, second) = (Timestamp(600_000_000), Duration::from_secs(1));
        assert_eq!(stepped_back(before, second, Timestamp(601_000_000)), None);
        assert_eq!(stepped_back(before, second, Timestamp(600_100_000)), None);
        assert_eq!(stepped_back(before, second, Timestamp(900_000_000)), None);
        let back = stepped_back(before, second, Timestamp(1_000_000));
        assert_eq!(back, Some(Duration::from_secs(600)));
    }
}
