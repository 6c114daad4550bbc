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
use super::explain;
use crate::directory::{self, Missed, View};
use crate::domain::delivery::admission::{
    Admitted, Departure, Facts, Message, Placement, Reached, Search, admit,
};
use crate::domain::delivery::trace;
use crate::domain::delivery::{End, State};
use crate::domain::identity::matching::MemberDecision;
use crate::domain::identity::person::Person;
use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::message::draft::Draft;
use crate::domain::message::render::Reader;
use crate::domain::message::stored::Stored;
use crate::domain::settings::{Identity, Preferences, Settings};
use crate::domain::time::Timestamp;
use crate::store::{self, Installation, ResolveOutcome, Resolving};
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
            tracing::error!("the search for a message's member panicked; repeated after its lease");
        }
        true
    }
}

/// A person whose member is looked for.
struct Sought<'a> {
    person: &'a Person,
    /// The stored one in this workspace.
    identity: Option<&'a Identity>,
    /// Those of the mapping's user attribute.
    values: &'a Values,
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
                        tracing::warn!(%error, "members of messages cannot be looked up; retrying");
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
        let lined_up = store.waiting().line_up_due(BATCH).await?;
        let claimed = store.waiting().claim_resolving(BATCH, timing.lease).await?;
        // Deliveries that waited behind these may be due now.
        let more = !claimed.is_empty() || joined.max(lined_up) == BATCH || !arrived.is_empty();
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
                    "the member of a message was not found out; retrying later"
                );
                false
            }
        }
    }

    /// Gathers the facts; `domain::delivery::admission` decides by the same rules as in Notify.
    async fn resolved(
        &self,
        resolving: &Resolving,
        desk: &mut Desk,
    ) -> Result<Resolution, directory::Error> {
        let (store, tenant) = (&self.inner.store, &resolving.tenant);
        let message = message(resolving);
        let user = match message.recipient(resolving.user.as_ref()) {
            Ok(user) => user,
            Err(end) => return Ok((ResolveOutcome::End(end), None)),
        };
        let (facts, stored, mut chosen) = tokio::try_join!(
            store.tenancy().tenant_facts(tenant),
            store.people().get(tenant, user),
            store.people().preferences(tenant, std::slice::from_ref(user)),
        )?;
        let departure = facts.as_ref().and_then(|facts| facts.departure);
        let settings = facts.as_ref().map(|facts| &facts.settings);
        let installation = facts.as_ref().and_then(|facts| facts.installation.as_ref());
        let preferences: Preferences = chosen.remove(user).unwrap_or_default();
        let addressed = Addressed { resolving, settings, preferences: &preferences };
        let admitted = admit(Facts {
            message,
            settings,
            preferences: Some(&preferences),
            connected: installation.map(|installation| (installation.id, installation)),
        });
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(end) => {
                return Ok(match Departure::waits(departure, end) {
                    Ok(()) => self.again(resolving),
                    Err(end) => addressed.ends(end),
                });
            }
        };
        let (person, identity) = match stored {
            Some(stored) => (stored.person, stored.identity),
            None => (Person::bare(user.clone()), None),
        };
        let installation = admitted.workspace;
        let identity = identity.filter(|identity| identity.installation == installation.id);
        let mapping = self.inner.directory.mapping(admitted.settings).await?;
        let values = self.inner.directory.values(tenant, &mapping, &person).await?;
        let sought = Sought { person: &person, identity: identity.as_ref(), values: &values };
        let waited = resolving.now.since(time_of(resolving));
        let looked = self.look_for(installation, &mapping, sought, waited, desk).await?;
        Ok(self.placed(&addressed, &admitted, &person, &looked))
    }

    /// It is looked at again later.
    fn again(&self, resolving: &Resolving) -> Resolution {
        let waited = resolving.now.since(time_of(resolving));
        (ResolveOutcome::Again { after: again(waited, self.inner.timing.retry) }, None)
    }

    /// The next place of a message that may go, by the answer about its member.
    fn placed(
        &self,
        addressed: &Addressed<'_>,
        admitted: &Admitted<'_, &Installation>,
        person: &Person,
        looked: &Looked,
    ) -> Resolution {
        let timing = &self.inner.timing;
        let search = Search {
            decision: &looked.decision,
            // The store keeps it behind the person's earlier messages.
            is_behind: false,
            slack_may_know: looked.ask_after.is_some(),
        };
        match admitted.to_person(search) {
            Ok(Placement::Member(member) | Placement::Behind(member)) => {
                addressed.joins_lane(admitted, person, member, &looked.view)
            }
            Ok(Placement::AwaitList | Placement::AskSlack(_)) => {
                let waited = addressed.resolving.now.since(time_of(addressed.resolving));
                let after = looked.ask_after.unwrap_or_else(|| again(waited, timing.retry));
                (ResolveOutcome::Again { after }, None)
            }
            Ok(Placement::Hold(reason)) => {
                let trace = addressed.explain(None, reason.code(), true);
                (ResolveOutcome::Hold { reason, look_after: timing.held_soon }, trace)
            }
            Err(end) => addressed.ends(end),
        }
    }

    /// The decision by the member list; if the person is missing there, with Slack's answer added.
    async fn look_for(
        &self,
        installation: &Installation,
        mapping: &Mapping,
        sought: Sought<'_>,
        waited: Duration,
        desk: &mut Desk,
    ) -> Result<Looked, directory::Error> {
        let Sought { person, identity, values } = sought;
        let directory = &self.inner.directory;
        let by = |view: View| {
            let (decision, _) = view.decide(mapping, identity, values);
            Looked { decision, view, ask_after: None }
        };
        let looked = by(directory.view(installation.id, mapping).await?);
        let MemberDecision::Unreachable { reason } = looked.decision else { return Ok(looked) };
        if !directory.may_know(installation, person, values, reason) {
            return Ok(looked);
        }
        let missed = match self.inner.asks.begin(installation.id) {
            Some(_asking) => {
                desk.take();
                directory.look_up(installation, mapping, person, values, reason).await?
            }
            None => Missed::Later { after: again(waited, self.inner.timing.retry) },
        };
        Ok(match missed {
            Missed::Asked(since) => by(since),
            Missed::Later { after } if waited < self.inner.timing.look_up => {
                let after = after.max(self.inner.timing.retry);
                Looked { ask_after: Some(after), ..looked }
            }
            Missed::Later { .. } | Missed::Stands => looked,
        })
    }
}

