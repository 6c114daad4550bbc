//! The places of turns: most turns hold one of the workers. If Slack has not answered a turn's
//! request after a second, the turn gives its worker back and waits apart, in a larger but bounded
//! number of places, so that a workspace whose Slack is slow takes no workers from the others. Once
//! a workspace is known to be slow, its turns wait apart from the beginning; each such workspace
//! has a share of the places ([`fairness::room`]), so that it cannot fill them either.
//!
//! A turn that waits apart costs memory and a request, but no worker, and no connection to the
//! database while Slack is asked.
//!
//! If a lane was claimed long before its request may start ([`Lookahead`]), the turn holds its
//! worker meanwhile. At most half of the workers wait in this way, so that other lanes find one.
//!
//! [`Lookahead`]: crate::domain::capacity::pacing::Lookahead

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::capacity::fairness;
use crate::domain::ids::{InstallationId, TenantId};

/// A request that takes longer is slow. This is real time, since it limits how long a worker is
/// held.
pub(super) const SLOW: Duration = Duration::from_secs(1);
/// Workspaces that are remembered as slow although no turn waits for them.
const REMEMBERED: usize = 10_000;

/// The places of one replica.
pub(super) struct Slots {
    workers: usize,
    /// Workers that one tenant may hold.
    tenant_cap: usize,
    /// Turns that may wait apart.
    most_apart: usize,
    /// [`SLOW`], except in tests.
    slow_after: Duration,
    state: Mutex<State>,
    /// A turn gave its worker back.
    freed: Notify,
}

#[derive(Default)]
struct State {
    working: usize,
    /// Workers that wait until the start of their request is near.
    early: usize,
    busy: HashMap<TenantId, usize>,
    apart: usize,
    slow: HashMap<InstallationId, Slow>,
}

/// A workspace whose Slack is slow.
#[derive(Default)]
struct Slow {
    /// Turns apart.
    apart: usize,
    /// Requests that have waited for longer than [`SLOW`].
    waiting: usize,
    /// Whether the last answered request was slow.
    last: bool,
}

impl Slow {
    fn is_over(&self) -> bool {
        self.apart == 0 && self.waiting == 0 && !self.last
    }
}

/// The place of one turn, given back when it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    tenant: TenantId,
    installation: InstallationId,
    apart: AtomicBool,
    early: AtomicBool,
}

/// The free places of one kind.
pub(super) struct Free {
    pub(super) places: usize,
    /// Places that one tenant may hold, and those that each tenant holds already.
    pub(super) cap: usize,
    pub(super) busy: HashMap<TenantId, usize>,
    /// Places of turns whose requests may start only later.
    pub(super) waits: usize,
    /// Places that each workspace may still take.
    pub(super) room: HashMap<InstallationId, usize>,
}

