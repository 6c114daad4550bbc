//! How fast Herald may post to a workspace: the learnt limit, the budget of posts, and pauses. One
//! row per workspace, for all replicas (`domain/capacity/pacing.rs` decides).

use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::domain::capacity::pacing::{Limit, Suspicion};
use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};
use crate::store::budgets::clock;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Patience;
use crate::store::records::deliveries::ENDED;
use crate::store::{Budgets, Error, Store};

/// The posting state of one workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct Posting {
    pub limit: Limit,
    /// The account of the posts so far reaches up to this time.
    pub spent_until: Timestamp,
    /// Nothing is posted before this.
    pub paused_until: Timestamp,
    /// Since when posts are counted, and how many there were.
    pub window_at: Timestamp,
    pub window_posts: u32,
}

/// A 429 that answered a post.
#[derive(Debug, Clone, Copy)]
pub struct Throttled<'a> {
    pub installation: InstallationId,
    pub lane: &'a str,
    /// The pause that Slack asked for.
    pub after: Duration,
    /// The length of a Slack minute.
    pub minute: Duration,
    /// An operator set the limit, so it is not learnt.
    pub known: bool,
}

/// The columns of [`posting_of`].
pub(in crate::store) fn read_posting() -> String {
    format!(
        "posting.current, posting.good, posting.ceiling, posting.kept, posting.patience, {}, {}, \
         posting.window_at, posting.window_posts",
        clock::spent_until("{now}"),
        clock::posts_paused_until("{now}")
    )
}

/// How often a 429 is judged again if another was written meanwhile.
const ATTEMPTS: u32 = 16;
/// Rates are kept in thousandths.
const PARTS: f64 = 1000.0;

impl Budgets<'_> {
    /// The posting state; `None` before the first post.
    pub async fn posting(self, id: InstallationId) -> Result<Option<Posting>, Error> {
        let read = read_posting();
        let text = format!("SELECT {read} FROM posting WHERE installation = $1");
        let row = sql::one(self.store.reader(), &text, params![id.to_string()]).await?;
        row.map_or(Ok(None), |row| posting_of(&mut Columns::of(&row)))
    }

    /// Begins to count, or begins a new window if the current one is still that of `window_at`; the
    /// limit becomes `limit`. [`Error::Locked`]: another transaction holds the row.
    pub async fn begin_window(
        self,
        id: InstallationId,
        window_at: Timestamp,
        limit: &Limit,
    ) -> Result<(), Error> {
        let clock = Patience::Brief.clock(self.store.writer().get_database_backend());
        let text = format!(
            "INSERT INTO posting AS posting (installation, current, good, ceiling, kept,
                    patience, window_at)
                SELECT $1, $2, $3, $4, $5, $6, clock.now
                FROM {clock}
                WHERE TRUE
                ON CONFLICT (installation) DO UPDATE
                SET current = excluded.current, good = excluded.good, ceiling = excluded.ceiling,
                    kept = excluded.kept, patience = excluded.patience,
                    window_at = excluded.window_at, window_posts = 0
                WHERE posting.window_at = $7"
        );
        let mut values = limit_values(id, limit);
        values.push(window_at.0.into());
        sql::execute(self.store.writer(), &text, values).await.map(drop)
    }

    /// Returns the start of a post that was not made. [`Error::Locked`]: another transaction holds
    /// the row.
    pub async fn return_post_slot(
        self,
        id: InstallationId,
        interval: Duration,
    ) -> Result<(), Error> {
        let clock = Patience::Shared.clock(self.store.writer().get_database_backend());
        let text = format!(
            "UPDATE posting
                SET spent_until = spent_until - $2,
                    window_posts = {{greatest}}(window_posts - 1, 0)
                FROM {clock}
                WHERE installation = $1"
        );
        let values = params![id.to_string(), micros(interval)];
        sql::execute(self.store.writer(), &text, values).await.map(drop)
    }

    /// Records a 429 and returns whether it is about the whole workspace: if so, no replica posts
    /// there for as long as Slack asks. Otherwise it is about the one lane, which the caller holds
    /// back (docs/decisions/0020-posting-limits.md).
    pub async fn note_throttled(self, throttled: &Throttled<'_>) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(whole) = self.store.judge_throttled(throttled).await? {
                return Ok(whole);
            }
        }
        Err(Error::Contended("posting".into()))
    }
}

