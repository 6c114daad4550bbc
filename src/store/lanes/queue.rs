//! The claimable work: one queue per workspace, tenant, class of urgency and budget that has lanes
//! with work, however many lanes and messages that is.
//!
//! Queues are found by jumping from one to the next in the index `lanes_queued`, so that a tenant
//! with 10,000 lanes, or with paused lanes, costs one step like any other. (With a filter for
//! paused lanes inside the claim, there were only a tenth as many claims a second.)

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use tokio::sync::Notify;

use super::claim::LaneClaim;
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::pacing::Pace;
use crate::domain::capacity::priority::Class;
use crate::domain::ids::{ChannelId, InstallationId, LeaseToken, TenantId};
use crate::domain::time::{Timestamp, micros};
use crate::store::budgets::clock;
use crate::store::budgets::methods::{Booked, BudgetStart, booked_of, read_booked};
use crate::store::budgets::posts::{Posting, posting_of, read_posting};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, CLOCK, Row, params};
use crate::store::database::transaction::{Patience, Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{Backend, Error, Lanes, Store};

/// The lanes of one tenant in one workspace that are equally urgent and whose first requests are
/// taken from one budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueKey {
    pub installation: InstallationId,
    pub tenant: TenantId,
    pub class: Class,
    pub budget: Budget,
}

/// One queue that has work, now or later.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub key: QueueKey,
    /// When its first lane can be claimed.
    pub next_at: Timestamp,
    /// The posting state of the workspace; `None` before its first post.
    pub posting: Option<Posting>,
    /// The state of the budget; `None` for posts, and before its first request.
    pub booked: Option<Booked>,
}

/// The queues that have work, in the order of the index.
#[derive(Debug, Clone, PartialEq)]
pub struct Queues {
    pub queues: Vec<Queue>,
    /// The database's clock when they were read.
    pub now: Timestamp,
    /// There are more: continue after this place.
    pub more_after: Option<QueuePlace>,
}

/// A place in the order of the queues, also of a queue that only a newer release knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlace {
    installation: String,
    tenant: String,
    class: i64,
    budget: i64,
}

impl<'a> Lanes<'a> {
    /// Notified after a commit that gave lanes work. A hint within this process; other replicas
    /// poll.
    pub fn woken(self) -> &'a Notify {
        &self.store.inner.lanes_woken
    }

    /// Up to `limit` queues that have work, from the one after `after` on. Queues that only a newer
    /// release knows are left to its replicas.
    pub async fn queues(self, after: Option<&QueuePlace>, limit: u32) -> Result<Queues, Error> {
        let text = queues_text(self.store.backend());
        let values = match after {
            Some(place) => params![
                place.installation.as_str(),
                place.tenant.as_str(),
                place.class,
                place.budget,
                i64::from(limit)
            ],
            None => params!["", "", 0i64, 0i64, i64::from(limit)],
        };
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let now = match rows.first() {
            Some(row) => Timestamp(row.get(5)?),
            None => Timestamp(0),
        };
        let queues: Vec<_> = rows.iter().filter_map(|row| queue_of(row).ok()).collect();
        self.store.pass_over(UnreadableRow::Lane, (rows.len() - queues.len()) as u64);
        let full = rows.len() == limit as usize;
        let more_after = rows.last().filter(|_| full).map(place_of).transpose()?;
        Ok(Queues { queues, now, more_after })
    }

    /// Claims up to `limit` due lanes of one queue, the longest due first, and takes a start from
    /// the budget for each if `pace` is given. Safe with any number of claimers: a lane goes to one
    /// of them, and each start is given once. Lanes whose holder's lease ran out are claimed like
    /// others. After an error, lanes may be held under `token`, which is new for each claim:
    /// [`Lanes::disclaim`] gives them back. [`Error::Locked`]: another transaction holds the
    /// workspace's budget, and nothing was claimed.
    pub async fn claim_queue(
        self,
        key: &QueueKey,
        token: LeaseToken,
        limit: u32,
        lease: Duration,
        pace: Option<Pace>,
    ) -> Result<Vec<LaneClaim>, Error> {
        let claimed = match self.store.backend() {
            Backend::Postgres => self.store.claim_at_once(key, limit, lease, pace, &token).await?,
            Backend::Sqlite => self.store.claim_in_steps(key, limit, lease, pace, &token).await?,
        };
        let count = claimed.lanes.len();
        let claims = claimed.lanes.into_iter().enumerate().map(|(at, lane)| LaneClaim {
            installation: key.installation,
            lane: lane.key,
            token,
            channel: lane.channel,
            last_ts: lane.last_ts,
            tenant: key.tenant.clone(),
            budget: key.budget,
            now: claimed.now,
            start: pace.zip(claimed.spent_until).map(|(pace, spent)| {
                let later = u32::try_from(count - 1 - at).unwrap_or(u32::MAX);
                let at = spent.minus(pace.interval.saturating_mul(later));
                BudgetStart { at, interval: pace.interval }
            }),
        });
        Ok(claims.collect())
    }

    /// Gives back the lanes held by a claim whose answer was lost. Repeating it is harmless.
    pub async fn disclaim(self, key: &QueueKey, token: LeaseToken) -> Result<(), Error> {
        const HELD: &str =
            "SELECT lane, {now} FROM lanes WHERE installation = $1 AND lease_token = $2";
        let values = params![key.installation.to_string(), token.to_string()];
        for row in sql::all(self.store.writer(), HELD, values).await? {
            let mut columns = Columns::of(&row);
            let claim = LaneClaim {
                installation: key.installation,
                lane: columns.take()?,
                token,
                channel: None,
                last_ts: None,
                tenant: key.tenant.clone(),
                budget: key.budget,
                now: columns.time()?,
                start: None,
            };
            self.release(&claim, Duration::ZERO).await?;
        }
        Ok(())
    }
}

