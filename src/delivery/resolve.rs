//! Deliveries whose Slack member was not yet known when they were accepted: they are resolved and
//! rendered once the member list is there, by the same rules as in Notify, and put into their lane.
//! Deliveries scheduled for later are put into their lane when they are due.
//!
//! A person's deliveries are resolved in the order of their acceptance. One that is not yet
//! resolved delays those behind it, so that none enters a lane ahead of it; the arrival of a member
//! list is therefore handled at once (docs/decisions/0027-order-before-resolution.md).
//!
//! Members missing from the list are looked up in Slack here, since Notify must not wait for it.
//! Other people's deliveries do not wait either: a turn that asks Slack continues separately
//! (`asks`). If the limits do not allow the question in time the list decides: a broadcast that
//! falls back to e-mail should not wait for a call per person.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Delivery;
use super::checks::switch;
use super::explain;
use crate::directory::{self, Missed, View};
use crate::domain::delivery::State;
use crate::domain::event;
use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::matching::{self, Basis, Decision};
use crate::domain::person::Person;
use crate::domain::reason::{Failure, NoMatch};
use crate::domain::render::{Context, Link, Reader};
use crate::domain::settings::{Identity, Preferences, Rule};
use crate::domain::trace;
use crate::store::{self, End, Installation, Resolved, Resolving};
use crate::telemetry::Rounds;

/// Deliveries claimed at once.
const BATCH: u32 = 64;
/// People worked on at once, not counting those whose turn asks Slack.
const AT_ONCE: usize = 8;
/// The least time between two looks, if the database's clock is coarser than ours.
const SHORTEST: Duration = Duration::from_millis(1);

/// One of [`AT_ONCE`]; given back when Slack is asked.
type Desk = Option<OwnedSemaphorePermit>;

/// The people whose deliveries are being resolved.
struct Turns {
    desks: Arc<Semaphore>,
    running: JoinSet<()>,
}

impl Turns {
    /// Waits for the end of one turn; `false` if none runs. Deliveries behind it may then be due.
    async fn ended(&mut self) -> bool {
        let Some(ended) = self.running.join_next().await else { return false };
        if ended.is_err() {
            tracing::error!("a message was not resolved: its turn panicked; its lease runs out");
        }
        true
    }
}

