//! The split of the free workers: one unit after the other in turn, so that a tenant with much to
//! send uses the capacity that the others leave, and never more than its cap.

use std::collections::HashMap;

use super::budget::Budget;
use crate::domain::ids::{InstallationId, TenantId};

/// The waiting deliveries of one tenant in one workspace, in one class of urgency, for one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue<'a> {
    pub installation: InstallationId,
    pub tenant: &'a TenantId,
    pub budget: Budget,
}

/// The bounds of a split.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Workers that are free.
    pub free: usize,
    /// Workers that one tenant may hold, and those that each tenant holds already.
    pub cap: usize,
    pub busy: &'a HashMap<TenantId, usize>,
    /// Requests left in a budget of a workspace; absent: any number.
    pub starts: &'a HashMap<(InstallationId, Budget), u32>,
    /// Further conversations that a workspace may have in progress; absent: any number.
    pub room: &'a HashMap<InstallationId, usize>,
}

/// Splits the free workers over `queues`, which are sorted by the time since they were last served,
/// longest first. Returns one number for each queue.
///
/// The number of lanes in a queue is not considered: workers that a queue does not use are split
/// again.
#[must_use]
pub fn split(queues: &[Queue<'_>], bounds: &Bounds<'_>) -> Vec<u32> {
    let mut given = vec![0; queues.len()];
    let mut held: HashMap<&TenantId, usize> = HashMap::new();
    let (mut starts, mut room) = (bounds.starts.clone(), bounds.room.clone());
    let mut free = bounds.free;
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
                || starts.as_ref().is_some_and(|left| **left == 0)
                || room.as_ref().is_some_and(|left| **left == 0)
            {
                return false;
            }
            *held += 1;
            if let Some(left) = starts {
                *left -= 1;
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

    fn queue(installation: InstallationId, tenant: &TenantId) -> Queue<'_> {
        Queue { installation, tenant, budget: Budget::Posts }
    }

    /// Without limits on the room.
    fn split(
        queues: &[Queue<'_>],
        free: usize,
        cap: usize,
        busy: &HashMap<TenantId, usize>,
        starts: &HashMap<(InstallationId, Budget), u32>,
    ) -> Vec<u32> {
        super::split(queues, &Bounds { free, cap, busy, starts, room: &HashMap::new() })
    }

    #[test]
    fn a_workspace_takes_no_more_than_its_room() {
        let (one, two) = (tenant(1), tenant(2));
        let queues = [queue(workspace(1), &one), queue(workspace(1), &two)];
        let (busy, starts) = (HashMap::new(), HashMap::new());
        let room = HashMap::from([(workspace(1), 3)]);
        let bounds = Bounds { free: 10, cap: 8, busy: &busy, starts: &starts, room: &room };
        assert_eq!(super::split(&queues, &bounds), [2, 1]);
    }

    #[test]
    fn a_workspaces_budgets_are_apart() {
        let who = tenant(1);
        let posts = queue(workspace(1), &who);
        let queues = [posts.clone(), Queue { budget: Budget::Updates, ..posts }];
        let starts = HashMap::from([
            ((workspace(1), Budget::Posts), 3),
            ((workspace(1), Budget::Updates), 1),
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
        let starts = HashMap::from([((workspace(1), Budget::Posts), 2)]);
        assert_eq!(split(&queues, 10, 8, &none, &starts), [2, 8]);
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
            starts in proptest::collection::hash_map(0usize..5, 0u32..10, 0..5),
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
                .map(|(place, many)| ((workspace(place), Budget::Posts), many))
                .collect();
            let given = split(&queues, free, cap, &busy, &starts);
            let total: u32 = given.iter().sum();
            prop_assert!(total as usize <= free);
            let of = |wanted: &dyn Fn(&Queue<'_>) -> bool| -> u32 {
                queues.iter().zip(&given).filter(|(queue, _)| wanted(queue)).map(|(_, n)| n).sum()
            };
            let mut full = Vec::new();
            for who in &tenants {
                let before = busy.get(who).copied().unwrap_or(0);
                let held = of(&|queue| queue.tenant == who) as usize + before;
                prop_assert!(held <= cap.max(before));
                full.push(held >= cap);
            }
            for place in 0..5 {
                if let Some(most) = starts.get(&(workspace(place), Budget::Posts)) {
                    prop_assert!(of(&|queue| queue.installation == workspace(place)) <= *most);
                }
            }
            // A queue that got fewer than another was stopped by its own bound, or by the end.
            for (at, (place, who)) in places.iter().enumerate() {
                let spent = starts.get(&(workspace(*place), Budget::Posts)).is_some_and(|most| {
                    of(&|queue| queue.installation == workspace(*place)) >= *most
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