/// How a delivery is settled, and its trace if something was decided.
type Resolution = (ResolveOutcome, Option<Vec<u8>>);

/// A delivery to a person, with the switches and choices that apply to it.
struct Addressed<'a> {
    resolving: &'a Resolving,
    /// `None`: the tenant is gone.
    settings: Option<&'a Settings>,
    preferences: &'a Preferences,
}

impl Addressed<'_> {
    /// The trace with a decision added; `None` if the tenant is gone.
    fn explain(
        &self,
        basis: Option<trace::TraceBasis>,
        verdict: &str,
        held: bool,
    ) -> Option<Vec<u8>> {
        let (resolving, event) = (self.resolving, &self.resolving.event_type);
        let decision = trace::TraceDecision {
            stage: trace::Stage::Resolved,
            at: resolving.now,
            switches: Some(trace::Switches::of(self.settings?, event)),
            choice: trace::TraceChoice::of(self.preferences, event),
            identity: basis,
            template: Some(event.to_string()),
            verdict: verdict.to_owned(),
        };
        Some(explain::resolved(resolving.trace.as_deref(), decision, resolving.action, held))
    }

    fn ends(&self, end: End) -> Resolution {
        (ResolveOutcome::End(end), self.explain(None, end.code(), false))
    }

    /// To the tail of the member's lane. The member is stored as the person's if the match is new.
    fn joins_lane(
        &self,
        admitted: &Admitted<'_, &Installation>,
        person: &Person,
        member: Reached<'_>,
        view: &View,
    ) -> Resolution {
        let (id, installation) = (member.slack_user_id, admitted.workspace.id);
        let found = trace::TraceBasis::of(&member.basis, view.generation(), view.read_at);
        let reader = |draft: &Draft<'_>| {
            draft.reader(Some(person), view.member(id).as_ref(), admitted.settings)
        };
        let lane = ResolveOutcome::Lane {
            installation,
            lane: id.as_str().to_owned(),
            content: content(self.resolving, reader),
            identity: member.new_identity(installation, self.resolving.now),
        };
        (lane, self.explain(Some(found), "send", false))
    }
}

/// The delivery as the decision sees it. It is due, and its data has been read.
fn message(resolving: &Resolving) -> Message<'_> {
    Message {
        now: resolving.now,
        expires_at: resolving.expires_at,
        deliver_after: None,
        kind: resolving.kind,
        action: resolving.action,
        event: &resolving.event_type,
        hold: Some(resolving.hold),
        damaged: resolving.damaged,
    }
}

/// The time from which its waits and an "in 15 minutes" of its text count, as in Notify: the time
/// for which it was scheduled, or its acceptance.
fn time_of(resolving: &Resolving) -> Timestamp {
    let trace = trace::Trace::from_bytes(resolving.trace.as_deref().unwrap_or_default());
    trace.scheduled_for().map_or(resolving.created_at, |time| time.max(resolving.created_at))
}

/// The answer of the member list and of Slack.
struct Looked {
    decision: MemberDecision,
    view: View,
    /// Slack may know the person, and is asked after this time.
    ask_after: Option<Duration>,
}

/// The wait before the next look for a missing list. Deliveries for a workspace that cannot be read
/// must not keep the store busy, so the wait grows with the time that has passed.
fn again(waited: Duration, first: Duration) -> Duration {
    (waited / 8).clamp(first, first * 60)
}

/// The message as it is stored, in the words that were in force when it was accepted. `None`: it
/// was written then, and keeps its content, or it cannot be rendered. It could be then, so that is
/// rare; without content the message fails in its lane, with the reason.
fn content(resolving: &Resolving, reader: impl FnOnce(&Draft<'_>) -> Reader) -> Option<Vec<u8>> {
    if !resolving.action.speaks() {
        return None;
    }
    let stored = Stored::from_bytes(&resolving.data)?;
    let (event, link) = (&resolving.event_type, resolving.link.as_deref());
    let words = stored.words(event)?;
    let draft = Draft::of(event, words, &stored.data, link, time_of(resolving));
    let written = draft.write(&reader(&draft)).inspect_err(|error| {
        let (tenant, delivery) = (&resolving.tenant, &resolving.delivery);
        tracing::warn!(%tenant, %delivery, %error, "a message cannot be rendered");
    });
    written.ok()
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
