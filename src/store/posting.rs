//! How fast a workspace may be posted to: the learnt limit, the account of posts, and pauses; one
//! row for each workspace, for all replicas (`domain/pacing.rs` decides).

use std::time::Duration;

use super::rows::Columns;
use super::sql::{self, params};
use super::transaction::{Tx, scoped};
use super::{Error, Store};
use crate::domain::ids::InstallationId;
use crate::domain::pacing::{Limit, Suspicion};
use crate::domain::time::{Timestamp, micros};

/// What is known about posting to one workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct Posting {
    pub limit: Limit,
    /// The posts so far are accounted for up to here.
    pub spent_until: Timestamp,
    /// Nothing is posted before.
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
    /// As long as Slack said.
    pub after: Duration,
    /// What a minute of Slack's takes.
    pub minute: Duration,
    /// An operator set the limit: it is not learnt.
    pub known: bool,
}

/// The columns of [`posting_of`].
pub(in crate::store) const READ: &str = "posting.current, posting.good, posting.ceiling, \
    posting.kept, posting.patience, posting.spent_until, posting.paused_until, posting.window_at, \
    posting.window_posts";

/// Rates are kept in thousandths.
const PARTS: f64 = 1000.0;

impl Store {
    /// What is known; `None` before the first post.
    pub async fn posting(&self, id: InstallationId) -> Result<Option<Posting>, Error> {
        let text = format!("SELECT {READ} FROM posting WHERE installation = $1");
        let row = sql::one(self.reader(), &text, params![id.to_string()]).await?;
        row.map_or(Ok(None), |row| posting_of(&mut Columns::of(&row)))
    }

    /// Begins to count, or begins a new window if the present one is still that of `window_at`;
    /// the limit becomes `limit`.
    pub async fn begin_window(
        &self,
        id: InstallationId,
        window_at: Timestamp,
        limit: &Limit,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO posting AS posting (installation, current, good, ceiling, \
            kept, patience, window_at) SELECT $1, $2, $3, $4, $5, $6, {now} WHERE TRUE \
            ON CONFLICT (installation) DO UPDATE SET current = excluded.current, \
            good = excluded.good, ceiling = excluded.ceiling, kept = excluded.kept, \
            patience = excluded.patience, window_at = excluded.window_at, window_posts = 0 \
            WHERE posting.window_at = $7";
        let mut values = limit_values(id, limit);
        values.push(window_at.0.into());
        sql::execute(self.writer(), SQL, values).await.map(drop)
    }

    /// Gives back the start of a post that was not made.
    pub async fn unspend(&self, id: InstallationId, interval: Duration) -> Result<(), Error> {
        const SQL: &str = "UPDATE posting SET spent_until = spent_until - $2, \
            window_posts = {greatest}(window_posts - 1, 0) WHERE installation = $1";
        let values = params![id.to_string(), micros(interval)];
        sql::execute(self.writer(), SQL, values).await.map(drop)
    }

    /// Records a 429 and says whether it is about the whole workspace: then nothing is posted there
    /// for as long as Slack asks, on any replica. Else it is about the one lane, which the caller
    /// holds back (docs/decisions/0020-posting-limits.md).
    pub async fn throttled(&self, throttled: &Throttled<'_>) -> Result<bool, Error> {
        self.transaction(|tx| scoped(throttled_within(tx, throttled))).await
    }
}

async fn throttled_within(tx: &Tx, throttled: &Throttled<'_>) -> Result<bool, Error> {
    const ENSURE: &str = "INSERT INTO posting (installation, current) VALUES ($1, $2) \
        ON CONFLICT (installation) DO NOTHING";
    const LIMITED: &str = "UPDATE posting SET limited_at = {now}, limited_lane = $2 \
        WHERE installation = $1";
    const PAUSE: &str = "UPDATE posting SET current = $2, good = $3, ceiling = $4, kept = $5, \
        patience = $6, paused_until = {greatest}(paused_until, {now} + $7), window_at = {now}, \
        window_posts = 0, limited_at = 0 WHERE installation = $1";
    let id = throttled.installation.to_string();
    let fresh = Limit::default();
    sql::execute(tx, ENSURE, params![id.as_str(), parts(fresh.current)]).await?;
    let text = format!(
        "SELECT {READ}, {{now}}, limited_at, limited_lane FROM posting \
         WHERE installation = $1 {{for_update}}"
    );
    let row = sql::one(tx, &text, params![id.as_str()]).await?;
    let row = row.ok_or_else(|| Error::Bug("a workspace without a posting row".into()))?;
    let mut columns = Columns::of(&row);
    let posting = posting_of(&mut columns)?.ok_or_else(|| Error::Bug("no posting".into()))?;
    let (now, limited_at) = (columns.time()?, columns.time()?);
    let limited_lane: Option<String> = columns.take()?;

    let minutes = now.since(posting.window_at).div_duration_f64(throttled.minute);
    let paused = posting.paused_until > now;
    let other = limited_lane.is_some_and(|lane| lane != throttled.lane)
        && now.since(limited_at) <= throttled.minute;
    let suspicion = Suspicion {
        paused,
        another: other && !worked_since(tx, &id, limited_at).await?,
        beyond: posting.limit.is_beyond()
            && posting.limit.is_used_up(posting.window_posts, minutes.min(1.0)),
    };
    if !suspicion.is_workspace() {
        sql::execute(tx, LIMITED, params![id.as_str(), throttled.lane]).await?;
        return Ok(false);
    }
    // Posts that were under way when the first 429 came say nothing new.
    let learns = !paused && !throttled.known;
    let limit = if learns { posting.limit.after_429() } else { posting.limit };
    let mut values = limit_values(throttled.installation, &limit);
    values.push(micros(throttled.after).into());
    sql::execute(tx, PAUSE, values).await?;
    Ok(true)
}

/// Whether a post to the workspace worked that was begun after `at`.
async fn worked_since(tx: &Tx, installation: &str, at: Timestamp) -> Result<bool, Error> {
    let text = format!(
        "SELECT 1 FROM deliveries WHERE {} AND updated_at >= $2 AND installation = $1 \
         AND state = 'sent' AND sending_since > $2 LIMIT 1",
        super::deliveries::ENDED
    );
    Ok(sql::one(tx, &text, params![installation, at.0]).await?.is_some())
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

/// Reads [`READ`]; `None` where the row was joined and is not there.
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
