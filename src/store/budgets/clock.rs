//! Budgets after the database's clock steps back: until the rows are repaired (`upkeep::clock`),
//! their times are believed only as far as they can have been booked ahead
//! (docs/decisions/0024-clock-steps.md).

/// In microseconds.
const SECOND: i64 = 1_000_000;

/// How far ahead posts, changes of messages and calls of other methods are booked at most, in
/// microseconds: the first two only briefly, the others as far as callers wait. A later time in a
/// row is by the clock before a step.
pub(in crate::store) const POSTS_AHEAD: i64 = 60 * SECOND;
pub(in crate::store) const CHANGES_AHEAD: i64 = 30 * SECOND;
pub(in crate::store) const CALLS_AHEAD: i64 = 150 * SECOND;

/// The next free start of a workspace's posts, given `now`; never one by a clock that stepped back.
/// Between the step and the repair, a claim must not take its start from such a row, nor wait for
/// it: its lane would wait for as long as the step, and nothing would show why.
pub(in crate::store) fn spent_until(now: &str) -> String {
    believed("posting.spent_until", now, POSTS_AHEAD)
}

/// The end of a workspace's pause, which began with a window. See [`paused_until`].
pub(in crate::store) fn posts_paused_until(now: &str) -> String {
    format!("posting.paused_until - {{greatest}}(posting.window_at - {now}, 0)")
}

/// The same as [`spent_until`] for the budget of changes; `table` is its row.
pub(in crate::store) fn next_change(table: &str, now: &str) -> String {
    believed(&format!("{table}.next_at"), now, CHANGES_AHEAD)
}

/// The same for any method's budget.
pub(in crate::store) fn next_call() -> String {
    believed("budgets.next_at", "{now}", CALLS_AHEAD)
}

fn believed(column: &str, now: &str, ahead: i64) -> String {
    format!("CASE WHEN {column} > {now} + {ahead} THEN {now} ELSE {column} END")
}

/// The end of the pause of a method; `table` is its row. It lies as long after the pause's
/// beginning as Slack asked; a pause that began in the future was written by the clock before a
/// step.
pub(in crate::store) fn paused_until(table: &str) -> String {
    format!("{table}.paused_until - {{greatest}}({table}.paused_at - {{now}}, 0)")
}
