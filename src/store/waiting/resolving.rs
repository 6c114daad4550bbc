//! Deliveries whose Slack member is not yet known. They are claimed one by one, each with its own
//! lease and token; their settlement is fenced like that of a lane's head.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend, Value};

use super::held::expect_sweeps;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::{DeliveryKind, End, LifeEvent, State, transition};
use crate::domain::ids::{
    DeliveryId, EventType, InstallationId, LeaseToken, NotificationId, TenantId, UserId,
};
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::settings::Identity;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Column, Columns, NewCell, NewRow};
use crate::store::database::sql::{self, CLOCK, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::lanes::claim::lease_token;
use crate::store::lanes::order::{RESOLVES_DUE, ResolvingPlace, STILL_RESOLVES, waits_behind};
use crate::store::lanes::unread::known;
use crate::store::records::deliveries::StateIn;
use crate::store::records::notifications::place;
use crate::store::records::sealed::{seal_content, seal_trace};
use crate::store::seal::person_keys::{KEY_ATTEMPTS, KeysById, SealingKeys, key_exists};
use crate::store::tenancy::people::store_identity_in;
use crate::store::{Error, Store, Waiting};

/// A claimed delivery, with everything that resolving and rendering it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolving {
    pub delivery: DeliveryId,
    pub notification: NotificationId,
    pub tenant: TenantId,
    /// The recipient.
    pub user: Option<UserId>,
    /// A person's deliveries are resolved in this order.
    pub sequence: i64,
    pub event_type: EventType,
    pub kind: DeliveryKind,
    pub action: Action,
    pub trace: Option<Vec<u8>>,
    /// The notification's data, as given to `accept`; it has the tenant's templates too, so all
    /// deliveries of one notification share it.
    pub data: Arc<[u8]>,
    pub link: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The database's clock at the claim.
    pub now: Timestamp,
    pub trace_context: Option<String>,
    /// If no member is found, it waits until the person appears.
    pub hold: bool,
    /// The notification's data or link does not decrypt: settle it as failed.
    pub damaged: bool,
    pub token: LeaseToken,
}

/// The outcome of resolving.
#[derive(Debug, Clone, PartialEq)]
pub enum ResolveOutcome {
    /// To the tail of this lane, rendered; a new unique match is stored.
    Lane {
        installation: InstallationId,
        lane: String,
        content: Option<Vec<u8>>,
        identity: Option<Identity>,
    },
    End(End),
    /// Waits until the person appears in Slack; checked again after `look_after`.
    Hold {
        reason: NoMatch,
        look_after: Duration,
    },
    /// Not known yet: tried again after this time.
    Again {
        after: Duration,
    },
}

/// Read before the transaction, because making a data key writes.
struct Prepared {
    tenant: TenantId,
    keys: SealingKeys,
    user: Option<UserId>,
    sequence: i64,
    content: Option<Vec<u8>>,
    trace: Option<Vec<u8>>,
}

impl Prepared {
    fn place(&self) -> Option<ResolvingPlace<'_>> {
        let user = self.user.as_ref()?;
        Some(ResolvingPlace { tenant: &self.tenant, user, sequence: self.sequence })
    }
}

