//! The intents of sends that are claimed at the same time, in one transaction: as many statements
//! as for one. Each lane's row is locked by its token before its delivery is changed.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend};

use crate::domain::delivery::subject::SlackRequestKind;
use crate::domain::ids::DeliveryId;
use crate::domain::time::micros;
use crate::store::budgets::clock::posts_paused_until;
use crate::store::database::era::doubt;
use crate::store::database::group::{Bounds, Weight};
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, CLOCK, Row, by_key};
use crate::store::database::transaction::{Patience, Tx, at_once, scoped};
use crate::store::lanes::claim::LaneClaim;
use crate::store::lanes::lane::{due, given_lane, heads};
use crate::store::records::deliveries::STATE;
use crate::store::{Backend, Error, Store};

/// A request that is about to be sent to Slack.
#[derive(Debug, Clone)]
pub(in crate::store) struct Intention {
    pub(super) claim: LaneClaim,
    pub(super) delivery: DeliveryId,
    pub(super) lease: Duration,
    pub(super) request_kind: SlackRequestKind,
    pub(super) thread_ts: Option<String>,
}

/// The number of the attempt; `None`: there must be no request.
pub(in crate::store) type Intended = Result<Option<u32>, Error>;

/// The limits of one transaction's lanes.
pub(in crate::store) fn bounds(backend: Backend) -> Bounds {
    Bounds { items: 64, rows: 64, bytes: usize::MAX, at_once: at_once(backend) }
}

impl Store {
    /// Together with others if possible; by itself if a locked row holds them up.
    pub(super) async fn intend_together(&self, intention: Intention) -> Intended {
        let tenant = &intention.claim.tenant;
        if !self.inner.apart.is_apart(tenant) {
            let store = self.clone();
            let work = move |intentions: Vec<Intention>| {
                let store = store.clone();
                async move { store.intend_all(&intentions, Patience::Shared).await }
            };
            let weight = Weight { rows: 1, bytes: 0 };
            let (owner, item) = (tenant.clone(), intention.clone());
            let intended = self.inner.intending.join(owner, item, weight, work).await;
            match intended.unwrap_or_else(|| Err(Error::Bug("an intent panicked".into()))) {
                Err(Error::Locked(_)) => {}
                intended => return intended,
            }
        }
        let one = std::slice::from_ref(&intention);
        let work = |patience| async move {
            let intended = self.intend_all(one, patience).await.pop();
            intended.unwrap_or_else(|| Err(Error::Bug("an intent without an outcome".into())))
        };
        self.inner.apart.run(tenant, work).await
    }

