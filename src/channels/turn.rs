//! One turn of a channel: its lease, the facts about it, and its requests to Slack.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Channels;
use super::config::ChannelTiming;
use super::lines::LinePlace;
use crate::directory;
use crate::domain::channels::next::{self, ChannelFacts, Refused, Step};
use crate::domain::channels::place::ChannelPlace;
use crate::domain::channels::progress::{Progress, SeenChannel};
use crate::domain::channels::state::{ChannelObstacle, ChannelState};
use crate::domain::ids::{ChannelId, InstallationId, SlackUserId};
use crate::domain::time::Timestamp;
use crate::slack;
use crate::store::{ChannelLease, ChannelSave, ChannelSaved, Installation};
use crate::workspace::{self, Method, Workspaces};

/// Why a turn does not continue with the next step.
#[derive(Debug)]
pub(super) enum Interruption {
    /// The facts changed: the next step is decided again.
    Again,
    /// The lease ended, or the channel was released.
    Lost,
    /// The process is stopping.
    Stopped,
    /// A call changed the wish: the next turn begins at once, with the new one.
    Overtaken,
    /// A budget is spent, or something must settle first: come back after this time. It counts as
    /// no attempt.
    Later(Duration),
    /// Slack did not carry it out, for a reason that may pass. It is counted.
    Temporary(String),
    /// Another row owns the channel of Slack; nothing was saved.
    PlaceTaken,
    Failed(directory::Error),
}

impl<E: Into<directory::Error>> From<E> for Interruption {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Slack's answer to a request that it did not confirm.
#[derive(Debug)]
pub(super) enum Denied {
    /// Refused with this code.
    Refused(String),
    /// The token lacks a scope.
    Scopes,
    /// Not carried out, or harmless to repeat; the reason may pass.
    Temporary(String),
    /// It may or may not have been carried out.
    Unclear,
}

/// The end of a request that was made.
pub(super) enum RequestOutcome<T> {
    /// Slack carried it out.
    Done(T),
    Denied(Denied),
}

/// How a channel of Slack becomes a row's own.
pub(super) enum Owning {
    /// By the request that has just been answered.
    Created(SeenChannel),
    /// By an earlier request, whose answer was unclear.
    Found(SeenChannel),
    /// It existed before.
    Adopted(SeenChannel),
}

/// A request that may be made: it has a place in its line, and a lease that outlasts it.
pub(super) struct ReadyRequest {
    place: LinePlace,
    pub(super) workspaces: Workspaces,
    pub(super) installation: InstallationId,
    /// How long it may wait for its start.
    pub(super) patience: Duration,
}

/// A turn of one channel.
pub(super) struct ChannelWork {
    pub(super) channels: Channels,
    /// As it was claimed, but for the place, which is as this turn last stored it.
    pub(super) lease: ChannelLease,
    pub(super) progress: Progress,
    pub(super) state: ChannelState,
    pub(super) obstacle: Option<ChannelObstacle>,
    pub(super) place: Option<ChannelPlace>,
    /// Whether the progress or the place is newer than the stored one.
    pub(super) changed: bool,
    /// The workspace that the tenant is connected to.
    pub(super) workspace: Option<Installation>,
    /// Channels were listed in this turn to settle an unclear request.
    pub(super) looked: bool,
    /// The members of the channel, if this turn read them.
    pub(super) present: Option<HashSet<SlackUserId>>,
    /// Whether everything that the claim reported was followed up.
    pub(super) followed: bool,
    stop: CancellationToken,
    /// The lease lasts at least until here.
    until: Instant,
    /// The database's time when it was last read, and this process's time then.
    read: Timestamp,
    read_at: Instant,
}

impl ChannelWork {
    /// `until`: when the lease ends at the earliest.
    pub(super) fn new(
        channels: Channels,
        lease: ChannelLease,
        until: Instant,
        stop: CancellationToken,
    ) -> Self {
        let channel = &lease.channel;
        Self {
            progress: channel.progress.clone(),
            state: channel.state,
            obstacle: channel.obstacle,
            place: channel.place.clone(),
            changed: false,
            workspace: None,
            looked: false,
            present: None,
            followed: false,
            stop,
            until,
            read: channel.changed_at,
            read_at: Instant::now(),
            channels,
            lease,
        }
    }

    pub(super) fn timing(&self) -> &ChannelTiming {
        &self.channels.inner.timing
    }

