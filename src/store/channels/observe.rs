//! Slack's events about channels. Applying one again changes nothing; those about channels that are
//! not kept here are ignored.

use std::time::Duration;

use super::rows::{LEASE, codes, recount};
use crate::domain::channels::state::{ChannelMemberState, LEFT};
use crate::domain::ids::{ChannelId, InstallationId, ManagedChannelId, SlackUserId};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Channels, Error};

/// The difference between Slack's clock, which dates an event, and the database's, which dates the
/// change of a row.
const CLOCKS: Duration = Duration::from_secs(5);

/// An event about one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelObservation {
    /// Something about it changed: it is inspected soon.
    Changed,
    IdChanged(ChannelId),
    /// A person entered, at this time of Slack's.
    Joined(SlackUserId, Timestamp),
    /// A person left, at this time of Slack's.
    Left(SlackUserId, Timestamp),
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

    /// Slack dropped events about a workspace: each of its channels is read again, as after an
    /// event, at a time of its own in the second half of `within`.
    pub async fn note_lost_events(
        self,
        installation: InstallationId,
        within: Duration,
    ) -> Result<(), Error> {
        let spread = spread();
        let text = &format!(
            "UPDATE channels
                SET recheck = recheck + 1,
                    lease_until = {LEASE},
                    touched_at = {{now}},
                    due_at = {{least}}(COALESCE(due_at, {spread}), {spread})
                FROM (
                    SELECT id AS which, ROW_NUMBER() OVER (ORDER BY id) AS place
                    FROM (
                        SELECT id
                        FROM channels
                        WHERE installation = $1 AND id > $2
                        ORDER BY id
                        LIMIT {BATCH} {{for_update}}) AS locked) AS spread
                WHERE id = spread.which
                RETURNING id"
        );
        let half = micros(within / 2);
        let mut after = String::new();
        loop {
            let values = &params![installation.to_string(), after.as_str(), half];
            let changed = self.store.transaction(|tx| scoped(sql::all(tx, text, values.clone())));
            let rows = changed.await?;
            for row in &rows {
                after = after.max(row.get(0)?);
            }
            if rows.len() < BATCH {
                return Ok(());
            }
        }
    }
}

/// Channels that one statement of [`Channels::note_lost_events`] changes.
const BATCH: usize = 500;
/// When the channel at this place of a batch is due.
fn spread() -> String {
    format!("{{greatest}}({{now}} + $3 + $3 * spread.place / 500, {LEASE})")
}

async fn locked(tx: &Tx, place: Vec<sea_orm::Value>) -> Result<Option<ManagedChannelId>, Error> {
    const SQL: &str = "SELECT id
        FROM channels
        WHERE installation = $1 AND slack_channel = $2 {for_update}";
    let row = sql::one(tx, SQL, place).await?;
    row.map(|row| Columns::of(&row).uuid(ManagedChannelId::parse)).transpose()
}

async fn apply(tx: &Tx, id: ManagedChannelId, seen: &ChannelObservation) -> Result<(), Error> {
    // A channel that another row has already stays with that row; the turn of this one finds out.
    const MOVE: &str = "UPDATE channels
        SET slack_channel = $2, changed_at = {now}
        WHERE id = $1 AND NOT EXISTS (
            SELECT 1
            FROM channels other
            WHERE other.installation = channels.installation AND other.slack_channel = $2)";
    match seen {
        ChannelObservation::Changed => recheck(tx, id).await,
        ChannelObservation::IdChanged(new) => {
            sql::execute(tx, MOVE, params![id.to_string(), new.as_str()]).await?;
            recheck(tx, id).await
        }
        ChannelObservation::Joined(user, at) => member(tx, id, user, *at, Movement::Joined).await,
        ChannelObservation::Left(user, at) => member(tx, id, user, *at, Movement::Left).await,
    }
}

async fn recheck(tx: &Tx, id: ManagedChannelId) -> Result<(), Error> {
    let text = format!(
        "UPDATE channels
            SET recheck = recheck + 1,
                lease_until = {LEASE},
                touched_at = {{now}},
                due_at = {{greatest}}({{now}}, {LEASE})
            WHERE id = $1"
    );
    sql::execute(tx, &text, params![id.to_string()]).await.map(drop)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Movement {
    Joined,
    Left,
}

impl Movement {
    /// The states that an event changes. A member who is being removed is not one who left.
    fn changes(self) -> &'static [ChannelMemberState] {
        match self {
            Self::Joined => &[
                ChannelMemberState::Queued,
                ChannelMemberState::NotInSlack,
                ChannelMemberState::Inviting,
                ChannelMemberState::Left,
                ChannelMemberState::Failed,
            ],
            Self::Left => &[ChannelMemberState::Member, ChannelMemberState::Inviting],
        }
    }

    fn becomes(self) -> ChannelMemberState {
        match self {
            Self::Joined => ChannelMemberState::Member,
            Self::Left => ChannelMemberState::Left,
        }
    }
}

/// Applies the event to the rows of a member. One that is older than another event about the same
/// person says nothing. One that may be older than a change or reading by Herald itself leads
/// to a reading of the members.
async fn member(
    tx: &Tx,
    id: ManagedChannelId,
    user: &SlackUserId,
    at: Timestamp,
    movement: Movement,
) -> Result<(), Error> {
    const HEARD: &str = "UPDATE channel_members
        SET heard_at = $3
        WHERE channel = $1 AND slack_user = $2 AND (heard_at IS NULL OR heard_at < $3)";
    let (channel, user) = (id.to_string(), user.as_str());
    let states = codes(movement.changes());
    let older = format!(
        "SELECT 1
            FROM channel_members
            WHERE channel = $1 AND slack_user = $2 AND state IN ({states})
                AND (heard_at IS NULL OR heard_at <= $3) AND changed_at > $4"
    );
    let values = params![channel.as_str(), user, at.0, at.plus(CLOCKS).0];
    if sql::one(tx, &older, values).await?.is_some() {
        return recheck(tx, id).await;
    }
    let code = (movement == Movement::Left).then_some(LEFT);
    let text = format!(
        "UPDATE channel_members
            SET state = '{}', code = $4, attempts = 0, due_at = NULL, touched_at = {{now}},
                changed_at = {{now}}
            WHERE channel = $1 AND slack_user = $2 AND state IN ({states})
                AND (heard_at IS NULL OR heard_at <= $3)",
        movement.becomes().code(),
    );
    let values = params![channel.as_str(), user, at.0, code.map(str::to_owned)];
    let changed = sql::execute(tx, &text, values).await? > 0;
    sql::execute(tx, HEARD, params![channel, user, at.0]).await?;
    if changed {
        recount(tx, id).await?;
    }
    Ok(())
}
