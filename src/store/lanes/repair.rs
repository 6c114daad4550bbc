//! The safety net for the invariant of `lane`: finds lanes that hold work and would not come up in
//! time, and repairs them.
//!
//! Two causes of a time that is too late are known and harmless: a head that expired while it
//! waited, and a call that committed after a later one. After a step back of the database's clock,
//! `upkeep::clock` looks for such lanes too. Lanes also sleep without a cause: their token works (a
//! process died between the reconnect and the waking), or the tenant of their first delivery left
//! the workspace, which may never be connected again, and did not choose that its messages wait.
//!
//! Lanes are looked at in the order of their keys, a bounded number in each statement, however many
//! there are. A lane that another transaction holds is skipped: that transaction sets the lane's
//! time itself, or another look finds the lane.

use sea_orm::{ConnectionTrait as _, Value};

use super::lane::{HEAD, LaneKey, LaneName, due, from_head, given_lane, headed, heads, pace};
use crate::domain::delivery::admission::Departure;
use crate::store::database::rows::{Column, given};
use crate::store::database::sql::{self, CLOCK, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Error, Lanes, Store};

/// Lanes that one transaction repairs.
const AT_ONCE: usize = 100;

/// The result of a look at some lanes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneRepair {
    /// Lanes that come up in time again.
    pub repaired: u64,
    /// Lanes that were wrong and that another transaction held or changed meanwhile.
    pub skipped: u64,
    /// Where to continue; `None`: the scan is complete.
    pub next: Option<LaneKey>,
}

/// The fault of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It comes up too late, or not at all.
    Late,
    /// It sleeps without a cause.
    Stranded,
}

impl Fault {
    const ALL: [Self; 2] = [Self::Late, Self::Stranded];

    fn code(self) -> i32 {
        match self {
            Self::Late => 1,
            Self::Stranded => 2,
        }
    }

    /// Must still hold once the lane is locked. (A lane whose lease ran out becomes due by itself.)
    fn which(self) -> &'static str {
        match self {
            Self::Late => "lanes.asleep = 0 AND lanes.lease_token IS NULL",
            Self::Stranded => "lanes.asleep = 1",
        }
    }

    /// Whether the lane, joined with its head, is wrong.
    fn is_wrong(self) -> String {
        match self {
            Self::Late => {
                let (due, pace) = (due("head", "clock.now"), pace("clock.now"));
                format!("(next_at IS NULL OR next_at > {{greatest}}({due}, {pace}))")
            }
            Self::Stranded => "lanes.asleep = 1".into(),
        }
    }
}

impl Lanes<'_> {
    /// Looks at up to `limit` lanes after `after` and repairs those that hold work and would not
    /// come up in time.
    pub async fn repair(self, after: Option<&LaneKey>, limit: u32) -> Result<LaneRepair, Error> {
        let (wrong, next) = self.store.wrong_lanes(after, limit).await?;
        let mut done = LaneRepair { next, ..LaneRepair::default() };
        for fault in Fault::ALL {
            let of_fault: Vec<&LaneKey> =
                wrong.iter().filter(|(found, _)| *found == fault).map(|(_, key)| key).collect();
            for lanes in of_fault.chunks(AT_ONCE) {
                let work = self.store.transaction(|tx| scoped(repair(tx, fault, lanes)));
                let (locked, repaired) = work.await?;
                done.repaired += repaired;
                done.skipped += (lanes.len() as u64).saturating_sub(locked);
            }
        }
        if done.repaired > 0 {
            self.store.wake();
        }
        Ok(done)
    }
}

impl Store {
    /// The lanes with a fault among up to `limit` after `after`, and where to continue.
    async fn wrong_lanes(
        &self,
        after: Option<&LaneKey>,
        limit: u32,
    ) -> Result<(Vec<(Fault, LaneKey)>, Option<LaneKey>), Error> {
        let (installation, lane) =
            after.map_or(("", ""), |(installation, lane)| (installation, lane));
        let values = params![installation, lane];
        let rows = sql::all(self.reader(), &page(limit), values).await?;
        let (mut wrong, mut last) = (Vec::new(), None);
        for row in &rows {
            let key: LaneKey = (row.get(0)?, row.get(1)?);
            let code: i32 = row.get(2)?;
            let fault = Fault::ALL.into_iter().find(|fault| fault.code() == code);
            wrong.extend(fault.map(|fault| (fault, key.clone())));
            last = Some(key);
        }
        Ok((wrong, last.filter(|_| rows.len() == limit as usize)))
    }
}

