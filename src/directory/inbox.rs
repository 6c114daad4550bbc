//! Applies the events that Slack sent, from the store: any replica may claim them, even if the one
//! that acknowledged them died.
//!
//! Applying is idempotent. Of a member the newest object (by `updated`) counts, whatever the order
//! of arrival. Most events about a channel only say that Slack must be asked about it again. An
//! event is parked if it cannot be read, or if replicas died while they applied it; an event that
//! fails for other reasons is tried again later.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::merge::ChangeSource;
use super::{Directory, Error};
use crate::domain::directory::member::Member;
use crate::domain::ids::{InstallationId, SlackUserId};
use crate::domain::time::Timestamp;
use crate::slack::MemberJson;
use crate::slack::channel_events::{ChannelEvent, ChannelNews};
use crate::store::{ChannelObservation, ClaimedEvent, EventDone, Settlement};
use crate::workspace::Alive;

/// The wait before an event that could not be applied is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Leases of an event that may run out before it is parked.
const CRASHES: i64 = 3;
/// How long ids are remembered: Slack repeats an event for a day at most (Slack's documentation:
/// Events API).
const REMEMBERED: Duration = Duration::from_secs(25 * 3600);
/// The time between two rounds that forget old ids.
const PRUNE: Duration = Duration::from_secs(600);