    /// The database's time.
    pub(super) fn now(&self) -> Timestamp {
        self.read.plus(self.read_at.elapsed())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Reads the facts that other parts change.
    pub(super) async fn refresh(&mut self) -> Result<(), Interruption> {
        let store = &self.channels.inner.store;
        self.read = store.now().await?;
        self.read_at = Instant::now();
        self.workspace = store.tenancy().installation_of(&self.lease.channel.tenant).await?;
        self.follow_id().await.map(drop)
    }

    /// Takes over the id in Slack that an event brought meanwhile. Returns whether there was one.
    pub(super) async fn follow_id(&mut self) -> Result<bool, Interruption> {
        let store = &self.channels.inner.store;
        let stored = match &self.place {
            Some(_) => store.waiting().channel_place(self.lease.id).await?,
            None => None,
        };
        let changed = stored.is_some() && stored != self.place;
        if changed {
            self.place.clone_from(&stored);
            self.lease.channel.place = stored;
        }
        Ok(changed)
    }

    pub(super) fn facts(&self) -> ChannelFacts<'_> {
        let (workspace, look_again) = (self.workspace.as_ref(), self.timing().look_again);
        ChannelFacts {
            progress: &self.progress,
            place: self.place.as_ref(),
            ..self.lease.channel.facts(workspace, self.now(), look_again)
        }
    }

    /// The workspace that the tenant is connected to.
    pub(super) fn installation(&self) -> Result<InstallationId, Interruption> {
        self.workspace.as_ref().map(|of| of.id).ok_or(Interruption::Again)
    }

    /// The channel in the workspace that the tenant is connected to now.
    pub(super) fn here(&self) -> Option<&ChannelId> {
        let workspace = self.workspace.as_ref()?;
        let place = self.place.as_ref()?;
        let is_here = workspace.dead().is_none() && workspace.id == place.installation;
        is_here.then_some(&place.channel)
    }

    /// When the channel is to be read although no event reported a change.
    pub(super) fn next_check(&self) -> Option<Timestamp> {
        self.here()?;
        self.progress.next_check(self.lease.id, self.timing().check)
    }

    /// Slack's id of the channel, for a request.
    pub(super) fn channel(&self) -> Result<ChannelId, Interruption> {
        self.here().cloned().ok_or(Interruption::Again)
    }

    /// Takes a place in the line of a method, and extends the lease if half of it has passed.
    pub(super) async fn prepare(&mut self, method: Method) -> Result<ReadyRequest, Interruption> {
        let installation = self.installation()?;
        let inner = &self.channels.inner;
        let interval = method.interval().mul_f64(inner.timing.scale);
        let tenant = &self.lease.channel.tenant;
        let place = inner.lines.enter((installation, method), tenant, interval, Instant::now());
        let place = place.map_err(Interruption::Later)?;
        let (workspaces, patience) = (inner.workspaces.clone(), place.patience());
        self.extend_lease().await?;
        Ok(ReadyRequest { place, workspaces, installation, patience })
    }

    /// Extends the lease if half of it has passed.
    pub(super) async fn extend_lease(&mut self) -> Result<(), Interruption> {
        let (now, lease) = (Instant::now(), self.timing().lease);
        if self.until.saturating_duration_since(now) > lease / 2 {
            return Ok(());
        }
        let store = &self.channels.inner.store;
        if !store.channels().extend(&self.lease, lease).await? {
            return Err(Interruption::Lost);
        }
        self.until = now + lease;
        Ok(())
    }

    /// Makes a request within the lease. A request that creates a channel or invites people is not
    /// interrupted by the end of the process, which waits for it.
    pub(super) async fn send<T>(
        &self,
        prepared: &ReadyRequest,
        request: impl Future<Output = Result<T, workspace::Error>>,
    ) -> Result<RequestOutcome<T>, Interruption> {
        let method = prepared.place.method();
        let finishes = matches!(method, Method::ConversationsCreate | Method::ConversationsInvite);
        let interruptible = async {
            if finishes {
                return Some(request.await);
            }
            self.stop.run_until_cancelled(request).await
        };
        let answer = match within(self.until, interruptible).await {
            None => Err(Interruption::Lost),
            Some(None) => Err(Interruption::Stopped),
            Some(Some(Ok(answer))) => Ok(RequestOutcome::Done(answer)),
            Some(Some(Err(error))) => meaning(error, &prepared.place).map(RequestOutcome::Denied),
        };
        let outcome = match &answer {
            Ok(RequestOutcome::Done(_)) => "done",
            Ok(RequestOutcome::Denied(Denied::Refused(_) | Denied::Scopes)) => "refused",
            Ok(RequestOutcome::Denied(Denied::Unclear)) => "unclear",
            Err(Interruption::Later(_)) => "waits",
            Ok(RequestOutcome::Denied(Denied::Temporary(_))) | Err(_) => "failed",
        };
        self.channels.inner.metrics.channel_step(step_name(method), outcome);
        answer
    }