impl Store {
    /// One statement, one round trip.
    async fn claim_at_once(
        &self,
        key: &QueueKey,
        limit: u32,
        lease: Duration,
        pace: Option<Pace>,
        token: &LeaseToken,
    ) -> Result<Claimed, Error> {
        let due = due("installation, lane", limit);
        let spend = Spend::of(key.budget);
        let patience = Patience::Brief.column(self.writer().get_database_backend());
        // The lane by both columns of the key, as one row is looked up (see `sql::by_key`).
        let text = format!(
            "WITH clock AS MATERIALIZED (SELECT {{now}} AS now{patience}),
                due AS MATERIALIZED ({due}),
                claimed AS (
                    {CLAIM}
                    FROM clock, due
                    WHERE lanes.installation = ANY (ARRAY[due.installation])
                        AND lanes.lane = due.lane
                    RETURNING lanes.lane, channel, last_ts),
                spent AS (
                    UPDATE {}
                    FROM clock, (SELECT COUNT(*) AS starts FROM claimed) AS taken
                    WHERE {} AND taken.starts > 0
                    RETURNING {})
                SELECT lane, channel, last_ts, clock.now, (SELECT * FROM spent)
                FROM claimed, clock",
            spend.set, spend.row, spend.until
        );
        let rows = sql::all(self.writer(), &text, values(key, token, lease, pace)).await?;
        let mut claimed = Claimed::default();
        for row in &rows {
            let mut columns = Columns::of(row);
            claimed.lanes.push(Lane::of(&mut columns)?);
            claimed.now = columns.time()?;
            claimed.spent_until = columns.optional_time()?;
        }
        Ok(claimed)
    }

    /// SQLite changes one table per statement; there is only one writer.
    async fn claim_in_steps(
        &self,
        key: &QueueKey,
        limit: u32,
        lease: Duration,
        pace: Option<Pace>,
        token: &LeaseToken,
    ) -> Result<Claimed, Error> {
        let values = &values(key, token, lease, pace);
        let due = &due("lane", limit);
        self.transaction(|tx| scoped(steps(tx, values, due, key.budget))).await
    }
}

