//! The pending work of a workspace, for estimates of when a message will be sent.

use std::collections::HashMap;

use super::lane::Backlog;
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::priority::Class;
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;
use crate::store::budgets::methods::{booked_of, read_booked};
use crate::store::budgets::posts::{posting_of, read_posting};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, CLOCK, params, placeholders};
use crate::store::records::deliveries::IN_LANE;
use crate::store::{Booked, Error, Lanes, Posting};

/// Lanes in one statement.
const CHUNK: usize = 500;
/// The messages of one lane are counted up to this many.
const COUNTED: u32 = 10_000;

/// The pending work of one workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceBacklog {
    /// `None` before the first post.
    pub posting: Option<Posting>,
    /// The budgets of changes; empty before the first change.
    pub booked: HashMap<Budget, Booked>,
    /// Lanes that have work, now or later.
    pub lanes: u32,
    /// Lanes that could be claimed now, by class and budget.
    pub due: HashMap<(Class, Budget), u32>,
    /// The database's clock.
    pub now: Timestamp,
}

impl Lanes<'_> {
    /// The pending work of a workspace.
    pub async fn workspace_backlog(self, id: InstallationId) -> Result<WorkspaceBacklog, Error> {
        let lanes = format!(
            "SELECT clock.now, class, budget, COUNT(class),
                    COALESCE(SUM(CASE WHEN next_at <= clock.now THEN 1 ELSE 0 END), 0)
                FROM {CLOCK}
                LEFT JOIN lanes ON installation = $1 AND next_at IS NOT NULL
                GROUP BY clock.now, class, budget"
        );
        let accounts = format!(
            "SELECT {}, {}, {}
                FROM (SELECT 1) AS once
                LEFT JOIN posting ON posting.installation = $1
                LEFT JOIN budgets AS updates ON updates.installation = $1 AND updates.method = $2
                LEFT JOIN budgets AS deletions ON deletions.installation = $1
                    AND deletions.method = $3",
            read_posting(),
            read_booked("updates"),
            read_booked("deletions")
        );
        let changes = [Budget::Updates, Budget::Deletions];
        let [update, delete] = changes.map(Budget::method);
        let key = id.to_string();
        let (rows, accounts) = tokio::try_join!(
            sql::all(self.store.reader(), &lanes, params![key.as_str()]),
            sql::all(self.store.reader(), &accounts, params![key.as_str(), update, delete]),
        )?;
        let mut backlog = WorkspaceBacklog {
            posting: None,
            booked: HashMap::new(),
            lanes: 0,
            due: HashMap::new(),
            now: Timestamp(0),
        };
        for row in &accounts {
            let mut columns = Columns::of(row);
            backlog.posting = posting_of(&mut columns)?;
            for budget in changes {
                backlog.booked.extend(booked_of(&mut columns)?.map(|booked| (budget, booked)));
            }
        }
        for row in &rows {
            let mut columns = Columns::of(row);
            backlog.now = columns.time()?;
            let class = columns.take::<Option<i64>>()?.and_then(Class::from_code);
            let budget = columns.take::<Option<i64>>()?.and_then(Budget::from_code);
            backlog.lanes += columns.count()?;
            if let Some(queue) = class.zip(budget) {
                backlog.due.insert(queue, columns.count()?);
            }
        }
        Ok(backlog)
    }

    /// The backlogs of those lanes of a workspace that have work.
    pub async fn backlogs(
        self,
        id: InstallationId,
        lanes: &[&str],
    ) -> Result<HashMap<String, Backlog>, Error> {
        let mut found = HashMap::new();
        for chunk in lanes.chunks(CHUNK) {
            let text = format!(
                "SELECT lane,
                        (SELECT COUNT(*)
                            FROM (
                                SELECT 1
                                FROM deliveries
                                WHERE deliveries.installation = $1 AND deliveries.lane = lanes.lane
                                    AND {IN_LANE}
                                LIMIT {COUNTED}) AS counted),
                        next_at
                    FROM lanes
                    WHERE installation = $1 AND lane IN ({})
                        AND (next_at IS NOT NULL OR asleep = 1 OR lease_token IS NOT NULL)",
                placeholders(2, chunk.len())
            );
            let mut values = params![id.to_string()];
            values.extend(chunk.iter().map(|lane| sea_orm::Value::from(*lane)));
            for row in sql::all(self.store.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let lane = columns.take()?;
                let backlog =
                    Backlog { count: columns.count()?, next_at: columns.optional_time()? };
                found.insert(lane, backlog);
            }
        }
        Ok(found)
    }

    /// The number of lanes of a workspace that wait for the same budget, could be claimed now and
    /// come before a lane that is due at `next_at`.
    pub async fn count_before(
        self,
        id: InstallationId,
        budget: Budget,
        next_at: Timestamp,
    ) -> Result<u32, Error> {
        const SQL: &str = "SELECT COUNT(*)
            FROM lanes
            WHERE installation = $1 AND budget = $2 AND next_at < $3 AND next_at <= {now}";
        let values = params![id.to_string(), budget.code(), next_at.0];
        let row = sql::one(self.store.reader(), SQL, values).await?;
        row.map_or(Ok(0), |row| Columns::of(&row).count())
    }
}