impl Store {
    /// Reads without a lock, decides, and writes in one statement, so that the row, which every
    /// claim of the workspace needs, is not locked during a round trip. `None`: another 429, or a
    /// new window, was written meanwhile.
    async fn judge_throttled(&self, throttled: &Throttled<'_>) -> Result<Option<bool>, Error> {
        let id = throttled.installation.to_string();
        let text = format!(
            "SELECT {}, {{now}}, limited_at, limited_lane, posting.paused_until
                FROM posting
                WHERE installation = $1",
            read_posting()
        );
        let Some(row) = sql::one(self.reader(), &text, params![id.as_str()]).await? else {
            let fresh = params![id.as_str(), parts(Limit::default().current)];
            self.insist(first_row, fresh).await?;
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let posting = posting_of(&mut columns)?.ok_or_else(|| Error::Bug("no posting".into()))?;
        let (now, limited_at) = (columns.time()?, columns.time()?);
        let limited_lane: Option<String> = columns.take()?;
        let stored_pause = columns.time()?;

        let minutes = now.since(posting.window_at).div_duration_f64(throttled.minute);
        let paused = posting.paused_until > now;
        let other = limited_lane.is_some_and(|lane| lane != throttled.lane)
            && now.since(limited_at) <= throttled.minute;
        let suspicion = Suspicion {
            paused,
            another: other && !worked_since(self.reader(), &id, limited_at).await?,
            beyond: posting.limit.is_beyond()
                && posting.limit.is_used_up(posting.window_posts, minutes.min(1.0)),
        };
        let (before, until) = (posting.window_at.0, stored_pause.0);
        let mut values = params![id.as_str(), limited_at.0, before, until];
        if !suspicion.is_workspace() {
            values.push(throttled.lane.into());
            let written = self.insist(limit_of_lane, values).await?;
            return Ok((!written.is_empty()).then_some(false));
        }
        // Posts that were under way when the first 429 came reveal nothing new.
        let learns = !paused && !throttled.known;
        let limit = if learns { posting.limit.after_429() } else { posting.limit };
        values.extend(limit_values(throttled.installation, &limit).into_iter().skip(1));
        values.push(micros(throttled.after).into());
        let written = self.insist(pause_of_workspace, values).await?;
        Ok((!written.is_empty()).then_some(true))
    }
}

/// The row as it was read: no 429 and no new window was written since.
const SAME: &str = "installation = $1 AND limited_at = $2 AND window_at = $3 AND paused_until = $4";

/// Begins the account of a workspace.
fn first_row(clock: &str) -> String {
    format!(
        "INSERT INTO posting (installation, current)
            SELECT $1, $2
            FROM {clock}
            WHERE TRUE
            ON CONFLICT (installation) DO NOTHING
            RETURNING installation"
    )
}

/// Records a 429 about one lane.
fn limit_of_lane(clock: &str) -> String {
    format!(
        "UPDATE posting
            SET limited_at = clock.now, limited_lane = $5
            FROM {clock}
            WHERE {SAME}
            RETURNING installation"
    )
}

/// Pauses the whole workspace, with its new limit.
fn pause_of_workspace(clock: &str) -> String {
    format!(
        "UPDATE posting
            SET current = $5, good = $6, ceiling = $7, kept = $8, patience = $9,
                paused_until = {{greatest}}({}, clock.now + $10), window_at = clock.now,
                window_posts = 0, limited_at = 0
            FROM {clock}
            WHERE {SAME}
            RETURNING installation",
        clock::posts_paused_until("clock.now")
    )
}

/// Whether a post to the workspace that began after `at` succeeded.
async fn worked_since(
    db: &impl ConnectionTrait,
    installation: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let text = format!(
        "SELECT 1
            FROM deliveries
            WHERE {ENDED} AND updated_at >= $2 AND installation = $1 AND state = 'sent'
                AND sending_since > $2
            LIMIT 1"
    );
    Ok(sql::one(db, &text, params![installation, at.0]).await?.is_some())
}

/// `$1` to `$6`.
fn limit_values(id: InstallationId, limit: &Limit) -> Vec<sea_orm::Value> {
    params![
        id.to_string(),
        parts(limit.current),
        parts(limit.good),
        limit.ceiling.map(parts),
        i64::from(limit.kept),
        i64::from(limit.patience)
    ]
}

#[expect(clippy::cast_possible_truncation, reason = "rates are bounded")]
fn parts(rate: f64) -> i64 {
    (rate * PARTS).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "rates are bounded")]
fn rate(parts: i64) -> f64 {
    parts as f64 / PARTS
}

fn windows(stored: Option<i64>) -> u32 {
    stored.and_then(|windows| windows.try_into().ok()).unwrap_or(0)
}

/// Reads [`read_posting`]; `None` if the joined row does not exist.
pub(in crate::store) fn posting_of(columns: &mut Columns<'_>) -> Result<Option<Posting>, Error> {
    let current: Option<i64> = columns.take()?;
    let (good, ceiling): (Option<i64>, Option<i64>) = (columns.take()?, columns.take()?);
    let (kept, patience): (Option<i64>, Option<i64>) = (columns.take()?, columns.take()?);
    let (spent, paused) = (columns.optional_time()?, columns.optional_time()?);
    let (window_at, window_posts) = (columns.optional_time()?, columns.take::<Option<i64>>()?);
    Ok(current.map(|current| Posting {
        limit: Limit {
            current: rate(current),
            good: rate(good.unwrap_or(0)),
            ceiling: ceiling.map(rate),
            kept: windows(kept),
            patience: windows(patience),
        },
        spent_until: spent.unwrap_or_default(),
        paused_until: paused.unwrap_or_default(),
        window_at: window_at.unwrap_or_default(),
        window_posts: u32::try_from(window_posts.unwrap_or(0)).unwrap_or(0),
    }))
}
