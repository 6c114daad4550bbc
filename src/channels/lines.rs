//! Lines before the budgets: for each workspace and method, a few channels of this replica wait for
//! their starts, and the others are given times to come back.
//!
//! A channel that waits holds a worker and a lease. With [`LINE`] of them the budget of the method
//! always has its next starts reserved, so more would not make it faster; they would only keep
//! workers from other methods and workspaces. A channel that finds the line full gives its lease
//! back until its turn is likely: the times lie a little closer together than the starts, so that
//! the line never runs empty, even if some of them are not used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::InstallationId;
use crate::workspace::Method;

/// Channels of this replica that wait for, or use, a start of one method in one workspace.
const LINE: u32 = 4;
/// Starts that a channel in line waits for at most: its own line, and those of other replicas.
const STARTS_AHEAD: u32 = LINE + 2;
/// The times to come back are this part of the starts' interval apart.
const CLOSER: f64 = 0.8;
/// The furthest time to come back; further ones begin again from the front and lie between the
/// others.
const FURTHEST: Duration = Duration::from_secs(600);
/// Lines without a channel are forgotten beyond this number.
const KEPT: usize = 1000;

type LineKey = (InstallationId, Method);

/// The lines of all workspaces.
#[derive(Debug, Default)]
pub(super) struct MethodLines {
    lines: Mutex<HashMap<LineKey, Line>>,
}

#[derive(Debug, Default)]
struct Line {
    inside: u32,
    /// The last time that was given.
    given: Option<Instant>,
}

/// A place in a line, until it is dropped.
#[derive(Debug)]
pub(super) struct LinePlace {
    lines: Arc<MethodLines>,
    key: LineKey,
    interval: Duration,
}

impl MethodLines {
    /// A place in the line, or the time after which to come back. `interval` is between two starts.
    pub(super) fn enter(
        self: &Arc<Self>,
        installation: InstallationId,
        method: Method,
        interval: Duration,
        now: Instant,
    ) -> Result<LinePlace, Duration> {
        let key = (installation, method);
        let mut lines = self.lines();
        if lines.len() > KEPT {
            lines.retain(|_, line| line.inside > 0 || line.given.is_some_and(|at| at > now));
        }
        let line = lines.entry(key).or_default();
        if line.inside < LINE {
            line.inside += 1;
            return Ok(LinePlace { lines: Arc::clone(self), key, interval });
        }
        let least = interval * line.inside;
        Err(line.turn_away(interval, least, now))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<LineKey, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn turn_away(&mut self, interval: Duration, least: Duration, now: Instant) -> Duration {
        let soonest = now + least;
        let next = self.given.map_or(soonest, |at| (at + interval.mul_f64(CLOSER)).max(soonest));
        let furthest = soonest + FURTHEST.min(interval * 200);
        let next = if next > furthest { soonest } else { next };
        self.given = Some(next);
        next.saturating_duration_since(now)
    }
}

impl LinePlace {
    /// How long a call in line waits for its start.
    pub(super) fn patience(&self) -> Duration {
        self.interval * STARTS_AHEAD
    }

    pub(super) fn method(&self) -> Method {
        self.key.1
    }

    /// The budget has no start before `after`: the time after which to come back.
    pub(super) fn turned_away(&self, after: Duration, now: Instant) -> Duration {
        let mut lines = self.lines.lines();
        lines.entry(self.key).or_default().turn_away(self.interval, after, now)
    }
}

impl Drop for LinePlace {
    fn drop(&mut self) {
        if let Some(line) = self.lines.lines().get_mut(&self.key) {
            line.inside -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3);

    fn workspace(number: u128) -> InstallationId {
        InstallationId(uuid::Uuid::from_u128(number))
    }

    fn enter(lines: &Arc<MethodLines>, number: u128, now: Instant) -> Result<LinePlace, Duration> {
        lines.enter(workspace(number), Method::ConversationsCreate, INTERVAL, now)
    }

    #[test]
    fn a_full_line_gives_times_close_together_and_keeps_no_other_line_waiting() {
        let (lines, now) = (Arc::new(MethodLines::default()), Instant::now());
        let mut inside: Vec<_> = (0..LINE).map(|_| enter(&lines, 1, now).unwrap()).collect();
        let first = enter(&lines, 1, now).unwrap_err();
        assert_eq!(first, INTERVAL * LINE);
        assert_eq!(enter(&lines, 1, now).unwrap_err(), first + INTERVAL.mul_f64(CLOSER));
        enter(&lines, 2, now).unwrap();
        lines.enter(workspace(1), Method::ConversationsInvite, INTERVAL, now).unwrap();
        inside.pop();
        enter(&lines, 1, now).unwrap();
    }

    #[test]
    fn times_stay_near_however_many_come() {
        let (lines, now) = (Arc::new(MethodLines::default()), Instant::now());
        let _inside: Vec<_> = (0..LINE).map(|_| enter(&lines, 1, now).unwrap()).collect();
        let times: Vec<_> = (0..1000).map(|_| enter(&lines, 1, now).unwrap_err()).collect();
        let furthest = times.iter().max().unwrap();
        assert!(*furthest <= INTERVAL * LINE + FURTHEST, "{furthest:?}");
        assert!(times.iter().all(|time| *time >= INTERVAL * LINE));
    }

    #[test]
    fn a_pause_is_waited_for() {
        let (lines, now) = (Arc::new(MethodLines::default()), Instant::now());
        let place = enter(&lines, 1, now).unwrap();
        let pause = Duration::from_secs(30);
        assert_eq!(place.turned_away(pause, now), pause);
        assert!(place.turned_away(pause, now) > pause);
        assert_eq!(place.patience(), INTERVAL * STARTS_AHEAD);
    }
}
