//! Repairs after the database's clock steps back. Times stored before the step lie too far ahead
//! and would keep lanes and workspaces silent for as long as the step
//! (docs/decisions/0024-clock-steps.md).
//!
//! Rows that record when they were written reveal the step: that time lies in the future. Their
//! times are moved back by the same amount, so that a wait, or a pause that Slack asked for, lasts
//! as long as intended. Repeating the repair changes nothing, so it runs in batches, and any number
//! of replicas may run it.
//!
//! A row that another transaction holds is skipped and looked at in the next round: the transaction
//! may be that of a frozen replica, and a statement that waited for its row would keep the rows of
//! other tenants locked meanwhile.

use std::time::Duration;

use sea_orm::Value;

use crate::domain::time::micros;
use crate::store::budgets::clock::{CALLS_AHEAD, CHANGES_AHEAD, POSTS_AHEAD};
use crate::store::database::sql::{self, CLOCK, params};
use crate::store::records::deliveries::IN_LANE;
use crate::store::{Error, LaneKey, Upkeep};

/// Rows of one statement.
const BATCH: u64 = 500;
/// Statements per table and call. Between calls, the caller reports that it is still alive.
const BATCHES: usize = 100;
/// Lanes that one statement looks at for the time of their heads.
const LANES: u32 = 1_000;
/// The clocks seen over different connections to one database differ by less than this, in
/// microseconds; `$1` below.
const NOISE: i64 = 1_000_000;

/// The result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimesMoved {
    /// Rows whose times were moved back.
    pub moved: u64,
    /// Rows that still must be looked at: other transactions held them, or there are too many for
    /// one round. Counted up to a bound.
    pub left: u64,
}

impl TimesMoved {
    /// Adds the result for other rows.
    pub fn include(&mut self, other: Self) {
        self.moved += other.moved;
        self.left += other.left;
    }
}

/// The rows of a table whose times may lie too far ahead.
struct Ahead {
    table: &'static str,
    /// The primary key. Rows are locked in its order.
    key: &'static str,
    /// The new times, by `clock.now`.
    set: String,
    /// Whether the times of a row lie too far ahead. Names all of `values`.
    which: String,
    values: Vec<Value>,
}

impl Ahead {
    /// Moves rows that no other transaction holds.
    fn text(&self) -> String {
        let Self { table, key, set, which, .. } = self;
        format!(
            "UPDATE {table} SET {set} FROM {CLOCK} WHERE ({key}) IN \
             (SELECT {key} FROM {table} WHERE {which} ORDER BY {key} LIMIT {BATCH} {{skip_locked}})"
        )
    }

    /// Counts rows without locks, up to a batch.
    fn count(&self) -> String {
        let Self { table, which, .. } = self;
        format!("SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {which} LIMIT {BATCH}) AS ahead")
    }
}

/// Except deliveries that wait for a time named by the caller: that time is by the clock as it is
/// now.
fn deliveries() -> Ahead {
    Ahead {
        table: "deliveries",
        key: "sequence",
        set: "due_at = due_at - (updated_at - clock.now), updated_at = clock.now".into(),
        which: format!(
            "updated_at > {{now}} + $1 AND (({IN_LANE} AND lane IS NOT NULL) OR state = 'held' \
             OR (state = 'resolving' AND (due_at <= updated_at OR updated_at > created_at \
             OR lease_token IS NOT NULL)))"
        ),
        values: params![NOISE],
    }
}

/// By the lane's last claim, or the end of that claim. A lease may have been extended since; it
/// ends after `$2` at the latest.
fn lanes(longest: i64) -> Ahead {
    let moved = |column: &str| {
        format!(
            "CASE WHEN {column} > clock.now \
             THEN {column} - {{greatest}}(claimed_at - clock.now, 0) ELSE {column} END"
        )
    };
    let (paced, lease) = (moved("paced_until"), moved("lease_until"));
    let (next, ready) = (moved("next_at"), moved("ready_at"));
    Ahead {
        table: "lanes",
        key: "installation, lane",
        set: format!(
            "paced_until = {paced}, ready_at = {ready}, \
             lease_until = {{least}}({lease}, clock.now + $2), \
             next_at = CASE WHEN lease_token IS NULL THEN {next} \
             ELSE {{least}}({next}, clock.now + $2) END, \
             woken_at = {{least}}(woken_at, clock.now), \
             claimed_at = {{least}}(claimed_at, clock.now)"
        ),
        which: "claimed_at > {now} + $1 OR lease_until > {now} + $2".into(),
        values: params![NOISE, longest],
    }
}

