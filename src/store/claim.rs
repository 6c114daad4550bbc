//! Claiming lanes, and what a claim shows: the first delivery of its lane.
//!
//! A claim is a lease on one lane with a fencing token that is drawn anew each time. Every write
//! on behalf of a claim locks the lane and compares the token, so a worker that lost its lease
//! (and whose lane was claimed again) changes nothing. A lease that ran out and that nobody took
//! is still its holder's: until someone else claims the lane, nobody else acted on it.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Value};

use super::deliveries::{IN_LANE, Kind};
use super::lanes::next_at;
use super::statement::{self, statement};
use super::{Error, Store};
use crate::domain::delivery::State;
use crate::domain::ids::{
    ChannelId, DeliveryId, EventType, InstallationId, LeaseToken, NotificationId, TenantId, UserId,
};
use crate::domain::time::{Timestamp, micros};

/// The right to act on one lane until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneClaim {
    pub installation: InstallationId,
    /// `U...` for direct messages, `C...` for channels.
    pub lane: String,
    pub token: LeaseToken,
    /// The `D...` id, once the first message told it; look-ups in history need it.
    pub channel: Option<ChannelId>,
}

/// The first delivery of a lane, with all that sending it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub delivery: DeliveryId,
    pub notification: NotificationId,
    pub tenant: TenantId,
    /// Absent for posts to a channel.
    pub user: Option<UserId>,
    pub event_type: EventType,
    pub kind: Kind,
    /// `Pending`, `Unknown`, or `Sending`: the last means that the former holder died or lost its
    /// lease while a request was under way; call [`Store::recover`] before anything else.
    pub state: State,
    /// Requests that counted so far.
    pub attempt: u32,
    /// Looks into history since the last request.
    pub probes: u32,
    /// Workers that died on it.
    pub crashes: u32,
    /// What `accept` was given as content.
    pub content: Option<Vec<u8>>,
    /// When the intent of the last request was committed, where its outcome is not known.
    pub sending_since: Option<Timestamp>,
    pub due_at: Timestamp,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub priority: i64,
    /// W3C `traceparent` of the call that caused it.
    pub trace_context: Option<String>,
    /// The database's clock when this was read.
    pub now: Timestamp,
}

