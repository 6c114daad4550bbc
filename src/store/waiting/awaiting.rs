//! Deliveries that wait until their channel is ready in Slack.
//!
//! They are pending and in no lane. In line for the channel they are ordered by their positions,
//! and never due by themselves. A scheduled one (`deliver_after`) has its own due time first, and
//! gets in line when that comes.
//!
//! A channel that becomes ready takes its line into its lane ([`Waiting::note_channel_ready`]), and
//! so does one whose id in Slack changed, with the deliveries of its previous lane. Both lock the
//! channel's row, as does the acceptance of a delivery for the channel: either the acceptance finds
//! the channel ready and no line, and the delivery joins the lane, or the delivery is in the line
//! and is found there (invariant I4). [`Waiting::sweep_channels`] finds lines whose channel was
//! ready or released when a process died.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait as _;

use super::channels::{AWAITS, FOLLOWS, IN_LINE, NEVER, READY, behind};
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::State;
use crate::domain::delivery::admission::LaneAddress;
use crate::domain::delivery::subject::SlackRequestKind;
use crate::domain::ids::{ChannelId, DeliveryId, InstallationId, ManagedChannelId, TenantId};
use crate::domain::reason::Cancellation;
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, Row, by_key, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::ends::cancel::cancel_where;
use crate::store::lanes::lane::{self, Joining};
use crate::store::lanes::unread::known;
use crate::store::records::deliveries::STATE;
use crate::store::{Error, Store, Waiting};

/// Deliveries of one transaction.
const AT_ONCE: usize = 256;

/// One step of serving a channel.
#[derive(Debug, Default)]
struct ServedBatch {
    joined: u32,
    /// Those that ended because the channel was released.
    ended: Vec<(DeliveryId, State)>,
    /// There may be more to serve.
    more: bool,
}

/// A delivery that joins the lane of its channel.
struct Joiner {
    id: String,
    tenant: TenantId,
    /// The lane that it leaves.
    from: Option<LaneAddress>,
    priority: Priority,
    budget: Budget,
}

/// The columns of a [`Joiner`], and its order.
const READ: &str = "id, tenant, installation, lane, priority, deed, action, position, sequence";

