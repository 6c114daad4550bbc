//! The states of connections as they were computed last, and the alerts about them.
//!
//! Triggers note each change of a connection in `connection_changes`. A connection whose last
//! change was not looked at yet is judged again, by any replica; the first write wins. The new
//! state and its alert are written in one transaction.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::connection::ConnectionState;
use crate::domain::ids::TenantId;
use crate::domain::time::micros;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::{Checkups, Error};

/// A connection that changed since its state was computed, or whose state no alert reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    pub tenant: TenantId,
    /// The code of the state that the last alert reported.
    pub told: String,
    /// Where the tenant was connected when the state was computed last.
    pub link: String,
    /// The rows of the last check as JSON.
    pub findings: String,
    /// The change that the last computation looked at, and the latest one.
    judged: i64,
    changed: i64,
}

/// The present state of a connection.
#[derive(Debug, Clone)]
pub struct Judgement<'a> {
    pub of: &'a Unjudged,
    pub state: ConnectionState,
    /// Where the tenant is connected now, if it is.
    pub link: &'a str,
    /// When the connection is to be checked first, if it is a new one; `None`: no workspace is
    /// connected.
    pub first_check: Option<Duration>,
    pub alert: Option<NewAlert>,
    /// Whether the state counts as reported: an alert reports it, or it needs none.
    pub is_told: bool,
}

/// An alert to store.
#[derive(Debug, Clone)]
pub struct NewAlert {
    pub id: Uuid,
    /// JSON, as it is sent.
    pub body: String,
}

impl Checkups<'_> {
    /// Adds rows for up to `limit` tenants that have a workspace and no row; returns how many.
    pub async fn enroll(self, limit: u32) -> Result<u64, Error> {
        const LACKING: &str = "NOT EXISTS
            (SELECT 1 FROM connection_checks k WHERE k.tenant = l.tenant)";
        let find = format!("SELECT 1 FROM tenant_links l WHERE {LACKING} LIMIT 1");
        // Read first: there are nearly always none.
        if sql::one(self.store.reader(), &find, params![]).await?.is_none() {
            return Ok(0);
        }
        let add = format!(
            "INSERT INTO connection_checks (tenant)
                SELECT l.tenant
                FROM tenant_links l
                WHERE {LACKING}
                ORDER BY l.tenant
                LIMIT {limit}
                ON CONFLICT DO NOTHING"
        );
        sql::execute(self.store.writer(), &add, params![]).await
    }

    /// Up to `limit` connections that are to be judged. `with_untold`: also those whose state no
    /// alert reported.
    pub async fn unjudged(self, with_untold: bool, limit: u32) -> Result<Vec<Unjudged>, Error> {
        let untold = if with_untold { "OR k.state <> k.told" } else { "" };
        let text = format!(
            "SELECT k.tenant, k.told, k.link, k.findings, k.judged, COALESCE(c.changed_at, 0)
                FROM connection_checks k
                LEFT JOIN connection_changes c ON c.tenant = k.tenant
                WHERE k.judged <> COALESCE(c.changed_at, 0) {untold}
                LIMIT {limit}"
        );
        let rows = sql::all(self.store.reader(), &text, params![]).await?;
        let unjudged = rows.iter().map(|row| -> Result<Unjudged, Error> {
            let mut columns = Columns::of(row);
            Ok(Unjudged {
                tenant: columns.id(TenantId::parse)?,
                told: columns.take()?,
                link: columns.take()?,
                findings: columns.take()?,
                judged: columns.take()?,
                changed: columns.take()?,
            })
        });
        unjudged.collect()
    }

    /// Stores a state with its alert, which replaces one of the same tenant that waits. `false`:
    /// another replica was faster.
    pub async fn judge(self, judgement: &Judgement<'_>) -> Result<bool, Error> {
        const JUDGE: &str = "UPDATE connection_checks
            SET judged = $4, state = $5, told = $6,
                due_at = CASE
                    WHEN $8 = 0 THEN NULL
                    WHEN link <> $7 OR due_at IS NULL THEN {now} + $9
                    ELSE due_at END,
                link = $7
            WHERE tenant = $1 AND judged = $2 AND told = $3";
        const REPLACE: &str = "DELETE FROM alerts WHERE tenant = $1";
        const ALERT: &str =
            "INSERT INTO alerts (id, tenant, body, due_at) VALUES ($1, $2, $3, {now})";
        let Judgement { of, state, link, first_check, alert, is_told } = judgement;
        let tenant = of.tenant.as_str();
        let values = &params![
            tenant,
            of.judged,
            of.told.as_str(),
            of.changed,
            state.code(),
            if *is_told { state.code() } else { of.told.as_str() },
            *link,
            i64::from(first_check.is_some()),
            micros(first_check.unwrap_or_default()),
        ];
        let judged = self.store.transaction(|tx| {
            scoped(async move {
                if sql::execute(tx, JUDGE, values.clone()).await? == 0 {
                    return Ok(false);
                }
                if let Some(NewAlert { id, body }) = alert {
                    sql::execute(tx, REPLACE, params![tenant]).await?;
                    let values = params![id.to_string(), tenant, body.as_str()];
                    sql::execute(tx, ALERT, values).await?;
                }
                Ok(true)
            })
        });
        judged.await
    }

    /// How many connections are in each state; those without a workspace do not count.
    pub async fn count_by_state(self) -> Result<Vec<(ConnectionState, u64)>, Error> {
        const SQL: &str = "SELECT state, COUNT(*)
            FROM connection_checks
            WHERE due_at IS NOT NULL
            GROUP BY state";
        let mut counts = Vec::new();
        for row in sql::all(self.store.reader(), SQL, params![]).await? {
            let (code, count): (String, i64) = (row.get(0)?, row.get(1)?);
            // A state of a newer release has no name here.
            let state = ConnectionState::ALL.iter().find(|state| state.code() == code);
            counts.extend(state.map(|state| (*state, u64::try_from(count).unwrap_or(0))));
        }
        Ok(counts)
    }
}