impl Slots {
    pub(super) fn new(
        workers: usize,
        tenant_cap: usize,
        most_apart: usize,
        slow_after: Duration,
    ) -> Arc<Self> {
        let (state, freed) = (Mutex::default(), Notify::new());
        Arc::new(Self { workers, tenant_cap, most_apart, slow_after, state, freed })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no turn would find a place.
    pub(super) fn are_full(&self) -> bool {
        let state = self.state();
        let apart = state.slow.is_empty() || state.apart >= self.most_apart;
        state.working >= self.workers && apart
    }

    /// Whether turns for the workspace wait apart from the beginning.
    pub(super) fn is_slow(&self, installation: InstallationId) -> bool {
        let state = self.state();
        state.slow.get(&installation).is_some_and(|slow| slow.waiting > 0 || slow.last)
    }

    /// Whether a turn would find a place.
    pub(super) fn has_room(&self, tenant: &TenantId, installation: InstallationId) -> bool {
        if self.is_slow(installation) {
            return self.room(&self.state(), installation) > 0;
        }
        let state = self.state();
        let busy = state.busy.get(tenant).copied().unwrap_or(0);
        state.working < self.workers && busy < self.tenant_cap
    }

    /// Whether a turn whose request may start only later would find a place.
    pub(super) fn may_wait(&self, installation: InstallationId) -> bool {
        self.is_slow(installation) || self.waits(&self.state()) > 0
    }

    fn waits(&self, state: &State) -> usize {
        (self.workers / 2).saturating_sub(state.early)
    }

    fn room(&self, state: &State, installation: InstallationId) -> usize {
        let mine = state.slow.get(&installation).map_or(0, |slow| slow.apart);
        fairness::room(self.most_apart, state.apart, mine)
    }

    /// The free workers, or the free places apart for these workspaces.
    pub(super) fn free(
        &self,
        apart: bool,
        installations: impl Iterator<Item = InstallationId>,
    ) -> Free {
        let state = self.state();
        if !apart {
            return Free {
                places: self.workers.saturating_sub(state.working),
                cap: self.tenant_cap,
                waits: self.waits(&state),
                busy: state.busy.clone(),
                room: HashMap::new(),
            };
        }
        Free {
            places: self.most_apart.saturating_sub(state.apart),
            cap: usize::MAX,
            waits: usize::MAX,
            busy: HashMap::new(),
            room: installations.map(|id| (id, self.room(&state, id))).collect(),
        }
    }

    /// The place of a turn that was claimed; `early`: its request may start only later.
    pub(super) fn take(
        self: &Arc<Self>,
        tenant: &TenantId,
        installation: InstallationId,
        apart: bool,
        early: bool,
    ) -> Slot {
        let mut state = self.state();
        let early = early && !apart;
        state.early += usize::from(early);
        if apart {
            state.apart += 1;
            state.slow.entry(installation).or_default().apart += 1;
        } else {
            state.working += 1;
            *state.busy.entry(tenant.clone()).or_default() += 1;
        }
        let (slots, tenant) = (Arc::clone(self), tenant.clone());
        let (apart, early) = (AtomicBool::new(apart), AtomicBool::new(early));
        Slot { slots, tenant, installation, apart, early }
    }

    /// Returns once a worker has become free although no turn ended.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl State {
    fn stop_working(&mut self, tenant: &TenantId) {
        self.working = self.working.saturating_sub(1);
        if let Some(busy) = self.busy.get_mut(tenant) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(tenant);
            }
        }
    }

    fn change(&mut self, installation: InstallationId, change: impl FnOnce(&mut Slow)) {
        let slow = self.slow.entry(installation).or_default();
        change(slow);
        if slow.is_over() {
            self.slow.remove(&installation);
        } else if self.slow.len() > REMEMBERED {
            self.slow.retain(|_, slow| slow.apart > 0 || slow.waiting > 0);
        }
    }
}

impl Slot {
    /// The start of its turn's request is near.
    pub(super) fn start_is_near(&self) {
        if self.early.swap(false, Ordering::Relaxed) {
            self.slots.state().early -= 1;
        }
    }

    /// Runs a request that may ask Slack. After a second no worker is held, if a place apart is
    /// free.
    pub(super) async fn waiting<T>(&self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        tokio::select! {
            biased;
            answer = &mut request => return answer,
            () = tokio::time::sleep(self.slots.slow_after) => {}
        }
        let _waiting = Waiting::begin(self);
        request.await
    }

    /// Like [`Slot::waiting`], for a request that does ask Slack: an answer within a second shows
    /// that the workspace is not, or no longer, slow.
    pub(super) async fn asking<T>(&self, request: impl Future<Output = T>) -> T {
        let begun = tokio::time::Instant::now();
        let answer = self.waiting(request).await;
        if begun.elapsed() < self.slots.slow_after {
            let mut state = self.slots.state();
            if state.slow.contains_key(&self.installation) {
                state.change(self.installation, |slow| slow.last = false);
            }
        }
        answer
    }
}

/// A request that has waited for longer than [`SLOW`].
struct Waiting<'a>(&'a Slot);