impl Waiting<'_> {
    /// The channel is ready in this conversation: its deliveries join the conversation's lane,
    /// those of a previous lane first. Returns how many. Cheap if there are none.
    pub async fn note_channel_ready(
        self,
        tenant: &TenantId,
        id: ManagedChannelId,
        installation: InstallationId,
        channel: &ChannelId,
    ) -> Result<u32, Error> {
        let text = format!("SELECT {}", behind("$1", "$2"));
        let values = params![id.to_string(), channel.as_str()];
        let row = sql::one(self.store.reader(), &text, values).await?;
        if row.map_or(Ok(0), |row| row.get::<i32>(0))? == 0 {
            return Ok(0);
        }
        let joined = self.store.serve_channel(id).await?;
        tracing::debug!(%tenant, workspace = %installation, channel = %id, joined, "served");
        Ok(joined)
    }

    /// Ends the deliveries that wait for a channel, because it is released, with this reason;
    /// returns how many.
    pub async fn end_awaiting(
        self,
        tenant: &TenantId,
        id: ManagedChannelId,
        code: &str,
    ) -> Result<u32, Error> {
        let which = format!(
            "id IN (
                SELECT id
                FROM deliveries
                WHERE awaits_channel = $1 AND {AWAITS} AND tenant = $2
                ORDER BY position, sequence
                LIMIT {AT_ONCE})"
        );
        let values = params![id.to_string(), tenant.as_str(), code];
        let (which, values) = (&which, &values);
        let mut ended = 0;
        loop {
            let met = self.store.transaction(|tx| {
                scoped(async move { cancel_where(tx, which, values.clone(), "$3").await })
            });
            let met = met.await?;
            ended += self.store.tell_canceled(&met).canceled;
            if met.len() < AT_ONCE {
                return Ok(ended);
            }
        }
    }

    /// Scheduled deliveries for channels whose time has come, up to `limit`: they get in line, and
    /// join the lane if the channel is ready. Returns how many there were. Several replicas may do
    /// this at once.
    pub async fn line_up_due(self, limit: u32) -> Result<u32, Error> {
        let text = format!(
            "SELECT id, awaits_channel
                FROM deliveries
                WHERE state = 'pending' AND lane IS NULL AND awaits_channel IS NOT NULL
                    AND due_at <= {{now}} AND due_at < expires_at AND {}
                ORDER BY due_at, sequence
                LIMIT {limit}",
            known()
        );
        let rows = sql::all(self.store.reader(), &text, params![]).await?;
        let (mut due, mut channels) = (Vec::new(), BTreeSet::new());
        for row in &rows {
            let mut columns = Columns::of(row);
            due.push(columns.take::<String>()?);
            match columns.uuid(ManagedChannelId::parse) {
                Ok(channel) => {
                    channels.insert(channel);
                }
                Err(_) => self.store.pass_over(UnreadableRow::Waiting, 1),
            }
        }
        if due.is_empty() {
            return Ok(0);
        }
        let due = &due;
        self.store.transaction(|tx| scoped(line_up(tx, due))).await?;
        for channel in channels {
            self.store.serve_channel(channel).await?;
        }
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    /// Looks at up to `limit` channels with waiting deliveries, in the order of their ids, and
    /// serves those that are ready or were released. Returns the last one, if more may follow.
    pub async fn sweep_channels(
        self,
        after: Option<ManagedChannelId>,
        limit: u32,
    ) -> Result<Option<ManagedChannelId>, Error> {
        let next = |after: &str| {
            format!(
                "(SELECT MIN(awaits_channel)
                    FROM deliveries
                    WHERE awaits_channel > {after} AND {AWAITS})"
            )
        };
        // One search of the index for each channel, however many deliveries wait for it. Every id
        // is larger than the empty text.
        let text = format!(
            "WITH RECURSIVE awaited (channel, number) AS (
                    SELECT {}, 1
                    UNION ALL
                    SELECT {}, number + 1
                    FROM awaited
                    WHERE channel IS NOT NULL AND number < {limit})
                SELECT awaited.channel,
                    CASE
                        WHEN c.id IS NULL THEN 1
                        WHEN l.tenant IS NULL THEN 0
                        ELSE {} END
                FROM awaited
                LEFT JOIN channels c ON c.id = awaited.channel {READY}
                WHERE awaited.channel IS NOT NULL
                ORDER BY awaited.channel",
            next("$1"),
            next("awaited.channel"),
            behind("awaited.channel", "c.slack_channel"),
        );
        let after = after.map_or_else(String::new, |id| id.to_string());
        let rows = sql::all(self.store.reader(), &text, params![after]).await?;
        let mut last = None;
        for row in &rows {
            let mut columns = Columns::of(row);
            let Ok(channel) = columns.uuid(ManagedChannelId::parse) else {
                self.store.pass_over(UnreadableRow::Waiting, 1);
                continue;
            };
            last = Some(channel);
            if columns.take::<i32>()? != 0 {
                self.store.serve_channel(channel).await?;
            }
        }
        Ok(last.filter(|_| rows.len() >= limit as usize))
    }
}

impl Store {
    /// Puts the line of a channel into the channel's lane, if it is ready, or ends it, if the
    /// channel was released. Returns how many deliveries joined the lane.
    pub(in crate::store) async fn serve_channel(&self, id: ManagedChannelId) -> Result<u32, Error> {
        let mut joined = 0;
        loop {
            let batch = self.transaction(|tx| scoped(serve_batch(tx, id))).await?;
            if batch.joined > 0 {
                self.wake();
            }
            self.tell_canceled(&batch.ended);
            joined += batch.joined;
            if !batch.more {
                return Ok(joined);
            }
        }
    }