    /// Slack's id of the app's bot. Slack is asked if it did not say when the workspace was
    /// connected.
    pub(super) async fn bot(&self) -> Result<SlackUserId, Interruption> {
        let installation = self.installation()?;
        let bot = Box::pin(self.channels.inner.workspaces.bot_user(installation)).await;
        bot.map_err(|error| match error {
            workspace::Error::Busy { after }
            | workspace::Error::Renewing { after }
            | workspace::Error::Migrating { after } => Interruption::Later(after),
            workspace::Error::Store(error) => Interruption::Failed(error.into()),
            _ => Interruption::Later(self.timing().look_again),
        })
    }

    /// The consequence of a denied step.
    pub(super) fn denied(&mut self, step: &Step, denied: Denied) -> Interruption {
        let progress = &mut self.progress;
        match denied {
            Denied::Refused(code) => self.refused(step, &code),
            Denied::Scopes => self.refused(step, "missing_scope"),
            Denied::Temporary(code) => {
                let refused = next::failed(step, progress);
                self.noted(refused, &code)
            }
            Denied::Unclear => {
                let refused = next::unclear(step, progress);
                self.noted(refused, "unclear_answer")
            }
        }
    }

    /// The consequence of a refusal with this code.
    pub(super) fn refused(&mut self, step: &Step, code: &str) -> Interruption {
        let again_at = self.now().plus(self.timing().blocked);
        let wish = &self.lease.channel.wish;
        let refused = next::refused(step, code, wish, &mut self.progress, again_at);
        self.noted(refused, code)
    }

    /// The refusal is in the progress, where the next step finds it.
    fn noted(&mut self, refused: Refused, code: &str) -> Interruption {
        self.changed = true;
        match refused {
            Refused::Again | Refused::Blocked(_) => Interruption::Again,
            Refused::Temporary => Interruption::Temporary(code.to_owned()),
        }
    }

    /// Slack carried the step out.
    pub(super) fn done(&mut self, step: &Step) {
        let before = self.progress.clone();
        next::done(step, &self.lease.channel.wish, &mut self.progress);
        self.changed |= before != self.progress;
    }

    /// Makes the channel of Slack ours, unless another row owns it.
    pub(super) async fn own(
        &mut self,
        step: &Step,
        installation: InstallationId,
        owning: &Owning,
    ) -> Result<(), Interruption> {
        let before = (self.progress.clone(), self.place.clone());
        let wish = &self.lease.channel.wish;
        let (Owning::Created(seen) | Owning::Found(seen) | Owning::Adopted(seen)) = owning;
        match owning {
            Owning::Created(_) => {
                self.progress.created(seen, wish);
                // The app is the only member of its new channel.
                self.progress.app_removed = false;
                self.progress.members_read = true;
            }
            Owning::Found(_) => self.progress.created(seen, wish),
            Owning::Adopted(_) => self.progress.adopt(seen, wish),
        }
        self.progress.checked_at = Some(self.now());
        self.place = Some(ChannelPlace { installation, channel: seen.id.clone() });
        self.changed = true;
        let kept = match owning {
            Owning::Adopted(_) => self.settle(ChannelState::Creating, None).await,
            Owning::Created(_) | Owning::Found(_) => self.keep().await,
        };
        match kept {
            Err(Interruption::PlaceTaken) => {
                (self.progress, self.place) = before;
                Err(self.refused(step, ChannelObstacle::OwnedByAnother.code()))
            }
            kept => kept,
        }
    }