/// Each write of a due time or a lease records when it was made. A channel that waits for a time
/// named by the caller is due early, which costs one look.
fn channels() -> Ahead {
    Ahead {
        table: "channels",
        key: "id",
        set: "due_at = due_at - (touched_at - clock.now), lease_until = CASE WHEN lease_until > 0 \
            THEN {greatest}(lease_until - (touched_at - clock.now), 1) ELSE 0 END, \
            touched_at = clock.now"
            .into(),
        which: "touched_at > {now} + $1".into(),
        values: params![NOISE],
    }
}

/// The next attempts for members of channels.
fn channel_members() -> Ahead {
    Ahead {
        table: "channel_members",
        key: "channel, user_id",
        set: "due_at = due_at - (touched_at - clock.now), touched_at = clock.now".into(),
        which: "touched_at > {now} + $1 AND due_at IS NOT NULL".into(),
        values: params![NOISE],
    }
}

/// A window is one minute long.
fn posting() -> Ahead {
    const SET: &str = "spent_until = {least}(spent_until, clock.now), \
        paused_until = CASE WHEN window_at > clock.now AND paused_until > clock.now \
            THEN paused_until - (window_at - clock.now) ELSE paused_until END, \
        limited_at = {least}(limited_at, clock.now), \
        window_posts = CASE WHEN window_at > clock.now THEN 0 ELSE window_posts END, \
        window_at = {least}(window_at, clock.now)";
    Ahead {
        table: "posting",
        key: "installation",
        set: SET.into(),
        which: "window_at > {now} + $1 OR spent_until > {now} + $2".into(),
        values: params![NOISE, POSTS_AHEAD],
    }
}

fn budgets() -> Ahead {
    Ahead {
        table: "budgets",
        key: "installation, method",
        set: "next_at = clock.now".into(),
        which: "next_at > {now} + \
            CASE WHEN method IN ('chat.update', 'chat.delete') THEN $1 ELSE $2 END"
            .into(),
        values: params![CHANGES_AHEAD, CALLS_AHEAD],
    }
}

/// A pause that Slack asked for lasts as long as intended.
fn pauses() -> Ahead {
    Ahead {
        table: "budgets",
        key: "installation, method",
        set: "paused_until = paused_until - (paused_at - clock.now), paused_at = clock.now".into(),
        which: "paused_at > {now} + $1".into(),
        values: params![NOISE],
    }
}

fn events() -> Ahead {
    Ahead {
        table: "seen_events",
        key: "installation, event_id",
        set: "due_at = due_at - (seen_at - clock.now), seen_at = clock.now".into(),
        which: "state = 'waiting' AND seen_at > {now} + $1".into(),
        values: params![NOISE],
    }
}

/// The end of a sweep is the end of its lease, and shows when the pause after it began. A sweep
/// that was claimed was due.
fn sweeps() -> Ahead {
    const SET: &str = "next_at = \
            CASE WHEN lease_token IS NULL THEN next_at - {greatest}(lease_until - clock.now, 0) \
            ELSE {least}(next_at, clock.now) END, \
        lease_until = CASE WHEN lease_token IS NULL THEN {least}(lease_until, clock.now) \
            ELSE lease_until END";
    Ahead {
        table: "held_sweeps",
        key: "tenant",
        set: SET.into(),
        which: "(lease_token IS NULL AND lease_until > {now} + $1) \
            OR (lease_token IS NOT NULL AND next_at > {now} + $1)"
            .into(),
        values: params![NOISE],
    }
}

/// Leases of a table with this key that last for longer than any may.
fn leases(table: &'static str, key: &'static str, longest: i64) -> Ahead {
    Ahead {
        table,
        key,
        set: "lease_until = clock.now".into(),
        which: "lease_until > {now} + $1".into(),
        values: params![longest],
    }
}

/// How far ahead the work on member lists is booked at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListBookings {
    /// The lease of a reading or of a pass of custom fields.
    pub lease: Duration,
    /// The next reading of a list.
    pub reading: Duration,
    /// The next look for custom fields to fetch, in any case.
    pub fields: Duration,
    /// The same if the member list changes. In large workspaces a pass may book more: its next look
    /// then comes early, which costs one look.
    pub fields_soon: Duration,
    /// The next look where no mapping reads custom fields.
    pub no_fields: Duration,
}

