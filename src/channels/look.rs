//! Looks for a channel among those of the workspace: after an unclear request to create one, and
//! for one to adopt.

use std::collections::BTreeSet;

use super::turn::{ChannelWork, Denied, Interruption, Owning, RequestOutcome};
use crate::domain::channels::mark;
use crate::domain::channels::next::{OwnLook, Step, adoptable, settled_by_look};
use crate::domain::channels::progress::SeenChannel;
use crate::domain::ids::{ChannelId, InstallationId};
use crate::workspace::Method;

/// Pages of one look. Slack's largest workspaces have fewer channels than these hold.
const PAGES: usize = 500;

impl ChannelWork {
    /// Settles an attempt to create the channel by the channels that are there now.
    pub(super) async fn look_for_own(
        &mut self,
        step: &Step,
        name: &str,
    ) -> Result<(), Interruption> {
        let Some(attempt) = self.progress.attempt.clone() else { return Ok(()) };
        if self.looked {
            // Slack may list a new channel late.
            return Err(Interruption::Later(self.timing().look_again));
        }
        self.looked = true;
        let seen = self.listed(step, name).await?;
        let bot = self.bot().await?;
        let installation = self.installation()?;
        let owned = self.owned_by_others(installation, &seen).await?;
        match settled_by_look(&attempt, &bot, &seen, &owned) {
            OwnLook::Ours(found) => self.own(step, installation, &Owning::Found(found)).await,
            OwnLook::Several { keep, archive } => {
                for spare in archive {
                    self.archive_spare(step, &spare).await?;
                }
                self.own(step, installation, &Owning::Found(keep)).await
            }
            OwnLook::NotThere => {
                self.progress.not_there();
                self.changed = true;
                Ok(())
            }
        }
    }

    /// Two requests were carried out, and one channel is wished for.
    async fn archive_spare(&mut self, step: &Step, spare: &ChannelId) -> Result<(), Interruption> {
        let prepared = self.prepare(Method::ConversationsArchive).await?;
        let (installation, patience) = (prepared.installation, prepared.patience);
        let request = prepared.workspaces.archive_channel(installation, spare, patience);
        match self.send(&prepared, request).await? {
            RequestOutcome::Done(()) => Ok(()),
            RequestOutcome::Denied(Denied::Refused(code)) if code == "already_archived" => Ok(()),
            RequestOutcome::Denied(denied) => Err(self.denied(step, denied)),
        }
    }

    /// Adopts the channel that has the name, if nothing speaks against it.
    pub(super) async fn look_for_taken(
        &mut self,
        step: &Step,
        name: &str,
    ) -> Result<(), Interruption> {
        let seen = self.listed(step, name).await?;
        let installation = self.installation()?;
        let owned = self.owned_by_others(installation, &seen).await?;
        let marks: Vec<_> = seen.iter().filter_map(|seen| mark::read(&seen.purpose)).collect();
        let (tenant, wish) = (&self.lease.channel.tenant, &self.lease.channel.wish);
        let store = &self.channels.inner.store;
        let released = store.channels().released(tenant, &marks).await?;
        match adoptable(&seen, name, wish, &owned, &released, self.lease.id) {
            // The row owns the channel from now on, before anything is changed in Slack.
            Ok(found) => self.own(step, installation, &Owning::Adopted(found)).await,
            Err(obstacle) => Err(self.refused(step, obstacle.code())),
        }
    }

    /// Those of these channels that other rows own.
    async fn owned_by_others(
        &self,
        installation: InstallationId,
        seen: &[SeenChannel],
    ) -> Result<BTreeSet<ChannelId>, Interruption> {
        let ids: Vec<ChannelId> = seen.iter().map(|seen| seen.id.clone()).collect();
        let store = &self.channels.inner.store;
        Ok(store.channels().owned(self.lease.id, installation, &ids).await?)
    }

    /// The channels of this name, and those with the row's mark.
    async fn listed(&mut self, step: &Step, name: &str) -> Result<Vec<SeenChannel>, Interruption> {
        let prepared = self.prepare(Method::ConversationsList).await?;
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES {
            self.extend_lease().await?;
            let patience = prepared.patience.max(self.timing().page);
            let request = prepared.workspaces.channels_page(
                prepared.installation,
                cursor.as_deref(),
                patience,
            );
            let page = match self.send(&prepared, request).await? {
                RequestOutcome::Done(page) => page,
                RequestOutcome::Denied(denied) => return Err(self.denied(step, denied)),
            };
            let id = Some(self.lease.id);
            let is_like_it =
                |seen: &SeenChannel| seen.name == name || mark::read(&seen.purpose) == id;
            found.extend(page.channels.into_iter().filter(is_like_it));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
        Err(self.denied(step, Denied::Temporary("too_many_channels".to_owned())))
    }
}
