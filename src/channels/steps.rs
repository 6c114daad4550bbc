//! Carries out the steps of a turn, in the order that `domain::channels::next` decides.

use std::ops::ControlFlow;
use std::time::Duration;

use super::turn::{ChannelWork, Denied, Interruption, Owning, RequestOutcome};
use crate::domain::channels::next::{
    Inspection, Step, begun, inspected, next, not_begun, repeated,
};
use crate::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use crate::domain::time::Timestamp;
use crate::workspace::Method;

/// Steps of one turn. A channel needs fewer; the next turn continues.
const STEPS: usize = 64;

type Ended = Result<Option<Timestamp>, Interruption>;

impl ChannelWork {
    /// Works until there is nothing to do, and gives the lease back.
    pub(super) async fn run(mut self) {
        let ended = self.work().await;
        let due = match self.conclude(ended).await {
            Ok(due) => due,
            Err(Interruption::Lost) => {
                tracing::info!(channel = %self.lease.id, "the lease on the channel was lost");
                return;
            }
            Err(Interruption::Failed(error)) => {
                // The progress that the claim led to is not stored yet.
                self.followed = false;
                tracing::warn!(channel = %self.lease.id, %error, "a channel waits; retrying");
                Some(self.now().plus(self.timing().look_again))
            }
            Err(_) => Some(self.now().plus(self.timing().soon)),
        };
        let store = &self.channels.inner.store;
        let ended = store.channels().end(&self.lease, due, self.now(), self.followed).await;
        if let Err(error) = ended {
            tracing::warn!(channel = %self.lease.id, %error, "a lease was not given back");
        }
    }

