//! Waits for rows that PostgreSQL forgot to end.
//!
//! PostgreSQL's timers compare the clock of the day. If that clock steps back, a `lock_timeout`
//! that was running ends later by the step. Two such waits hold up every batch of calls, so the
//! limits that bystanders depend on ([`Patience`](super::transaction::Patience)) are also measured
//! here, by a clock that does not step: a session that waits for a row in two looks at the server
//! is ended by `pg_cancel_backend`. Sessions that may wait for long have another application name
//! and are left alone. Each replica also ends the waits of the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgRow};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::time::{sleep, timeout};

use super::session::BRIEFLY;

/// The time between two looks: longer than a wait may take.
const AGAIN: Duration = Duration::from_millis(250);
/// Looks after the first. More are made when the next statement takes long.
const LOOKS: u32 = 20;
/// The limit on connecting, and on the answer to each question.
const ANSWER: Duration = Duration::from_secs(1);

/// A wait: the session, and when its statement began, as text.
type Wait = (i32, String);

/// Looks for such waits, if asked to.
pub(in crate::store) struct Forgotten {
    options: PgConnectOptions,
    looking: Arc<AtomicBool>,
}

impl Forgotten {
    pub(in crate::store) fn new(options: PgConnectOptions) -> Self {
        Self { options, looking: Arc::default() }
    }

    /// Looks until nothing waits any longer, unless that is under way. Over a new connection: the
    /// pool may have none that is free.
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
        if before.is_empty() {
            return;
        }
        sleep(AGAIN).await;
        let Some(now) = waits(connection).await else { return };
        for wait in before.intersection(&now) {
            end(connection, wait).await;
        }
        before = now;
    }
}

/// The sessions that wait for a row and may do so only briefly. `None`: no answer.
async fn waits(connection: &mut PgConnection) -> Option<HashSet<Wait>> {
    const SQL: &str = "SELECT pid, query_start::text FROM pg_stat_activity \
        WHERE datname = current_database() AND usename = current_user AND state = 'active' \
        AND wait_event_type = 'Lock' AND wait_event IN ('transactionid', 'tuple', 'spectoken') \
        AND application_name = $1";
    // Not by a name: a pooler knows no prepared statements.
    let query = sqlx::query(SQL).bind(BRIEFLY).persistent(false).fetch_all(connection);
    let rows = timeout(ANSWER, query).await.ok()?.ok()?;
    let wait = |row: &PgRow| Some((row.try_get(0).ok()?, row.try_get(1).ok()?));
    Some(rows.iter().filter_map(wait).collect())
}

/// Ends this wait, if it is still the same.
async fn end(connection: &mut PgConnection, (pid, since): &Wait) {
    const SQL: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
        WHERE pid = $1 AND query_start::text = $2 AND wait_event_type = 'Lock'";
    let query = sqlx::query(SQL).bind(pid).bind(since).persistent(false).fetch_optional(connection);
    if let Ok(Ok(Some(_))) = timeout(ANSWER, query).await {
        tracing::warn!(
            pid,
            "PostgreSQL did not end a wait for a row in time, as after a step of its clock"
        );
    }
}
