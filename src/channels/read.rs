//! Reads the members of a channel, and compares those wished for with them.

use std::collections::HashSet;

use super::turn::{ChannelWork, Denied, Interruption, RequestOutcome};
use crate::domain::channels::members::{Presence, presence};
use crate::domain::channels::next::Step;
use crate::domain::channels::state::{ChannelMemberState, LEFT};
use crate::domain::ids::{SlackUserId, UserId};
use crate::domain::time::Timestamp;
use crate::store::{MemberRecord, MemberUpdate};
use crate::workspace::Method;

/// Pages of one reading: Slack's largest channels have fewer members than these hold.
const PAGES: usize = 500;
/// Members that are compared with one write.
const ROWS: u32 = 1000;

impl ChannelWork {
    /// Settles invitations that may or may not have been carried out, and finds those who left.
    pub(super) async fn read_members(&mut self, step: &Step) -> Result<(), Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsMembers).await?;
        let bot = self.bot().await?;
        let (mut present, mut cursor) = (HashSet::new(), None::<String>);
        for number in 0.. {
            if number == PAGES {
                let denied = Denied::Temporary("too_many_members".to_owned());
                return Err(self.denied(step, denied));
            }
            self.extend_lease().await?;
            let patience = prepared.patience.max(self.timing().page);
            let request = prepared.workspaces.channel_members(
                prepared.installation,
                &channel,
                cursor.as_deref(),
                patience,
            );
            let page = match self.send(&prepared, request).await? {
                RequestOutcome::Done(page) => page,
                RequestOutcome::Denied(denied) => return Err(self.denied(step, denied)),
            };
            present.extend(page.members);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if present.contains(&bot) {
            self.compare(&present).await?;
            self.present = Some(present);
            self.done(step);
        } else {
            self.progress.app_removed = true;
            self.changed = true;
        }
        Ok(())
    }

    /// Writes what the list says about those wished for.
    async fn compare(&mut self, present: &HashSet<SlackUserId>) -> Result<(), Interruption> {
        let mut after: Option<UserId> = None;
        loop {
            self.extend_lease().await?;
            let (store, channel) = (&self.channels.inner.store, &self.lease.channel);
            let rows = store
                .channels()
                .members(&channel.tenant, &channel.key, None, after.as_ref(), ROWS)
                .await?
                .ok_or(Interruption::Lost)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.user.clone());
            let complete = rows.len() < ROWS as usize;
            let updates: Vec<_> =
                rows.into_iter().filter_map(|row| Self::compared(row, present)).collect();
            self.write(&updates).await?;
            if complete {
                return Ok(());
            }
        }
    }

    fn compared(row: MemberRecord, present: &HashSet<SlackUserId>) -> Option<MemberUpdate> {
        let is_in = row.slack_user_id.as_ref().is_some_and(|member| present.contains(member));
        let state = match presence(row.state, is_in) {
            Presence::AsKnown => return None,
            Presence::Is(state) => Some(state),
            Presence::Gone => None,
        };
        let queued = state == Some(ChannelMemberState::Queued);
        let left = state == Some(ChannelMemberState::Left);
        Some(MemberUpdate {
            user: row.user,
            state,
            slack_user_id: row.slack_user_id,
            code: left.then(|| LEFT.to_owned()),
            attempts: if queued { row.attempts } else { 0 },
            retry_at: queued.then(Timestamp::default),
        })
    }
}
