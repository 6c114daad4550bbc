//! Channels as they are read back.

use super::members::MemberRecord;
use super::rows::{COLUMNS, ManagedChannel, SealedChannel, read};
use crate::domain::channels::state::{ChannelMemberState, ChannelState};
use crate::domain::ids::{ChannelKey, ManagedChannelId, TenantId, UserId};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{Channels, Error, Store};

/// The number of a tenant's channels in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelCounts {
    pub scheduled: u32,
    pub creating: u32,
    pub ready: u32,
    pub blocked: u32,
    pub archived: u32,
    pub deleted: u32,
}

/// The channels of all tenants and their members, by state, for metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelTotals {
    pub channels: Vec<(ChannelState, u64)>,
    /// Those whose invitation is under way count as queued.
    pub members: Vec<(ChannelMemberState, u64)>,
}

impl Channels<'_> {
    /// The channels of all tenants and their members, by state. It reads the rows of channels only.
    pub async fn totals(self) -> Result<ChannelTotals, Error> {
        const SQL: &str = "
            SELECT state, COUNT(*), CAST(SUM(queued) AS bigint), CAST(SUM(waiting) AS bigint),
                CAST(SUM(present) AS bigint), CAST(SUM(departed) AS bigint),
                CAST(SUM(failed) AS bigint), CAST(SUM(removing) AS bigint)
            FROM channels
            GROUP BY state";
        let mut channels: Vec<_> = ChannelState::ALL.iter().map(|state| (*state, 0)).collect();
        let mut members = [
            ChannelMemberState::Queued,
            ChannelMemberState::NotInSlack,
            ChannelMemberState::Member,
            ChannelMemberState::Left,
            ChannelMemberState::Failed,
            ChannelMemberState::Removing,
        ]
        .map(|state| (state, 0));
        for row in sql::all(self.store.reader(), SQL, params![]).await? {
            let mut columns = Columns::of(&row);
            let state = ChannelState::from_code(&columns.take::<String>()?);
            let count = u64::from(columns.count()?);
            let known = channels.iter_mut().find(|(known, _)| Some(*known) == state);
            if let Some((_, total)) = known {
                *total += count;
            }
            for (_, total) in &mut members {
                *total += u64::from(columns.count()?);
            }
        }
        Ok(ChannelTotals { channels, members: members.into() })
    }

    /// `None`: the tenant has no channel of this key.
    pub async fn get(
        self,
        tenant: &TenantId,
        key: &ChannelKey,
    ) -> Result<Option<ManagedChannel>, Error> {
        let text = format!("SELECT {COLUMNS} FROM channels WHERE tenant = $1 AND channel_key = $2");
        let values = params![tenant.as_str(), key.as_str()];
        match sql::one(self.store.reader(), &text, values).await? {
            Some(row) => self.store.open_asked(read(&row)?).await.map(Some),
            None => Ok(None),
        }
    }

    /// Up to `limit` channels of a tenant after a key, in the order of their keys. Rows that only a
    /// newer release can read are skipped.
    pub async fn list(
        self,
        tenant: &TenantId,
        state: Option<ChannelState>,
        after: Option<&ChannelKey>,
        limit: u32,
    ) -> Result<Vec<ManagedChannel>, Error> {
        let in_state = if state.is_some() { "AND state = $3" } else { "" };
        // Every key is larger than the empty text.
        let mut last = after.map_or("", ChannelKey::as_str).to_owned();
        let mut channels = Vec::new();
        loop {
            let left = limit as usize - channels.len();
            let text = format!(
                "SELECT {COLUMNS}
                    FROM channels
                    WHERE tenant = $1 AND channel_key > $2 {in_state}
                    ORDER BY channel_key
                    LIMIT {left}"
            );
            let mut values = params![tenant.as_str(), last.as_str()];
            values.extend(state.map(|state| state.code().into()));
            let rows = sql::all(self.store.reader(), &text, values).await?;
            channels.extend(self.store.open_channels(&rows).await?);
            match rows.last() {
                Some(row) if rows.len() == left && channels.len() < limit as usize => {
                    last = row.named("channel_key")?;
                }
                _ => return Ok(channels),
            }
        }
    }

    /// Up to `limit` members of a channel after a person. `None`: unknown key.
    pub async fn members(
        self,
        tenant: &TenantId,
        key: &ChannelKey,
        state: Option<ChannelMemberState>,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Option<Vec<MemberRecord>>, Error> {
        const ID: &str = "SELECT id FROM channels WHERE tenant = $1 AND channel_key = $2";
        let values = params![tenant.as_str(), key.as_str()];
        let Some(row) = sql::one(self.store.reader(), ID, values).await? else {
            return Ok(None);
        };
        let channel = Columns::of(&row).uuid(ManagedChannelId::parse)?;
        let states: Vec<_> = state.into_iter().collect();
        self.store.members_of(channel, &states, false, after, limit).await.map(Some)
    }

    /// The number of a tenant's channels in each state.
    pub async fn count(self, tenant: &TenantId) -> Result<ChannelCounts, Error> {
        const SQL: &str = "SELECT state, COUNT(*) FROM channels WHERE tenant = $1 GROUP BY state";
        let mut counts = ChannelCounts::default();
        for row in sql::all(self.store.reader(), SQL, params![tenant.as_str()]).await? {
            let mut columns = Columns::of(&row);
            let (code, count): (String, _) = (columns.take()?, columns.count()?);
            let place = match ChannelState::from_code(&code) {
                Some(ChannelState::Scheduled) => &mut counts.scheduled,
                Some(ChannelState::Creating) => &mut counts.creating,
                Some(ChannelState::Ready) => &mut counts.ready,
                Some(ChannelState::Blocked) => &mut counts.blocked,
                Some(ChannelState::Archived) => &mut counts.archived,
                Some(ChannelState::Deleted) => &mut counts.deleted,
                _ => continue,
            };
            *place = count;
        }
        Ok(counts)
    }
}

impl Store {
    /// Opens rows of [`COLUMNS`]. Those that only a newer release can read, and those that do not
    /// decrypt, are skipped.
    pub(super) async fn open_channels(
        &self,
        rows: &[sql::Row],
    ) -> Result<Vec<ManagedChannel>, Error> {
        let sealed: Vec<SealedChannel> = rows.iter().filter_map(|row| read(row).ok()).collect();
        let mut channels = Vec::with_capacity(sealed.len());
        for sealed in sealed {
            match self.open_channel(sealed).await {
                Ok(opened) => channels.extend(opened),
                Err(error @ Error::Sealed(_)) => {
                    tracing::error!(%error, "A channel cannot be read.");
                }
                Err(error) => return Err(error),
            }
        }
        self.pass_over(UnreadableRow::Channel, (rows.len() - channels.len()) as u64);
        Ok(channels)
    }
}
