//! Deliveries of which it is not known yet which member they are for. They are claimed one by
//! one, with a lease and a token of their own; what they become is fenced like a lane's head.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::accept::{End, seal_content, seal_trace};
use super::claim::lease_token;
use super::deliveries::Kind;
use super::held::expect_sweeps;
use super::notifications::place;
use super::people::store_identity_in;
use super::rows::Columns;
use super::seal::{Scope, ScopeKeys};
use super::sql::{self, Row, params};
use super::transaction::{Tx, scoped};
use super::{Error, Store};
use crate::domain::ids::{
    DeliveryId, EventType, InstallationId, LeaseToken, NotificationId, TenantId, UserId,
};
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::settings::Identity;
use crate::domain::subject::Action;
use crate::domain::time::{Timestamp, micros};

/// A claimed delivery, with what resolving and rendering it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolving {
    pub delivery: DeliveryId,
    pub notification: NotificationId,
    pub tenant: TenantId,
    /// Whom it is for.
    pub user: Option<UserId>,
    pub event_type: EventType,
    pub kind: Kind,
    pub action: Action,
    pub trace: Option<Vec<u8>>,
    /// The notification's data, as `accept` was given it.
    pub data: Vec<u8>,
    pub link: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The database's clock at the claim.
    pub now: Timestamp,
    pub trace_context: Option<String>,
    /// Where nobody is found it waits until the person appears.
    pub hold: bool,
    /// The notification's data or link does not open: settle it as failed.
    pub damaged: bool,
    pub token: LeaseToken,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved {
    /// To the tail of this lane, rendered; a new unique match is stored.
    Lane {
        installation: InstallationId,
        lane: String,
        content: Option<Vec<u8>>,
        identity: Option<Identity>,
    },
    End(End),
    /// Waits until the person appears in Slack; looked at again after this time.
    Hold {
        reason: NoMatch,
        look_after: Duration,
    },
    /// Not known yet: tried again after this time.
    Again {
        after: Duration,
    },
}

/// What must be known before the transaction: making a data key writes.
struct Prepared {
    tenant: TenantId,
    keys: Arc<ScopeKeys>,
    user: Option<UserId>,
    content: Option<Vec<u8>>,
    trace: Option<Vec<u8>>,
}

