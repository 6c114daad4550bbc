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
use crate::domain::delivery::{End, State};
use crate::domain::event;
use crate::domain::ids::{InstallationId, UserId};
use crate::domain::mapping::{Mapping, Values};
use crate::domain::matching::{self, MatchBasis, MemberDecision};
use crate::domain::person::Person;
use crate::domain::reason::{Failure, NoMatch, Suppression};
use crate::domain::render::{Context, Link, Reader};
use crate::domain::settings::{Identity, Preferences, Rule, Settings};
use crate::domain::trace;
use crate::store::{self, Installation, Resolved, Resolving};
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
        if store.waiting().resolve_members_of(arrived).await? {
            arrived.clear();
        }
        let joined = store.waiting().join_due(BATCH).await?;
        let claimed = store.waiting().claim_resolving(BATCH, timing.lease).await?;
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
        let due = store.waiting().next_deferred().await?.unwrap_or(timing.poll);
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
            let settled = self
                .inner
                .store
                .waiting()
                .settle_resolving(token, delivery, &resolved, trace)
                .await?;
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

    /// Decides by the same rules as Notify.
    async fn resolved(
        &self,
        resolving: &Resolving,
        desk: &mut Desk,
    ) -> Result<Resolution, directory::Error> {
        let (store, tenant) = (&self.inner.store, &resolving.tenant);
        let user = match recipient(resolving) {
            Ok(user) => user,
            Err(end) => return Ok((Resolved::End(end), None)),
        };
        let (settings, installation, stored, mut chosen) = tokio::try_join!(
            store.tenancy().settings(tenant),
            store.tenancy().installation_of(tenant),
            store.people().get(tenant, user),
            store.people().preferences(tenant, std::slice::from_ref(user)),
        )?;
        let Some(settings) = settings else {
            return Ok((Resolved::End(End::Unreachable(NoMatch::NotConnected)), None));
        };
        let preferences: Preferences = chosen.remove(user).unwrap_or_default();
        let addressed = Addressed { resolving, settings: &settings, preferences: &preferences };
        if let Some(by) = addressed.held_back() {
            return Ok(addressed.ends(End::Suppressed(by), by.code()));
        }
        let Some(installation) = installation else {
            return Ok(addressed.unreachable(NoMatch::NotConnected));
        };
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
        Ok(match looked.await? {
            LookedFor::Later { after } => (Resolved::Again { after }, None),
            LookedFor::Decided(MemberDecision::Unreachable { reason }, _) => {
                self.unmatched(&addressed, reason, waited)
            }
            LookedFor::Decided(
                MemberDecision::Reach { slack_user_id, display_name, basis },
                view,
            ) => {
                let member = Identity {
                    slack_user_id,
                    display_name,
                    rule: Rule::Matched,
                    installation: installation.id,
                    stored_at: resolving.now,
                };
                addressed.joins_lane(&person, member, basis, &view)
            }
        })
    }

    /// A person without a member, by the present list.
    fn unmatched(
        &self,
        addressed: &Addressed<'_>,
        reason: NoMatch,
        waited: Duration,
    ) -> Resolution {
        let timing = &self.inner.timing;
        if reason == NoMatch::DirectoryNotReady {
            return (Resolved::Again { after: again(waited, timing.retry) }, None);
        }
        if addressed.resolving.hold && reason.arrival_helps() {
            let trace = addressed.explain(None, reason.code(), true);
            return (Resolved::Hold { reason, look_after: timing.held_soon }, Some(trace));
        }
        addressed.unreachable(reason)
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
            MemberDecision::Unreachable { reason } if reason != NoMatch::DirectoryNotReady => {
                reason
            }
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

/// How a delivery is settled, and its trace if something was decided.
type Resolution = (Resolved, Option<Vec<u8>>);

/// A delivery to a person, with the switches and choices that apply to it.
struct Addressed<'a> {
    resolving: &'a Resolving,
    settings: &'a Settings,
    preferences: &'a Preferences,
}

impl Addressed<'_> {
    /// The switch or choice that suppresses the message.
    fn held_back(&self) -> Option<Suppression> {
        let Resolving { kind, action, event_type, .. } = self.resolving;
        switch(self.settings, Some(self.preferences), *kind, *action, event_type)
    }

    /// The trace with a decision added.
    fn explain(&self, basis: Option<trace::TraceBasis>, verdict: &str, held: bool) -> Vec<u8> {
        let (resolving, event) = (self.resolving, &self.resolving.event_type);
        let decision = trace::TraceDecision {
            stage: trace::Stage::Resolved,
            at: resolving.now,
            switches: Some(trace::Switches::of(self.settings, event)),
            choice: trace::Choice::of(self.preferences, event),
            identity: basis,
            template: Some(event.to_string()),
            verdict: verdict.to_owned(),
        };
        explain::resolved(resolving.trace.as_deref(), decision, resolving.action, held)
    }

    fn ends(&self, end: End, verdict: &str) -> Resolution {
        (Resolved::End(end), Some(self.explain(None, verdict, false)))
    }

    fn unreachable(&self, reason: NoMatch) -> Resolution {
        self.ends(End::Unreachable(reason), reason.code())
    }

    /// To the tail of the member's lane. The member is stored as the person's if the match is new.
    fn joins_lane(
        &self,
        person: &Person,
        member: Identity,
        basis: MatchBasis,
        view: &View,
    ) -> Resolution {
        let id = &member.slack_user_id;
        let reader = Reader::of(Some(person), view.member(id).as_ref(), self.settings);
        let found = trace::TraceBasis::of(&basis, view.generation(), view.read_at);
        let is_new = basis == MatchBasis::Matched { is_new: true };
        let lane = Resolved::Lane {
            installation: member.installation,
            lane: id.as_str().to_owned(),
            content: content(self.resolving, &reader),
            identity: is_new.then_some(member),
        };
        (lane, Some(self.explain(Some(found), "send", false)))
    }
}

/// The person to resolve; `Err`: there is none, or nothing is left to send.
fn recipient(resolving: &Resolving) -> Result<&UserId, End> {
    if resolving.expires_at <= resolving.now {
        return Err(End::Expired);
    }
    if resolving.damaged && resolving.action.speaks() {
        return Err(End::Failed(Failure::Damaged));
    }
    // A channel needs no resolving.
    resolving.user.as_ref().ok_or(End::Unreachable(NoMatch::NoMember))
}

/// The recipient according to the member list.
enum LookedFor {
    Decided(MemberDecision, View),
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
