//! Divides the free workers among the tenants: each gets one in turn, until all are given. So a
//! tenant with much to send uses the capacity that the others leave, but never more than its cap.

use std::collections::HashMap;

use super::budget::Budget;
use crate::domain::ids::{InstallationId, TenantId};

/// The waiting deliveries of one tenant in one workspace, in one class of urgency, for one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingQueue<'a> {
    pub installation: InstallationId,
    pub tenant: &'a TenantId,
    pub budget: Budget,
}

/// Requests left in a budget of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starts {
    /// Those that may begin as soon as they are ready.
    pub soon: u32,
    /// Those that may begin only later: each of them keeps a worker waiting.
    pub later: u32,
}

impl Starts {
    /// Whether no request may be taken, if this many more workers may wait.
    fn are_spent(self, waits: usize) -> bool {
        self.soon == 0 && (self.later == 0 || waits == 0)
    }

    /// Takes this many, the soonest first; returns how many of them may begin only later.
    pub fn take(&mut self, count: u32) -> u32 {
        let later = count.saturating_sub(self.soon);
        self.soon -= count - later;
        self.later = self.later.saturating_sub(later);
        later
    }
}

/// The bounds of a split.
#[derive(Debug, Clone, Copy)]
pub struct SplitBounds<'a> {
    /// Workers that are free.
    pub free: usize,
    /// Workers that one tenant may hold, and those that each tenant holds already.
    pub cap: usize,
    pub busy: &'a HashMap<TenantId, usize>,
    /// Requests left in a budget of a workspace; absent: any number.
    pub starts: &'a HashMap<(InstallationId, Budget), Starts>,
    /// Workers that may wait for a request that may begin only later.
    pub waits: usize,
    /// Further conversations that a workspace may have in progress; absent: any number.
    pub room: &'a HashMap<InstallationId, usize>,
}