impl Delivery {
    pub(super) async fn resolve(self, stop: CancellationToken) {
        let mut troubled = false;
        // Workspaces whose member list arrived, and for which deliveries may wait.
        let mut arrived = BTreeSet::new();
        let rounds = &self.watch("resolve", self.inner.timing.poll);
        let desks = Arc::new(Semaphore::new(AT_ONCE));
        let mut turns = Turns { desks, running: JoinSet::new() };
        while !stop.is_cancelled() {
            rounds.next();
            let wait = match self.resolve_due(rounds, &mut turns, &mut arrived).await {
                Ok(wait) => {
                    troubled = false;
                    wait
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "messages cannot be resolved; trying again");
                    }
                    troubled = true;
                    self.pause_after(&error)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
                more = self.inner.directory.lists_arrived(), if arrived.is_empty() => {
                    arrived = more;
                }
                _ = turns.ended(), if !turns.running.is_empty() => {}
            }
        }
        while turns.ended().await {}
    }

    /// Resolves the deliveries that are due; returns the time until the next look. Deliveries that
    /// wait for a list in `arrived` are due; a workspace is removed once no delivery waits for its
    /// list.
    async fn resolve_due(
        &self,
        rounds: &Rounds,
        turns: &mut Turns,
        arrived: &mut BTreeSet<InstallationId>,
    ) -> Result<Duration, store::Error> {
        let (timing, store) = (&self.inner.timing, &self.inner.store);
        if store.resolve_members_of(arrived).await? {
            arrived.clear();
        }
        let joined = store.join_due(BATCH).await?;
        let claimed = store.claim_resolving(BATCH, timing.lease).await?;
        // Deliveries that waited behind these may be due now.
        let more = !claimed.is_empty() || joined == BATCH || !arrived.is_empty();
        let mut people: BTreeMap<_, Vec<Resolving>> = BTreeMap::new();
        for resolving in claimed {
            let person = (resolving.tenant.clone(), resolving.user.clone());
            people.entry(person).or_default().push(resolving);
        }
        for theirs in people.into_values() {
            let desk = Arc::clone(&turns.desks).acquire_owned().await.ok();
            rounds.next();
            turns.running.spawn(self.clone().resolve_person(theirs, desk));
        }
        // Waits for all people except those whose turn asks Slack.
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        drop(turns.desks.acquire_many(all).await);
        if more {
            return Ok(Duration::ZERO);
        }
        let due = store.next_deferred().await?.unwrap_or(timing.poll);
        Ok(due.clamp(SHORTEST, timing.poll))
    }

    /// Resolves one person's deliveries in order, up to the first that must wait longer.
    async fn resolve_person(self, mut theirs: Vec<Resolving>, mut desk: Desk) {
        theirs.sort_by_key(|resolving| resolving.sequence);
        for resolving in theirs {
            if !self.resolve_one(resolving, &mut desk).await {
                return;
            }
        }
    }

    /// Returns whether it no longer waits for its member. After an error, it and those behind it
    /// wait until the lease ends.
    async fn resolve_one(&self, resolving: Resolving, desk: &mut Desk) -> bool {
        let (delivery, token) = (resolving.delivery, resolving.token);
        let settled = async {
            let (resolved, trace) = self.resolved(&resolving, desk).await?;
            let trace = trace.as_deref();
            let settled =
                self.inner.store.settle_resolving(token, delivery, &resolved, trace).await?;
            Ok::<_, directory::Error>(settled)
        };
        match settled.await {
            Ok(Some(State::Resolving) | None) => false,
            Ok(Some(state)) => {
                self.inner.metrics.deliveries(state.code(), 1);
                true
            }
            Err(error) => {
                let tenant = &resolving.tenant;
                tracing::warn!(
                    %tenant, %delivery, %error,
                    "a message was not resolved; trying again later"
                );
                false
            }
        }
    }

    /// How the delivery is settled, and its trace if something was decided.
    async fn resolved(
        &self,
        resolving: &Resolving,
        desk: &mut Desk,
    ) -> Result<(Resolved, Option<Vec<u8>>), directory::Error> {
        let (store, tenant) = (&self.inner.store, &resolving.tenant);
        let end = |end| Ok((Resolved::End(end), None));
        if resolving.expires_at <= resolving.now {
            return end(End::Expired);
        }
        if resolving.damaged && resolving.action.speaks() {
            return end(End::Failed(Failure::Damaged));
        }
        // A channel needs no resolving.
        let Some(user) = &resolving.user else { return end(End::Unreachable(NoMatch::NoMember)) };
        let (settings, installation, stored, mut chosen) = tokio::try_join!(
            store.settings(tenant),
            store.installation_of(tenant),
            store.person(tenant, user),
            store.preferences(tenant, std::slice::from_ref(user)),
        )?;
        let Some(settings) = settings else {
            return end(End::Unreachable(NoMatch::NotConnected));
        };
        let preferences: Preferences = chosen.remove(user).unwrap_or_default();
        let (kind, action, event) = (resolving.kind, resolving.action, &resolving.event_type);
        let explain = |basis: Option<trace::Basis>, verdict: &str, held: bool| {
            let decision = trace::Decision {
                stage: trace::Stage::Resolved,
                at: resolving.now,
                switches: Some(trace::Switches::of(&settings, event)),
                choice: trace::Choice::of(&preferences, event),
                identity: basis,
                template: Some(event.to_string()),
                verdict: verdict.to_owned(),
            };
            Some(explain::resolved(resolving.trace.as_deref(), decision, action, held))
        };
        if let Some(by) = switch(&settings, Some(&preferences), kind, action, event) {
            return Ok((Resolved::End(End::Suppressed(by)), explain(None, by.code(), false)));
        }
        let nobody = |reason: NoMatch| {
            Ok((Resolved::End(End::Unreachable(reason)), explain(None, reason.code(), false)))
        };
        let Some(installation) = installation else { return nobody(NoMatch::NotConnected) };
        let (person, identity) = match stored {
            Some(stored) => (stored.person, stored.identity),
            None => (Person::bare(user.clone()), None),
        };
        let identity = identity.filter(|identity| identity.installation == installation.id);
        let mapping = self.inner.directory.mapping(&settings).await?;
        let waited = resolving.now.since(resolving.created_at);
        let whom = (&person, identity.as_ref());
        let values = self.inner.directory.values(tenant, &mapping, &person).await?;
        let looked = self.look_for(&installation, &mapping, (whom, &values), waited, desk);
        let (decision, view) = match looked.await? {
            LookedFor::Decided(decision, view) => (decision, view),
            LookedFor::Later { after } => return Ok((Resolved::Again { after }, None)),
        };
        let (member, display_name, basis) = match decision {
            Decision::Reach { slack_user_id, display_name, basis } => {
                (slack_user_id, display_name, basis)
            }
            Decision::Unreachable { reason: NoMatch::DirectoryNotReady } => {
                let after = again(waited, self.inner.timing.retry);
                return Ok((Resolved::Again { after }, None));
            }
            Decision::Unreachable { reason } if resolving.hold && reason.arrival_helps() => {
                let look_after = self.inner.timing.held_soon;
                let trace = explain(None, reason.code(), true);
                return Ok((Resolved::Hold { reason, look_after }, trace));
            }
            Decision::Unreachable { reason } => return nobody(reason),
        };
        let reader = Reader::of(Some(&person), view.member(&member).as_ref(), &settings);
        let is_new = basis == Basis::Matched { is_new: true };
        let found = trace::Basis::of(&basis, view.generation(), view.read_at);
        let lane = Resolved::Lane {
            installation: installation.id,
            lane: member.as_str().to_owned(),
            content: content(resolving, &reader),
            identity: is_new.then_some(Identity {
                slack_user_id: member,
                display_name,
                rule: Rule::Matched,
                installation: installation.id,
                stored_at: resolving.now,
            }),
        };
        Ok((lane, explain(Some(found), "send", false)))
    }

    /// The decision by the member list; if the person is missing there, with Slack's answer added.
    async fn look_for(
        &self,
        installation: &Installation,
        mapping: &Mapping,
        ((person, identity), values): ((&Person, Option<&Identity>), &Values),
        waited: Duration,
        desk: &mut Desk,
    ) -> Result<LookedFor, directory::Error> {
        let directory = &self.inner.directory;
        let decide = |view: &View| {
            let matched = matching::resolve(view.deciding(), mapping, values);
            let kind = identity.and_then(|identity| view.kind(&identity.slack_user_id));
            matching::decide(identity, &matched, kind)
        };
        let view = directory.view(installation.id, mapping).await?;
        let decision = decide(&view);
        let reason = match decision {
            Decision::Unreachable { reason } if reason != NoMatch::DirectoryNotReady => reason,
            _ => return Ok(LookedFor::Decided(decision, view)),
        };
        if !directory.may_know(installation, (person, values), reason) {
            return Ok(LookedFor::Decided(decision, view));
        }
        let missed = match self.inner.asks.begin(installation.id) {
            Some(_asking) => {
                desk.take();
                directory.look_up(installation, mapping, (person, values), reason).await?
            }
            None => Missed::Later { after: again(waited, self.inner.timing.retry) },
        };
        Ok(match missed {
            Missed::Asked(since) => LookedFor::Decided(decide(&since), since),
            Missed::Later { after } if waited < self.inner.timing.look_up => {
                LookedFor::Later { after: after.max(self.inner.timing.retry) }
            }
            Missed::Later { .. } | Missed::Stands => LookedFor::Decided(decision, view),
        })
    }
}

