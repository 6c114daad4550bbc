//! Alerts, until they are delivered. A claim counts an attempt and moves the due time to the end of
//! its lease, so that another replica repeats the attempt if this one dies.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::{Alerts, Backend, Error};

/// An alert that was claimed to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingAlert {
    pub id: Uuid,
    /// JSON, as it is sent.
    pub body: String,
    /// Attempts, including this one.
    pub attempts: u32,
    /// When it was claimed.
    pub at: Timestamp,
}

impl Alerts<'_> {
    /// Takes up to `limit` alerts that are due, each for one attempt. `longest`: none is due later
    /// than this from now; one that seems to be was planned before the clock stepped back.
    pub async fn claim(
        self,
        limit: u32,
        lease: Duration,
        longest: Duration,
    ) -> Result<Vec<WaitingAlert>, Error> {
        const DUE: &str = "due_at <= {now} OR due_at > {now} + $1";
        let find = format!("SELECT 1 FROM alerts WHERE {DUE} LIMIT 1");
        let (longest, lease) = (micros(longest), micros(lease));
        // Read first: there are nearly always none.
        if sql::one(self.store.reader(), &find, params![longest]).await?.is_none() {
            return Ok(Vec::new());
        }
        let skip = match self.store.backend() {
            Backend::Postgres => "FOR UPDATE SKIP LOCKED",
            Backend::Sqlite => "",
        };
        let text = format!(
            "WITH due AS (
                    SELECT id
                    FROM alerts
                    WHERE {DUE}
                    ORDER BY due_at
                    LIMIT {limit} {skip})
                UPDATE alerts
                SET attempts = attempts + 1, due_at = {{now}} + $2
                WHERE id IN (SELECT id FROM due)
                RETURNING id, body, attempts, {{now}}"
        );
        let rows = sql::all(self.store.writer(), &text, params![longest, lease]).await?;
        let claimed = rows.iter().map(|row| -> Result<WaitingAlert, Error> {
            let mut columns = Columns::of(row);
            let id = columns.take::<String>()?;
            Ok(WaitingAlert {
                id: Uuid::parse_str(&id).map_err(|_| Error::Bug("a stored alert's id".into()))?,
                body: columns.take()?,
                attempts: columns.count()?,
                at: columns.time()?,
            })
        });
        claimed.collect()
    }

    /// Removes an alert that was delivered, or is given up.
    pub async fn remove(self, alert: &WaitingAlert) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM alerts WHERE id = $1";
        sql::execute(self.store.writer(), SQL, params![alert.id.to_string()]).await.map(drop)
    }

    /// Plans the next attempt after a failed one.
    pub async fn postpone(self, alert: &WaitingAlert, wait: Duration) -> Result<(), Error> {
        const SQL: &str = "UPDATE alerts SET due_at = {now} + $3 WHERE id = $1 AND attempts = $2";
        let values = params![alert.id.to_string(), i64::from(alert.attempts), micros(wait)];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }
}
