//! Who gets the free workers: one unit after the other in turn, so that a tenant with much to send
//! gets what the others leave, and never more than its cap.

use std::collections::HashMap;

use super::budget::Budget;
use super::ids::{InstallationId, TenantId};

/// What one tenant has waiting in one workspace, in one class of urgency, for one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue<'a> {
    pub installation: InstallationId,
    pub tenant: &'a TenantId,
    pub budget: Budget,
}

/// Splits `free` workers over `queues`, which come in the order of who was served longest ago.
/// `busy` counts the workers that a tenant holds already, of at most `cap`; `starts` how many requests
/// a workspace's budget has (absent: any number). One number for each queue.
///
/// How many lanes a queue really has is not asked: what it does not use is split again.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "its callers have these maps and no others")]
pub fn split(
    queues: &[Queue<'_>],
    free: usize,
    cap: usize,
    busy: &HashMap<TenantId, usize>,
    starts: &HashMap<(InstallationId, Budget), u32>,
) -> Vec<u32> {
    let mut given = vec![0; queues.len()];
    let mut held: HashMap<&TenantId, usize> = HashMap::new();
    let mut left = starts.clone();
    let mut free = free;
    let mut open: Vec<usize> = (0..queues.len()).collect();
    while free > 0 && !open.is_empty() {
        open.retain(|&at| {
            let queue = &queues[at];
            let held = held
                .entry(queue.tenant)
                .or_insert_with(|| busy.get(queue.tenant).copied().unwrap_or(0));
            let left = left.get_mut(&(queue.installation, queue.budget));
            if free == 0 || *held >= cap || left.as_ref().is_some_and(|left| **left == 0) {
                return false;
            }
            *held += 1;
            if let Some(left) = left {
                *left -= 1;
            }
            given[at] += 1;
            free -= 1;
            true
        });
    }
    given
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
            let busy: HashMap<_, _> = busy.into_iter().map(|(who, many)| (tenant(who), many)).collect();
            let starts: HashMap<_, _> =
                starts.into_iter().map(|(place, many)| ((workspace(place), Budget::Posts), many)).collect();
            let given = split(&queues, free, cap, &busy, &starts);
            let total: u32 = given.iter().sum();
            prop_assert!(total as usize <= free);
            let of = |wanted: &dyn Fn(&Queue<'_>) -> bool| -> u32 {
                queues.iter().zip(&given).filter(|(queue, _)| wanted(queue)).map(|(_, n)| n).sum()
            };
            let mut full = Vec::new();
            for who in &tenants {
                let held = of(&|queue| queue.tenant == who) as usize + busy.get(who).copied().unwrap_or(0);
                prop_assert!(held <= cap.max(busy.get(who).copied().unwrap_or(0)));
                full.push(held >= cap);
            }
            for place in 0..5 {
                if let Some(most) = starts.get(&(workspace(place), Budget::Posts)) {
                    prop_assert!(of(&|queue| queue.installation == workspace(place)) <= *most);
                }
            }
            // Whoever got less than another was stopped by a bound of its own, or by the end.
            for (at, (place, who)) in places.iter().enumerate() {
                let spent = starts
                    .get(&(workspace(*place), Budget::Posts))
                    .is_some_and(|most| of(&|queue| queue.installation == workspace(*place)) >= *most);
                if !full[*who] && !spent {
                    let most = given.iter().max().copied().unwrap_or(0);
                    prop_assert!(given[at] + 1 >= most, "{given:?}");
                    prop_assert_eq!(total as usize, free);
                }
            }
        }
    }
}
