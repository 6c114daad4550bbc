//! Rows of channels: how they are read, opened and encrypted.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Value};

use crate::domain::channels::next::ChannelFacts;
use crate::domain::channels::place::ChannelPlace;
use crate::domain::channels::progress::Progress;
use crate::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use crate::domain::channels::wish::ChannelWish;
use crate::domain::ids::{ChannelId, ChannelKey, ManagedChannelId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::{Error, Installation, Store};

/// The columns of [`SealedChannel::read`].
pub(super) const COLUMNS: &str = "id, tenant, channel_key, wish, progress, wants_archived, state, \
    obstacle, installation, slack_channel, wish_version, created_at, changed_at, queued, waiting, \
    present, departed, failed, removing";

/// A channel with its wish and its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedChannel {
    pub id: ManagedChannelId,
    pub tenant: TenantId,
    pub key: ChannelKey,
    pub wish: ChannelWish,
    pub progress: Progress,
    /// A call asked for it to be archived.
    pub wants_archived: bool,
    pub state: ChannelState,
    /// `None` also for an obstacle that only a newer release knows.
    pub obstacle: Option<ChannelObstacle>,
    /// Where it exists in Slack.
    pub place: Option<ChannelPlace>,
    /// Grows with each call that changes the wish or the members.
    pub wish_version: i64,
    pub created_at: Timestamp,
    /// When the state, the obstacle or Slack's id last changed.
    pub changed_at: Timestamp,
    pub counts: MemberCounts,
}

impl ManagedChannel {
    /// The facts that decide the channel's next step; `workspace`: the one that the tenant is
    /// connected to.
    pub fn facts<'a>(
        &'a self,
        workspace: Option<&'a Installation>,
        now: Timestamp,
        look_again_after: Duration,
    ) -> ChannelFacts<'a> {
        ChannelFacts {
            now,
            id: self.id,
            wish: &self.wish,
            progress: &self.progress,
            wants_archived: self.wants_archived,
            place: self.place.as_ref(),
            connected: workspace.map(|it| it.id),
            dead: workspace.and_then(Installation::dead),
            granted: workspace.map(|it| it.scopes.as_slice()).unwrap_or_default(),
            look_again_after,
        }
    }
}

/// The number of members in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberCounts {
    /// Also those whose invitation is under way.
    pub queued: u32,
    pub not_in_slack: u32,
    pub members: u32,
    pub left: u32,
    pub failed: u32,
    pub removing: u32,
}

/// The columns with the numbers of members, and the states that each counts.
const COUNTED: [(&str, &[ChannelMemberState]); 6] = [
    ("queued", &[ChannelMemberState::Queued, ChannelMemberState::Inviting]),
    ("waiting", &[ChannelMemberState::NotInSlack]),
    ("present", &[ChannelMemberState::Member]),
    ("departed", &[ChannelMemberState::Left]),
    ("failed", &[ChannelMemberState::Failed]),
    ("removing", &[ChannelMemberState::Removing]),
];

/// A row before its encrypted columns are opened.
pub(super) struct SealedChannel {
    id: ManagedChannelId,
    tenant: TenantId,
    key: ChannelKey,
    wish: Vec<u8>,
    progress: Vec<u8>,
    wants_archived: bool,
    state: ChannelState,
    obstacle: Option<ChannelObstacle>,
    pub(super) place: Option<ChannelPlace>,
    pub(super) wish_version: i64,
    created_at: Timestamp,
    changed_at: Timestamp,
    counts: MemberCounts,
}

impl SealedChannel {
    /// Reads [`COLUMNS`].
    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: columns.uuid(ManagedChannelId::parse)?,
            tenant: columns.id(TenantId::parse)?,
            key: columns.id(ChannelKey::parse)?,
            wish: columns.take()?,
            progress: columns.take()?,
            wants_archived: columns.take::<i64>()? != 0,
            state: {
                let code = columns.take::<String>()?;
                ChannelState::from_code(&code).unwrap_or(ChannelState::Newer)
            },
            obstacle: {
                let code = columns.take::<Option<String>>()?;
                code.and_then(|code| ChannelObstacle::from_code(&code))
            },
            place: {
                let installation = columns.take::<Option<String>>()?;
                let channel = columns.optional_id(ChannelId::parse)?;
                ChannelPlace::of(installation.map(|id| parse_id(&id)).transpose()?, channel)
            },
            wish_version: columns.take()?,
            created_at: columns.time()?,
            changed_at: columns.time()?,
            counts: MemberCounts {
                queued: columns.count()?,
                not_in_slack: columns.count()?,
                members: columns.count()?,
                left: columns.count()?,
                failed: columns.count()?,
                removing: columns.count()?,
            },
        })
    }
}