/// Lanes after `$1`, `$2`, in the order of their keys, each with the code of its fault or 0. The
/// heads are read only of lanes that are not due: a due lane needs no repair. Scalars, not EXISTS:
/// for EXISTS, PostgreSQL would be free to read a whole table.
pub(in crate::store) fn page(limit: u32) -> String {
    let head = from_head(LaneName::Outer);
    let (due, pace) = (due("head", "{now}"), pace("{now}"));
    let (late, stranded) = (Fault::Late.code(), Fault::Stranded.code());
    // The messages of a tenant that left wait for its next connection, unless the workspace is
    // connected for another tenant: then they wait outside the lane.
    let keeps = Departure::Keeps.code();
    format!(
        "SELECT lanes.installation, lanes.lane,
                CASE
                    WHEN lanes.asleep = 0 AND lanes.lease_token IS NULL
                        AND (lanes.next_at IS NULL OR lanes.next_at > {{now}})
                        AND COALESCE(lanes.next_at, {})
                            > (SELECT {{greatest}}({due}, {pace}) {head})
                        THEN {late}
                    WHEN lanes.asleep = 1 AND (SELECT 1 {head}) = 1
                        AND ((SELECT i.state
                                FROM installations i
                                WHERE i.id = lanes.installation
                                    AND i.migrating_since IS NULL) = 'active'
                            OR ((SELECT 1
                                    FROM tenant_links t
                                    WHERE t.installation = lanes.installation
                                        AND t.tenant = (SELECT head.tenant {head})
                                    LIMIT 1) IS NULL
                                AND COALESCE((
                                    SELECT t.departure
                                    FROM tenants t
                                    WHERE t.tenant = (SELECT head.tenant {head})), '')
                                    <> '{keeps}'))
                        THEN {stranded}
                    ELSE 0 END
            FROM lanes
            WHERE (lanes.installation, lanes.lane) > ($1, $2)
            ORDER BY lanes.installation, lanes.lane
            LIMIT {limit}",
        i64::MAX
    )
}

/// Repairs lanes that are still wrong once their rows are locked. The heads are read by another
/// statement than the locks, which therefore sees what was committed meanwhile. Returns how many
/// could be locked, and how many were repaired.
async fn repair(tx: &Tx, fault: Fault, lanes: &[&LaneKey]) -> Result<(u64, u64), Error> {
    let backend = tx.get_database_backend();
    let (lane, which) = (given_lane(backend), fault.which());
    let mut locked: Vec<[Value; 2]> = Vec::new();
    for (table, values) in given(backend, [Column::Text; 2], rows(lanes)) {
        let lock = format!(
            "SELECT lanes.installation, lanes.lane
                FROM {table}
                JOIN lanes ON {lane}
                WHERE {which}
                ORDER BY lanes.installation, lanes.lane {{skip_locked}}"
        );
        for row in sql::all(tx, &lock, values).await? {
            locked.push([row.get::<String>(0)?.into(), row.get::<String>(1)?.into()]);
        }
    }
    let count = locked.len() as u64;
    let woken = match fault {
        Fault::Late => "",
        Fault::Stranded => "woken_at = clock.now, asleep = 0, ",
    };
    let (set, wrong) = (headed("FALSE", &pace("clock.now")), fault.is_wrong());
    let head = heads(backend, "head", HEAD);
    let mut repaired = 0;
    for (table, values) in given(backend, [Column::Text; 2], locked) {
        let text = format!(
            "UPDATE lanes
                SET {woken}{set}
                FROM {CLOCK}, {table}
                JOIN {head}
                WHERE {lane} AND {wrong}"
        );
        repaired += sql::execute(tx, &text, values).await?;
    }
    Ok((count, repaired))
}

fn rows(lanes: &[&LaneKey]) -> Vec<[Value; 2]> {
    lanes
        .iter()
        .map(|(installation, lane)| [installation.as_str().into(), lane.as_str().into()])
        .collect()
}
