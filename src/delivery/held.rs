//! Deliveries that wait until their person appears in Slack. The people of held deliveries are
//! checked in bounded batches: once after the member list, the custom fields or the mapping
//! changed, and otherwise at long intervals. `resolve` continues with those who appeared.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::directory;
use crate::domain::identity::matching::MemberDecision;
use crate::domain::identity::person::Person;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::mapping::Pass;
use crate::domain::settings::Identity;
use crate::store::HeldSweep;
use crate::telemetry::Rounds;

/// People looked at with one read.
const PEOPLE: u32 = 200;
/// Sweeps and batches in one round, so that a busy tenant does not starve the others.
const STEPS: usize = 16;
/// The pause before the next sweep of a tenant, for each thousand people who are waited for.
const PAUSE: Duration = Duration::from_secs(5);

impl Delivery {
    pub(super) async fn hold(self, stop: CancellationToken) {
        let mut troubled = false;
        let rounds = self.watch("held", self.inner.timing.poll);
        while !stop.is_cancelled() {
            match self.held_round(&rounds, &stop).await {
                Ok(()) => troubled = false,
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "held messages could not be checked; retrying");
                    }
                    troubled = true;
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.inner.timing.poll) => {}
            }
        }
    }

    async fn held_round(
        &self,
        rounds: &Rounds,
        stop: &CancellationToken,
    ) -> Result<(), directory::Error> {
        let (store, timing) = (&self.inner.store, &self.inner.timing);
        for _ in 0..STEPS {
            rounds.next();
            let due = store.waiting().held_due(PEOPLE).await?;
            if due.is_empty() || stop.is_cancelled() {
                break;
            }
            for (tenant, users) in due {
                rounds.next();
                let absent = self.wake_those_who_appeared(&tenant, users).await?;
                store.waiting().defer_held(&tenant, &absent, timing.held_again).await?;
            }
        }
        for _ in 0..STEPS {
            let Some(sweep) = store.waiting().claim_held_sweep(timing.lease).await? else { break };
            if stop.is_cancelled() || !self.sweep(rounds, &sweep).await? {
                break;
            }
        }
        Ok(())
    }

    /// Looks through all people who are waited for. Returns `false` if another replica does it now.
    async fn sweep(&self, rounds: &Rounds, sweep: &HeldSweep) -> Result<bool, directory::Error> {
        let (store, timing) = (&self.inner.store, &self.inner.timing);
        let mut after = None;
        let mut batches = 0;
        loop {
            rounds.next();
            let users = store.waiting().held_people(&sweep.tenant, after.as_ref(), PEOPLE).await?;
            let Some(last) = users.last() else { break };
            after = Some(last.clone());
            self.wake_those_who_appeared(&sweep.tenant, users).await?;
            batches += 1;
            if !store.waiting().extend_held_sweep(sweep, timing.lease).await? {
                return Ok(false);
            }
        }
        let thousands = batches * PEOPLE / 1000 + 1;
        let pause = PAUSE.mul_f64(self.inner.workspaces.time_scale()) * thousands;
        Ok(store.waiting().end_held_sweep(sweep, pause).await?)
    }

    /// Wakes the held deliveries of those of `users` that a message would reach now; returns the
    /// others.
    async fn wake_those_who_appeared(
        &self,
        tenant: &TenantId,
        users: Vec<UserId>,
    ) -> Result<Vec<UserId>, directory::Error> {
        let store = &self.inner.store;
        let (Some(settings), Some(installation)) = tokio::try_join!(
            store.tenancy().settings(tenant),
            store.tenancy().installation_of(tenant)
        )?
        else {
            return Ok(users);
        };
        let mapping = self.inner.directory.mapping(&settings).await?;
        // At least as new as the change that led to this look.
        let view = self.inner.directory.current_view(installation.id, &mapping).await?;
        if view.deciding().is_none() {
            return Ok(users);
        }
        let mut known = store.people().get_many(tenant, &users).await?;
        let (people, identities): (Vec<Person>, Vec<Option<Identity>>) = users
            .iter()
            .map(|user| match known.remove(user) {
                Some(stored) => (stored.person, stored.identity),
                None => (Person::bare(user.clone()), None),
            })
            .unzip();
        let everybody: Vec<&Person> = people.iter().collect();
        let directory = &self.inner.directory;
        let (values, _) =
            directory.values_of(tenant, &mapping, &everybody, Pass::default()).await?;
        let (mut appeared, mut absent) = (Vec::new(), Vec::new());
        for ((user, identity), values) in users.into_iter().zip(identities).zip(&values) {
            let identity = identity.filter(|identity| identity.installation == installation.id);
            match view.decide(&mapping, identity.as_ref(), values).0 {
                MemberDecision::Reach { .. } => appeared.push(user),
                MemberDecision::Unreachable { .. } => absent.push(user),
            }
        }
        let woken = store.waiting().wake_held(tenant, &appeared).await?;
        if woken > 0 {
            tracing::info!(woken, "held messages were released: their people are in Slack now");
        }
        Ok(absent)
    }
}
