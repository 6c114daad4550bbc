//! Questions to Slack about people who are missing from the member list. While a question waits for
//! its answer, it delays only its own person, so many questions may wait at once. Their number is
//! bounded, and each workspace has a share of it. So a workspace for which Slack is slow does not
//! delay the others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::capacity::fairness;
use crate::domain::ids::InstallationId;

/// Questions that may wait at once, in all and for one workspace: Slack allows fifty a minute.
const MOST: usize = 1024;
const EACH: usize = 8;

#[derive(Default)]
pub(super) struct Asks(Mutex<HashMap<InstallationId, usize>>);

impl Asks {
    fn state(&self) -> MutexGuard<'_, HashMap<InstallationId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one question, given back when it is dropped; `None` if the workspace has none
    /// left.
    pub(super) fn begin(&self, installation: InstallationId) -> Option<Asking<'_>> {
        let mut waiting = self.state();
        let mine = waiting.get(&installation).copied().unwrap_or(0);
        let all = waiting.values().sum();
        if mine >= EACH || fairness::room(MOST, all, mine) == 0 {
            return None;
        }
        waiting.insert(installation, mine + 1);
        Some(Asking { asks: self, installation })
    }
}

pub(super) struct Asking<'a> {
    asks: &'a Asks,
    installation: InstallationId,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut waiting = self.asks.state();
        if let Some(mine) = waiting.get_mut(&self.installation) {
            *mine -= 1;
            if *mine == 0 {
                waiting.remove(&self.installation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(number: usize) -> InstallationId {
        InstallationId(uuid::Uuid::from_u128(number as u128))
    }

    #[test]
    fn questions_are_bounded_for_each_workspace_and_in_all() {
        let asks = Asks::default();
        let mut held = Vec::new();
        for number in 0..1000 {
            let mine: Vec<_> = std::iter::from_fn(|| asks.begin(workspace(number))).collect();
            assert!(mine.len() <= EACH && (number >= 100 || mine.len() == EACH));
            held.extend(mine);
        }
        assert!(held.len() <= MOST, "{}", held.len());
        held.clear();
        assert!(asks.state().is_empty());
        assert!(asks.begin(workspace(0)).is_some());
    }
}