/// Jumps from queue to queue: `$1` to `$4` are the start, `$5` how many. The queues are numbered,
/// since the join may change their order and the next call continues after the last.
fn queues_text(backend: Backend) -> String {
    const NEXT: &str = "SELECT installation, tenant, class, budget, next_at
        FROM lanes
        WHERE next_at IS NOT NULL AND (installation, tenant, class, budget) > ";
    const ORDER: &str = "ORDER BY installation, tenant, class, budget, next_at LIMIT 1";
    const KEY: &str = "(queue.installation, queue.tenant, queue.class, queue.budget)";
    let step = match backend {
        Backend::Postgres => format!("queue CROSS JOIN LATERAL ({NEXT} {KEY} {ORDER}) AS later"),
        // SQLite cannot join a subselect that refers to the previous table. A `+` removes the
        // columns' affinity; without it the index would be searched only by its first column.
        Backend::Sqlite => {
            let row = NEXT.replace("installation, tenant, class, budget, next_at", "rowid");
            let key = KEY.replace("queue.", "+queue.");
            format!("queue JOIN lanes AS later ON later.rowid = ({row} {key} {ORDER})")
        }
    };
    let methods: Vec<String> = Budget::ALL
        .iter()
        .filter(|budget| **budget != Budget::Posts)
        .map(|budget| format!("WHEN {} THEN '{}' ", budget.code(), budget.method()))
        .collect();
    let methods = methods.concat();
    let (posting, booked) = (read_posting(), read_booked("budgets"));
    format!(
        "WITH RECURSIVE queue AS (
                SELECT first.*, CAST(1 AS bigint) AS number
                FROM ({NEXT} ($1, $2, $3, $4) {ORDER}) AS first
                UNION ALL
                SELECT later.installation, later.tenant, later.class, later.budget, later.next_at,
                    queue.number + 1
                FROM {step}
                WHERE queue.number < $5)
            SELECT queue.installation, queue.tenant, queue.class, queue.budget, queue.next_at,
                {{now}}, {posting}, {booked}
            FROM queue
            LEFT JOIN posting ON posting.installation = queue.installation
            LEFT JOIN budgets ON budgets.installation = queue.installation
                AND budgets.method = CASE queue.budget {methods}END
            ORDER BY queue.number"
    )
}

async fn steps(
    tx: &Tx,
    values: &[sea_orm::Value],
    due: &str,
    budget: Budget,
) -> Result<Claimed, Error> {
    let text = format!(
        "{CLAIM}
            FROM {CLOCK}
            WHERE installation = $1 AND lane IN ({due})
            RETURNING lane, channel, last_ts, claimed_at"
    );
    let mut claimed = Claimed::default();
    for row in sql::all(tx, &text, values[..6].to_vec()).await? {
        let mut columns = Columns::of(&row);
        claimed.lanes.push(Lane::of(&mut columns)?);
        claimed.now = columns.time()?;
    }
    let spend = Spend::of(budget);
    let spend = format!(
        "UPDATE {}
            FROM {CLOCK}, (SELECT $2 AS starts) AS taken
            WHERE {}
            RETURNING {}",
        spend.set, spend.row, spend.until
    );
    if !claimed.lanes.is_empty() {
        let mut values = values.to_vec();
        values[1] = i64::try_from(claimed.lanes.len()).unwrap_or(i64::MAX).into();
        if let Some(row) = sql::one(tx, &spend, values).await? {
            claimed.spent_until = Some(Timestamp(row.get(0)?));
        }
    }
    Ok(claimed)
}

/// `$1` to `$4`: the queue; `$5`: token; `$6`: lease. A pace by a clock that has since stepped back
/// is moved back with it: the new `claimed_at` would no longer show that it is ahead.
const CLAIM: &str = "UPDATE lanes
    SET lease_token = $5, lease_until = clock.now + $6, next_at = clock.now + $6,
        claimed_at = clock.now,
        paced_until = lanes.paced_until - {greatest}(lanes.claimed_at - clock.now, 0)";

/// Takes starts from a budget. `$1`: the workspace; `$7`: microseconds between two starts; `$8`:
/// the burst, as a time.
struct Spend {
    set: String,
    row: String,
    /// Up to when the budget is spent after the claim.
    until: &'static str,
}

