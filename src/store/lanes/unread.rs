//! Deliveries that this release cannot read. They do not stop the others; those of a newer release
//! are left to its replicas: docs/decisions/0023-rows-of-newer-releases.md.

use std::time::Duration;

use crate::domain::delivery::subject::{Action, SlackRequestKind};
use crate::domain::delivery::{DeliveryKind, State};
use crate::domain::ids::DeliveryId;
use crate::domain::reason::Failure;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, CLOCK, Row, params};
use crate::store::database::transaction::{Patience, Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::lanes::claim::{LaneClaim, Unlease, lock, unlease};
use crate::store::lanes::lane::due;
use crate::store::{Error, Store, Upkeep};

/// The wait before looking again at a head that a newer release may know.
const REST: Duration = Duration::from_secs(5);
/// A head that no replica has read for this long is parked: no replica of its release is left.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Stored as the last code of a head that is not read; `updated_at` then shows since when.
const MARK: &str = "unreadable";
/// The longest text that counts as a code.
const CODE: usize = 40;

impl Store {
    /// Gives back the lane of a head that cannot be read. A head that a newer release may know
    /// rests briefly each time, and is parked once no replica has read it for a quarter of an hour.
    /// A head that no release could have written is parked at once.
    pub(in crate::store) async fn leave_unread(
        &self,
        claim: &LaneClaim,
        row: &Row,
    ) -> Result<(), Error> {
        self.pass_over(UnreadableRow::Head, 1);
        let (id, newer) = (row.get::<String>(0)?, is_newer(row));
        let id = id.as_str();
        let parked =
            self.of_lane(|tx, patience| scoped(leave(tx, claim, id, newer, patience))).await?;
        if parked {
            tracing::error!(delivery = id, "a message cannot be read and was parked");
            if let Some(metrics) = self.inner.unreadable.metrics() {
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
async fn leave(
    tx: &Tx,
    claim: &LaneClaim,
    id: &str,
    newer: bool,
    patience: Patience,
) -> Result<bool, Error> {
    const PARK: &str = "UPDATE deliveries
        SET state = 'parked', reason = $2, code = $3, updated_at = {now}
        WHERE id = $1";
    if !lock(tx, claim, patience).await? {
        return Ok(false);
    }
    let mut parked = !newer;
    if newer {
        let rest = format!(
            "UPDATE deliveries
                SET due_at = {{greatest}}({}, clock.now + $2),
                    code = $3,
                    updated_at = CASE WHEN code = $3 THEN updated_at ELSE clock.now END
                FROM {CLOCK}
                WHERE id = $1
                RETURNING {{now}}, updated_at",
            due("deliveries", "clock.now")
        );
        let row = sql::one(tx, &rest, params![id, micros(REST), MARK]).await?;
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
        code("kind").filter(|code| DeliveryKind::from_code(code).is_none()),
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
    let kinds = list(DeliveryKind::ALL.iter().map(|kind| kind.code()).collect());
    let actions = list(Action::ALL.iter().map(|action| action.code()).collect());
    format!("kind IN ({kinds}) AND (action IS NULL OR action IN ({actions}))")
}

impl Upkeep<'_> {
    /// Counts deliveries waiting outside of lanes that are left to newer releases, up to a limit.
    pub async fn count_unread(self) -> Result<(), Error> {
        let text = format!(
            "SELECT COUNT(*)
                FROM (
                    SELECT 1
                    FROM deliveries
                    WHERE (state = 'resolving' OR (state = 'pending' AND lane IS NULL))
                        AND due_at <= {{now}} AND NOT ({})
                    LIMIT 1000) AS unread",
            known()
        );
        let Some(row) = sql::one(self.store.reader(), &text, params![]).await? else {
            return Ok(());
        };
        let count: i64 = Columns::of(&row).take()?;
        self.store.pass_over(UnreadableRow::Waiting, u64::try_from(count).unwrap_or(0));
        Ok(())
    }
}