/// A list that was neither read nor failed to be read was only requested, for the time of the
/// request.
fn readings(most: &ListBookings) -> Ahead {
    const SET: &str = "next_refresh_at = CASE WHEN generation = 0 AND crawl_failures = 0 \
            THEN {least}(next_refresh_at, clock.now) \
            ELSE {least}(next_refresh_at - {greatest}(published_at - clock.now, 0), \
                clock.now + $2) END, \
        published_at = {least}(published_at, clock.now)";
    Ahead {
        table: "directory",
        key: "installation",
        set: SET.into(),
        which: "published_at > {now} + $1 OR next_refresh_at > {now} + $1 + \
            CASE WHEN generation = 0 AND crawl_failures = 0 THEN 0 ELSE $2 END"
            .into(),
        values: params![NOISE, micros(most.reading)],
    }
}

/// By the same bounds for both times where no mapping reads custom fields.
fn fields(most: &ListBookings) -> Ahead {
    const SET: &str = "due_at = \
            {least}(due_at, clock.now + CASE WHEN needed = 0 THEN $4 ELSE $2 END), \
        soon_at = {least}(soon_at, clock.now + CASE WHEN needed = 0 THEN $4 ELSE $3 END)";
    Ahead {
        table: "field_passes",
        key: "installation",
        set: SET.into(),
        which: "due_at > {now} + $1 + CASE WHEN needed = 0 THEN $4 ELSE $2 END \
            OR soon_at > {now} + $1 + CASE WHEN needed = 0 THEN $4 ELSE $3 END"
            .into(),
        values: params![
            NOISE,
            micros(most.fields),
            micros(most.fields_soon),
            micros(most.no_fields)
        ],
    }
}

impl Upkeep<'_> {
    /// Moves back times that lie further ahead than could have been booked, up to a limit of rows.
    /// `longest` is the longest lease that is taken. The times of lanes also follow those of their
    /// heads: `lane` is the place from which the search for such lanes continues, `None` when it is
    /// complete.
    pub async fn follow_clock(
        self,
        longest: Duration,
        lane: &mut Option<LaneKey>,
    ) -> Result<TimesMoved, Error> {
        let longest = micros(longest);
        let mut done = TimesMoved::default();
        // The accounts first: every claim of their workspaces needs them.
        for ahead in [posting(), budgets(), pauses(), lanes(longest), deliveries()] {
            done.include(self.move_back(&ahead).await?);
        }
        // Lanes that got deliveries and were not claimed since.
        for _ in 0..BATCHES {
            let repair = self.store.lanes().repair(lane.as_ref(), LANES).await?;
            done.left += repair.skipped;
            *lane = repair.next;
            if lane.is_none() {
                break;
            }
        }
        if done.moved > 0 {
            self.store.wake();
        }
        for ahead in [
            channels(),
            channel_members(),
            events(),
            sweeps(),
            leases("held_sweeps", "tenant", longest),
        ] {
            done.include(self.move_back(&ahead).await?);
        }
        if done.moved > 0 {
            self.store.inner.channels_woken.notify_one();
        }
        Ok(done)
    }

    /// The same for the work on member lists.
    pub async fn follow_clock_of_lists(self, most: &ListBookings) -> Result<TimesMoved, Error> {
        let longest = micros(most.lease);
        let mut done = TimesMoved::default();
        for ahead in [
            readings(most),
            fields(most),
            leases("directory", "installation", longest),
            leases("field_passes", "installation", longest),
        ] {
            done.include(self.move_back(&ahead).await?);
        }
        Ok(done)
    }

    /// Each batch is a transaction of its own, so that its rows are locked briefly.
    async fn move_back(self, ahead: &Ahead) -> Result<TimesMoved, Error> {
        let (text, count) = (ahead.text(), ahead.count());
        let mut done = TimesMoved::default();
        for _ in 0..BATCHES {
            let row = sql::one(self.store.reader(), &count, ahead.values.clone()).await?;
            let row = row.ok_or_else(|| Error::Bug("a count without a row".into()))?;
            done.left = u64::try_from(row.get::<i64>(0)?).unwrap_or(0);
            if done.left == 0 {
                break;
            }
            let moved = sql::execute(self.store.writer(), &text, ahead.values.clone()).await?;
            done.moved += moved;
            // Other transactions hold the rest.
            if moved == 0 {
                break;
            }
        }
        Ok(done)
    }
}