impl Spend {
    fn of(budget: Budget) -> Self {
        const SPENT: &str = "clock.now - $8) + $7 * taken.starts";
        const ROW: &str = "installation = $1 AND $7 > 0";
        match budget {
            Budget::Posts => Self {
                set: format!(
                    "posting
                        SET spent_until = {{greatest}}({}, {SPENT},
                            window_posts = window_posts + taken.starts",
                    clock::spent_until("clock.now")
                ),
                row: ROW.into(),
                until: "spent_until",
            },
            // Their rows hold the next free start, which is one later.
            Budget::Updates | Budget::Deletions => Self {
                set: format!(
                    "budgets SET next_at = $7 + {{greatest}}({} - $7, {SPENT}",
                    clock::next_change("budgets", "clock.now")
                ),
                row: format!("{ROW} AND method = '{}'", budget.method()),
                until: "next_at - $7",
            },
        }
    }
}

/// The limit is part of the text, so that the planner knows that few rows come.
fn due(columns: &str, limit: u32) -> String {
    format!(
        "SELECT {columns}
            FROM lanes
            WHERE installation = $1 AND tenant = $2 AND class = $3 AND budget = $4
                AND next_at <= {{now}} AND lease_until <= {{now}} AND asleep = 0
            ORDER BY next_at
            LIMIT {limit} {{skip_locked}}"
    )
}

/// A lane as a claim finds it.
struct Lane {
    key: String,
    channel: Option<ChannelId>,
    last_ts: Option<String>,
}

impl Lane {
    fn of(columns: &mut Columns<'_>) -> Result<Self, Error> {
        Ok(Self {
            key: columns.take()?,
            // Without a channel, the channel is requested from Slack.
            channel: columns
                .take::<Option<String>>()?
                .and_then(|channel| ChannelId::parse(channel).ok()),
            last_ts: columns.take()?,
        })
    }
}

#[derive(Default)]
struct Claimed {
    lanes: Vec<Lane>,
    now: Timestamp,
    /// The budget's state after this claim.
    spent_until: Option<Timestamp>,
}

fn values(
    key: &QueueKey,
    token: &LeaseToken,
    lease: Duration,
    pace: Option<Pace>,
) -> Vec<sea_orm::Value> {
    let (interval, depth) = pace.map_or((0, 0), |pace| pace.micros());
    params![
        key.installation.to_string(),
        key.tenant.as_str(),
        key.class.code(),
        key.budget.code(),
        token.to_string(),
        micros(lease),
        interval,
        depth,
    ]
}

fn place_of(row: &Row) -> Result<QueuePlace, Error> {
    let mut columns = Columns::of(row);
    Ok(QueuePlace {
        installation: columns.take()?,
        tenant: columns.take()?,
        class: columns.take()?,
        budget: columns.take()?,
    })
}

fn queue_of(row: &Row) -> Result<Queue, Error> {
    let mut columns = Columns::of(row);
    let key = QueueKey {
        installation: columns.uuid(InstallationId::parse)?,
        tenant: columns.id(TenantId::parse)?,
        class: Class::from_code(columns.take()?)
            .ok_or_else(|| Error::Bug("a stored class of a lane".into()))?,
        budget: Budget::from_code(columns.take()?)
            .ok_or_else(|| Error::Bug("a stored budget of a lane".into()))?,
    };
    let next_at = columns.time()?;
    columns.time()?;
    let posting = posting_of(&mut columns)?;
    Ok(Queue { key, next_at, posting, booked: booked_of(&mut columns)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Config;

    /// PostgreSQL chooses its plans by the contents of the tables: `store/plans.rs` tests those.
    #[tokio::test]
    async fn sqlite_finds_queues_and_lanes_by_the_whole_key_of_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        let key = params!["", "", 0i64, 0i64, 10i64];
        for (text, values, steps) in [
            (queues_text(Backend::Sqlite), key.clone(), 2),
            (due("lane", 10), key[..4].to_vec(), 1),
        ] {
            let text = format!("EXPLAIN QUERY PLAN {text}");
            let rows = sql::all(store.reader(), &text, values).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(3).unwrap()).collect();
            let whole = |line: &&String| {
                line.contains("INDEX lanes_queued (")
                    && (line.contains("((installation,tenant,class,budget)>(?,?,?,?))")
                        || line.contains(
                            "(installation=? AND tenant=? AND class=? AND budget=? AND next_at<?)",
                        ))
            };
            assert_eq!(plan.iter().filter(whole).count(), steps, "{plan:#?}");
            assert!(!plan.iter().any(|line| line.starts_with("SCAN lanes")), "{plan:#?}");
        }
    }
}