    /// One outcome for each, in order.
    async fn intend_all(&self, intentions: &[Intention], patience: Patience) -> Vec<Intended> {
        match self.intend_batch(intentions, patience).await {
            Ok(attempts) => {
                let key = |of: &Intention| (of.delivery, of.claim.token.to_string());
                let attempt = |of: &Intention| attempts.get(&key(of)).copied();
                intentions.iter().map(|of| Ok(attempt(of))).collect()
            }
            Err(error) => intentions.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// The attempts by their deliveries and the tokens of their claims. Two turns of one process
    /// may be about the same delivery, if a lease ended early; only one of them holds the lane.
    async fn intend_batch(
        &self,
        intentions: &[Intention],
        patience: Patience,
    ) -> Result<HashMap<(DeliveryId, String), u32>, Error> {
        const TEXT: Column = Column::Text;
        const PERHAPS: Column = Column::OptionalText;
        let rows = intentions.iter().map(|of| {
            [
                of.claim.installation.to_string().into(),
                of.claim.lane.as_str().into(),
                of.claim.token.to_string().into(),
                micros(of.lease).into(),
                of.delivery.to_string().into(),
                of.request_kind.code().into(),
                of.thread_ts.as_deref().into(),
                i64::from(!of.request_kind.is_repeatable()).into(),
            ]
        });
        let columns = [TEXT, TEXT, TEXT, Column::Number, TEXT, TEXT, PERHAPS, Column::Number];
        let tables = &given(self.writer().get_database_backend(), columns, rows.collect());
        let rows = match self.backend() {
            Backend::Postgres => {
                let mut rows = Vec::with_capacity(intentions.len());
                for (table, values) in tables {
                    rows.extend(
                        sql::all(self.writer(), &hold_and_send(table, patience), values.clone())
                            .await?,
                    );
                }
                rows
            }
            Backend::Sqlite => self.transaction(|tx| scoped(in_steps(tx, tables))).await?,
        };
        let attempts = rows.iter().map(|row| {
            let mut columns = Columns::of(row);
            let key = (columns.uuid(DeliveryId::parse)?, columns.take()?);
            Ok((key, columns.count()?))
        });
        attempts.collect()
    }
}

/// The columns of `given`: installation, lane, token, lease, delivery, the kind of the request, its
/// thread, and whether it is a post. A post is held back by a pause of posts, and by doubt whether
/// it was already sent.
const HOLD: &str =
    "UPDATE lanes SET lease_until = clock.now + column4, next_at = clock.now + column4";

/// Marks the deliveries of `given` whose lane is held.
fn send(backend: DbBackend) -> String {
    let head = heads(backend, "head", "sequence");
    let head_row = by_key(backend, "deliveries.sequence", "head.sequence");
    let row = by_key(backend, "deliveries.id", "column5");
    format!(
        "UPDATE deliveries
            SET state = 'sending',
                attempt = deliveries.attempt + 1,
                probes = 0,
                sending_since = clock.now,
                lease_token = column3,
                updated_at = clock.now,
                due_at = {},
                deed = column6,
                thread_ts = column7
            FROM {CLOCK}, given
            JOIN {head}
            WHERE {head_row} AND {row} AND {STATE} = 'pending'
                AND deliveries.expires_at > clock.now
                AND (column8 = 0
                    OR ({} IS NULL
                        AND NOT EXISTS (
                            SELECT 1
                            FROM posting
                            WHERE posting.installation = column1 AND {} > clock.now)))
            RETURNING id, deliveries.lease_token, attempt",
        due("deliveries", "clock.now"),
        doubt("deliveries"),
        posts_paused_until("clock.now")
    )
}

/// One statement, which is one transaction and one round trip. Lanes are locked in the order in
/// which calls lock them (`lane::positions` and `lane::fill`).
fn hold_and_send(table: &str, patience: Patience) -> String {
    let clock = patience.clock(DbBackend::Postgres);
    let lane = given_lane(DbBackend::Postgres);
    format!(
        "WITH held AS (
                    SELECT given.*
                    FROM {clock}, {table}
                    JOIN lanes ON {lane} AND lanes.lease_token = column3
                    ORDER BY lanes.installation, lanes.lane
                    FOR UPDATE OF lanes),
                given AS (
                    {HOLD}
                    FROM {CLOCK}, held
                    WHERE {lane}
                    RETURNING held.*)
            {}",
        send(DbBackend::Postgres)
    )
}

/// SQLite changes one table per statement.
async fn in_steps(tx: &Tx, tables: &[(String, Vec<sea_orm::Value>)]) -> Result<Vec<Row>, Error> {
    const MINE: &str = "lanes.installation = column1 AND lanes.lane = column2 \
        AND lanes.lease_token = column3";
    let mut rows = Vec::new();
    for (table, values) in tables {
        let hold = format!("{HOLD} FROM {CLOCK}, {table} WHERE {MINE}");
        if sql::execute(tx, &hold, values.clone()).await? == 0 {
            continue;
        }
        let given = format!("WITH given AS (SELECT given.* FROM {table} JOIN lanes ON {MINE})");
        let text = format!("{given} {}", send(DbBackend::Sqlite));
        rows.extend(sql::all(tx, &text, values.clone()).await?);
    }
    Ok(rows)
}
