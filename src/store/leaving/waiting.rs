//! The messages and identities of a tenant that left its workspace.

use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::reason::Cancellation;
use crate::store::database::rows::parse_id;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::ends::cancel::cancel_where;
use crate::store::records::deliveries::OPEN_OF_TENANT;
use crate::store::{Error, Leaving};

/// Rows that one transaction changes.
const BATCH: usize = 500;
/// Transactions of one call; a repeated call continues.
const TRANSACTIONS: usize = 400;

impl Leaving<'_> {
    /// Ends the tenant's messages that wait; returns how many ended. `within`: only those in lanes
    /// of this installation. One whose request is under way ends later, unless Slack stored it.
    /// [`Error::Unfinished`]: there are more than one call ends.
    pub async fn end_waiting(
        self,
        tenant: &TenantId,
        within: Option<InstallationId>,
    ) -> Result<u64, Error> {
        let place = if within.is_some() { "AND installation = $3" } else { "" };
        let which = &format!(
            "tenant = $1 AND sequence IN (
                SELECT sequence
                FROM deliveries
                WHERE tenant = $1
                    AND {OPEN_OF_TENANT}
                    AND cancel_requested_at IS NULL {place}
                LIMIT {BATCH})"
        );
        let mut values = params![tenant.as_str(), Cancellation::Disconnected.code()];
        values.extend(within.map(|installation| sea_orm::Value::from(installation.to_string())));
        let values = &values;
        let mut ended = 0;
        for _ in 0..TRANSACTIONS {
            let some = self.store.transaction(|tx| {
                scoped(cancel_where(tx, which, values.clone(), "CAST($2 AS text)"))
            });
            let met = some.await?;
            ended += u64::from(self.store.tell_canceled(&met).canceled);
            if met.is_empty() {
                return Ok(ended);
            }
        }
        Err(Error::Unfinished("a tenant has more messages that wait".into()))
    }

    /// The installation of another workspace that the tenant had before its present one.
    pub async fn moved_from(self, tenant: &TenantId) -> Result<Option<InstallationId>, Error> {
        const SQL: &str = "SELECT moved_from
            FROM tenants
            WHERE tenant = $1
                AND moved_from IS NOT NULL";
        let row = sql::one(self.store.reader(), SQL, params![tenant.as_str()]).await?;
        row.map(|row| parse_id(&row.get::<String>(0)?)).transpose()
    }

    /// Forgets which Slack member each person of the tenant is; returns for how many it was known.
    /// [`Error::Unfinished`]: there are more than one call changes.
    pub async fn forget_identities(self, tenant: &TenantId) -> Result<u64, Error> {
        const CLEAR: &str = "UPDATE people
            SET slack_user_id = NULL, identity_name = NULL,
                identity_rule = NULL, installation = NULL, identity_stored_at = NULL,
                updated_at = {now}
            WHERE tenant = $1 AND user_id > $2 AND user_id <= $3 AND slack_user_id IS NOT NULL";
        let page = format!(
            "SELECT MAX(user_id)
                FROM (SELECT user_id
                    FROM people
                    WHERE tenant = $1 AND user_id > $2
                    ORDER BY user_id
                    LIMIT {BATCH}) AS page"
        );
        let (mut forgotten, mut after) = (0, String::new());
        for _ in 0..TRANSACTIONS {
            let place = params![tenant.as_str(), after.as_str()];
            let row = sql::one(self.store.reader(), &page, place.clone()).await?;
            let last = row.map_or(Ok(None), |row| row.get::<Option<String>>(0))?;
            let Some(last) = last else { return Ok(forgotten) };
            let values = &[place, params![last.as_str()]].concat();
            forgotten += self
                .store
                .transaction(|tx| scoped(sql::execute(tx, CLEAR, values.clone())))
                .await?;
            after = last;
        }
        Err(Error::Unfinished("a tenant has more people".into()))
    }
}