impl<'a> Waiting<'a> {
    fn begin(slot: &'a Slot) -> Self {
        let slots = &slot.slots;
        let mut state = slots.state();
        let leaves = !slot.apart.load(Ordering::Relaxed) && state.apart < slots.most_apart;
        if leaves {
            slot.apart.store(true, Ordering::Relaxed);
            state.stop_working(&slot.tenant);
            state.apart += 1;
        }
        state.change(slot.installation, |slow| {
            slow.waiting += 1;
            slow.apart += usize::from(leaves);
        });
        drop(state);
        slots.freed.notify_one();
        Self(slot)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.slots.state().change(self.0.installation, |slow| {
            slow.waiting -= 1;
            slow.last = true;
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.start_is_near();
        let mut state = self.slots.state();
        if self.apart.load(Ordering::Relaxed) {
            state.apart -= 1;
            state.change(self.installation, |slow| slow.apart -= 1);
        } else {
            state.stop_working(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(format!("t{number}")).unwrap()
    }

    fn workspace(number: usize) -> InstallationId {
        InstallationId(uuid::Uuid::from_u128(number as u128))
    }

    /// Runs a slow request until `answered` is sent.
    async fn slow(slot: &Slot, answered: tokio::sync::oneshot::Receiver<()>) {
        slot.asking(answered).await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_long_holds_no_worker() {
        let slots = Slots::new(2, 1, 10, Duration::from_millis(1));
        let (one, two) = (tenant(1), tenant(2));
        let first = slots.take(&one, workspace(1), false, false);
        assert!(!slots.has_room(&one, workspace(1)), "its cap");
        let _second = slots.take(&two, workspace(2), false, false);
        assert!(slots.are_full() && !slots.has_room(&tenant(3), workspace(3)));
        let (answer, answered) = tokio::sync::oneshot::channel();
        let mut request = Box::pin(slow(&first, answered));
        tokio::select! {
            () = &mut request => panic!("it is slow"),
            () = slots.freed() => {}
        }
        assert!(slots.has_room(&tenant(3), workspace(3)) && !slots.are_full());
        assert!(slots.is_slow(workspace(1)) && slots.has_room(&one, workspace(1)));
        let free = slots.free(true, [workspace(1), workspace(4)].into_iter());
        assert_eq!((free.places, free.room[&workspace(1)], free.room[&workspace(4)]), (9, 4, 5));
        answer.send(()).unwrap();
        request.await;
        assert!(slots.is_slow(workspace(1)), "until an answer comes in time");
        first.asking(std::future::ready(())).await;
        drop(first);
        assert!(!slots.is_slow(workspace(1)) && slots.state().slow.is_empty());
        let state = slots.state();
        assert_eq!((state.apart, state.working), (0, 1));
    }

    #[tokio::test]
    async fn where_too_many_wait_apart_a_worker_is_kept() {
        let slots = Slots::new(1, 1, 0, Duration::from_millis(1));
        let slot = slots.take(&tenant(1), workspace(1), false, false);
        let (_never, answered) = tokio::sync::oneshot::channel();
        let mut request = pin!(slow(&slot, answered));
        tokio::select! {
            () = &mut request => panic!("it is slow"),
            () = slots.freed() => {}
        }
        assert!(slots.are_full());
    }

    #[test]
    fn at_most_half_of_the_workers_wait_for_their_starts() {
        let slots = Slots::new(4, 4, 10, SLOW);
        let who = tenant(1);
        let waits = |slots: &Arc<Slots>| slots.free(false, std::iter::empty()).waits;
        assert_eq!(waits(&slots), 2);
        let first = slots.take(&who, workspace(1), false, true);
        let _apart = slots.take(&who, workspace(1), true, true);
        let _soon = slots.take(&who, workspace(2), false, false);
        assert_eq!(waits(&slots), 1);
        let second = slots.take(&who, workspace(2), false, true);
        assert!(waits(&slots) == 0 && !slots.may_wait(workspace(2)));
        assert!(slots.has_room(&who, workspace(2)), "for a request that may start soon");
        first.start_is_near();
        assert!(waits(&slots) == 1 && slots.may_wait(workspace(2)));
        drop((first, second));
        assert_eq!((waits(&slots), slots.state().early), (2, 0));
    }
}
