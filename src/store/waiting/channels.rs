//! The channels that the platform names by its own keys, as far as deliveries need them: whether a
//! channel is ready, where it is, and which deliveries are for it. The rest of a channel's row
//! belongs to `store::channels`.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait as _, Value};

use crate::domain::channels::place::ChannelPlace;
use crate::domain::ids::{ChannelId, ChannelKey, InstallationId, ManagedChannelId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, by_key, params, placeholders};
use crate::store::database::transaction::Tx;
use crate::store::lanes::unread::known;
use crate::store::{Error, Waiting};

/// Channels of one statement.
const CHUNK: usize = 256;

/// A channel that the platform names by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedChannel {
    pub id: ManagedChannelId,
    /// Its conversation, if it is ready in the workspace that the tenant is connected to now.
    pub ready: Option<ChannelPlace>,
}

/// The next place of a new delivery for a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum ChannelTurn {
    /// It joins this lane.
    Joins { installation: InstallationId, lane: String },
    /// The channel is not ready, or an earlier delivery waits for it.
    Waits,
}

/// By channel; one that was released is missing.
pub(in crate::store) type ChannelTurns = HashMap<ManagedChannelId, ChannelTurn>;

/// The link of the tenant of the channel `c` to the workspace that has the channel, to be joined as
/// `l`: NULLs unless the channel is ready there and the tenant is connected to it.
pub(super) const READY: &str = "
    LEFT JOIN tenant_links l ON l.tenant = c.tenant AND l.installation = c.installation
        AND c.state = 'ready' AND c.slack_channel IS NOT NULL";

/// In no lane, and for a channel with a key; the condition of the index `deliveries_awaiting`,
/// verbatim.
pub(super) const AWAITS: &str =
    "(CASE WHEN state = 'pending' AND lane IS NULL THEN awaits_channel END) IS NOT NULL";

/// When a delivery in the line of a channel is due: never by itself, and later than any expiry.
pub(in crate::store) const NEVER: Timestamp = Timestamp(9_000_000_000_000_000);

/// In line for the channel ([`NEVER`]); the second column of that index.
pub(super) const IN_LINE: &str = "(CASE WHEN due_at >= expires_at THEN 1 ELSE 0 END) = 1";

/// In a lane, and to go wherever the channel is; the condition of the index
/// `deliveries_of_channel`. Deletions and crossings-out stay where their messages are.
pub(super) const FOLLOWS: &str = "(CASE
            WHEN state = 'pending' AND lane IS NOT NULL
                AND COALESCE(action, 'post') IN ('post', 'reply', 'replace')
                THEN awaits_channel END) IS NOT NULL";

/// Whether a delivery for the channel with the id `channel` stands before a new one that would join
/// the lane `lane` (both expressions): in line, or in another lane. 1 or 0.
pub(super) fn behind(channel: &str, lane: &str) -> String {
    let known = known();
    let first = |which: String| {
        format!(
            "(SELECT 1
                FROM deliveries
                WHERE awaits_channel = {channel} AND {which} AND {known}
                LIMIT 1)"
        )
    };
    let (line, before, after) = (
        first(format!("{AWAITS} AND {IN_LINE}")),
        first(format!("{FOLLOWS} AND lane < {lane}")),
        first(format!("{FOLLOWS} AND lane > {lane}")),
    );
    format!("COALESCE({line}, {before}, {after}, 0)")
}

impl Waiting<'_> {
    /// The channels with these keys; unknown keys are missing.
    pub async fn keyed_channels(
        self,
        tenant: &TenantId,
        keys: &BTreeSet<ChannelKey>,
    ) -> Result<HashMap<ChannelKey, KeyedChannel>, Error> {
        let backend = self.store.reader().get_database_backend();
        let rows = keys.iter().map(|key| [tenant.as_str().into(), key.as_str().into()]);
        let mut found = HashMap::with_capacity(keys.len());
        for (table, values) in given(backend, [Column::Text; 2], rows.collect()) {
            let text = format!(
                "SELECT c.channel_key, c.id, l.installation, c.slack_channel
                    FROM {table}
                    JOIN channels c ON {} AND c.channel_key = column2 {READY}",
                by_key(backend, "c.tenant", "column1")
            );
            for row in sql::all(self.store.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let key = columns.id(ChannelKey::parse)?;
                let id = columns.uuid(ManagedChannelId::parse)?;
                let installation = columns.optional_id(|text| InstallationId::parse(&text))?;
                let channel = columns.optional_id(ChannelId::parse)?;
                let ready = ChannelPlace::of(installation, channel);
                found.insert(key, KeyedChannel { id, ready });
            }
        }
        Ok(found)
    }

    /// The conversation of a channel in Slack, in whatever state the channel is; `None` if it never
    /// existed there, or was released.
    pub async fn channel_place(self, id: ManagedChannelId) -> Result<Option<ChannelPlace>, Error> {
        const SQL: &str = "SELECT installation, slack_channel FROM channels WHERE id = $1";
        let Some(row) = sql::one(self.store.reader(), SQL, params![id.to_string()]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let installation = columns.optional_id(|text| InstallationId::parse(&text))?;
        Ok(ChannelPlace::of(installation, columns.optional_id(ChannelId::parse)?))
    }
}

/// The next places of new deliveries for these channels. Locks the rows of the channels until the
/// commit, so that a channel which becomes ready or is released meanwhile finds the deliveries.
/// Whether earlier ones wait is read by another statement than the one that locks: it sees what was
/// committed in between. Must come before the lanes are locked.
pub(in crate::store) async fn channel_turns(
    tx: &Tx,
    channels: &BTreeSet<ManagedChannelId>,
) -> Result<ChannelTurns, Error> {
    let mut turns = ChannelTurns::new();
    let ids: Vec<Value> = channels.iter().map(|id| id.to_string().into()).collect();
    for chunk in ids.chunks(CHUNK) {
        let among = placeholders(1, chunk.len());
        let lock =
            format!("SELECT id FROM channels WHERE id IN ({among}) ORDER BY id {{for_share}}");
        sql::all(tx, &lock, chunk.to_vec()).await?;
        let text = format!(
            "SELECT c.id, l.installation, c.slack_channel, {}
                FROM channels c {READY}
                WHERE c.id IN ({among})",
            behind("c.id", "c.slack_channel")
        );
        for row in sql::all(tx, &text, chunk.to_vec()).await? {
            let mut columns = Columns::of(&row);
            let id = columns.uuid(ManagedChannelId::parse)?;
            let installation = columns.optional_id(|text| InstallationId::parse(&text))?;
            let place = installation.zip(columns.take::<Option<String>>()?);
            let is_behind = columns.take::<i32>()? != 0;
            let turn = match place {
                Some((installation, lane)) if !is_behind => {
                    ChannelTurn::Joins { installation, lane }
                }
                _ => ChannelTurn::Waits,
            };
            turns.insert(id, turn);
        }
    }
    Ok(turns)
}
