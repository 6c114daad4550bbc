//! Looks for a channel among those of the workspace: after an unclear request to create one, and
//! for one to adopt.

use super::turn::{ChannelWork, Interruption};
use crate::domain::channels::next::{OwnLook, Step, adoptable, settled_by_look};
use crate::domain::channels::progress::SeenChannel;
use crate::domain::channels::stamp;
use crate::domain::channels::state::ChannelState;
use crate::domain::ids::ChannelId;
use crate::workspace::Method;

/// Pages of one look. Slack's largest workspaces have fewer channels than these hold.
const PAGES: usize = 500;

impl ChannelWork {
    /// Settles an attempt to create the channel by what is there now.
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
        let bot = self.bot()?;
        let Some(installation) = self.workspace.as_ref().map(|of| of.id) else {
            return Err(Interruption::Again);
        };
        let ids: Vec<ChannelId> = seen.iter().map(|seen| seen.id.clone()).collect();
        let store = &self.channels.inner.store;
        let owned = store.channels().owned(self.lease.id, installation, &ids).await?;
        match settled_by_look(&attempt, &bot, &seen, &owned) {
            OwnLook::Ours(found) => self.take(installation, found),
            OwnLook::Several { keep, archive } => {
                for spare in archive {
                    let prepared = self.prepare(Method::ConversationsArchive).await?;
                    let workspaces = &prepared.workspaces;
                    let request =
                        workspaces.archive_channel(installation, &spare, prepared.patience);
                    if let Err(denied) = self.asked(&prepared, request).await? {
                        self.already(step, denied, "already_archived")?;
                    }
                }
                self.take(installation, keep);
            }
            OwnLook::NotThere => {
                if let Some(attempt) = &mut self.progress.attempt {
                    attempt.looked += 1;
                }
                self.changed = true;
            }
        }
        Ok(())
    }

    /// Adopts the channel that has the name, if nothing speaks against it.
    pub(super) async fn look_for_taken(
        &mut self,
        step: &Step,
        name: &str,
    ) -> Result<(), Interruption> {
        let seen = self.listed(step, name).await?;
        let Some(installation) = self.workspace.as_ref().map(|of| of.id) else {
            return Err(Interruption::Again);
        };
        let ids: Vec<ChannelId> = seen.iter().map(|seen| seen.id.clone()).collect();
        let store = &self.channels.inner.store;
        let owned = store.channels().owned(self.lease.id, installation, &ids).await?;
        let wish = &self.lease.channel.wish;
        let found = adoptable(&seen, name, wish, &owned, self.lease.id);
        self.take(installation, found.map_err(Interruption::Blocked)?);
        self.progress.adopted = true;
        // The row owns the channel from now on, before anything is changed in Slack.
        self.settle(ChannelState::Creating, None).await
    }

    /// The channels of this name, and those with our mark.
    async fn listed(&mut self, step: &Step, name: &str) -> Result<Vec<SeenChannel>, Interruption> {
        let id = self.lease.id;
        let ours = |seen: &SeenChannel| seen.name == name || stamp::read(&seen.purpose) == Some(id);
        let prepared = self.prepare(Method::ConversationsList).await?;
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES {
            self.hold().await?;
            let patience = prepared.patience.max(self.timing().page);
            let request = prepared.workspaces.channels_page(
                prepared.installation,
                cursor.as_deref(),
                patience,
            );
            let page = match self.asked(&prepared, request).await? {
                Ok(page) => page,
                Err(denied) => return Err(self.denied(step, denied)),
            };
            found.extend(page.channels.into_iter().filter(ours));
            cursor = page.next_cursor.filter(|cursor| !cursor.is_empty());
            if cursor.is_none() {
                return Ok(found);
            }
        }
        Err(Interruption::Temporary("too_many_channels".to_owned()))
    }
}
