//! What waits in a workspace, for estimates of when a message goes out.

use std::collections::HashMap;

use super::deliveries::IN_LANE;
use super::lanes::Backlog;
use super::rows::Columns;
use super::sql::{self, params, placeholders};
use super::{Error, Posting, Store};
use crate::domain::ids::InstallationId;
use crate::domain::priority::Class;
use crate::domain::time::Timestamp;

/// Lanes asked about in one statement.
const CHUNK: usize = 500;
/// Messages of one lane are counted up to this many.
const COUNTED: u32 = 10_000;

/// What waits in one workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// `None` before the first post.
    pub posting: Option<Posting>,
    /// Lanes that have work, now or later.
    pub lanes: u32,
    /// Lanes that could be claimed now, by class.
    pub due: HashMap<Class, u32>,
    /// The database's clock.
    pub now: Timestamp,
}

impl Store {
    /// What waits in a workspace.
    pub async fn outlook(&self, id: InstallationId) -> Result<Outlook, Error> {
        const SQL: &str = "SELECT clock.now, class, COUNT(class), \
            COALESCE(SUM(CASE WHEN next_at <= clock.now THEN 1 ELSE 0 END), 0) \
            FROM (SELECT {now} AS now) AS clock LEFT JOIN lanes \
            ON installation = $1 AND next_at IS NOT NULL GROUP BY clock.now, class";
        let rows = async { sql::all(self.reader(), SQL, params![id.to_string()]).await };
        let (rows, posting) = tokio::try_join!(rows, self.posting(id))?;
        let mut outlook = Outlook { posting, lanes: 0, due: HashMap::new(), now: Timestamp(0) };
        for row in &rows {
            let mut columns = Columns::of(row);
            outlook.now = columns.time()?;
            let class = columns.take::<Option<i64>>()?.and_then(Class::from_code);
            outlook.lanes += columns.count()?;
            if let Some(class) = class {
                outlook.due.insert(class, columns.count()?);
            }
        }
        Ok(outlook)
    }

    /// Those of these lanes of a workspace that have work.
    pub async fn backlogs(
        &self,
        id: InstallationId,
        lanes: &[&str],
    ) -> Result<HashMap<String, Backlog>, Error> {
        let mut found = HashMap::new();
        for chunk in lanes.chunks(CHUNK) {
            let text = format!(
                "SELECT lane, (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries \
                 WHERE deliveries.installation = $1 AND deliveries.lane = lanes.lane AND {IN_LANE} \
                 LIMIT {COUNTED}) AS counted), next_at FROM lanes \
                 WHERE installation = $1 AND lane IN ({}) \
                 AND (next_at IS NOT NULL OR asleep = 1 OR lease_token IS NOT NULL)",
                placeholders(2, chunk.len())
            );
            let mut values = params![id.to_string()];
            values.extend(chunk.iter().map(|lane| sea_orm::Value::from(*lane)));
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let lane = columns.take()?;
                let backlog =
                    Backlog { count: columns.count()?, next_at: columns.optional_time()? };
                found.insert(lane, backlog);
            }
        }
        Ok(found)
    }

    /// Lanes of a workspace that could be claimed now and come before one that is due at `next_at`.
    pub async fn lanes_before(&self, id: InstallationId, next_at: Timestamp) -> Result<u32, Error> {
        const SQL: &str = "SELECT COUNT(*) FROM lanes WHERE installation = $1 AND next_at < $2 \
            AND next_at <= {now}";
        let row = sql::one(self.reader(), SQL, params![id.to_string(), next_at.0]).await?;
        row.map_or(Ok(0), |row| Columns::of(&row).count())
    }
}
