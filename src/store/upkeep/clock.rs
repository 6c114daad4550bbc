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

use crate::domain::delivery::State;
use crate::domain::time::micros;
use crate::store::budgets::clock::{CALLS_AHEAD, CHANGES_AHEAD, POSTS_AHEAD};
use crate::store::database::sql::params;
use crate::store::lanes::order::STILL_RESOLVES;
use crate::store::records::deliveries::StateIn;
use crate::store::upkeep::ahead::{Ahead, KeyColumns, RowKey, TimesMoved};
use crate::store::{Error, Upkeep};

/// Pages per call. Between calls, the caller reports that it is still alive.
const PAGES: usize = 100;
/// Lanes that one statement looks at for the time of their heads.
const LANES: u32 = 1_000;
/// The clocks seen over different connections to one database differ by less than this, in
/// microseconds; `$1` below.
const NOISE: i64 = 1_000_000;

/// How far a pass over all rows has come. The default is the end of one, and the beginning of the
/// next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClockPass {
    /// The steps that are complete.
    steps: usize,
    /// The last row that the current step looked at; `None`: it has not begun.
    after: Option<RowKey>,
}

impl ClockPass {
    /// Whether all rows were looked at.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }
}

/// One step of a pass.
enum PassStep {
    Rows(Ahead),
    /// Lanes that would come up later than their heads.
    Heads,
}

/// Except deliveries that wait for a time named by the caller: that time is by the clock as it is
/// now. States are compared in words of no index, so that PostgreSQL scans none of those that have
/// all waiting deliveries.
pub(in crate::store) fn deliveries() -> Ahead {
    const STATE: &str = "(state || '')";
    let in_lane = StateIn(STATE, State::IN_LANE);
    Ahead {
        table: "deliveries",
        key: KeyColumns::Number("sequence"),
        set: "due_at = due_at - (updated_at - clock.now), updated_at = clock.now".into(),
        which: format!(
            "updated_at > {{now}} + $1 AND (({in_lane} AND lane IS NOT NULL) \
             OR {STATE} = 'held' OR ({STILL_RESOLVES} AND (due_at <= updated_at \
             OR updated_at > created_at OR lease_token IS NOT NULL)))"
        ),
        values: params![NOISE],
    }
}

/// By the lane's last claim, or the end of that claim. A lease may have been extended since; it
/// ends after `$2` at the latest.
pub(in crate::store) fn lanes(longest: i64) -> Ahead {
    let moved = |column: &str| {
        format!(
            "CASE WHEN {column} > clock.now THEN {column} - {{greatest}}(claimed_at - clock.now,
                0) ELSE {column} END"
        )
    };
    let (paced, lease) = (moved("paced_until"), moved("lease_until"));
    let (next, ready) = (moved("next_at"), moved("ready_at"));
    Ahead {
        table: "lanes",
        key: KeyColumns::Pair(["installation", "lane"]),
        set: format!(
            "paced_until = {paced},
                ready_at = {ready},
                lease_until = {{least}}({lease}, clock.now + $2),
                next_at = CASE
                    WHEN lease_token IS NULL THEN {next}
                    ELSE {{least}}({next}, clock.now + $2) END,
                woken_at = {{least}}(woken_at, clock.now),
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
        key: KeyColumns::Text("id"),
        set: "due_at = due_at - (touched_at - clock.now),
                lease_until = CASE
                    WHEN lease_until > 0 THEN {greatest}(lease_until - (touched_at - clock.now), 1)
                    ELSE 0 END,
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
        key: KeyColumns::Pair(["channel", "user_id"]),
        set: "due_at = due_at - (touched_at - clock.now), touched_at = clock.now".into(),
        which: "touched_at > {now} + $1 AND due_at IS NOT NULL".into(),
        values: params![NOISE],
    }
}

/// A window is one minute long.
fn posting() -> Ahead {
    const SET: &str = "spent_until = {least}(spent_until, clock.now),
            paused_until = CASE
                WHEN window_at > clock.now AND paused_until > clock.now
                    THEN paused_until - (window_at - clock.now)
                ELSE paused_until END,
            limited_at = {least}(limited_at, clock.now),
            window_posts = CASE WHEN window_at > clock.now THEN 0 ELSE window_posts END,
            window_at = {least}(window_at, clock.now)";
    Ahead {
        table: "posting",
        key: KeyColumns::Text("installation"),
        set: SET.into(),
        which: "window_at > {now} + $1 OR spent_until > {now} + $2".into(),
        values: params![NOISE, POSTS_AHEAD],
    }
}

fn budgets() -> Ahead {
    Ahead {
        table: "budgets",
        key: KeyColumns::Pair(["installation", "method"]),
        set: "next_at = clock.now".into(),
        which: "next_at > {now} + CASE WHEN method IN ('chat.update', 'chat.delete') THEN $1
                ELSE $2 END"
            .into(),
        values: params![CHANGES_AHEAD, CALLS_AHEAD],
    }
}

/// A pause that Slack asked for lasts as long as intended.
fn pauses() -> Ahead {
    Ahead {
        table: "budgets",
        key: KeyColumns::Pair(["installation", "method"]),
        set: "paused_until = paused_until - (paused_at - clock.now), paused_at = clock.now".into(),
        which: "paused_at > {now} + $1".into(),
        values: params![NOISE],
    }
}

