//! Carries out the steps of a turn, in the order that `domain::channels::next` decides.

use std::ops::ControlFlow;

use super::seen::{observe, state_of};
use super::turn::{ChannelWork, Denied, Interruption};
use crate::domain::channels::members::retry_after;
use crate::domain::channels::next::Step;
use crate::domain::channels::progress::CreateAttempt;
use crate::domain::channels::stamp;
use crate::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use crate::domain::time::Timestamp;
use crate::workspace::{Method, scopes};

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
                tracing::warn!(channel = %self.lease.id, %error, "a channel waits; retrying");
                Some(self.now().plus(self.timing().look_again))
            }
            Err(_) => Some(self.now().plus(self.timing().soon)),
        };
        let store = &self.channels.inner.store;
        if let Err(error) = store.channels().end(&self.lease, due, self.followed).await {
            tracing::warn!(channel = %self.lease.id, %error, "a lease was not given back");
        }
    }

    async fn work(&mut self) -> Ended {
        self.begin().await?;
        for _ in 0..STEPS {
            if self.is_stopping() {
                return Err(Interruption::Stopped);
            }
            let step = self.next();
            match self.act(&step).await {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(due)) => return Ok(due),
                Err(Interruption::Again) => {
                    self.settle(self.state, self.obstacle).await?;
                    self.refresh().await?;
                }
                Err(interruption) => return Err(interruption),
            }
        }
        Err(Interruption::Later(self.timing().soon))
    }

    /// Follows up what the claim reported.
    async fn begin(&mut self) -> Result<(), Interruption> {
        self.refresh().await?;
        let store = &self.channels.inner.store;
        if self.lease.appeared && !store.channels().wake_members(&self.lease).await? {
            return Err(Interruption::Lost);
        }
        let counts = self.lease.channel.counts;
        if counts.queued > 0 {
            let inviting = &[ChannelMemberState::Inviting];
            let marked = store.channels().members_to_do(&self.lease, inviting, None, 1).await?;
            if !marked.is_empty() {
                // A previous holder did not learn what became of its invitation.
                self.progress.members_read = false;
                self.changed = true;
            }
        }
        if self.lease.recheck && self.here().is_some() {
            self.progress.members_read = false;
            self.changed = true;
            match self.inspect(&Step::Inspect).await {
                Ok(()) | Err(Interruption::Again) => {}
                Err(Interruption::Blocked(obstacle)) => {
                    self.followed = true;
                    return Err(Interruption::Blocked(obstacle));
                }
                Err(interruption) => return Err(interruption),
            }
        }
        // While the token is dead, the report of the claim stays.
        self.followed = !self.lease.recheck || self.place.is_none() || self.here().is_some();
        Ok(())
    }

    /// How the turn ends: when the channel is due again.
    async fn conclude(&mut self, ended: Ended) -> Ended {
        let interruption = match ended {
            Ok(due) => return Ok(due),
            Err(interruption) => interruption,
        };
        match interruption {
            Interruption::Lost | Interruption::Failed(_) => Err(interruption),
            Interruption::Blocked(obstacle) => {
                self.settle(state_of(obstacle), Some(obstacle)).await?;
                Ok(Some(self.now().plus(self.timing().blocked)))
            }
            Interruption::Temporary(code) => {
                self.progress.failures = self.progress.failures.saturating_add(1);
                self.changed = true;
                let wait = retry_after(self.progress.failures).mul_f64(self.timing().scale);
                tracing::info!(channel = %self.lease.id, %code, ?wait, "a channel waits for Slack");
                self.settle(self.state, self.obstacle).await?;
                Ok(Some(self.now().plus(wait)))
            }
            Interruption::Later(after) => {
                self.settle(self.state, self.obstacle).await?;
                Ok(Some(self.now().plus(after)))
            }
            Interruption::Stopped | Interruption::Again => {
                self.settle(self.state, self.obstacle).await?;
                Ok(Some(self.now()))
            }
        }
    }

    async fn act(&mut self, step: &Step) -> Result<ControlFlow<Option<Timestamp>>, Interruption> {
        match step {
            Step::Rest { state, obstacle, until } => {
                self.explain(*obstacle);
                self.settle(*state, *obstacle).await?;
                // What wakes a channel with an obstacle may have been missed.
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
            Step::Stamp { purpose } => self.stamp(step, purpose).await?,
            Step::Inspect => self.inspect(step).await?,
            Step::ReadMembers => self.read_members(step).await?,
        }
        self.keep().await?;
        Ok(ControlFlow::Continue(()))
    }

    /// Keeps the detail of an obstacle that is in the workspace, for its sentence.
    fn explain(&mut self, obstacle: Option<ChannelObstacle>) {
        let Some(workspace) = &self.workspace else { return };
        let detail = match obstacle {
            Some(ChannelObstacle::MissingScopes) => {
                scopes::lacking(&workspace.scopes, scopes::CHANNELS).join(" ")
            }
            Some(ChannelObstacle::Reconnect) => workspace.state_reason.clone().unwrap_or_default(),
            _ => return,
        };
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
        self.progress.attempt = Some(CreateAttempt {
            name: name.to_owned(),
            at: self.now(),
            unclear: false,
            looked: 0,
        });
        self.changed = true;
        self.settle(ChannelState::Creating, None).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.create_channel(installation, name, is_private, patience);
        match self.asked(&prepared, request).await {
            Ok(Ok(seen)) => {
                self.take(installation, seen);
                // The app is in its new channel, and no one else is.
                self.progress.app_removed = false;
                self.progress.members_read = true;
                self.progress.adopted = false;
                Ok(())
            }
            Ok(Err(Denied::Unclear)) => {
                if let Some(attempt) = &mut self.progress.attempt {
                    attempt.unclear = true;
                }
                self.changed = true;
                Ok(())
            }
            Ok(Err(denied)) => {
                self.progress.attempt = None;
                Err(self.denied(step, denied))
            }
            Err(interruption) => {
                let not_made = matches!(
                    interruption,
                    Interruption::Later(_) | Interruption::Temporary(_) | Interruption::Again
                );
                if not_made {
                    self.progress.attempt = None;
                    self.changed = true;
                }
                Err(interruption)
            }
        }
    }

    async fn join(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsJoin).await?;
        let request =
            prepared.workspaces.join_channel(prepared.installation, &channel, prepared.patience);
        if let Err(denied) = self.asked(&prepared, request).await? {
            self.already(step, denied, "already_in_channel")?;
        }
        self.progress.app_removed = false;
        self.progress.members_read = false;
        self.changed = true;
        Ok(())
    }

    async fn unarchive(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsUnarchive).await?;
        let workspaces = &prepared.workspaces;
        let request =
            workspaces.unarchive_channel(prepared.installation, &channel, prepared.patience);
        if let Err(denied) = self.asked(&prepared, request).await? {
            self.already(step, denied, "not_archived")?;
        }
        self.progress.archived = false;
        self.progress.archived_by_us = false;
        self.progress.members_read = false;
        self.changed = true;
        Ok(())
    }

    async fn archive(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsArchive).await?;
        let workspaces = &prepared.workspaces;
        let request =
            workspaces.archive_channel(prepared.installation, &channel, prepared.patience);
        if let Err(denied) = self.asked(&prepared, request).await? {
            self.already(step, denied, "already_archived")?;
        }
        self.progress.archived = true;
        self.progress.archived_by_us = true;
        self.changed = true;
        Ok(())
    }

    /// Slack calls a name taken that the channel itself has, as after a lost answer.
    async fn rename(&mut self, step: &Step, name: &str) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsRename).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.rename_channel(installation, &channel, name, patience);
        match self.asked(&prepared, request).await? {
            Ok(stored) => self.progress.name = Some(stored),
            Err(Denied::Refused(code)) if code == "name_taken" => {
                self.inspect(&Step::Inspect).await?;
                if self.progress.name.as_deref() != Some(name) {
                    return Err(self.denied(step, Denied::Refused(code)));
                }
            }
            Err(denied) => return Err(self.denied(step, denied)),
        }
        self.progress.rename_to = None;
        self.changed = true;
        Ok(())
    }

    async fn set_topic(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsSetTopic).await?;
        let topic = self.lease.channel.wish.topic.clone();
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.set_topic(installation, &channel, &topic, patience);
        if let Err(denied) = self.asked(&prepared, request).await? {
            return Err(self.denied(step, denied));
        }
        self.progress.topic = Some(topic);
        self.changed = true;
        Ok(())
    }

    /// Writes the purpose with the mark; the next step reads it back.
    async fn stamp(&mut self, step: &Step, purpose: &str) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsSetPurpose).await?;
        let id = self.lease.id;
        let marked = stamp::read(purpose) == Some(id);
        let text = if marked { purpose.to_owned() } else { stamp::stamped(purpose, id) };
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.set_purpose(installation, &channel, &text, patience);
        if let Err(denied) = self.asked(&prepared, request).await? {
            return Err(self.denied(step, denied));
        }
        self.progress.purpose = Some(self.lease.channel.wish.purpose.clone());
        self.progress.stamped = false;
        self.changed = true;
        Ok(())
    }

    async fn inspect(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsInfo).await?;
        let request =
            prepared.workspaces.channel_info(prepared.installation, &channel, prepared.patience);
        let seen = match self.asked(&prepared, request).await? {
            Ok(seen) => seen,
            Err(denied) => return Err(self.denied(step, denied)),
        };
        let was_written = self.progress.purpose.is_some() && !self.progress.stamped;
        self.changed = true;
        observe(&mut self.progress, self.lease.id, &seen).map_err(Interruption::Blocked)?;
        if was_written && !self.progress.stamped {
            // It was written a moment ago, and Slack does not show it.
            return Err(Interruption::Temporary("mark_not_shown".to_owned()));
        }
        Ok(())
    }

    /// A refusal because the channel is so already counts as done.
    pub(super) fn already(
        &mut self,
        step: &Step,
        denied: Denied,
        done: &str,
    ) -> Result<(), Interruption> {
        match denied {
            Denied::Refused(code) if code == done => Ok(()),
            denied => Err(self.denied(step, denied)),
        }
    }
}
