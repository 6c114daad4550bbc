//! Messages that Slack stored, from sends that end at the same time, in one transaction: as many
//! statements as for one. Any that is not as expected (a stale claim, a delivery in doubt) is left
//! to a separate settle.

use std::collections::{HashMap, HashSet};

use sea_orm::ConnectionTrait as _;
use tokio::time::Instant;

use super::attempts::LoggedRequest;
use crate::domain::ids::{ChannelId, DeliveryId};
use crate::domain::time::micros;
use crate::store::database::group::{Bounds, Weight};
use crate::store::database::rows::{Column, Columns, NewCell, NewRows, given};
use crate::store::database::sql::{self, CLOCK, by_key};
use crate::store::database::transaction::{Patience, Tx, at_once, scoped};
use crate::store::lanes::claim::{LaneClaim, PACED, UNLEASE};
use crate::store::lanes::lane::{HEAD, given_lane, headed, heads};
use crate::store::records::deliveries::STATE;
use crate::store::{Backend, Error, Store};

const TEXT: Column = Column::Text;
const NUMBER: Column = Column::Number;
/// The column of `attempts` with the time that a request took.
const TOOK: &str = "took";

/// A message that Slack stored.
#[derive(Debug, Clone)]
pub(in crate::store) struct SentMessage {
    pub(super) claim: LaneClaim,
    pub(super) delivery: DeliveryId,
    pub(super) channel: ChannelId,
    pub(super) ts: String,
    /// No request in its lane before this; absent if the request was not a paced one.
    pub(super) paced_until: Option<Instant>,
    pub(super) request: Option<LoggedRequest>,
    /// Encrypted; `None` keeps the stored trace.
    pub(super) trace: Option<Vec<u8>>,
}

/// Whether it was settled.
pub(in crate::store) type SentOutcome = Result<bool, Error>;

/// The limits of one transaction's lanes.
pub(in crate::store) fn bounds(backend: Backend) -> Bounds {
    Bounds { items: 64, rows: 64, bytes: 8 << 20, at_once: at_once(backend) }
}

impl Store {
    /// `false`: nothing was written, and it must be settled by itself.
    pub(super) async fn sent_together(&self, sent: SentMessage) -> SentOutcome {
        let store = self.clone();
        let work = move |all: Vec<SentMessage>| {
            let store = store.clone();
            async move {
                let sent = all.as_slice();
                match store.transaction(|tx| scoped(settle(tx, sent))).await {
                    Ok(ended) => {
                        sent.iter().map(|one| Ok(ended.contains(&one.claim.named()))).collect()
                    }
                    Err(error) if error.concerns_all() => {
                        sent.iter().map(|_| Err(error.clone())).collect()
                    }
                    // The cause may lie in one of them, for example a locked row.
                    Err(_) => sent.iter().map(|_| Ok(false)).collect(),
                }
            }
        };
        let weight = Weight { rows: 1, bytes: sent.trace.as_ref().map_or(0, Vec::len) };
        let owner = sent.claim.tenant.clone();
        let ended = self.inner.ending.join(owner, sent, weight, work).await;
        ended.unwrap_or_else(|| Err(Error::Bug("a settle panicked".into())))
    }
}

/// An installation, a lane, and the token of a claim of it: a stale claim of this process may be in
/// the same batch as the claim that replaced it.
type Held = [String; 3];

/// The claims whose requests ended. Their lanes' rows are locked first, in the order in which calls
/// lock them (`lane::positions` and `lane::fill`).
async fn settle(tx: &Tx, sent: &[SentMessage]) -> Result<HashSet<Held>, Error> {
    let held = lock(tx, sent).await?;
    let held: Vec<&SentMessage> =
        sent.iter().filter(|one| held.contains(&one.claim.named())).collect();
    let requests = end(tx, &held).await?;
    let ended: Vec<&SentMessage> =
        held.into_iter().filter(|one| requests.contains_key(&one.delivery)).collect();
    log(tx, &ended, &requests).await?;
    unlease(tx, &ended).await?;
    Ok(ended.into_iter().map(|one| one.claim.named()).collect())
}

/// Locks the lanes that are still held.
async fn lock(tx: &Tx, sent: &[SentMessage]) -> Result<HashSet<Held>, Error> {
    let rows = sent.iter().map(|one| one.claim.named().map(Into::into));
    let mut held = HashSet::new();
    let backend = tx.get_database_backend();
    let (clock, lane) = (Patience::Shared.clock(backend), given_lane(backend));
    for (table, values) in given(backend, [TEXT; 3], rows.collect()) {
        let text = format!(
            "SELECT lanes.installation, lanes.lane, lanes.lease_token
                FROM {clock}, {table}
                JOIN lanes ON {lane} AND lanes.lease_token = column3
                ORDER BY lanes.installation, lanes.lane {{for_update}}"
        );
        for row in sql::all(tx, &text, values).await? {
            held.insert([row.get(0)?, row.get(1)?, row.get(2)?]);
        }
    }
    Ok(held)
}