/// Splits the free workers over `queues`, which are sorted by the time since they were last served,
/// longest first. Returns one number for each queue.
///
/// The number of lanes in a queue is not considered: workers that a queue does not use are split
/// again.
#[must_use]
pub fn split(queues: &[WaitingQueue<'_>], bounds: &SplitBounds<'_>) -> Vec<u32> {
    let mut given = vec![0; queues.len()];
    let mut held: HashMap<&TenantId, usize> = HashMap::new();
    let (mut starts, mut room) = (bounds.starts.clone(), bounds.room.clone());
    let (mut free, mut waits) = (bounds.free, bounds.waits);
    let mut open: Vec<usize> = (0..queues.len()).collect();
    while free > 0 && !open.is_empty() {
        open.retain(|&at| {
            let queue = &queues[at];
            let held = held
                .entry(queue.tenant)
                .or_insert_with(|| bounds.busy.get(queue.tenant).copied().unwrap_or(0));
            let starts = starts.get_mut(&(queue.installation, queue.budget));
            let room = room.get_mut(&queue.installation);
            if free == 0
                || *held >= bounds.cap
                || starts.as_ref().is_some_and(|left| left.are_spent(waits))
                || room.as_ref().is_some_and(|left| **left == 0)
            {
                return false;
            }
            *held += 1;
            if let Some(left) = starts {
                waits -= left.take(1) as usize;
            }
            if let Some(left) = room {
                *left -= 1;
            }
            given[at] += 1;
            free -= 1;
            true
        });
    }
    given
}

/// How many more requests a slow workspace may have under way. `most` may wait in all, `held`
/// already do, and `mine` of these belong to the workspace. It gets up to as many as remain free
/// afterwards, so `n` slow workspaces share all but one part in `n + 1`. The next workspace that
/// becomes slow always finds room, and their number need not be known in advance.
#[must_use]
pub fn room(most: usize, held: usize, mine: usize) -> usize {
    most.saturating_sub(held).saturating_sub(mine).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(format!("t{number}")).unwrap()
    }

    fn workspace(number: usize) -> InstallationId {
        InstallationId(uuid::Uuid::from_u128(number as u128))
    }

    fn queue(installation: InstallationId, tenant: &TenantId) -> WaitingQueue<'_> {
        WaitingQueue { installation, tenant, budget: Budget::Posts }
    }

    /// Without limits on the room, and without waiting workers.
    fn split(
        queues: &[WaitingQueue<'_>],
        free: usize,
        cap: usize,
        busy: &HashMap<TenantId, usize>,
        starts: &HashMap<(InstallationId, Budget), Starts>,
    ) -> Vec<u32> {
        let room = &HashMap::new();
        super::split(queues, &SplitBounds { free, cap, busy, starts, waits: 0, room })
    }

    fn soon(soon: u32) -> Starts {
        Starts { soon, later: 0 }
    }

    #[test]
    fn a_workspace_takes_no_more_than_its_room() {
        let (one, two) = (tenant(1), tenant(2));
        let queues = [queue(workspace(1), &one), queue(workspace(1), &two)];
        let (busy, starts) = (HashMap::new(), HashMap::new());
        let room = HashMap::from([(workspace(1), 3)]);
        let (free, cap, busy, starts, room) = (10, 8, &busy, &starts, &room);
        let bounds = SplitBounds { free, cap, busy, starts, waits: 0, room };
        assert_eq!(super::split(&queues, &bounds), [2, 1]);
    }

    #[test]
    fn a_workspaces_budgets_are_apart() {
        let who = tenant(1);
        let posts = queue(workspace(1), &who);
        let queues = [posts.clone(), WaitingQueue { budget: Budget::Updates, ..posts }];
        let starts = HashMap::from([
            ((workspace(1), Budget::Posts), soon(3)),
            ((workspace(1), Budget::Updates), soon(1)),
        ]);
        assert_eq!(split(&queues, 10, 8, &HashMap::new(), &starts), [3, 1]);
    }

    #[test]
    fn a_small_tenant_gets_its_turn_beside_a_large_one() {
        let (large, small) = (tenant(1), tenant(2));
        let queues = [queue(workspace(1), &large), queue(workspace(2), &small)];
        let none = HashMap::new();
        assert_eq!(split(&queues, 10, 8, &none, &HashMap::new()), [5, 5]);
        let busy = HashMap::from([(large.clone(), 8)]);
        assert_eq!(split(&queues, 10, 8, &busy, &HashMap::new()), [0, 8]);
        let starts = HashMap::from([((workspace(1), Budget::Posts), soon(2))]);
        assert_eq!(split(&queues, 10, 8, &none, &starts), [2, 8]);
    }

    #[test]
    fn starts_that_come_later_leave_workers_to_the_others() {
        let tenants = [1, 2, 3].map(tenant);
        let queues = [1, 2, 3].map(|number| queue(workspace(number), &tenants[number - 1]));
        let starts =
            [1, 2].map(|number| ((workspace(number), Budget::Posts), Starts { soon: 1, later: 9 }));
        let (busy, starts, room) = (&HashMap::new(), &HashMap::from(starts), &HashMap::new());
        let bounds = SplitBounds { free: 10, cap: 8, busy, starts, waits: 3, room };
        assert_eq!(super::split(&queues, &bounds), [3, 2, 5]);
    }

    proptest! {
        /// For any number of slow workspaces, in any order of requests and answers.
        #[test]
        fn a_workspace_that_turns_slow_finds_room(
            most in 1usize..600,
            steps in proptest::collection::vec((0usize..40, 0usize..50), 0..200),
        ) {
            let mut mine = [0usize; 40];
            for (who, answered) in steps {
                mine[who] -= answered.min(mine[who]);
                let held = mine.iter().sum();
                let more = room(most, held, mine[who]);
                mine[who] += more;
                let free = most - (held + more);
                // If the number left is odd, the workspace that asks gets the extra one.
                prop_assert!(more == 0 || mine[who] <= free + 1);
                let slow = mine.iter().filter(|mine| **mine > 0).count();
                prop_assert!(free > 0 || slow + 1 > most.ilog2() as usize);
            }
        }

        #[test]
        fn bounds_hold_and_nobody_is_passed_over(
            places in proptest::collection::vec((0usize..5, 0usize..5), 0..20),
            free in 0usize..40,
            cap in 1usize..20,
            busy in proptest::collection::hash_map(0usize..5, 0usize..20, 0..5),
            starts in proptest::collection::hash_map(0usize..5, (0u32..10, 0u32..10), 0..5),
            waits in 0usize..20,
        ) {
            let tenants: Vec<_> = (0..5).map(tenant).collect();
            let queues: Vec<_> = places
                .iter()
                .map(|(place, who)| queue(workspace(*place), &tenants[*who]))
                .collect();
            let busy: HashMap<_, _> =
                busy.into_iter().map(|(who, many)| (tenant(who), many)).collect();
            let starts: HashMap<_, _> = starts
                .into_iter()
                .map(|(place, (soon, later))| {
                    ((workspace(place), Budget::Posts), Starts { soon, later })
                })
                .collect();
            let (busy, starts, room) = (&busy, &starts, &HashMap::new());
            let given =
                super::split(&queues, &SplitBounds { free, cap, busy, starts, waits, room });
            let total: u32 = given.iter().sum();
            prop_assert!(total as usize <= free);
            let of = |wanted: &dyn Fn(&WaitingQueue<'_>) -> bool| -> u32 {
                queues.iter().zip(&given).filter(|(queue, _)| wanted(queue)).map(|(_, n)| n).sum()
            };
            let mut full = Vec::new();
            for who in &tenants {
                let before = busy.get(who).copied().unwrap_or(0);
                let held = of(&|queue| queue.tenant == who) as usize + before;
                prop_assert!(held <= cap.max(before));
                full.push(held >= cap);
            }
            let mut waiting = 0;
            for place in 0..5 {
                if let Some(most) = starts.get(&(workspace(place), Budget::Posts)) {
                    let given = of(&|queue| queue.installation == workspace(place));
                    prop_assert!(given <= most.soon + most.later);
                    waiting += given.saturating_sub(most.soon) as usize;
                }
            }
            prop_assert!(waiting <= waits);
            // A queue that got fewer than another was stopped by its own bound, or by the end.
            for (at, (place, who)) in places.iter().enumerate() {
                let spent = starts.get(&(workspace(*place), Budget::Posts)).is_some_and(|most| {
                    let later = if waiting < waits { most.later } else { 0 };
                    of(&|queue| queue.installation == workspace(*place)) >= most.soon + later
                });
                if !full[*who] && !spent {
                    let most = given.iter().max().copied().unwrap_or(0);
                    prop_assert!(given[at] + 1 >= most, "{given:?}");
                    prop_assert_eq!(total as usize, free);
                }
            }
        }
    }
}