impl Store {
    /// Claims up to `limit` deliveries that wait for a member, the longest due first.
    pub async fn claim_resolving(
        &self,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Resolving>, Error> {
        let text = format!(
            "WITH due AS MATERIALIZED (SELECT sequence AS number FROM deliveries \
             WHERE state = 'resolving' AND due_at <= {{now}} \
             ORDER BY due_at LIMIT {limit} {{skip_locked}}) \
             UPDATE deliveries SET lease_token = $1, due_at = clock.now + $2 \
             FROM (SELECT {{now}} AS now) AS clock \
             WHERE sequence IN (SELECT number FROM due) AND state = 'resolving' \
             RETURNING id, notification, tenant, user_id, event_type, kind, created_at, \
             expires_at, trace_context, due_at, hold, action, trace"
        );
        let token = lease_token();
        let values = params![token.to_string(), micros(lease)];
        let rows = sql::all(self.writer(), &text, values).await?;
        let mut contents = HashMap::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut resolving = resolving(row, token, lease)?;
            let sealed = resolving.trace.take();
            resolving.trace =
                self.open_trace(&resolving.tenant, resolving.delivery, sealed.as_deref()).await?;
            let content = match contents.entry(resolving.notification) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let (tenant, id) = (&resolving.tenant, resolving.notification);
                    new.insert(self.readable(tenant, id).await?)
                }
            };
            match content {
                Some((data, link)) => {
                    resolving.data.clone_from(data);
                    resolving.link.clone_from(link);
                }
                None => resolving.damaged = true,
            }
            claimed.push(resolving);
        }
        Ok(claimed)
    }

    /// How long until one that waits for a member can be claimed; `None` where none waits.
    pub async fn next_resolving(&self) -> Result<Option<Duration>, Error> {
        const SQL: &str = "SELECT MIN(due_at), {now} FROM deliveries WHERE state = 'resolving'";
        let Some(row) = sql::one(self.reader(), SQL, params![]).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        let (due, now) = (columns.optional_time()?, columns.time()?);
        Ok(due.map(|due| due.since(now)))
    }

    /// Settles a claimed delivery; `trace` says why it went so. `false`: the token is stale, and nothing
    /// changed.
    pub async fn settle_resolving(
        &self,
        token: LeaseToken,
        delivery: DeliveryId,
        resolved: &Resolved,
        trace: Option<&[u8]>,
    ) -> Result<bool, Error> {
        let Some(prepared) = &self.prepare(delivery, resolved, trace).await? else {
            return Ok(false);
        };
        let settled = self
            .transaction(|tx| scoped(self.resolve_within(tx, token, delivery, resolved, prepared)))
            .await?;
        match settled {
            Some("pending") => {
                self.wake();
                self.changed();
            }
            Some("resolving") | None => {}
            Some("held") => self.changed(),
            Some(_) => self.delivery_ended(delivery),
        }
        Ok(settled.is_some())
    }

    /// `None`: there is no such delivery.
    async fn prepare(
        &self,
        delivery: DeliveryId,
        resolved: &Resolved,
        trace: Option<&[u8]>,
    ) -> Result<Option<Prepared>, Error> {
        const SQL: &str = "SELECT tenant, user_id FROM deliveries WHERE id = $1";
        let Some(row) = sql::one(self.reader(), SQL, params![delivery.to_string()]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let tenant = columns.id(TenantId::parse)?;
        let user = columns.optional_id(UserId::parse)?;
        let keys = self.keys(&Scope::Tenant(tenant.clone())).await?;
        let content = match resolved {
            Resolved::Lane { content: Some(content), .. } => {
                Some(seal_content(&keys, delivery, content)?)
            }
            _ => None,
        };
        let trace = trace.map(|trace| seal_trace(&keys, delivery, trace)).transpose()?;
        Ok(Some(Prepared { tenant, keys, user, content, trace }))
    }

    async fn resolve_within(
        &self,
        tx: &Tx,
        token: LeaseToken,
        delivery: DeliveryId,
        resolved: &Resolved,
        prepared: &Prepared,
    ) -> Result<Option<&'static str>, Error> {
        const LOCK: &str = "SELECT {now} FROM deliveries \
            WHERE id = $1 AND state = 'resolving' AND lease_token = $2 {for_update}";
        const WRITE: &str = "UPDATE deliveries SET state = $2, reason = $3, due_at = $4, \
            content = COALESCE($5, content), updated_at = $6, lease_token = NULL, \
            trace = COALESCE($7, trace) WHERE id = $1";
        let id = delivery.to_string();
        let Some(row) = sql::one(tx, LOCK, params![id.as_str(), token.to_string()]).await? else {
            return Ok(None);
        };
        let now = Timestamp(row.get(0)?);
        let twin = match resolved {
            Resolved::Lane { installation, lane, .. } => {
                has_twin(tx, &prepared.tenant, &id, *installation, lane).await?
            }
            Resolved::End(_) | Resolved::Hold { .. } | Resolved::Again { .. } => false,
        };
        let same = End::Suppressed(Suppression::SameMember);
        let (state, reason, due) = match resolved {
            Resolved::Lane { .. } if twin => (same.state().code(), same.reason(), now),
            Resolved::Lane { .. } => ("pending", None, now),
            Resolved::End(end) => (end.state().code(), end.reason(), now),
            Resolved::Hold { reason, look_after } => {
                expect_sweeps(tx, &prepared.tenant).await?;
                ("held", Some(reason.code()), now.plus(*look_after))
            }
            Resolved::Again { after } => ("resolving", None, now.plus(*after)),
        };
        let content = prepared.content.clone();
        let trace = prepared.trace.clone();
        let values = params![id.as_str(), state, reason, due.0, content, now.0, trace];
        sql::execute(tx, WRITE, values).await?;
        if let Resolved::Lane { installation, lane, identity, .. } = resolved {
            if let (Some(identity), Some(user)) = (identity, &prepared.user) {
                store_identity_in(tx, &prepared.keys, &prepared.tenant, user, identity).await?;
            }
            if !twin {
                self.move_to(tx, &id, *installation, lane, now).await?;
            }
        }
        Ok(Some(state))
    }

    /// As [`Store::content_of`]; `None` where the row is damaged: one such row must not hold back
    /// those that were claimed with it.
    async fn readable(
        &self,
        tenant: &TenantId,
        notification: NotificationId,
    ) -> Result<Option<(Vec<u8>, Option<String>)>, Error> {
        match self.content_of(tenant, notification).await {
            Ok(content) => Ok(Some(content)),
            Err(error @ (Error::Sealed(_) | Error::NotFound(_) | Error::Bug(_))) => {
                tracing::error!(%error, %notification, "A notification cannot be read.");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Data and link of a notification, opened.
    async fn content_of(
        &self,
        tenant: &TenantId,
        notification: NotificationId,
    ) -> Result<(Vec<u8>, Option<String>), Error> {
        const SQL: &str = "SELECT data, link FROM notifications WHERE tenant = $1 AND id = $2";
        let id = notification.to_string();
        let row = sql::one(self.reader(), SQL, params![tenant.as_str(), id.as_str()]).await?;
        let row = row.ok_or_else(|| Error::NotFound("notification of a delivery".into()))?;
        let data = self.open_column(tenant, &place(&id, "data"), &row.get::<Vec<u8>>(0)?).await?;
        let link: Option<Vec<u8>> = row.get(1)?;
        Ok((data, self.open_link(tenant, &id, link.as_deref()).await?))
    }
}

/// Whether another recipient of the same notification turned out to be this member before: they get
/// one message (design.md section 8). Locks the lane first, so that of two that are resolved at the
/// same time the later sees the earlier.
async fn has_twin(
    tx: &Tx,
    tenant: &TenantId,
    delivery: &str,
    installation: InstallationId,
    lane: &str,
) -> Result<bool, Error> {
    const LOCK: &str = "INSERT INTO lanes (installation, lane) VALUES ($1, $2) \
        ON CONFLICT (installation, lane) DO UPDATE SET lane = excluded.lane";
    const TWIN: &str = "SELECT 1 FROM deliveries WHERE tenant = $1 AND notification = \
        (SELECT notification FROM deliveries WHERE id = $2) AND id <> $2 AND user_id IS NOT NULL \
        AND installation = $3 AND lane = $4 \
        AND state IN ('pending', 'sending', 'unknown', 'sent') LIMIT 1";
    let installation = installation.to_string();
    sql::execute(tx, LOCK, params![installation.as_str(), lane]).await?;
    let values = params![tenant.as_str(), delivery, installation.as_str(), lane];
    Ok(sql::one(tx, TWIN, values).await?.is_some())
}

fn resolving(row: &Row, token: LeaseToken, lease: Duration) -> Result<Resolving, Error> {
    let mut columns = Columns::of(row);
    Ok(Resolving {
        delivery: columns.uuid(DeliveryId::parse)?,
        notification: columns.uuid(NotificationId::parse)?,
        tenant: columns.id(TenantId::parse)?,
        user: columns.optional_id(UserId::parse)?,
        event_type: columns.id(EventType::parse)?,
        kind: columns.code(Kind::from_code)?,
        data: Vec::new(),
        link: None,
        created_at: columns.time()?,
        expires_at: columns.time()?,
        trace_context: columns.take()?,
        damaged: false,
        now: columns.time()?.minus(lease),
        hold: columns.take::<i32>()? != 0,
        action: columns.action()?,
        trace: columns.take()?,
        token,
    })
}
