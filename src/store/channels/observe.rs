//! Slack's events about channels. Applying one again changes nothing; those about channels that are
//! not kept here are ignored.

use super::rows::recount;
use crate::domain::channels::state::ChannelMemberState;
use crate::domain::ids::{ChannelId, InstallationId, ManagedChannelId, SlackUserId};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Channels, Error};

/// An event about one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelObservation {
    /// Something about it changed: it is inspected soon.
    Changed,
    IdChanged(ChannelId),
    Joined(SlackUserId),
    Left(SlackUserId),
}

impl Channels<'_> {
    /// Applies an event. `false`: no row is about this channel.
    pub async fn observe(
        self,
        installation: InstallationId,
        channel: &ChannelId,
        seen: &ChannelObservation,
    ) -> Result<bool, Error> {
        let place = &params![installation.to_string(), channel.as_str()];
        let observed = self.store.transaction(|tx| {
            scoped(async move {
                let Some(id) = locked(tx, place.clone()).await? else { return Ok(false) };
                apply(tx, id, seen).await?;
                Ok(true)
            })
        });
        let observed = observed.await?;
        if observed {
            self.store.changed();
            self.store.inner.channels_woken.notify_one();
        }
        Ok(observed)
    }
}

async fn locked(tx: &Tx, place: Vec<sea_orm::Value>) -> Result<Option<ManagedChannelId>, Error> {
    const SQL: &str = "SELECT id FROM channels WHERE installation = $1 AND slack_channel = $2 \
        {for_update}";
    let row = sql::one(tx, SQL, place).await?;
    row.map(|row| Columns::of(&row).uuid(ManagedChannelId::parse)).transpose()
}

async fn apply(tx: &Tx, id: ManagedChannelId, seen: &ChannelObservation) -> Result<(), Error> {
    const RECHECK: &str = "UPDATE channels SET recheck = recheck + 1, touched_at = {now}, \
        due_at = {greatest}({now}, lease_until) WHERE id = $1";
    // A channel that another row has already stays with that row; the turn of this one finds out.
    const MOVE: &str = "UPDATE channels SET slack_channel = $2, changed_at = {now} WHERE id = $1 \
        AND NOT EXISTS (SELECT 1 FROM channels other \
        WHERE other.installation = channels.installation AND other.slack_channel = $2)";
    let channel = id.to_string();
    match seen {
        ChannelObservation::Changed => {
            sql::execute(tx, RECHECK, params![channel]).await?;
        }
        ChannelObservation::IdChanged(new) => {
            sql::execute(tx, MOVE, params![channel.as_str(), new.as_str()]).await?;
            sql::execute(tx, RECHECK, params![channel]).await?;
        }
        ChannelObservation::Joined(user) => {
            let from = [
                ChannelMemberState::Queued,
                ChannelMemberState::NotInSlack,
                ChannelMemberState::Inviting,
                ChannelMemberState::Left,
                ChannelMemberState::Failed,
            ];
            member(tx, id, user, &from, ChannelMemberState::Member).await?;
        }
        // A member who is being removed is not one who left.
        ChannelObservation::Left(user) => {
            let from = [ChannelMemberState::Member, ChannelMemberState::Inviting];
            member(tx, id, user, &from, ChannelMemberState::Left).await?;
        }
    }
    Ok(())
}

async fn member(
    tx: &Tx,
    id: ManagedChannelId,
    user: &SlackUserId,
    from: &[ChannelMemberState],
    to: ChannelMemberState,
) -> Result<(), Error> {
    let text = format!(
        "UPDATE channel_members SET state = '{}', code = NULL, attempts = 0, due_at = NULL, \
         touched_at = {{now}}, changed_at = {{now}} \
         WHERE channel = $1 AND slack_user = $2 AND state IN ({})",
        to.code(),
        super::rows::codes(from)
    );
    if sql::execute(tx, &text, params![id.to_string(), user.as_str()]).await? > 0 {
        recount(tx, id).await?;
    }
    Ok(())
}