    /// Serves the channels in whose lines these new deliveries are.
    pub(in crate::store) async fn serve_channels_of(
        &self,
        deliveries: &[DeliveryId],
    ) -> Result<(), Error> {
        let mut channels = BTreeSet::new();
        for chunk in deliveries.chunks(AT_ONCE) {
            let text = format!(
                "SELECT DISTINCT awaits_channel
                    FROM deliveries
                    WHERE id IN ({}) AND awaits_channel IS NOT NULL AND lane IS NULL",
                placeholders(1, chunk.len())
            );
            let ids = chunk.iter().map(|id| sea_orm::Value::from(id.to_string()));
            for row in sql::all(self.reader(), &text, ids.collect()).await? {
                channels.insert(Columns::of(&row).uuid(ManagedChannelId::parse)?);
            }
        }
        for channel in channels {
            self.serve_channel(channel).await?;
        }
        Ok(())
    }
}

async fn serve_batch(tx: &Tx, id: ManagedChannelId) -> Result<ServedBatch, Error> {
    const LOCK: &str = "SELECT id FROM channels WHERE id = $1 {for_update}";
    let key = id.to_string();
    if sql::one(tx, LOCK, params![key.as_str()]).await?.is_none() {
        return end_released(tx, &key).await;
    }
    // As statements of their own, after the lock: they see what was committed before it.
    let place = format!(
        "SELECT l.installation, c.slack_channel, {{now}} FROM channels c {READY} WHERE c.id = $1"
    );
    let Some(row) = sql::one(tx, &place, params![key.as_str()]).await? else {
        return Ok(ServedBatch::default());
    };
    let mut columns = Columns::of(&row);
    let installation = columns.optional_id(|text| InstallationId::parse(&text))?;
    let place = installation.zip(columns.take::<Option<String>>()?);
    let now = columns.time()?;
    let Some((installation, lane)) = place else { return Ok(ServedBatch::default()) };
    let batch = |joined, more| ServedBatch { joined, more, ..ServedBatch::default() };
    let moved = joiners(&of_other_lanes(tx, &key, &lane).await?);
    let joined = join(tx, installation, &lane, &moved, now).await?;
    if joined > 0 {
        return Ok(batch(joined, true));
    }
    let line = in_line(tx, &key).await?;
    let joined = join(tx, installation, &lane, &joiners(&line), now).await?;
    Ok(batch(joined, joined > 0 && line.len() >= AT_ONCE))
}

/// The channel was released between an acceptance and the end of its line.
async fn end_released(tx: &Tx, channel: &str) -> Result<ServedBatch, Error> {
    let which = format!(
        "id IN (
            SELECT id
            FROM deliveries
            WHERE awaits_channel = $1 AND {AWAITS}
            ORDER BY position, sequence
            LIMIT {AT_ONCE})"
    );
    let values = params![channel, Cancellation::ChannelReleased.code()];
    let ended = cancel_where(tx, &which, values, "$2").await?;
    let more = ended.len() >= AT_ONCE;
    Ok(ServedBatch { joined: 0, ended, more })
}

/// Deliveries in lanes that the channel no longer has.
async fn of_other_lanes(tx: &Tx, channel: &str, lane: &str) -> Result<Vec<Row>, Error> {
    let known = known();
    let some = |which: &str| {
        format!(
            "SELECT {READ}
                FROM deliveries
                WHERE awaits_channel = $1 AND {FOLLOWS} AND {which} AND {known}"
        )
    };
    let text = format!(
        "SELECT * FROM ({} UNION ALL {}) AS others ORDER BY position, sequence LIMIT {AT_ONCE}",
        some("lane < $2"),
        some("lane > $2")
    );
    sql::all(tx, &text, params![channel, lane]).await
}

async fn in_line(tx: &Tx, channel: &str) -> Result<Vec<Row>, Error> {
    let text = format!(
        "SELECT {READ}
            FROM deliveries
            WHERE awaits_channel = $1 AND {AWAITS} AND {IN_LINE} AND {}
            ORDER BY position, sequence
            LIMIT {AT_ONCE}",
        known()
    );
    sql::all(tx, &text, params![channel]).await
}