impl Store {
    /// Decrypts a row. `None`: only a newer release can read it. It only reads, on the readers'
    /// pool, so it is allowed inside a transaction.
    pub(super) async fn open_channel(
        &self,
        sealed: SealedChannel,
    ) -> Result<Option<ManagedChannel>, Error> {
        let scope = KeyScope::Tenant(sealed.tenant.clone());
        let row = sealed.id.to_string();
        let wish = self.unseal(&scope, &place(&row, "wish"), &sealed.wish).await?;
        let progress = self.unseal(&scope, &place(&row, "progress"), &sealed.progress).await?;
        let (Ok(wish), Ok(progress)) =
            (serde_json::from_slice(&wish), serde_json::from_slice(&progress))
        else {
            return Ok(None);
        };
        Ok(Some(ManagedChannel {
            id: sealed.id,
            tenant: sealed.tenant,
            key: sealed.key,
            wish,
            progress,
            wants_archived: sealed.wants_archived,
            state: sealed.state,
            obstacle: sealed.obstacle,
            place: sealed.place,
            wish_version: sealed.wish_version,
            created_at: sealed.created_at,
            changed_at: sealed.changed_at,
            counts: sealed.counts,
        }))
    }

    /// [`Store::open_channel`] for a row that was asked for by its key.
    pub(super) async fn open_asked(&self, sealed: SealedChannel) -> Result<ManagedChannel, Error> {
        let Some(channel) = self.open_channel(sealed).await? else {
            self.pass_over(UnreadableRow::Channel, 1);
            // The caller repeats the call, perhaps at a replica that can read it.
            return Err(Error::Unavailable("a newer release wrote the channel".into()));
        };
        Ok(channel)
    }
}

/// A row of [`COLUMNS`] by itself.
pub(super) fn read(row: &sql::Row) -> Result<SealedChannel, Error> {
    SealedChannel::read(&mut Columns::of(row))
}

/// The end of a lease. If the clock was set back since it was taken, it ends that much sooner: a
/// statement that sets `touched_at` hides the step from the upkeep, so it sets this too.
pub(super) const LEASE: &str = "CASE
        WHEN lease_until > 0
            THEN {greatest}(lease_until - {greatest}(touched_at - {now}, 0), 1)
        ELSE 0 END";

/// Counts the members of a channel again. The channel's row is locked by then.
pub(super) async fn recount(
    db: &impl ConnectionTrait,
    channel: ManagedChannelId,
) -> Result<(), Error> {
    let counts = COUNTED.map(|(column, states)| {
        format!(
            "{column} = (
                SELECT COUNT(*)
                FROM channel_members m
                WHERE m.channel = channels.id AND m.state IN ({}))",
            codes(states)
        )
    });
    let text = format!("UPDATE channels SET {} WHERE id = $1", counts.join(", "));
    sql::execute(db, &text, params![channel.to_string()]).await.map(drop)
}

/// The codes of states, as a list of SQL.
pub(super) fn codes(states: &[ChannelMemberState]) -> String {
    let codes: Vec<_> = states.iter().map(|state| format!("'{}'", state.code())).collect();
    codes.join(", ")
}

/// The states that this release knows, as a list of SQL. A reconciler leaves rows in others to a
/// newer release.
pub(super) fn known() -> String {
    let codes: Vec<_> =
        ChannelState::ALL.iter().map(|state| format!("'{}'", state.code())).collect();
    codes.join(", ")
}

/// Encrypts a column of a channel, as JSON.
pub(super) fn seal(
    keys: &ScopeKeys,
    channel: ManagedChannelId,
    column: &'static str,
    value: &impl serde::Serialize,
) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(value)
        .map_err(|_| Error::Bug("a channel cannot be converted to JSON".into()))?;
    keys.seal(&place(&channel.to_string(), column), &json)
}

fn place<'a>(row: &'a str, column: &'static str) -> SealedCell<'a> {
    SealedCell { table: "channels", row, column }
}

/// Slack's id of a channel and its workspace, as values.
pub(super) fn placed(place: Option<&ChannelPlace>) -> [Value; 2] {
    let installation = place.map(|place| place.installation.to_string());
    let channel = place.map(|place| place.channel.as_str().to_owned());
    [installation.into(), channel.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The triggers and the partial indexes of migration 29 name these codes.
    #[test]
    fn the_migration_names_codes_as_they_are() {
        assert_eq!(ChannelState::Ready.code(), "ready");
        let states = [ChannelMemberState::Inviting, ChannelMemberState::Queued];
        assert_eq!(codes(&states), "'inviting', 'queued'");
    }
}