/// A request that ended.
struct Request {
    attempt: i64,
    started_at: Option<i64>,
    ended_at: i64,
}

/// Marks deliveries that are being sent as sent.
async fn end(tx: &Tx, held: &[&SentMessage]) -> Result<HashMap<DeliveryId, Request>, Error> {
    let rows = held.iter().map(|one| {
        [
            one.delivery.to_string().into(),
            one.claim.installation.to_string().into(),
            one.claim.lane.as_str().into(),
            one.channel.as_str().into(),
            one.ts.as_str().into(),
            one.trace.clone().into(),
        ]
    });
    let columns = [TEXT, TEXT, TEXT, TEXT, TEXT, Column::OptionalBytes];
    let mut requests = HashMap::new();
    let backend = tx.get_database_backend();
    let row = by_key(backend, "id", "column1");
    for (table, values) in given(backend, columns, rows.collect()) {
        let text = format!(
            "UPDATE deliveries
                SET state = 'sent', reason = NULL, slack_channel = column4, slack_ts = column5,
                    updated_at = clock.now, trace = COALESCE(column6, trace)
                FROM {CLOCK}, {table}
                WHERE {row} AND installation = column2 AND lane = column3 AND {STATE} = 'sending'
                RETURNING id, attempt, sending_since, updated_at"
        );
        for row in sql::all(tx, &text, values).await? {
            let mut columns = Columns::of(&row);
            let delivery = columns.uuid(DeliveryId::parse)?;
            let (attempt, started_at) = (columns.take()?, columns.take()?);
            requests.insert(delivery, Request { attempt, started_at, ended_at: columns.take()? });
        }
    }
    Ok(requests)
}

/// The log of attempts.
async fn log(
    tx: &Tx,
    ended: &[&SentMessage],
    requests: &HashMap<DeliveryId, Request>,
) -> Result<(), Error> {
    let rows = ended.iter().filter_map(|one| {
        let request = requests.get(&one.delivery)?;
        Some([
            NewCell("delivery", TEXT, one.delivery.to_string().into()),
            NewCell("number", NUMBER, request.attempt.into()),
            NewCell("started_at", NUMBER, request.started_at.unwrap_or(request.ended_at).into()),
            NewCell("ended_at", NUMBER, request.ended_at.into()),
            NewCell(
                "method",
                Column::OptionalText,
                one.request.map(|request| request.method).into(),
            ),
            // No request takes less than no time.
            NewCell(TOOK, NUMBER, one.request.map_or(-1, |request| micros(request.took)).into()),
        ])
    });
    let Some(rows) = NewRows::of(tx.get_database_backend(), rows.collect()) else {
        return Ok(());
    };
    let ((names, values), took) = (rows.without(&[TOOK]), rows.value(TOOK));
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO attempts ({names}, {TOOK}, outcome, code)
                SELECT {values}, NULLIF({took}, -1), 'sent', NULL
                FROM {table}"
        );
        sql::execute(tx, &text, parameters).await?;
    }
    Ok(())
}

/// Ends the leases. As a separate statement after the lock, it sees every delivery that was
/// accepted earlier.
async fn unlease(tx: &Tx, ended: &[&SentMessage]) -> Result<(), Error> {
    let now = Instant::now();
    let rows = ended.iter().map(|one| {
        let rest = one.paced_until.map(|until| micros(until.saturating_duration_since(now)));
        // Rounded up to the resolution of SQLite's clock, so that no request starts sooner.
        let paced = rest.map(|rest| (rest + 999) / 1000 * 1000);
        [
            one.claim.installation.to_string().into(),
            one.claim.lane.as_str().into(),
            one.claim.token.to_string().into(),
            paced.unwrap_or(0).into(),
            one.channel.as_str().into(),
            one.ts.as_str().into(),
        ]
    });
    let columns = [TEXT, TEXT, TEXT, NUMBER, TEXT, TEXT];
    let (unlease, paced) = (UNLEASE, PACED.replace("$4", "column4"));
    let backend = tx.get_database_backend();
    let (lane, head) = (given_lane(backend), heads(backend, "head", HEAD));
    for (table, values) in given(backend, columns, rows.collect()) {
        let text = format!(
            "UPDATE lanes
                SET {unlease}, paced_until = {paced}, channel = column5, last_ts = column6,
                    asleep = 0, {}
                FROM {CLOCK}, {table}
                LEFT JOIN {head}
                WHERE {lane} AND lanes.lease_token = column3",
            headed("FALSE", &paced)
        );
        sql::execute(tx, &text, values).await?;
    }
    Ok(())
}