/// Those that this release can read; a newer one serves the others.
fn joiners(rows: &[Row]) -> Vec<Joiner> {
    rows.iter().filter_map(|row| joiner(row).ok()).collect()
}

fn joiner(row: &Row) -> Result<Joiner, Error> {
    let mut columns = Columns::of(row);
    let (id, tenant) = (columns.take()?, columns.id(TenantId::parse)?);
    let installation = columns.optional_id(|text| InstallationId::parse(&text))?;
    let from = LaneAddress::of(installation, columns.take()?);
    let priority = Priority::from_code(columns.take()?);
    let request_kind = columns.request_kind()?;
    let budget = request_kind.map_or(columns.action()?.budget(), SlackRequestKind::budget);
    Ok(Joiner { id, tenant, from, priority, budget })
}

/// Appends the deliveries to a lane, in their order. Each gets a position of its own: those of one
/// position would be ordered by their acceptance, and a scheduled one is accepted early.
async fn join(
    tx: &Tx,
    installation: InstallationId,
    lane: &str,
    joiners: &[Joiner],
    now: Timestamp,
) -> Result<u32, Error> {
    if joiners.is_empty() {
        return Ok(0);
    }
    let place = (installation, lane);
    let left = joiners.iter().filter_map(|joiner| joiner.from.as_ref());
    let mut lanes: BTreeSet<_> = left.map(|from| (from.installation, from.lane.as_str())).collect();
    lanes.insert(place);
    // Before the deliveries, because every transaction locks in this order.
    let positions = lane::positions(tx, &lanes, joiners.len()).await?;
    let mut tail: BTreeMap<(InstallationId, &str), Joining<'_>> = BTreeMap::new();
    for (joiner, position) in joiners.iter().zip(&positions) {
        let joining = Joining::new(&joiner.tenant, *position, joiner.priority, joiner.budget, now);
        tail.entry(place).and_modify(|first| first.and(&joining)).or_insert(joining);
    }
    lane::fill(tx, &tail).await?;
    let backend = tx.get_database_backend();
    let rows = joiners.iter().zip(&positions).map(|(joiner, position)| {
        [
            joiner.id.as_str().into(),
            (*position).into(),
            installation.to_string().into(),
            lane.into(),
            now.0.into(),
        ]
    });
    let columns = [Column::Text, Column::Number, Column::Text, Column::Text, Column::Number];
    let mut joined = 0;
    for (table, values) in given(backend, columns, rows.collect()) {
        // One that was canceled, expired or begun meanwhile stays as it is.
        let text = format!(
            "UPDATE deliveries
                SET installation = column3, lane = column4, position = column2, due_at = column5,
                    updated_at = column5
                FROM {table}
                WHERE {} AND {STATE} = 'pending'",
            by_key(backend, "deliveries.id", "column1")
        );
        joined += sql::execute(tx, &text, values).await?;
    }
    Ok(u32::try_from(joined).unwrap_or(u32::MAX))
}

/// Puts due deliveries at the ends of their channels' lines, in their order.
async fn line_up(tx: &Tx, due: &[String]) -> Result<(), Error> {
    let row = sql::one(tx, "SELECT {now}", params![]).await?;
    let now: i64 = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?.get(0)?;
    let positions = lane::positions(tx, &BTreeSet::new(), due.len()).await?;
    let backend = tx.get_database_backend();
    let rows = due
        .iter()
        .zip(positions)
        .map(|(id, position)| [id.as_str().into(), position.into(), now.into()]);
    let columns = [Column::Text, Column::Number, Column::Number];
    for (table, values) in given(backend, columns, rows.collect()) {
        let text = format!(
            "UPDATE deliveries
                SET position = column2, due_at = {}, updated_at = column3
                FROM {table}
                WHERE {} AND {STATE} = 'pending' AND deliveries.lane IS NULL
                    AND deliveries.due_at < deliveries.expires_at",
            NEVER.0,
            by_key(backend, "deliveries.id", "column1")
        );
        sql::execute(tx, &text, values).await?;
    }
    Ok(())
}
