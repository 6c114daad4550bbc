//! Changes of one tenant's settings, event types and templates take turns within a process.
//!
//! Such a change reads the state, decides, and writes if the version of the settings is still the
//! one that it read. Without turns, many calls at once would make each other begin again. Changes
//! at other replicas still can: at most one of each replica at a time, so few attempts are lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::domain::ids::TenantId;

/// How often a change is made again because another replica's came first.
pub(super) const ATTEMPTS: usize = 32;
/// Tenants with changes under way from which on those without are looked for.
const MANY: usize = 1024;

/// The turns of all tenants. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<HashMap<TenantId, Weak<tokio::sync::Mutex<()>>>>>);

impl Changes {
    /// Waits until no other change of this tenant is under way. The turn ends when it is dropped.
    pub(super) async fn turn(&self, tenant: &TenantId) -> OwnedMutexGuard<()> {
        let of_tenant = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MANY {
                all.retain(|_, turns| turns.strong_count() > 0);
            }
            let known = all.get(tenant).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::default();
                all.insert(tenant.clone(), Arc::downgrade(&new));
                new
            })
        };
        of_tenant.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn changes_of_one_tenant_take_turns_and_those_of_others_do_not_wait() {
        let changes = Changes::default();
        let acme = tenant("acme");
        let first = changes.turn(&acme).await;
        let mut second = Box::pin(changes.turn(&acme));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(changes.turn(&tenant("other")).now_or_never().is_some());
        drop(first);
        drop(second.await);
    }

    #[tokio::test]
    async fn tenants_without_a_change_under_way_are_forgotten() {
        let changes = Changes::default();
        let held = changes.turn(&tenant("held")).await;
        for number in 0..3 * MANY {
            drop(changes.turn(&tenant(&format!("t{number}"))).await);
        }
        assert!(changes.0.lock().unwrap().len() <= MANY);
        assert!(changes.turn(&tenant("held")).now_or_never().is_none());
        drop(held);
    }
}