    /// Saves the progress. A channel that messages can go to is ready from then on.
    pub(super) async fn keep(&mut self) -> Result<(), Interruption> {
        if !self.changed {
            return Ok(());
        }
        let progress = &self.progress;
        let is_open = !(progress.archived || progress.deleted || progress.app_removed);
        let is_as_wished = progress.is_private == self.lease.channel.wish.is_private;
        if self.here().is_some() && progress.owned && is_open && is_as_wished {
            let obstacle = self.obstacle.filter(|_| self.state == ChannelState::Ready);
            return self.settle(ChannelState::Ready, obstacle).await;
        }
        self.settle(self.state, self.obstacle).await
    }

    /// Saves the progress and the state, if either is new.
    pub(super) async fn settle(
        &mut self,
        state: ChannelState,
        obstacle: Option<ChannelObstacle>,
    ) -> Result<(), Interruption> {
        if !self.changed && self.state == state && self.obstacle == obstacle {
            return Ok(());
        }
        let store = &self.channels.inner.store;
        let (progress, place) = (self.progress.clone(), self.place.clone());
        let save = ChannelSave { progress, state, obstacle, place };
        match store.channels().save(&self.lease, &save).await? {
            ChannelSaved::Kept => {}
            ChannelSaved::Lost => return Err(Interruption::Lost),
            ChannelSaved::PlaceTaken => return Err(Interruption::PlaceTaken),
        }
        (self.state, self.obstacle, self.changed) = (state, obstacle, false);
        // From now on the stored one counts, which an event may change.
        self.lease.channel.place.clone_from(&self.place);
        if state == ChannelState::Ready
            && let Some(place) = &self.place
        {
            let channel = &self.lease.channel;
            store
                .waiting()
                .note_channel_ready(&channel.tenant, channel.id, place.installation, &place.channel)
                .await?;
        }
        Ok(())
    }
}

/// Polls the work only while the lease lasts, even if the process was frozen for longer: a request
/// begins in a poll, so none begins after another replica may have taken the channel over.
async fn within<T>(until: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut over = pin!(tokio::time::sleep_until(until));
    poll_fn(|context| {
        if Instant::now() >= until || over.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// The meaning of a failed request. One whose meaning is an interruption was not carried out,
/// except if the lease was lost or the store failed.
fn meaning(error: workspace::Error, place: &LinePlace) -> Result<Denied, Interruption> {
    use slack::Error as Slack;
    Err(match error {
        workspace::Error::Busy { after } | workspace::Error::Slack(Slack::Throttled { after }) => {
            Interruption::Later(place.turned_away(after, Instant::now()))
        }
        workspace::Error::Renewing { after } | workspace::Error::Migrating { after } => {
            Interruption::Later(after)
        }
        workspace::Error::Slack(Slack::Rejected { code, .. }) => return Ok(Denied::Refused(code)),
        workspace::Error::Slack(Slack::MissingScope { .. }) => return Ok(Denied::Scopes),
        workspace::Error::Slack(Slack::Unknown { .. }) => return Ok(Denied::Unclear),
        workspace::Error::Slack(Slack::Transient { code }) => {
            return Ok(Denied::Temporary(code));
        }
        // The workspace's row reports it.
        workspace::Error::Slack(Slack::Unauthorized { .. })
        | workspace::Error::Reconnect { .. }
        | workspace::Error::Unknown => Interruption::Again,
        workspace::Error::Late => Interruption::Lost,
        workspace::Error::Store(error) => Interruption::Failed(error.into()),
    })
}

/// The value of the label `step` of `herald_channel_steps_total`.
fn step_name(method: Method) -> &'static str {
    match method {
        Method::ConversationsCreate => "create",
        Method::ConversationsList => "look",
        Method::ConversationsInfo => "inspect",
        Method::ConversationsMembers => "read_members",
        Method::ConversationsInvite => "invite",
        Method::ConversationsKick => "remove",
        Method::ConversationsJoin => "join",
        Method::ConversationsArchive => "archive",
        Method::ConversationsUnarchive => "unarchive",
        Method::ConversationsRename => "rename",
        Method::ConversationsSetTopic => "topic",
        Method::ConversationsSetPurpose => "purpose",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The process was frozen until the end of the lease, while a request waited for its start.
    #[tokio::test]
    async fn no_request_begins_after_the_lease() {
        let began = Cell::new(false);
        let held = within(Instant::now(), async { began.set(true) });
        assert!(held.await.is_none() && !began.get());
    }

    #[tokio::test]
    async fn a_request_within_the_lease_is_answered() {
        let until = Instant::now() + Duration::from_secs(10);
        assert_eq!(within(until, async { 7 }).await, Some(7));
    }
}
