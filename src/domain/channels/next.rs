//! The one place that decides the next step of a channel.
//!
//! [`next`] depends on its facts only, so it may be asked at any time, by any replica, and again
//! after a crash: each step either changes what it is asked with, or leads to rest.

pub use super::look::{OwnLook, adoptable, settled_by_look};
pub use super::outcome::{
    Inspection, Refused, begun, done, failed, inspected, not_begun, refused, unclear,
};
pub use super::step::{ChannelFacts, SCOPES, Step, missing_scopes, repeated};

use super::name::legal;
use super::progress::CreateAttempt;
use super::refusal::StepRefusal;
use super::state::{ChannelObstacle, ChannelState};
use super::step::creation;
use super::wish::NameTaken;
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;

/// The next step.
#[must_use]
pub fn next(facts: &ChannelFacts<'_>) -> Step {
    match facts.place {
        Some(place) if !is_dropped(facts) => existing(facts, place.installation),
        _ => absent(facts),
    }
}

/// How a channel rests after the turn of its members.
#[must_use]
pub fn at_rest(facts: &ChannelFacts<'_>) -> Step {
    let refusals = finishing(facts).into_iter().filter_map(|step| refusal(facts, &step));
    let refusals: Vec<&StepRefusal> = refusals.collect();
    let obstacle = refusals.first().map(|refusal| refusal.obstacle);
    let again = refusals.iter().map(|refusal| refusal.until).min();
    Step::Rest { state: ChannelState::Ready, obstacle, until: earlier(again, facts.end()) }
}

/// An adoption that is not complete and never will be: the wish ends, or the channel was deleted,
/// or one was requested in its place, or the wish no longer asks for it while something is in the
/// way of marking it.
fn is_dropped(facts: &ChannelFacts<'_>) -> bool {
    let (progress, wish) = (facts.progress, facts.wish);
    if progress.owned || !progress.adopted {
        return false;
    }
    let still_asked = wish.name_taken == NameTaken::Adopt
        && !is_other_kind(facts)
        && legal(&wish.name) == progress.named_for;
    let is_gone = progress.deleted || progress.attempt.is_some();
    facts.ends() || is_gone || (!still_asked && progress.is_unmarkable(wish))
}

fn absent(facts: &ChannelFacts<'_>) -> Step {
    if let Some(attempt) = facts.progress.pending() {
        return unsettled(facts, attempt);
    }
    if facts.ends() {
        return Step::Rest { state: ChannelState::Archived, obstacle: None, until: None };
    }
    let begin = facts.wish.create_not_before.filter(|begin| *begin > facts.now);
    let obstacle = unreachable(facts);
    if begin.is_some() {
        let until = earlier(begin, facts.end());
        return Step::Rest { state: ChannelState::Scheduled, obstacle, until };
    }
    if let Some(obstacle) = obstacle {
        return Step::blocked(obstacle, facts.end());
    }
    match creation(facts.wish, facts.progress) {
        Some(step) => unless_refused(facts, step),
        None => Step::blocked(ChannelObstacle::RefusedBySlack, facts.end()),
    }
}

/// A create may have been carried out: nothing else happens before that is known.
fn unsettled(facts: &ChannelFacts<'_>, attempt: &CreateAttempt) -> Step {
    if let Some(obstacle) = unreachable(facts) {
        return Step::blocked(obstacle, None);
    }
    if attempt.installation.is_some() && attempt.installation != facts.connected {
        return Step::blocked(ChannelObstacle::OtherWorkspace, None);
    }
    let again = attempt.at.plus(facts.look_again_after);
    if attempt.looked > 0 && facts.now < again {
        let state = ChannelState::Creating;
        return Step::Rest { state, obstacle: None, until: Some(again) };
    }
    let look = Step::LookForOwn { name: attempt.name.clone(), since: attempt.since };
    unless_refused(facts, look)
}

/// Why nothing can be done in the tenant's workspace.
fn unreachable(facts: &ChannelFacts<'_>) -> Option<ChannelObstacle> {
    if facts.connected.is_none() {
        Some(ChannelObstacle::NotConnected)
    } else if facts.dead.is_some() {
        Some(ChannelObstacle::Reconnect)
    } else if missing_scopes(facts.granted).is_empty() {
        None
    } else {
        Some(ChannelObstacle::MissingScopes)
    }
}

