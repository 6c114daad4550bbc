//! A channel as callers see it.

use std::time::Duration;

use crate::app::{App, Call, Error};
use crate::domain::channels::name::legal;
use crate::domain::channels::next::{ChannelFacts, Step, at_rest, missing_scopes, next};
use crate::domain::channels::state::{ChannelObstacle, ChannelState};
use crate::store::{ManagedChannel, MemberCounts, TenantFacts};

/// A channel, and the meaning of its state.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownChannel {
    pub channel: ManagedChannel,
    pub state: ChannelState,
    pub obstacle: Option<ChannelObstacle>,
    /// The obstacle for people, with the remedy; empty: there is none.
    pub sentence: String,
    /// The scopes that are missing, if that is the obstacle.
    pub missing_scopes: Vec<&'static str>,
    /// The name in Slack, or the legal form of the wished one.
    pub name: String,
    /// Whether the wish is carried out, except for members that wait for something.
    pub is_settled: bool,
}

impl App {
    /// The facts about the tenant of a call, or [`Error::NotFound`].
    pub(super) async fn tenant_of(&self, call: &Call) -> Result<TenantFacts, Error> {
        let facts = self.store.tenancy().tenant_facts(&call.tenant).await?;
        facts.ok_or(Error::NotFound("tenant"))
    }
}

impl ShownChannel {
    /// As stored: the same state as in the feed.
    pub(super) fn stored(channel: ManagedChannel, facts: &TenantFacts) -> Self {
        let (state, obstacle) = (channel.state, channel.obstacle);
        Self::new(channel, facts, |_| (state, obstacle))
    }

    /// After a change: an obstacle that is known already is shown before the reconciler stores it.
    pub(super) fn changed(channel: ManagedChannel, facts: &TenantFacts) -> Self {
        let (state, obstacle) = (channel.state, channel.obstacle);
        Self::new(channel, facts, |step| match step {
            Step::Rest { state, obstacle, .. } => (*state, *obstacle),
            _ => (state, obstacle),
        })
    }

    /// `shown`: the state and the obstacle, by the next step of the reconciler.
    fn new(
        channel: ManagedChannel,
        facts: &TenantFacts,
        shown: impl FnOnce(&Step) -> (ChannelState, Option<ChannelObstacle>),
    ) -> Self {
        // When to look again is not shown.
        let of_channel = channel.facts(facts.installation.as_ref(), facts.now, Duration::ZERO);
        let step = next(&of_channel);
        let (state, obstacle) = shown(&step);
        let sentence = obstacle.map(|it| it.sentence(&of_channel.detail(it)));
        let missing_scopes = match obstacle {
            Some(ChannelObstacle::MissingScopes) => lacking(facts),
            _ => Vec::new(),
        };
        let is_settled = is_settled(step, &of_channel, &channel.counts);
        let name = channel.progress.name.clone().or_else(|| legal(&channel.wish.name));
        Self {
            state,
            obstacle,
            sentence: sentence.unwrap_or_default(),
            missing_scopes,
            name: name.unwrap_or_default(),
            is_settled,
            channel,
        }
    }
}

/// The scopes that channels need and the connected workspace did not grant.
pub(super) fn lacking(facts: &TenantFacts) -> Vec<&'static str> {
    let installation = facts.installation.as_ref();
    installation.map_or_else(Vec::new, |it| missing_scopes(&it.scopes))
}

fn is_settled(step: Step, facts: &ChannelFacts<'_>, counts: &MemberCounts) -> bool {
    let is_busy = counts.queued > 0 || counts.removing > 0;
    let rest = if step == Step::Members { at_rest(facts) } else { step };
    match rest {
        Step::Rest { state: ChannelState::Ready, obstacle: None, .. } => !is_busy,
        Step::Rest { state: ChannelState::Archived, obstacle: None, .. } => true,
        _ => false,
    }
}
