//! Waits for rows that PostgreSQL forgot to end.
//!
//! PostgreSQL's timers compare the clock of the day. If that clock steps back, a `lock_timeout`
//! that was running ends later by the step. Two such waits hold up every batch of calls. The limits
//! on which other calls depend ([`Patience`](super::transaction::Patience)) are therefore also
//! enforced here, by a clock that does not step: if a session waits for a row at two checks in a
//! row, `pg_cancel_backend` ends the wait. Sessions that may wait for long have another application
//! name and are left alone. Each replica also ends the waits of the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgRow};
use sea_orm::sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _,
    SqlSafeStr as _, SqlStr,
};
use tokio::time::{sleep, timeout};

use super::session::BRIEFLY;

/// The time between two looks: longer than a wait may take.
const AGAIN: Duration = Duration::from_millis(250);
/// Looks after the first. They all use one connection, because a slow server is asked often. More
/// are made when the next statement takes long.
const LOOKS: u32 = 20;
/// The limit on connecting, and on the answer to each question.
const ANSWER: Duration = Duration::from_secs(1);

/// A wait: the session and its lock, as text.
type Wait = (i32, String);

/// Looks for such waits, if asked to.
pub(in crate::store) struct Forgotten {
    options: PgConnectOptions,
    looking: Arc<AtomicBool>,
}

impl Forgotten {
    /// `options` are those of the pool, or of connections that bypass its pooler.
    pub(in crate::store) fn new(options: PgConnectOptions) -> Self {
        Self { options, looking: Arc::default() }
    }

    /// Looks for some seconds, unless that is under way. Over a new connection: the pool may have
    /// none that is free.
    pub(in crate::store) fn look(&self) {
        if self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (options, looking) = (self.options.clone(), Arc::clone(&self.looking));
        tokio::spawn(async move {
            // A server that does not answer has its own limits and reports.
            if let Ok(Ok(mut connection)) = timeout(ANSWER, options.connect()).await {
                end_waits(&mut connection).await;
                timeout(ANSWER, connection.close()).await.ok();
            }
            looking.store(false, Ordering::Release);
        });
    }
}

async fn end_waits(connection: &mut PgConnection) {
    let Some(mut before) = waits(connection).await else { return };
    for _ in 0..LOOKS {
        sleep(AGAIN).await;
        let Some(now) = waits(connection).await else { return };
        for wait in before.intersection(&now) {
            end(connection, wait).await;
        }
        before = now;
    }
}

/// The sessions that wait for a row and may do so only briefly, each with its lock.
fn waiting() -> String {
    format!(
        "SELECT l.pid, l::text AS lock
            FROM pg_locks l
            JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE NOT l.granted AND l.locktype IN ('transactionid', 'tuple', 'spectoken')
                AND a.datname = current_database() AND a.usename = current_user
                AND a.application_name = '{BRIEFLY}'"
    )
}

/// `None`: no answer.
async fn waits(connection: &mut PgConnection) -> Option<HashSet<Wait>> {
    let rows = timeout(ANSWER, connection.fetch_all(text(waiting()))).await.ok()?.ok()?;
    let wait = |row: &PgRow| Some((row.try_get(0).ok()?, row.try_get(1).ok()?));
    Some(rows.iter().filter_map(wait).collect())
}

/// Ends this wait, if it is still the same.
async fn end(connection: &mut PgConnection, (pid, lock): &Wait) {
    let waiting = waiting();
    // The text of a lock is the server's, and has no quotation marks of this kind.
    let sql = format!(
        "SELECT pg_cancel_backend(pid)
            FROM ({waiting}) AS waiting
            WHERE pid = {pid} AND lock = '{lock}'"
    );
    if let Ok(Ok(Some(_))) = timeout(ANSWER, connection.fetch_optional(text(sql))).await {
        tracing::warn!(
            pid,
            "PostgreSQL did not end a wait for a row in time, as after a step of its clock"
        );
    }
}

/// In one message: a pooler may give the parts of a prepared statement to different servers.
fn text(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}