fn existing(facts: &ChannelFacts<'_>, installation: InstallationId) -> Step {
    let is_elsewhere = facts.connected.is_some_and(|connected| connected != installation);
    let elsewhere = is_elsewhere.then_some(ChannelObstacle::OtherWorkspace);
    let unreachable = elsewhere.or_else(|| unreachable(facts));
    if (!facts.progress.unsure || unreachable.is_some())
        && let Some(rest) = closed(facts)
    {
        return rest;
    }
    match unreachable {
        // Messages to it need none of these scopes.
        Some(obstacle @ ChannelObstacle::MissingScopes) if is_usable(facts) => {
            Step::Rest { state: ChannelState::Ready, obstacle: Some(obstacle), until: None }
        }
        Some(obstacle) => Step::blocked(obstacle, None),
        None if facts.progress.unsure => unless_refused(facts, Step::Inspect),
        None => reachable(facts),
    }
}

/// Whether messages can be sent to the channel.
fn is_usable(facts: &ChannelFacts<'_>) -> bool {
    facts.progress.owned && !facts.progress.app_removed && !is_other_kind(facts)
}

/// The wish changed between public and private while the channel was being created: people are not
/// invited to a channel of the wrong kind.
fn is_other_kind(facts: &ChannelFacts<'_>) -> bool {
    facts.progress.is_private != facts.wish.is_private
}

/// The rest of a channel that no one can write to.
fn closed(facts: &ChannelFacts<'_>) -> Option<Step> {
    let progress = facts.progress;
    let (state, obstacle) = if progress.deleted {
        (ChannelState::Deleted, Some(ChannelObstacle::DeletedInSlack))
    } else if !progress.archived {
        return None;
    } else if facts.ends() {
        (ChannelState::Archived, None)
    } else if progress.archived_by_us || progress.reopening {
        return None;
    } else {
        (ChannelState::Archived, Some(ChannelObstacle::ArchivedInSlack))
    };
    Some(Step::Rest { state, obstacle, until: None })
}

fn reachable(facts: &ChannelFacts<'_>) -> Step {
    let progress = facts.progress;
    if progress.archived {
        return opening(facts);
    }
    if progress.foreign && !progress.owned {
        return unless_refused(facts, Step::Inspect);
    }
    if progress.app_removed {
        // Only a member can invite the app to a private channel.
        let step = if progress.seen_private { Step::Inspect } else { Step::Join };
        return unless_refused(facts, step);
    }
    if facts.ends() {
        return or_rest(facts, Step::Archive, ChannelState::Ready);
    }
    if is_other_kind(facts) {
        return Step::blocked(ChannelObstacle::NotAdoptable, facts.end());
    }
    if !progress.owned {
        let steps = finishing(facts);
        return steps.into_iter().next().map_or(Step::Inspect, |step| unless_refused(facts, step));
    }
    let untried = finishing(facts).into_iter().find(|step| refusal(facts, step).is_none());
    match untried {
        // Without the list, people would be invited who are members already.
        Some(Step::Members) if !progress.members_read => at_rest(facts),
        Some(step) => step,
        None => at_rest(facts),
    }
}

fn opening(facts: &ChannelFacts<'_>) -> Step {
    let state = if facts.progress.owned { ChannelState::Archived } else { ChannelState::Blocked };
    or_rest(facts, Step::Unarchive, state)
}

/// Everything that an open channel may still lack, in order; each is passed over while it is
/// refused, except the mark of an adopted channel.
fn finishing(facts: &ChannelFacts<'_>) -> Vec<Step> {
    let (progress, wish) = (facts.progress, facts.wish);
    let mut steps = Vec::new();
    if progress.purpose.as_deref() != Some(wish.purpose.as_str()) {
        steps.push(Step::Mark { purpose: progress.marked_purpose(wish, facts.id) });
    } else if !progress.marked {
        steps.push(Step::Inspect);
    }
    if let Some(base) = progress.wished_rename(wish) {
        steps.push(Step::Rename { name: progress.candidate(&base, wish.name_taken) });
    }
    if progress.topic.as_deref().unwrap_or_default() != wish.topic {
        steps.push(Step::SetTopic);
    }
    if !progress.members_read {
        steps.push(Step::ReadMembers);
    }
    steps.push(Step::Members);
    steps
}

fn refusal<'a>(facts: &ChannelFacts<'a>, step: &Step) -> Option<&'a StepRefusal> {
    facts.progress.refusal(&step.key(facts.wish), facts.now)
}

/// The step, or the obstacle if it is not to be tried now.
fn unless_refused(facts: &ChannelFacts<'_>, step: Step) -> Step {
    or_rest(facts, step, ChannelState::Blocked)
}

fn or_rest(facts: &ChannelFacts<'_>, step: Step, state: ChannelState) -> Step {
    let Some(refusal) = refusal(facts, &step) else { return step };
    let until = earlier(Some(refusal.until), facts.end());
    Step::Rest { state, obstacle: Some(refusal.obstacle), until }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