/// The recipient according to the member list.
enum LookedFor {
    Decided(Decision, View),
    /// Slack is asked after this time.
    Later {
        after: Duration,
    },
}

/// The wait before the next look for a missing list. Deliveries for a workspace that cannot be read
/// must not keep the store busy, so the wait grows with the time that has passed.
fn again(waited: Duration, first: Duration) -> Duration {
    (waited / 8).clamp(first, first * 60)
}

/// The message as it is stored; `None` if it cannot be rendered. It could be when it was accepted,
/// so that is rare; without content the message fails in its lane, with the reason.
fn content(resolving: &Resolving, reader: &Reader) -> Option<Vec<u8>> {
    if !resolving.action.speaks() {
        return None;
    }
    let data: serde_json::Value = serde_json::from_slice(&resolving.data).ok()?;
    let template = event::find(&resolving.event_type)?.compiled();
    let link = resolving.link.clone().map(|url| Link { url, label: None });
    let context = Context {
        event: &resolving.event_type,
        data: &data,
        reader,
        link: link.as_ref(),
        button: event::button(&resolving.event_type),
        now: resolving.created_at,
    };
    let rendered = template
        .render(&context)
        .inspect_err(|error| {
            let (tenant, delivery) = (&resolving.tenant, &resolving.delivery);
            tracing::warn!(%tenant, %delivery, %error, "a message cannot be rendered");
        })
        .ok()?;
    serde_json::to_vec(&rendered).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_longer_is_looked_at_less_often() {
        let again = |waited| again(Duration::from_secs(waited), Duration::from_secs(1)).as_secs();
        assert_eq!([again(0), again(8), again(80), again(480), again(100_000)], [1, 1, 10, 60, 60]);
    }
}