impl Waiting<'_> {
    /// Claims up to `limit` deliveries that wait for a member, the longest due first. A person's
    /// deliveries are claimed in their order: none while an earlier one is being resolved or is due
    /// later.
    pub async fn claim_resolving(
        self,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Resolving>, Error> {
        let text = format!(
            "WITH due AS MATERIALIZED (
                    SELECT sequence AS number
                    FROM deliveries AS one
                    WHERE {RESOLVES_DUE} AND due_at <= {{now}} AND {known} AND NOT ({behind})
                    ORDER BY due_at, sequence
                    LIMIT {limit} {{skip_locked}})
                UPDATE deliveries
                SET lease_token = $1, due_at = clock.now + $2
                FROM {CLOCK}
                WHERE sequence IN (SELECT number FROM due) AND {STILL_RESOLVES}
                RETURNING id, notification, tenant, user_id, event_type, kind, created_at,
                    expires_at, trace_context, due_at, hold, action, trace, sequence",
            known = known(),
            behind = waits_behind("one")
        );
        let token = lease_token();
        let values = params![token.to_string(), micros(lease)];
        let (text, values) = (text.as_str(), &values);
        let claim = self.store.transaction(|tx| {
            scoped(async move {
                by_index(tx).await?;
                sql::all(tx, text, values.clone()).await
            })
        });
        let rows = claim.await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            match resolving(row, token, lease) {
                Ok(resolving) => claimed.push(resolving),
                // Left to its lease and, in the end, to its expiry.
                Err(_) => self.store.pass_over(UnreadableRow::Waiting, 1),
            }
        }
        self.store.read_claimed(claimed).await
    }

    /// Settles a claimed delivery; `trace` gives the reasons. Returns its new state: a delivery
    /// that stands behind another of its person stays resolving, and joins no lane before the other
    /// does. `None`: the token is stale, and nothing changed.
    pub async fn settle_resolving(
        self,
        token: LeaseToken,
        delivery: DeliveryId,
        resolved: &ResolveOutcome,
        trace: Option<&[u8]>,
    ) -> Result<Option<State>, Error> {
        let settled = self.store.settle_prepared(token, delivery, resolved, trace).await?;
        match settled {
            Some(State::Pending) => {
                self.store.wake();
                self.store.changed();
            }
            Some(State::Resolving) | None => {}
            Some(State::Held) => self.store.changed(),
            Some(_) => self.store.delivery_ended(delivery),
        }
        Ok(settled)
    }
}