    async fn work(&mut self) -> Ended {
        self.begin().await?;
        for _ in 0..STEPS {
            if self.is_stopping() {
                return Err(Interruption::Stopped);
            }
            let step = next(&self.facts());
            match self.act(&step).await {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(due)) => return Ok(due),
                Err(Interruption::Again) => {
                    self.keep().await?;
                    self.refresh().await?;
                }
                Err(interruption) => return Err(interruption),
            }
        }
        Err(Interruption::Later(self.timing().soon))
    }

    /// Follows up what the claim reported. It is stored with the progress before the lease ends.
    async fn begin(&mut self) -> Result<(), Interruption> {
        self.refresh().await?;
        let (now, longest) = (self.now(), self.timing().blocked);
        self.changed |= self.progress.follow_clock(now, longest);
        let store = &self.channels.inner.store;
        if self.lease.appeared {
            if !store.channels().wake_members(&self.lease).await? {
                return Err(Interruption::Lost);
            }
            // The workspace may have been connected again, with other scopes.
            let refusals = self.progress.refusals.len();
            self.progress.refusals.retain(|refusal| {
                !matches!(
                    refusal.obstacle,
                    ChannelObstacle::MissingScopes | ChannelObstacle::Reconnect
                )
            });
            self.changed |= refusals != self.progress.refusals.len();
        }
        let mut in_doubt = false;
        if self.lease.channel.counts.queued > 0 {
            let inviting = &[ChannelMemberState::Inviting];
            let marked = store.channels().members_to_do(&self.lease, inviting, None, 1).await?;
            if !marked.is_empty() {
                // A previous holder did not learn what became of its invitation.
                self.progress.members_read = false;
                self.changed = true;
                // If that holder only lost its lease, by a step of the clock for example, the
                // invitation may still be under way.
                in_doubt = self.lease.recheck;
            }
        }
        if self.lease.recheck && self.place.is_none() {
            // Only a recovery doubts a channel that is not known to exist.
            let channel = &self.lease.channel;
            self.progress.recovered(&channel.wish, channel.id, channel.created_at);
        }
        let now = self.now();
        if self.lease.recheck || self.next_check().is_some_and(|at| at <= now) {
            self.progress.doubt();
            self.progress.checked_at = Some(now);
            self.changed = true;
        }
        self.followed = true;
        if in_doubt {
            return Err(Interruption::Later(self.timing().look_again));
        }
        Ok(())
    }

    /// How the turn ends: when the channel is due again.
    async fn conclude(&mut self, ended: Ended) -> Ended {
        let wait = match ended {
            Ok(due) => return Ok(due.into_iter().chain(self.next_check()).min()),
            Err(Interruption::Stopped | Interruption::Overtaken | Interruption::Again) => {
                Duration::ZERO
            }
            Err(Interruption::Later(after)) => after,
            Err(Interruption::Temporary(code)) => {
                let wait = self.timing().after_failures(self.progress.failures);
                tracing::info!(channel = %self.lease.id, %code, ?wait, "a channel waits for Slack");
                wait
            }
            Err(interruption) => return Err(interruption),
        };
        self.settle(self.state, self.obstacle).await?;
        Ok(Some(self.now().plus(wait)))
    }

    async fn act(&mut self, step: &Step) -> Result<ControlFlow<Option<Timestamp>>, Interruption> {
        match step {
            Step::Rest { state, obstacle, until } => {
                self.explain(*obstacle);
                self.settle(*state, *obstacle).await?;
                // The change that wakes a channel with an obstacle may have been missed.
                let idle = obstacle.map(|_| self.now().plus(self.timing().idle));
                return Ok(ControlFlow::Break(until.or(idle)));
            }
            Step::Members => return self.members(step).await.map(ControlFlow::Break),
            Step::Create { name, is_private } => self.create(step, name, *is_private).await?,
            Step::LookForOwn { name, .. } => self.look_for_own(step, name).await?,
            Step::LookForTaken { name } => self.look_for_taken(step, name).await?,
            Step::Join => self.join(step).await?,
            Step::Unarchive => self.unarchive(step).await?,
            Step::Archive => self.archive(step).await?,
            Step::Rename { name } => self.rename(step, name).await?,
            Step::SetTopic => self.set_topic(step).await?,
            Step::Mark { purpose } => self.write_mark(step, purpose).await?,
            Step::Inspect => self.inspect(step).await?,
            Step::ReadMembers => self.read_members(step).await?,
        }
        self.keep().await?;
        Ok(ControlFlow::Continue(()))
    }

    /// Keeps the detail of an obstacle for its sentence.
    pub(super) fn explain(&mut self, obstacle: Option<ChannelObstacle>) {
        let Some(obstacle) = obstacle else { return };
        let detail = self.facts().detail(obstacle);
        if self.progress.obstacle_detail != detail {
            self.progress.obstacle_detail = detail;
            self.changed = true;
        }
    }

    /// Creates the channel. The attempt is committed first, and taken back if the request was
    /// certainly not carried out.
    async fn create(
        &mut self,
        step: &Step,
        name: &str,
        is_private: bool,
    ) -> Result<(), Interruption> {
        let prepared = self.prepare(Method::ConversationsCreate).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let now = self.now();
        let (state, obstacle) = match repeated(step, &self.lease.channel.wish, &self.progress) {
            // No news until the answer is another one.
            Some(obstacle) => (ChannelState::Blocked, Some(obstacle)),
            None => (ChannelState::Creating, None),
        };
        self.progress.attempt(name, is_private, self.lease.id, installation, now);
        self.changed = true;
        self.settle(state, obstacle).await?;
        let request = prepared.workspaces.create_channel(installation, name, is_private, patience);
        match self.send(&prepared, request).await {
            Ok(RequestOutcome::Done(seen)) => {
                self.own(step, installation, &Owning::Created(seen)).await
            }
            // Another replica, or the next step, looks for the channel.
            Ok(RequestOutcome::Denied(Denied::Unclear)) => {
                self.progress.unclear();
                self.changed = true;
                Ok(())
            }
            Ok(RequestOutcome::Denied(denied)) => Err(self.denied(step, denied)),
            Err(interruption) => {
                if matches!(interruption, Interruption::Later(_) | Interruption::Again) {
                    self.progress.not_created();
                    self.changed = true;
                }
                Err(interruption)
            }
        }
    }

    async fn join(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsJoin).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.join_channel(installation, &channel, patience);
        let sent = self.send(&prepared, request).await?;
        self.settled_by(step, sent)
    }

    async fn unarchive(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsUnarchive).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.unarchive_channel(installation, &channel, patience);
        let sent = self.send(&prepared, request).await?;
        self.settled_by(step, sent)
    }

    async fn archive(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsArchive).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        self.changed |= begun(step, &mut self.progress);
        self.settle(self.state, self.obstacle).await?;
        let request = prepared.workspaces.archive_channel(installation, &channel, patience);
        let sent = self.send(&prepared, request).await;
        if matches!(sent, Err(Interruption::Later(_) | Interruption::Again)) {
            not_begun(step, &mut self.progress);
            self.changed = true;
        }
        self.settled_by(step, sent?)
    }

    async fn rename(&mut self, step: &Step, name: &str) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsRename).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.rename_channel(installation, &channel, name, patience);
        let sent = self.send(&prepared, request).await?;
        self.settled_by(step, sent)
    }

    async fn set_topic(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsSetTopic).await?;
        let topic = self.lease.channel.wish.topic.clone();
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.set_topic(installation, &channel, &topic, patience);
        let sent = self.send(&prepared, request).await?;
        self.settled_by(step, sent)
    }

    /// Writes the purpose with the mark; the next step reads it back.
    async fn write_mark(&mut self, step: &Step, purpose: &str) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsSetPurpose).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.set_purpose(installation, &channel, purpose, patience);
        let sent = self.send(&prepared, request).await?;
        self.settled_by(step, sent)
    }

    async fn inspect(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsInfo).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.channel_info(installation, &channel, patience);
        let seen = match self.send(&prepared, request).await? {
            RequestOutcome::Done(seen) => seen,
            RequestOutcome::Denied(denied) => {
                // It is not gone if it has another id by now.
                if self.follow_id().await? {
                    return Err(Interruption::Again);
                }
                return Err(self.denied(step, denied));
            }
        };
        let inspection = Inspection {
            id: self.lease.id,
            wish: &self.lease.channel.wish,
            ends: self.facts().ends(),
            again_at: self.now().plus(self.timing().blocked),
        };
        inspected(&seen, &inspection, &mut self.progress);
        self.changed = true;
        Ok(())
    }

    fn settled_by<T>(&mut self, step: &Step, sent: RequestOutcome<T>) -> Result<(), Interruption> {
        match sent {
            RequestOutcome::Done(_) => {
                self.done(step);
                Ok(())
            }
            RequestOutcome::Denied(denied) => Err(self.denied(step, denied)),
        }
    }
}