impl Directory {
    /// Runs until stopped.
    pub async fn run_inbox(self, stop: CancellationToken) {
        let mut troubled = false;
        let mut prune_at = Instant::now();
        let rounds = self.watch("inbox", self.scaled(self.inner.config.poll_interval));
        while !stop.is_cancelled() {
            rounds.next();
            let applied = self.apply_due().await;
            if let Err(error) = &applied
                && !troubled
            {
                tracing::warn!(%error, "events from Slack cannot be applied; retrying");
            }
            troubled = applied.is_err();
            if matches!(applied, Ok(true)) {
                continue;
            }
            if Instant::now() >= prune_at {
                prune_at = Instant::now() + self.scaled(PRUNE);
                if let Err(error) =
                    self.inner.store.slack_events().prune(self.scaled(REMEMBERED)).await
                {
                    tracing::warn!(%error, "old events from Slack were not removed");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inner.store.slack_events().taken().notified() => {}
                () = tokio::time::sleep(self.scaled(self.inner.config.poll_interval)) => {}
            }
        }
    }

    /// Applies the events of one claim; `false`: none was due.
    async fn apply_due(&self) -> Result<bool, Error> {
        let lease = Duration::from_secs(self.inner.config.lease_seconds);
        let claimed = self.inner.store.slack_events().claim(self.scaled(lease)).await?;
        let Some(first) = claimed.first() else { return Ok(false) };
        let token = first.token;
        // In a separate task: a panic ends this claim, not the replica.
        let directory = self.clone();
        let applied = tokio::spawn(async move { directory.apply(claimed).await }).await;
        match applied {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => {
                // If that fails too, the events are free again when the lease ends.
                self.inner.store.slack_events().release(token, self.scaled(AGAIN)).await?;
                Err(error)
            }
            Err(panic) => {
                tracing::error!(%panic, "applying events from Slack panicked");
                Err(Error::Stopped)
            }
        }
    }

    /// Applies events of one installation. Events that need a question to Slack come last: if Slack
    /// does not answer, no other event is delayed.
    async fn apply(&self, claimed: Vec<ClaimedEvent>) -> Result<(), Error> {
        let (mut channels, mut members, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for event in claimed {
            if event.attempts > CRASHES {
                self.park(&event, "crashed").await?;
                continue;
            }
            match event.kind.as_str() {
                "app_uninstalled"
                | "tokens_revoked"
                | "app_rate_limited"
                | "team_access_granted"
                | "team_access_revoked"
                | "grid_migration_started"
                | "grid_migration_finished" => others.push(event),
                "user_change" | "user_profile_changed" | "team_join" => members.push(event),
                _ => channels.push(event),
            }
        }
        self.apply_channels(channels).await?;
        self.apply_members(members).await?;
        for event in others {
            match event.kind.as_str() {
                "app_rate_limited" => self.note_lost(&event).await?,
                "app_uninstalled" | "tokens_revoked" => self.confirm(&event).await?,
                _ => self.follow_organization(&event).await?,
            }
        }
        Ok(())
    }

    /// Slack withheld events.
    async fn note_lost(&self, event: &ClaimedEvent) -> Result<(), Error> {
        let within = Duration::from_secs(self.inner.config.refresh_seconds);
        let within = self.scaled(within);
        let (store, of) = (&self.inner.store, event.installation);
        store.member_lists().note_lost_events(of, within).await?;
        store.channels().note_lost_events(of, within).await?;
        self.done(event, "lost").await
    }

    /// The workspaces that an organization gives the app to changed, or a workspace moves into an
    /// organization. An event may be older than a change that was found since, so it only makes
    /// Herald ask Slack; except for the beginning of a move, whose end is looked for anyway.
    async fn follow_organization(&self, event: &ClaimedEvent) -> Result<(), Error> {
        let (workspaces, id) = (&self.inner.workspaces, event.installation);
        let installation = workspaces.installation(id).await?;
        let org_wide = installation.as_ref().is_some_and(|of| of.org_wide);
        let alive = installation.is_some_and(|of| of.dead().is_none());
        let concerned = match (event.kind.as_str(), org_wide) {
            ("team_access_granted" | "team_access_revoked", true) if alive => {
                workspaces.follow_teams(id).await?;
                true
            }
            ("grid_migration_started", false) if alive => {
                workspaces.migrates(id).await?;
                true
            }
            ("grid_migration_finished", false) if alive => {
                workspaces.look_at_migration(id).await?;
                true
            }
            _ => false,
        };
        self.done(event, if concerned { "changed" } else { "unchanged" }).await
    }

    /// In the order in which they happened, as far as Slack's times show it.
    async fn apply_channels(&self, mut events: Vec<ClaimedEvent>) -> Result<(), Error> {
        let Some(id) = events.first().map(|event| event.installation) else { return Ok(()) };
        let installation = self.inner.workspaces.installation(id).await?;
        let bot = installation.map(|installation| installation.bot_user_id).unwrap_or_default();
        events.sort_by_key(|event| event.happened_at);
        for event in &events {
            let read = event.body.as_deref().map(serde_json::from_slice::<ChannelEvent>);
            let Some(Ok(ChannelEvent { channel, news })) = read else {
                self.park(event, "unreadable").await?;
                continue;
            };
            let seen = observation(news, event.happened_at, &bot);
            let changed = self.inner.store.channels().observe(id, &channel, &seen).await?;
            self.done(event, if changed { "changed" } else { "unchanged" }).await?;
        }
        Ok(())
    }

    async fn apply_members(&self, events: Vec<ClaimedEvent>) -> Result<(), Error> {
        let Some(first) = events.first() else { return Ok(()) };
        let (id, token) = (first.installation, first.token);
        // The newest object of each member, and every event with its settlement.
        let mut newest: HashMap<String, (i64, i64, MemberJson)> = HashMap::new();
        let mut settled = Vec::new();
        for event in &events {
            let read = event.body.as_deref().and_then(read);
            let Some((member, updated, json)) = read else {
                self.park(event, "unreadable").await?;
                continue;
            };
            let version = (updated, event.happened_at.0);
            let newer = |known: &(i64, i64, MemberJson)| version >= (known.0, known.1);
            if newest.get(&member).is_none_or(newer) {
                newest.insert(member.clone(), (version.0, version.1, json));
            }
            settled.push(EventDone {
                event_id: event.event_id.clone(),
                member: Some((member, updated)),
            });
        }
        if settled.is_empty() {
            return Ok(());
        }
        let total = settled.len();
        let settlement = self.settlement(token, settled);
        let members: Vec<_> = newest.into_values().map(|(_, _, json)| json).collect();
        if let Some(outcome) = self.merge(id, &members, ChangeSource::Events(&settlement)).await? {
            let metrics = &self.inner.metrics;
            metrics.slack_events("changed", outcome.changed as u64);
            metrics.slack_events("unchanged", (total - outcome.changed) as u64);
        }
        Ok(())
    }

    fn settlement(
        &self,
        token: crate::domain::ids::LeaseToken,
        events: Vec<EventDone>,
    ) -> Settlement {
        let config = &self.inner.config;
        Settlement {
            token,
            events,
            put_off: self.scaled(Duration::from_secs(config.refresh_seconds)),
            at_most: self.scaled(Duration::from_secs(config.refresh_with_events_seconds)),
        }
    }

    /// Only the token can confirm that an installation ended: the event may be older than a
    /// reinstall.
    async fn confirm(&self, event: &ClaimedEvent) -> Result<(), Error> {
        let id: InstallationId = event.installation;
        let result = match self.inner.workspaces.confirm_alive(id, event.happened_at).await? {
            Alive::No => "ended",
            Alive::Yes => "survived",
            Alive::Older => "outdated",
        };
        tracing::info!(
            workspace = %id, event = event.kind, result,
            "Slack reported the end of an installation"
        );
        self.done(event, result).await
    }

    async fn done(&self, event: &ClaimedEvent, result: &'static str) -> Result<(), Error> {
        if self.inner.store.slack_events().finish(event).await? {
            self.inner.metrics.slack_events(result, 1);
        }
        Ok(())
    }

    async fn park(&self, event: &ClaimedEvent, reason: &'static str) -> Result<(), Error> {
        if self.inner.store.slack_events().park(event, reason).await? {
            self.inner.metrics.slack_events("parked", 1);
            tracing::error!(
                workspace = %event.installation, event = event.kind, id = event.event_id, reason,
                "an event from Slack cannot be applied and was parked"
            );
        }
        Ok(())
    }
}

/// The change that an event reports to Herald's channels. No one wishes for the app itself as a
/// member: if it enters or leaves, the channel is looked at again.
fn observation(news: ChannelNews, at: Timestamp, bot: &str) -> ChannelObservation {
    let is_person = |user: &SlackUserId| user.as_str() != bot;
    match news {
        ChannelNews::IdChanged(id) => ChannelObservation::IdChanged(id),
        ChannelNews::Joined(user) if is_person(&user) => ChannelObservation::Joined(user, at),
        ChannelNews::Left(user) if is_person(&user) => ChannelObservation::Left(user, at),
        ChannelNews::Changed | ChannelNews::Joined(_) | ChannelNews::Left(_) => {
            ChannelObservation::Changed
        }
    }
}

/// The member that an event is about, that member's `updated`, and the object. `None`: not a
/// member.
fn read(body: &[u8]) -> Option<(String, i64, MemberJson)> {
    let json: MemberJson = serde_json::from_slice(body).ok()?;
    let member = Member::from_slice(body).ok()?;
    Some((member.id().to_owned(), member.updated, json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_no_member_of_its_channels() {
        let (at, user) = (Timestamp(7), |id: &str| SlackUserId::parse(id).unwrap());
        for (news, seen) in [
            (ChannelNews::Joined(user("U1")), ChannelObservation::Joined(user("U1"), at)),
            (ChannelNews::Left(user("U1")), ChannelObservation::Left(user("U1"), at)),
            (ChannelNews::Joined(user("UBOT")), ChannelObservation::Changed),
            (ChannelNews::Left(user("UBOT")), ChannelObservation::Changed),
            (ChannelNews::Changed, ChannelObservation::Changed),
        ] {
            assert_eq!(observation(news, at, "UBOT"), seen);
        }
    }
}