impl Store {
    /// Opens the traces, and reads the data of the notifications.
    async fn read_claimed(&self, mut claimed: Vec<Resolving>) -> Result<Vec<Resolving>, Error> {
        let keys = self.keys_of_claimed(&claimed).await?;
        let (mut contents, none) = (HashMap::new(), KeysById::new());
        for resolving in &mut claimed {
            let sealed = resolving.trace.take();
            let (tenant, delivery) = (&resolving.tenant, resolving.delivery);
            let keys = keys.get(tenant).unwrap_or(&none);
            resolving.trace = self.open_trace(tenant, delivery, sealed.as_deref(), keys).await?;
            let content = match contents.entry(resolving.notification) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let (tenant, id) = (&resolving.tenant, resolving.notification);
                    let content = self.readable(tenant, id).await?;
                    new.insert(content.map(|(data, link)| (Arc::<[u8]>::from(data), link)))
                }
            };
            match content {
                Some((data, link)) => {
                    resolving.data.clone_from(data);
                    resolving.link.clone_from(link);
                }
                None => resolving.damaged = true,
            }
        }
        Ok(claimed)
    }

    /// The keys of the traces: one read for each tenant, unless they are in memory.
    async fn keys_of_claimed(
        &self,
        claimed: &[Resolving],
    ) -> Result<HashMap<TenantId, KeysById>, Error> {
        let mut traces: HashMap<&TenantId, Vec<&[u8]>> = HashMap::new();
        for resolving in claimed {
            let trace = resolving.trace.as_deref();
            traces.entry(&resolving.tenant).or_default().extend(trace);
        }
        let mut keys = HashMap::with_capacity(traces.len());
        for (tenant, traces) in traces {
            // One tenant whose keys are damaged must not hold back the others.
            match self.keys_of_values(tenant, &traces).await {
                Err(Error::Sealed(_)) => {}
                read => {
                    keys.insert(tenant.clone(), read?);
                }
            }
        }
        Ok(keys)
    }

    async fn settle_prepared(
        &self,
        token: LeaseToken,
        delivery: DeliveryId,
        resolved: &ResolveOutcome,
        trace: Option<&[u8]>,
    ) -> Result<Option<State>, Error> {
        for _ in 0..KEY_ATTEMPTS {
            let Some(prepared) = &self.prepare(delivery, resolved, trace).await? else {
                return Ok(None);
            };
            let work = self.transaction(|tx| {
                scoped(self.resolve_within(tx, token, delivery, resolved, prepared))
            });
            match work.await {
                Err(Error::KeyErased) => {
                    self.forget_keys(&prepared.tenant, &prepared.keys).await?;
                }
                settled => return settled,
            }
        }
        Err(Error::Contended("person_keys".into()))
    }

    /// `None`: there is no such delivery.
    async fn prepare(
        &self,
        delivery: DeliveryId,
        resolved: &ResolveOutcome,
        trace: Option<&[u8]>,
    ) -> Result<Option<Prepared>, Error> {
        const SQL: &str = "SELECT tenant, user_id, sequence FROM deliveries WHERE id = $1";
        let Some(row) = sql::one(self.reader(), SQL, params![delivery.to_string()]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let tenant = columns.id(TenantId::parse)?;
        let user = columns.optional_id(UserId::parse)?;
        let sequence = columns.take()?;
        let keys = self.keys_for(&tenant, &user.iter().collect::<Vec<_>>()).await?;
        let key = keys.of(user.as_ref())?;
        let content = match resolved {
            ResolveOutcome::Lane { content: Some(content), .. } => {
                Some(seal_content(key, delivery, content)?)
            }
            _ => None,
        };
        let trace = trace.map(|trace| seal_trace(key, delivery, trace)).transpose()?;
        Ok(Some(Prepared { tenant, keys, user, sequence, content, trace }))
    }

    async fn resolve_within(
        &self,
        tx: &Tx,
        token: LeaseToken,
        delivery: DeliveryId,
        resolved: &ResolveOutcome,
        prepared: &Prepared,
    ) -> Result<Option<State>, Error> {
        let lock = format!(
            "SELECT {{now}}
                FROM deliveries
                WHERE id = $1 AND {STILL_RESOLVES} AND lease_token = $2 {{for_update}}"
        );
        let id = delivery.to_string();
        let Some(row) = sql::one(tx, &lock, params![id.as_str(), token.to_string()]).await? else {
            return Ok(None);
        };
        let now = Timestamp(row.get(0)?);
        let place = prepared.place();
        let (event, reason, due) = life_event(tx, &id, resolved, prepared, now).await?;
        let state = transition(State::Resolving, event)
            .ok_or_else(|| Error::Bug(format!("a resolving delivery met the event {event:?}")))?;
        let resolves = state != State::Resolving;
        let values = params![id.as_str(), state.code(), reason, due.0, now.0];
        write(tx, values, prepared, resolves).await?;
        match resolved {
            ResolveOutcome::Lane { installation, lane, identity, .. } if resolves => {
                if let (Some(identity), Some(user)) = (identity, &prepared.user) {
                    let key = prepared.keys.of(Some(user))?;
                    store_identity_in(tx, key, &prepared.tenant, user, identity).await?;
                }
                if state == State::Pending {
                    self.move_to(tx, &id, *installation, lane, now).await?;
                }
            }
            _ => {}
        }
        if let Some(place) = place.filter(|_| !resolves) {
            place.put_off(tx, token, due).await?;
        }
        Ok(Some(state))
    }

    /// Like [`Store::content_of`]; `None` if the row is damaged: one such row must not hold back
    /// those claimed with it.
    async fn readable(
        &self,
        tenant: &TenantId,
        notification: NotificationId,
    ) -> Result<Option<(Vec<u8>, Option<String>)>, Error> {
        match self.content_of(tenant, notification).await {
            Ok(content) => Ok(Some(content)),
            Err(error @ (Error::Sealed(_) | Error::NotFound(_) | Error::Bug(_))) => {
                tracing::error!(%error, %notification, "a notification cannot be read");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The decrypted data and link of a notification.
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

/// Writes the delivery's row: `values` are its id, state, reason, due time and the time. Content
/// and trace are written if it `resolves`. The key of its person is then locked.
/// [`Error::KeyErased`]: it was erased.
async fn write(
    tx: &Tx,
    mut values: Vec<Value>,
    prepared: &Prepared,
    resolves: bool,
) -> Result<(), Error> {
    const WRITE: &str = "UPDATE deliveries
        SET state = $2, reason = $3, due_at = $4, updated_at = $5, lease_token = NULL,
            content = COALESCE($6, content), trace = COALESCE($7, trace)
        WHERE id = $1";
    values.extend(params![
        prepared.content.clone().filter(|_| resolves),
        prepared.trace.clone().filter(|_| resolves)
    ]);
    let key = prepared.keys.of(prepared.user.as_ref())?.person().filter(|_| resolves);
    let Some(key) = key else { return sql::execute(tx, WRITE, values).await.map(drop) };
    values.extend(params![key.to_vec()]);
    let text = format!("{WRITE} AND {}", key_exists("deliveries.tenant", "$8"));
    match sql::execute(tx, &text, values).await? {
        0 => Err(Error::KeyErased),
        _ => Ok(()),
    }
}

/// The planner cannot know how few rows stand behind another, and would sort all due rows before it
/// takes the first: seconds for a hundred thousand. These settings make it scan the index in order
/// and find each row by its number, even if it believes that the table is empty. They also keep it
/// from compiling the claim, which takes half a second each time.
async fn by_index(tx: &Tx) -> Result<(), Error> {
    const SQL: &str = "
        SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
            set_config('jit', 'off', true)";
    if tx.get_database_backend() == DbBackend::Postgres {
        sql::one(tx, SQL, params![]).await?;
    }
    Ok(())
}

/// The event that the outcome is for the delivery, with its reason, and when the delivery is due.
async fn life_event(
    tx: &Tx,
    delivery: &str,
    resolved: &ResolveOutcome,
    prepared: &Prepared,
    now: Timestamp,
) -> Result<(LifeEvent, Option<&'static str>, Timestamp), Error> {
    let tenant = &prepared.tenant;
    Ok(match resolved {
        ResolveOutcome::Lane { .. } if is_behind(tx, prepared.place()).await? => {
            (LifeEvent::MemberUnknown, None, now)
        }
        ResolveOutcome::Lane { installation, lane, .. } => {
            if has_twin(tx, tenant, delivery, *installation, lane).await? {
                let same = End::Suppressed(Suppression::SameMember);
                (LifeEvent::Ended(same), same.reason(), now)
            } else {
                (LifeEvent::MemberFound, None, now)
            }
        }
        ResolveOutcome::End(end) => (LifeEvent::Ended(*end), end.reason(), now),
        ResolveOutcome::Hold { reason, look_after } => {
            expect_sweeps(tx, tenant).await?;
            (LifeEvent::MemberAwaited, Some(reason.code()), now.plus(*look_after))
        }
        ResolveOutcome::Again { after } => (LifeEvent::MemberUnknown, None, now.plus(*after)),
    })
}

/// Whether it must wait for another delivery of its person.
async fn is_behind(tx: &Tx, place: Option<ResolvingPlace<'_>>) -> Result<bool, Error> {
    match place {
        Some(place) => place.is_behind(tx).await,
        None => Ok(false),
    }
}

/// Whether another recipient of the same notification already resolved to this member: they get one
/// message. Locks the lane first, so that of two that are resolved at the same time the later sees
/// the earlier.
async fn has_twin(
    tx: &Tx,
    tenant: &TenantId,
    delivery: &str,
    installation: InstallationId,
    lane: &str,
) -> Result<bool, Error> {
    // The person is compared in words that no index by person has: a notification has few rows.
    let twin = format!(
        "SELECT 1
            FROM deliveries
            WHERE tenant = $1
                AND notification = (SELECT notification FROM deliveries WHERE id = $2)
                AND id <> $2 AND COALESCE(user_id, '') <> '' AND installation = $3
                AND lane = $4 AND {}
            LIMIT 1",
        StateIn("state", State::IN_LANE_OR_SENT)
    );
    let installation = installation.to_string();
    let NewRow { names, parameters, values } = NewRow::of([
        NewCell("installation", Column::Text, installation.as_str().into()),
        NewCell("lane", Column::Text, lane.into()),
    ]);
    let lock = format!(
        "INSERT INTO lanes ({names})
            VALUES ({parameters})
            ON CONFLICT (installation, lane) DO UPDATE
            SET lane = excluded.lane"
    );
    sql::execute(tx, &lock, values).await?;
    let values = params![tenant.as_str(), delivery, installation.as_str(), lane];
    Ok(sql::one(tx, &twin, values).await?.is_some())
}

fn resolving(row: &Row, token: LeaseToken, lease: Duration) -> Result<Resolving, Error> {
    let mut columns = Columns::of(row);
    Ok(Resolving {
        delivery: columns.uuid(DeliveryId::parse)?,
        notification: columns.uuid(NotificationId::parse)?,
        tenant: columns.id(TenantId::parse)?,
        user: columns.optional_id(UserId::parse)?,
        event_type: columns.id(EventType::parse)?,
        kind: columns.code(DeliveryKind::from_code)?,
        data: Arc::default(),
        link: None,
        created_at: columns.time()?,
        expires_at: columns.time()?,
        trace_context: columns.take()?,
        damaged: false,
        now: columns.time()?.minus(lease),
        hold: columns.take::<i32>()? != 0,
        action: columns.action()?,
        trace: columns.take()?,
        sequence: columns.take()?,
        token,
    })
}
