//! Repairs after the database's clock steps back. Times stored before the step lie too far ahead
//! and would keep lanes and workspaces silent for as long as the step
//! (docs/decisions/0024-clock-steps.md).
//!
//! Rows that record when they were written reveal the step: that time lies in the future. Their
//! times are moved back by the same amount, so that a wait, or a pause that Slack asked for, lasts
//! as long as intended. Repeating the repair changes nothing, so it runs in batches, and any number
//! of replicas may run it.

use std::time::Duration;

use crate::domain::time::micros;
use crate::store::budgets::clock::{CALLS_AHEAD, CHANGES_AHEAD, POSTS_AHEAD};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::records::deliveries::IN_LANE;
use crate::store::{Error, Upkeep};

/// Rows of one statement.
const BATCH: u64 = 500;
/// Statements per table and call. Between calls, the caller reports that it is still alive.
const BATCHES: usize = 100;
/// The clocks seen over different connections to one database differ by less than this, in
/// microseconds; `$1` below.
const NOISE: i64 = 1_000_000;

/// Except deliveries that wait for a time named by the caller: that time is by the clock as it is
/// now.
fn deliveries() -> String {
    format!(
        "UPDATE deliveries SET due_at = due_at - (updated_at - clock.now), \
         updated_at = clock.now FROM (SELECT {{now}} AS now) AS clock WHERE sequence IN \
         (SELECT sequence FROM deliveries WHERE updated_at > {{now}} + $1 AND \
         (({IN_LANE} AND lane IS NOT NULL) OR state = 'held' \
         OR (state = 'resolving' AND (due_at <= updated_at OR updated_at > created_at \
         OR lease_token IS NOT NULL))) ORDER BY sequence LIMIT {BATCH} {{skip_locked}})"
    )
}

/// By the lane's last claim, or the end of that claim. A lease may have been extended since; it
/// ends after `$2` at the latest.
fn lanes() -> String {
    let moved = |column: &str| {
        format!(
            "CASE WHEN {column} > clock.now \
             THEN {column} - {{greatest}}(claimed_at - clock.now, 0) ELSE {column} END"
        )
    };
    let (paced, lease) = (moved("paced_until"), moved("lease_until"));
    let (next, ready) = (moved("next_at"), moved("ready_at"));
    format!(
        "UPDATE lanes SET paced_until = {paced}, ready_at = {ready}, \
         lease_until = {{least}}({lease}, clock.now + $2), \
         next_at = CASE WHEN lease_token IS NULL THEN {next} \
         ELSE {{least}}({next}, clock.now + $2) END, \
         woken_at = {{least}}(woken_at, clock.now), claimed_at = {{least}}(claimed_at, clock.now) \
         FROM (SELECT {{now}} AS now) AS clock WHERE (installation, lane) IN \
         (SELECT installation, lane FROM lanes \
         WHERE claimed_at > {{now}} + $1 OR lease_until > {{now}} + $2 \
         ORDER BY installation, lane LIMIT {BATCH} {{skip_locked}})"
    )
}

/// Each write of a due time or a lease records when it was made. A channel that waits for a time
/// named by the caller is due early, which costs one look.
fn channels() -> String {
    format!(
        "UPDATE channels SET due_at = due_at - (touched_at - clock.now), \
         lease_until = CASE WHEN lease_until > 0 \
         THEN {{greatest}}(lease_until - (touched_at - clock.now), 1) ELSE 0 END, \
         touched_at = clock.now FROM (SELECT {{now}} AS now) AS clock WHERE id IN \
         (SELECT id FROM channels WHERE touched_at > {{now}} + $1 ORDER BY id \
         LIMIT {BATCH} {{skip_locked}})"
    )
}

/// The next attempts for members of channels.
fn channel_members() -> String {
    format!(
        "UPDATE channel_members SET due_at = due_at - (touched_at - clock.now), \
         touched_at = clock.now FROM (SELECT {{now}} AS now) AS clock \
         WHERE (channel, user_id) IN (SELECT channel, user_id FROM channel_members \
         WHERE touched_at > {{now}} + $1 AND due_at IS NOT NULL ORDER BY touched_at \
         LIMIT {BATCH} {{skip_locked}})"
    )
}

/// A window is one minute long.
const POSTING: &str = "UPDATE posting SET spent_until = {least}(spent_until, clock.now), \
    paused_until = CASE WHEN window_at > clock.now AND paused_until > clock.now \
        THEN paused_until - (window_at - clock.now) ELSE paused_until END, \
    limited_at = {least}(limited_at, clock.now), \
    window_posts = CASE WHEN window_at > clock.now THEN 0 ELSE window_posts END, \
    window_at = {least}(window_at, clock.now) FROM (SELECT {now} AS now) AS clock \
    WHERE window_at > clock.now + $1 OR spent_until > clock.now + $2";

const BUDGETS: &str = "UPDATE budgets SET next_at = {now} WHERE next_at > {now} + \
    CASE WHEN method IN ('chat.update', 'chat.delete') THEN $1 ELSE $2 END";

