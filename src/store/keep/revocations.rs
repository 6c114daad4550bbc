//! Tokens that Slack is asked to revoke. Slack may carry out such a request late, and an app
//! without token rotation has one token for all its connects of a workspace: a revocation that was
//! sent for one connect may end the token of the next. So the request is noted, with a time at
//! which it has certainly ended, and Slack is asked then whether the token works.

use std::time::Duration;

use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::{Error, InstallationTokens};

/// Installations of one place.
const ALIKE: u32 = 16;

/// An installation whose token a revocation may have met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetByRevocation {
    pub installation: InstallationId,
    /// When Slack is asked.
    at: Timestamp,
}

impl InstallationTokens<'_> {
    /// Notes that Slack is going to be asked to revoke the token of this connect; the request has
    /// ended after `ends`. `false`: the workspace was connected again, and nothing must be revoked.
    /// The row's lock puts this before or after a connect.
    pub async fn begin_revocation(
        self,
        id: InstallationId,
        generation: i64,
        ends: Duration,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE installations
            SET confirm_at = {now} + $3
            WHERE id = $1
                AND token_version = $2";
        let values = params![id.to_string(), generation, micros(ends)];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Installations that are due to be confirmed; at most `limit`.
    pub async fn met_by_revocations(self, limit: u32) -> Result<Vec<MetByRevocation>, Error> {
        const SQL: &str = "SELECT id, confirm_at
            FROM installations
            WHERE confirm_at IS NOT NULL
                AND confirm_at <= {now}
            ORDER BY confirm_at
            LIMIT $1";
        let rows = sql::all(self.store.reader(), SQL, params![i64::from(limit)]).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                let installation = columns.uuid(InstallationId::parse)?;
                Ok(MetByRevocation { installation, at: columns.time()? })
            })
            .collect()
    }

    /// The token was confirmed, or is known to be dead, unless another revocation was sent since.
    pub async fn confirmed(self, met: MetByRevocation) -> Result<(), Error> {
        const SQL: &str = "UPDATE installations
            SET confirm_at = NULL
            WHERE id = $1
                AND confirm_at = $2";
        let values = params![met.installation.to_string(), met.at.0];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }

    /// Installations of an app that may have the same token as one for this place: in the
    /// workspace, or for the whole organization.
    pub async fn alike(
        self,
        app_id: &str,
        team_id: Option<&str>,
        enterprise_id: Option<&str>,
    ) -> Result<Vec<InstallationId>, Error> {
        const SQL: &str = "SELECT id
            FROM installations
            WHERE app_id = $1
                AND state = 'active'
                AND org IS NULL
                AND ((team_id <> '' AND team_id = $2)
                    OR (enterprise_id <> '' AND enterprise_id = $3 AND org_wide))
            ORDER BY id
            LIMIT $4";
        let values = params![
            app_id,
            team_id.unwrap_or_default(),
            enterprise_id.unwrap_or_default(),
            i64::from(ALIKE),
        ];
        let rows = sql::all(self.store.reader(), SQL, values).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }
}
