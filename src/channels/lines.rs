//! Lines before the budgets: for each workspace and method, a few channels of this replica wait for
//! their starts, and the others are given times to come back.
//!
//! A channel that waits holds a worker and a lease. With [`LINE`] of them the budget of the method
//! always has its next starts reserved, so more would not make it faster; they would only keep
//! workers from other methods and workspaces. A channel that finds the line full gives its lease
//! back until its turn is likely: the times lie a little closer together than the starts, so that
//! the line never runs empty, even if some of them are not used.
//!
//! Tenants that share a workspace share its budgets. A tenant without a channel in the line finds a
//! place although the line is full, and the times to come back are counted for each tenant: however
//! many channels one of them has, the others' go on at the same pace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::{InstallationId, TenantId};
use crate::workspace::Method;

/// Channels of this replica that wait for, or use, a start of one method in one workspace.
const LINE: u32 = 4;
/// Places besides these, for tenants that have no channel in the line.
const SPARE: u32 = 2;
/// Starts that a channel in line waits for at most: those of its own line, or of other replicas.
const STARTS_AHEAD: u32 = LINE + SPARE;
/// The times to come back are this part of the starts' interval apart.
const CLOSER: f64 = 0.8;
/// The furthest time to come back; further ones begin again from the front and lie between the
/// others.
const FURTHEST: Duration = Duration::from_secs(600);
/// Lines without a channel, and tenants without one in a line, are forgotten beyond this number.
const KEPT: usize = 1000;

type LineKey = (InstallationId, Method);

/// The lines of all workspaces.
#[derive(Debug, Default)]
pub(super) struct MethodLines {
    lines: Mutex<HashMap<LineKey, Line>>,
}

#[derive(Debug, Default)]
struct Line {
    tenants: HashMap<TenantId, TenantPart>,
}

/// The part of one tenant in a line.
#[derive(Debug, Default)]
struct TenantPart {
    inside: u32,
    /// The last time that was given.
    given: Option<Instant>,
}

/// A place in a line, until it is dropped.
#[derive(Debug)]
pub(super) struct LinePlace {
    lines: Arc<MethodLines>,
    key: LineKey,
    tenant: TenantId,
    interval: Duration,
}

impl MethodLines {
    /// A place in the line for a channel of this tenant, or the time after which to come back.
    /// `interval` is between two starts.
    pub(super) fn enter(
        self: &Arc<Self>,
        key: LineKey,
        tenant: &TenantId,
        interval: Duration,
        now: Instant,
    ) -> Result<LinePlace, Duration> {
        let mut lines = self.lines();
        if lines.len() > KEPT {
            lines.retain(|_, line| line.tenants.values().any(|part| part.is_used(now)));
        }
        let line = lines.entry(key).or_default();
        if line.tenants.len() > KEPT {
            line.tenants.retain(|_, part| part.is_used(now));
        }
        let inside: u32 = line.tenants.values().map(|part| part.inside).sum();
        let own = line.part(tenant);
        let places = if own.inside == 0 { LINE + SPARE } else { LINE };
        if inside < places {
            own.inside += 1;
            let (lines, tenant) = (Arc::clone(self), tenant.clone());
            return Ok(LinePlace { lines, key, tenant, interval });
        }
        Err(own.turn_away(interval, interval * inside, now))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<LineKey, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn part(&mut self, tenant: &TenantId) -> &mut TenantPart {
        self.tenants.entry(tenant.clone()).or_default()
    }
}

impl TenantPart {
    fn is_used(&self, now: Instant) -> bool {
        self.inside > 0 || self.given.is_some_and(|at| at > now)
    }

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
        let line = lines.entry(self.key).or_default();
        line.part(&self.tenant).turn_away(self.interval, after, now)
    }
}

impl Drop for LinePlace {
    fn drop(&mut self) {
        if let Some(line) = self.lines.lines().get_mut(&self.key) {
            line.part(&self.tenant).inside -= 1;
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

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn enter(lines: &Arc<MethodLines>, number: u128, now: Instant) -> Result<LinePlace, Duration> {
        enter_of(lines, number, "acme", now)
    }

    fn enter_of(
        lines: &Arc<MethodLines>,
        number: u128,
        name: &str,
        now: Instant,
    ) -> Result<LinePlace, Duration> {
        let key = (workspace(number), Method::ConversationsCreate);
        lines.enter(key, &tenant(name), INTERVAL, now)
    }

    #[test]
    fn a_full_line_gives_times_close_together_and_keeps_no_other_line_waiting() {
        let (lines, now) = (Arc::new(MethodLines::default()), Instant::now());
        let mut inside: Vec<_> = (0..LINE).map(|_| enter(&lines, 1, now).unwrap()).collect();
        let first = enter(&lines, 1, now).unwrap_err();
        assert_eq!(first, INTERVAL * LINE);
        assert_eq!(enter(&lines, 1, now).unwrap_err(), first + INTERVAL.mul_f64(CLOSER));
        enter(&lines, 2, now).unwrap();
        let invites = (workspace(1), Method::ConversationsInvite);
        lines.enter(invites, &tenant("acme"), INTERVAL, now).unwrap();
        inside.pop();
        enter(&lines, 1, now).unwrap();
    }

    #[test]
    fn a_tenant_with_many_channels_does_not_keep_out_another_of_the_workspace() {
        let (lines, now) = (Arc::new(MethodLines::default()), Instant::now());
        let mut many: Vec<_> = (0..LINE).map(|_| enter(&lines, 1, now).unwrap()).collect();
        for _ in 0..100 {
            enter(&lines, 1, now).unwrap_err();
        }
        let one = enter_of(&lines, 1, "other", now).unwrap();
        // Its next channel comes back as soon as the line may have moved on.
        let next = enter_of(&lines, 1, "other", now).unwrap_err();
        assert_eq!(next, INTERVAL * (LINE + 1));
        // A place that becomes free is for the tenant that has none in the line.
        many.pop();
        enter(&lines, 1, now).unwrap_err();
        drop(one);
        enter_of(&lines, 1, "other", now).unwrap();
        // However many tenants share the workspace, the line is of limited length.
        let names: Vec<_> = (0..20).map(|number| format!("t{number}")).collect();
        let places = names.iter().map(|name| enter_of(&lines, 1, name, now).ok());
        let inside = places.collect::<Vec<_>>().iter().flatten().count() + many.len();
        assert_eq!(inside, (LINE + SPARE) as usize);
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