/// A pause that Slack asked for lasts as long as intended.
const PAUSES: &str = "UPDATE budgets SET paused_until = paused_until - (paused_at - clock.now), \
    paused_at = clock.now FROM (SELECT {now} AS now) AS clock WHERE paused_at > clock.now + $1";

const EVENTS: &str = "UPDATE seen_events SET due_at = due_at - (seen_at - clock.now), \
    seen_at = clock.now FROM (SELECT {now} AS now) AS clock \
    WHERE state = 'waiting' AND seen_at > clock.now + $1";

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
const READINGS: &str = "UPDATE directory SET next_refresh_at = \
        CASE WHEN generation = 0 AND crawl_failures = 0 THEN {least}(next_refresh_at, clock.now) \
        ELSE {least}(next_refresh_at - {greatest}(published_at - clock.now, 0), \
            clock.now + $2) END, \
    published_at = {least}(published_at, clock.now) FROM (SELECT {now} AS now) AS clock \
    WHERE published_at > clock.now + $1 OR next_refresh_at > clock.now + $1 + \
        CASE WHEN generation = 0 AND crawl_failures = 0 THEN 0 ELSE $2 END";

/// By the same bounds for both times where no mapping reads custom fields.
const FIELDS: &str = "UPDATE field_passes SET \
    due_at = {least}(due_at, clock.now + CASE WHEN needed = 0 THEN $4 ELSE $2 END), \
    soon_at = {least}(soon_at, clock.now + CASE WHEN needed = 0 THEN $4 ELSE $3 END) \
    FROM (SELECT {now} AS now) AS clock \
    WHERE due_at > clock.now + $1 + CASE WHEN needed = 0 THEN $4 ELSE $2 END \
    OR soon_at > clock.now + $1 + CASE WHEN needed = 0 THEN $4 ELSE $3 END";

/// The end of a sweep is the end of its lease, and shows when the pause after it began. A sweep
/// that was claimed was due.
const SWEEPS: &str = "UPDATE held_sweeps SET next_at = \
        CASE WHEN lease_token IS NULL THEN next_at - {greatest}(lease_until - clock.now, 0) \
        ELSE {least}(next_at, clock.now) END, \
    lease_until = CASE WHEN lease_token IS NULL THEN {least}(lease_until, clock.now) \
        ELSE lease_until END FROM (SELECT {now} AS now) AS clock \
    WHERE (lease_token IS NULL AND lease_until > clock.now + $1) \
    OR (lease_token IS NOT NULL AND next_at > clock.now + $1)";

impl Upkeep<'_> {
    /// Moves back times that lie further ahead than could have been booked, up to a limit of rows.
    /// `lease` is the longest lease that is taken. Returns the number of rows that were moved.
    pub async fn follow_clock(self, lease: Duration) -> Result<u64, Error> {
        let mut moved = 0;
        let longest = micros(lease);
        for (text, values) in [
            (deliveries().as_str(), params![NOISE]),
            (lanes().as_str(), params![NOISE, longest]),
            (channels().as_str(), params![NOISE]),
            (channel_members().as_str(), params![NOISE]),
        ] {
            for _ in 0..BATCHES {
                let values = values.clone();
                let count = self
                    .store
                    .transaction(|tx| scoped(sql::execute(tx, text, values.clone())))
                    .await?;
                moved += count;
                if count < BATCH {
                    break;
                }
            }
        }
        for (text, values) in [
            (POSTING, params![NOISE, POSTS_AHEAD]),
            (BUDGETS, params![CHANGES_AHEAD, CALLS_AHEAD]),
            (PAUSES, params![NOISE]),
            (EVENTS, params![NOISE]),
            (SWEEPS, params![NOISE]),
        ] {
            moved += sql::execute(self.store.writer(), text, values).await?;
        }
        moved += self.end_leases("held_sweeps", longest).await?;
        // Lanes that got deliveries and were not claimed since.
        for _ in 0..BATCHES {
            if self.store.lanes().repair().await? == 0 {
                break;
            }
        }
        if moved > 0 {
            self.store.wake();
            self.store.inner.channels_woken.notify_one();
        }
        Ok(moved)
    }

    /// The same for the work on member lists.
    pub async fn follow_clock_of_lists(self, most: &ListBookings) -> Result<u64, Error> {
        let readings = params![NOISE, micros(most.reading)];
        let mut moved = sql::execute(self.store.writer(), READINGS, readings).await?;
        let fields =
            params![NOISE, micros(most.fields), micros(most.fields_soon), micros(most.no_fields)];
        moved += sql::execute(self.store.writer(), FIELDS, fields).await?;
        for table in ["directory", "field_passes"] {
            moved += self.end_leases(table, micros(most.lease)).await?;
        }
        Ok(moved)
    }

    async fn end_leases(self, table: &str, longest: i64) -> Result<u64, Error> {
        let text =
            format!("UPDATE {table} SET lease_until = {{now}} WHERE lease_until > {{now}} + $1");
        sql::execute(self.store.writer(), &text, params![longest]).await
    }
}
