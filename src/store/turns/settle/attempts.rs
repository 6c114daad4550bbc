//! The log of attempts: one line for each request to Slack, and for each read of history that
//! ended.

use std::time::Duration;

use crate::domain::time::{Timestamp, micros};
use crate::store::Error;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;

/// One line in the log of attempts.
pub(in crate::store) struct Log {
    pub(in crate::store) number: i64,
    pub(in crate::store) started_at: Option<Timestamp>,
    pub(in crate::store) now: Timestamp,
    pub(in crate::store) outcome: String,
    pub(in crate::store) code: Option<String>,
    /// Slack's method.
    pub(in crate::store) method: Option<&'static str>,
    /// The time of the request only.
    pub(in crate::store) took: Option<Duration>,
}

pub(in crate::store) async fn log(tx: &Tx, delivery: &str, entry: &Log) -> Result<(), Error> {
    const SQL: &str = "
        INSERT INTO attempts (delivery, number, started_at, ended_at, outcome, code, method, took)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = params![
        delivery,
        entry.number,
        entry.started_at.unwrap_or(entry.now).0,
        entry.now.0,
        entry.outcome.as_str(),
        entry.code.as_deref(),
        entry.method,
        entry.took.map(micros),
    ];
    sql::execute(tx, SQL, values).await.map(drop)
}