fn events() -> Ahead {
    Ahead {
        table: "seen_events",
        key: KeyColumns::Pair(["installation", "event_id"]),
        set: "due_at = due_at - (seen_at - clock.now), seen_at = clock.now".into(),
        which: "state = 'waiting' AND seen_at > {now} + $1".into(),
        values: params![NOISE],
    }
}

/// The end of a sweep is the end of its lease, and shows when the pause after it began. A sweep
/// that was claimed was due.
fn sweeps() -> Ahead {
    const SET: &str = "
        next_at = CASE
            WHEN lease_token IS NULL THEN next_at - {greatest}(lease_until - clock.now, 0)
            ELSE {least}(next_at, clock.now) END,
        lease_until = CASE
            WHEN lease_token IS NULL THEN {least}(lease_until, clock.now)
            ELSE lease_until END";
    Ahead {
        table: "held_sweeps",
        key: KeyColumns::Text("tenant"),
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
        key: KeyColumns::Text(key),
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
    const SET: &str = "next_refresh_at = CASE
                WHEN generation = 0 AND crawl_failures = 0 THEN {least}(next_refresh_at, clock.now)
                ELSE {least}(
                    next_refresh_at - {greatest}(published_at - clock.now, 0), clock.now + $2) END,
            published_at = {least}(published_at, clock.now)";
    Ahead {
        table: "directory",
        key: KeyColumns::Text("installation"),
        set: SET.into(),
        which: "
            published_at > {now} + $1 OR next_refresh_at > {now} + $1 + CASE WHEN generation = 0
                AND crawl_failures = 0 THEN 0 ELSE $2 END"
            .into(),
        values: params![NOISE, micros(most.reading)],
    }
}

/// By the same bounds for both times where no mapping reads custom fields.
fn fields(most: &ListBookings) -> Ahead {
    const SET: &str = "
        due_at = {least}(due_at, clock.now + CASE WHEN needed = 0 THEN $4 ELSE $2 END),
            soon_at = {least}(soon_at, clock.now + CASE WHEN needed = 0 THEN $4 ELSE $3 END)";
    Ahead {
        table: "field_passes",
        key: KeyColumns::Text("installation"),
        set: SET.into(),
        which: "due_at > {now} + $1 + CASE WHEN needed = 0 THEN $4 ELSE $2 END
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
    /// Moves back times that lie further ahead than could have been booked. Looks at a bounded
    /// number of rows: `pass` is where the next call continues. `longest` is the longest lease that
    /// is taken. The times of lanes also follow those of their heads.
    pub async fn follow_clock(
        self,
        longest: Duration,
        pass: &mut ClockPass,
    ) -> Result<TimesMoved, Error> {
        let longest = micros(longest);
        // The accounts first: every claim of their workspaces needs them. The deliveries last:
        // there may be very many, and the repair of lanes expects them to have times ahead.
        let steps = [
            PassStep::Rows(posting()),
            PassStep::Rows(budgets()),
            PassStep::Rows(pauses()),
            PassStep::Rows(lanes(longest)),
            // Lanes that got deliveries and were not claimed since.
            PassStep::Heads,
            PassStep::Rows(sweeps()),
            PassStep::Rows(leases("held_sweeps", "tenant", longest)),
            PassStep::Rows(channels()),
            PassStep::Rows(channel_members()),
            PassStep::Rows(events()),
            PassStep::Rows(deliveries()),
        ];
        let done = self.go_through(&steps, pass).await?;
        if done.moved > 0 {
            self.store.wake();
            self.store.inner.channels_woken.notify_one();
        }
        Ok(done)
    }

    /// The same for the work on member lists.
    pub async fn follow_clock_of_lists(
        self,
        most: &ListBookings,
        pass: &mut ClockPass,
    ) -> Result<TimesMoved, Error> {
        let longest = micros(most.lease);
        let steps = [
            PassStep::Rows(readings(most)),
            PassStep::Rows(fields(most)),
            PassStep::Rows(leases("directory", "installation", longest)),
            PassStep::Rows(leases("field_passes", "installation", longest)),
        ];
        self.go_through(&steps, pass).await
    }

    /// Looks at some pages, up to the end of the pass.
    async fn go_through(
        self,
        steps: &[PassStep],
        pass: &mut ClockPass,
    ) -> Result<TimesMoved, Error> {
        let mut done = TimesMoved::default();
        for _ in 0..PAGES {
            let Some(step) = steps.get(pass.steps) else { break };
            let (page, last) = match step {
                PassStep::Rows(ahead) => ahead.move_page(self.store, pass.after.as_ref()).await?,
                PassStep::Heads => self.repair_page(pass.after.as_ref()).await?,
            };
            done.include(page);
            pass.after = last;
            if pass.after.is_none() {
                pass.steps += 1;
            }
        }
        if pass.steps == steps.len() {
            *pass = ClockPass::default();
        }
        Ok(done)
    }

    /// Looks at the next lanes and their heads.
    async fn repair_page(
        self,
        after: Option<&RowKey>,
    ) -> Result<(TimesMoved, Option<RowKey>), Error> {
        let after = match after {
            Some(RowKey::Pair(lane)) => Some(lane),
            _ => None,
        };
        let repair = self.store.lanes().repair(after, LANES).await?;
        let done = TimesMoved { moved: 0, left: repair.skipped };
        Ok((done, repair.next.map(RowKey::Pair)))
    }
}
