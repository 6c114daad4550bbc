//! Rows that this release cannot read: a newer release wrote them during an upgrade, or they are
//! damaged. No such row stops the others. Rows written by a newer release are left to its replicas:
//! docs/decisions/0023-rows-of-newer-releases.md.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::domain::delivery::subject::{Action, SlackRequestKind};
use crate::domain::delivery::{Kind, State};
use crate::domain::ids::DeliveryId;
use crate::domain::reason::Failure;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::lanes::claim::{LaneClaim, Unlease, lock, unlease};
use crate::store::{Error, Store, Upkeep};
use crate::telemetry::Metrics;

/// The wait before looking again at a head that a newer release may know.
const REST: Duration = Duration::from_secs(5);
/// A head that no replica has read for this long is parked: no replica of its release is left.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Stored as the last code of a head that is not read; `updated_at` then shows since when.
const MARK: &str = "unreadable";
/// The longest text that counts as a code.
const CODE: usize = 40;

/// The kind of the unreadable row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::store) enum Unread {
    /// A lane with an unknown class of urgency or budget.
    Lane,
    /// The first delivery of a lane.
    Head,
    /// A delivery that waits for its member, its time or its person.
    Waiting,
    /// A change in the feed.
    Change,
    /// A waiting delivery about the subject of a call that overtakes.
    Subject,
    /// A delivery to be replayed.
    DeadLetter,
    ApiKey,
    /// An entry of the audit trail.
    Audit,
    /// The definition of an event type.
    EventType,
    Template,
}

impl Unread {
    fn code(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::Head => "head",
            Self::Waiting => "waiting",
            Self::Change => "change",
            Self::Subject => "subject",
            Self::DeadLetter => "dead_letter",
            Self::ApiKey => "api_key",
            Self::Audit => "audit",
            Self::EventType => "event_type",
            Self::Template => "template",
        }
    }
}

/// Where unreadable rows are counted.
#[derive(Default)]
pub(in crate::store) struct Unreadable {
    metrics: OnceLock<Metrics>,
    /// The kinds that were logged.
    logged: Mutex<HashSet<Unread>>,
}

impl Store {
    /// Counts here from now on; the first call decides.
    pub fn observe(&self, metrics: Metrics) {
        self.inner.unreadable.metrics.set(metrics).ok();
    }

    /// Counts rows that are skipped, and logs that once for each kind.
    pub(in crate::store) fn pass_over(&self, what: Unread, count: u64) {
        let unreadable = &self.inner.unreadable;
        if count == 0 {
            return;
        }
        if let Some(metrics) = unreadable.metrics.get() {
            metrics.unreadable_rows(what.code(), count);
        }
        if unreadable.logged.lock().unwrap_or_else(PoisonError::into_inner).insert(what) {
            tracing::error!(
                kind = what.code(),
                "rows cannot be read and are skipped: a newer release wrote them, or they are \
                 damaged; logged once for each kind"
            );
        }
    }

    /// Gives back the lane of a head that cannot be read. A head that a newer release may know
    /// rests briefly each time, and is parked once no replica has read it for a quarter of an hour.
    /// A head that no release could have written is parked at once.
    pub(in crate::store) async fn leave_unread(
        &self,
        claim: &LaneClaim,
        row: &Row,
    ) -> Result<(), Error> {
        self.pass_over(Unread::Head, 1);
        let (id, newer) = (row.get::<String>(0)?, is_newer(row));
        let id = id.as_str();
        let parked = self.transaction(|tx| scoped(leave(tx, claim, id, newer))).await?;
        if parked {
            tracing::error!(delivery = id, "a message cannot be read and was parked");
            if let Some(metrics) = self.inner.unreadable.metrics.get() {
                metrics.deliveries(State::Parked.code(), 1);
            }
            if let Ok(delivery) = DeliveryId::parse(id) {
                self.delivery_ended(delivery);
            }
        }
        Ok(())
    }
}

/// Returns whether it is parked.
async fn leave(tx: &Tx, claim: &LaneClaim, id: &str, newer: bool) -> Result<bool, Error> {
    const REST_IT: &str = "UPDATE deliveries SET due_at = {greatest}(due_at, clock.now + $2), \
        code = $3, \
        updated_at = CASE WHEN code = $3 THEN updated_at ELSE clock.now END \
        FROM (SELECT {now} AS now) AS clock WHERE id = $1 RETURNING {now}, updated_at";
    const PARK: &str = "UPDATE deliveries SET state = 'parked', reason = $2, code = $3, \
        updated_at = {now} WHERE id = $1";
    if !lock(tx, claim).await? {
        return Ok(false);
    }
    let mut parked = !newer;
    if newer {
        let row = sql::one(tx, REST_IT, params![id, micros(REST), MARK]).await?;
        let row = row.ok_or_else(|| Error::Bug("a head that is gone".into()))?;
        let (now, since) = (Timestamp(row.get(0)?), Timestamp(row.get(1)?));
        parked = now.since(since) >= PATIENCE;
    }
    if parked {
        sql::execute(tx, PARK, params![id, Failure::Damaged.code(), MARK]).await?;
    }
    unlease(tx, claim, &Unlease::default()).await?;
    Ok(parked)
}

/// Whether the row contains a code that this release does not know but that looks like one.
fn is_newer(row: &Row) -> bool {
    let code = |name: &str| row.named::<Option<String>>(name).ok().flatten();
    let others = [
        code("kind").filter(|code| Kind::from_code(code).is_none()),
        code("deed").filter(|code| SlackRequestKind::from_code(code).is_none()),
        code("action").filter(|code| Action::from_code(code).is_none()),
    ];
    let is_code = |code: &String| {
        (1..=CODE).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    others.into_iter().flatten().any(|code| is_code(&code))
}

/// The condition for deliveries waiting outside of lanes that this release can handle.
pub(in crate::store) fn known() -> String {
    let list = |codes: Vec<&str>| {
        let codes: Vec<_> = codes.into_iter().map(|code| format!("'{code}'")).collect();
        codes.join(", ")
    };
    let kinds = list(Kind::ALL.iter().map(|kind| kind.code()).collect());
    let actions = list(Action::ALL.iter().map(|action| action.code()).collect());
    format!("kind IN ({kinds}) AND (action IS NULL OR action IN ({actions}))")
}

impl Upkeep<'_> {
    /// Counts deliveries waiting outside of lanes that are left to newer releases, up to a limit.
    pub async fn count_unread(self) -> Result<(), Error> {
        let text = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE (state = 'resolving' \
             OR (state = 'pending' AND lane IS NULL)) AND due_at <= {{now}} \
             AND NOT ({}) LIMIT 1000) AS unread",
            known()
        );
        let Some(row) = sql::one(self.store.reader(), &text, params![]).await? else {
            return Ok(());
        };
        let count: i64 = Columns::of(&row).take()?;
        self.store.pass_over(Unread::Waiting, u64::try_from(count).unwrap_or(0));
        Ok(())
    }
}