impl Store {
    /// Claims up to `limit` lanes that are due, the longest due first. One statement; safe against
    /// any number of claimers. Lanes whose holder's lease ran out are claimed like others.
    pub async fn claim_lanes(
        &self,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<LaneClaim>, Error> {
        // The limit is part of the text: the planner must know that few rows come.
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT installation_id, lane FROM lanes \
             WHERE next_at <= {{now}} AND lease_until <= {{now}} AND asleep = 0 \
             ORDER BY next_at LIMIT {limit} {{skip_locked}}) \
             UPDATE lanes SET lease_token = $1, lease_until = {{now}} + $2, \
             next_at = {{now}} + $2, claimed_at = {{now}} \
             WHERE (installation_id, lane) IN (SELECT installation_id, lane FROM due) \
             RETURNING installation_id, lane, channel"
        );
        let token = super::lease_token();
        self.write(async move |store, tx| {
            let values = [token.0.into(), micros(lease).into()];
            let rows = tx.query_all_raw(statement(store.backend(), &sql, values)).await?;
            rows.iter().map(|row| claim(row, token)).collect()
        })
        .await
    }

    /// The delivery whose turn it is. `None`: nothing is due in this lane (then the lane was
    /// released), or the claim is stale; either way the caller is done with it.
    pub async fn head(&self, claim: &LaneClaim) -> Result<Option<Head>, Error> {
        let sql = format!(
            "SELECT d.delivery_id, d.notification_id, d.tenant_id, d.user_id, d.event_type, d.kind, \
             d.state, d.attempt, d.probes, d.crashes, d.content, d.sending_since, d.due_at, \
             d.expires_at, d.created_at, d.priority, d.trace_context, l.paced_until, {{now}} AS now \
             FROM lanes l, deliveries d \
             WHERE l.installation_id = $1 AND l.lane = $2 AND l.lease_token = $3 \
             AND d.installation_id = $1 AND d.lane = $2 AND d.{IN_LANE} \
             ORDER BY d.position, d.sequence LIMIT 1"
        );
        let query = statement(self.backend(), &sql, claim.key());
        if let Some(row) = self.reader().query_one_raw(query).await? {
            let head = self.head_of(&row)?;
            let paced_until = Timestamp(row.try_get("", "paced_until")?);
            if head.state == State::Sending || head.due_at.max(paced_until) <= head.now {
                return Ok(Some(head));
            }
        }
        self.release(claim, Duration::ZERO).await?;
        Ok(None)
    }

    /// Extends the lease to `lease` from now. `false`: the claim is stale.
    pub async fn heartbeat(&self, claim: &LaneClaim, lease: Duration) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(async move |store, tx| store.extend(tx, &claim, lease).await).await
    }

    /// Gives the lane back; it comes up again when its first delivery is due, but not before
    /// `next` has passed. `false`: the claim is stale and nothing changed.
    pub async fn release(&self, claim: &LaneClaim, next: Duration) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(async move |store, tx| {
            if !store.lock(tx, &claim).await? {
                return Ok(false);
            }
            if !next.is_zero() {
                let sql = format!(
                    "UPDATE deliveries SET due_at = {{greatest}}(due_at, {{now}} + $3) \
                     WHERE sequence = (SELECT sequence FROM deliveries \
                     WHERE installation_id = $1 AND lane = $2 AND {IN_LANE} \
                     ORDER BY position, sequence LIMIT 1)"
                );
                let [installation, lane, _] = claim.key();
                let values = [installation, lane, micros(next).into()];
                tx.execute_raw(statement(store.backend(), &sql, values)).await?;
            }
            store.unlease(tx, &claim, &Unlease::default()).await?;
            Ok(true)
        })
        .await
    }

    /// Extends the lease within `tx`, which locks the lane's row. `false`: the claim is stale.
    pub(super) async fn extend(
        &self,
        tx: &DatabaseTransaction,
        claim: &LaneClaim,
        lease: Duration,
    ) -> Result<bool, Error> {
        let sql = "UPDATE lanes SET lease_until = {now} + $4, next_at = {now} + $4 \
             WHERE installation_id = $1 AND lane = $2 AND lease_token = $3";
        let [installation, lane, token] = claim.key();
        let values = [installation, lane, token, micros(lease).into()];
        Ok(tx.execute_raw(statement(self.backend(), sql, values)).await?.rows_affected() == 1)
    }

    /// Locks the lane's row. `false`: the claim is stale.
    pub(super) async fn lock(
        &self,
        tx: &DatabaseTransaction,
        claim: &LaneClaim,
    ) -> Result<bool, Error> {
        let sql = "SELECT 1 AS held FROM lanes \
             WHERE installation_id = $1 AND lane = $2 AND lease_token = $3 {lock}";
        Ok(tx.query_one_raw(statement(self.backend(), sql, claim.key())).await?.is_some())
    }

    /// Ends the lease and sets `next_at` by what is in the lane now. Must follow [`Store::lock`]
    /// (or [`Store::extend`]) in the same transaction: being a statement of its own after the
    /// lock, it sees every delivery whose acceptance found the lane still taken.
    pub(super) async fn unlease(
        &self,
        tx: &DatabaseTransaction,
        claim: &LaneClaim,
        change: &Unlease<'_>,
    ) -> Result<(), Error> {
        const PACED: &str = "{greatest}(lanes.paced_until, COALESCE({now} + $4, 0))";
        // Put to sleep only if no reconnect came since this claim: its wake-up must not be lost.
        const SLEEPS: &str = "$6 = 1 AND woken_at < claimed_at";
        let sql = format!(
            "UPDATE lanes SET lease_token = NULL, lease_until = 0, paced_until = {PACED}, \
             channel = COALESCE($5, channel), asleep = CASE WHEN {SLEEPS} THEN 1 ELSE 0 END, \
             next_at = CASE WHEN {SLEEPS} THEN NULL ELSE {} END \
             WHERE installation_id = $1 AND lane = $2 AND lease_token = $3",
            next_at(PACED)
        );
        let [installation, lane, token] = claim.key();
        let values = [
            installation,
            lane,
            token,
            change.paced.into(),
            change.channel.map(ChannelId::as_str).into(),
            i64::from(change.sleep).into(),
        ];
        tx.execute_raw(statement(self.backend(), &sql, values)).await?;
        Ok(())
    }

    fn head_of(&self, row: &QueryResult) -> Result<Head, Error> {
        let tenant = statement::parsed(row, "tenant_id", TenantId::parse)?;
        let delivery = DeliveryId(row.try_get("", "delivery_id")?);
        let sealed: Option<Vec<u8>> = row.try_get("", "content")?;
        let content = sealed.map(|bytes| self.open_content(&tenant, delivery, &bytes)).transpose()?;
        Ok(Head {
            delivery,
            notification: NotificationId(row.try_get("", "notification_id")?),
            tenant,
            user: statement::optional(row, "user_id", UserId::parse)?,
            event_type: statement::parsed(row, "event_type", EventType::parse)?,
            kind: statement::coded(row, "kind", Kind::from_code)?,
            state: statement::coded(row, "state", State::from_code)?,
            attempt: statement::count(row, "attempt")?,
            probes: statement::count(row, "probes")?,
            crashes: statement::count(row, "crashes")?,
            content,
            sending_since: row.try_get::<Option<i64>>("", "sending_since")?.map(Timestamp),
            due_at: Timestamp(row.try_get("", "due_at")?),
            expires_at: Timestamp(row.try_get("", "expires_at")?),
            created_at: Timestamp(row.try_get("", "created_at")?),
            priority: row.try_get("", "priority")?,
            trace_context: row.try_get("", "trace_context")?,
            now: Timestamp(row.try_get("", "now")?),
        })
    }
}

/// What the end of a lease changes in its lane.
#[derive(Default)]
pub(super) struct Unlease<'a> {
    /// No request before this many microseconds from now; may be negative.
    pub paced: Option<i64>,
    /// The conversation's id, where it was learnt.
    pub channel: Option<&'a ChannelId>,
    /// The installation's token is dead: nothing before a reconnect.
    pub sleep: bool,
}

impl LaneClaim {
    /// `$1` to `$3`: installation, lane, token.
    pub(super) fn key(&self) -> [Value; 3] {
        [self.installation.0.into(), self.lane.as_str().into(), self.token.0.into()]
    }
}

fn claim(row: &QueryResult, token: LeaseToken) -> Result<LaneClaim, Error> {
    Ok(LaneClaim {
        installation: InstallationId(row.try_get("", "installation_id")?),
        lane: row.try_get("", "lane")?,
        token,
        channel: statement::optional(row, "channel", ChannelId::parse)?,
    })
}
