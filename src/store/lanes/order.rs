//! The order of a person's deliveries while the person's Slack member is not known
//! (docs/decisions/0027-order-before-resolution.md).
//!
//! A lane orders the deliveries in it. Deliveries that wait for a member are in no lane, so they
//! are ordered per person: a delivery that is resolving holds its person's place. A delivery
//! accepted later for the person resolves after it, and so joins a lane behind it. Three places
//! keep this rule: Notify checks [`behind`] and makes deliveries that must wait resolve; a claim
//! skips deliveries that [`waits_behind`] finds behind one that is not due; and no settlement puts
//! a delivery into a lane while another is ahead of it.
//!
//! No lock is needed. Notify checks after its call began, hence after the calls that were answered
//! before it. It either sees that one of their deliveries is resolving, or such a delivery already
//! has its position in a lane, and the new one draws a later position.

use std::collections::BTreeSet;

use crate::domain::ids::{InstallationId, LeaseToken, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::Tx;
use crate::store::lanes::unread::known;
use crate::store::{Error, Store, Waiting};

/// Resolving, for a person; the condition of the index `deliveries_resolving_of`, verbatim.
const RESOLVES: &str = "(CASE WHEN state = 'resolving' THEN 1 END) = 1";

/// The same, by due time; the condition of the index `deliveries_resolving_due`.
pub(in crate::store) const RESOLVES_DUE: &str = "(CASE WHEN state = 'resolving' THEN 2 END) = 2";

/// The same, for rows found by their numbers. No index has this text: otherwise the planner could
/// read the whole index instead of those rows.
pub(in crate::store) const STILL_RESOLVES: &str = "(state || '') = 'resolving'";

/// Holds its person's place. A delivery accepted for later (`deliver_after`) does so only once it
/// is claimed: it was not eligible at acceptance, and joins the tail when its time comes.
const HOLDS_PLACE: &str =
    "(due_at <= created_at OR updated_at <> created_at OR lease_token IS NOT NULL)";

/// Was looked at before, and is not claimed now.
const PUT_OFF: &str = "lease_token IS NULL AND updated_at <> created_at";

/// Deliveries moved by one statement.
const AT_ONCE: usize = 500;

/// Whether a delivery holds the place of the person `user` of `tenant` (both expressions): 1 or 0.
pub(in crate::store) fn behind(tenant: &str, user: &str) -> String {
    format!("COALESCE({}, 0)", first(tenant, user, "TRUE"))
}

/// Whether a row of `table` stands behind another of its person that cannot be claimed yet, because
/// that one is being resolved or is only due later.
pub(in crate::store) fn waits_behind(table: &str) -> String {
    let (tenant, user) = (format!("{table}.tenant"), format!("{table}.user_id"));
    let before = format!("sequence < {table}.sequence AND due_at > {{now}}");
    format!("{} IS NOT NULL", first(&tenant, &user, &before))
}

/// A scalar, not EXISTS: for EXISTS, PostgreSQL would be free to read the whole index. Deliveries
/// that only a newer release can read are left to its replicas and hold nothing up here.
fn first(tenant: &str, user: &str, which: &str) -> String {
    format!(
        "(SELECT 1
            FROM deliveries
            WHERE tenant = {tenant} AND user_id = {user} AND {RESOLVES} AND {HOLDS_PLACE}
                AND {} AND {which}
            LIMIT 1)",
        known()
    )
}

/// A delivery that is resolving, and its person.
#[derive(Clone, Copy)]
pub(in crate::store) struct ResolvingPlace<'a> {
    pub(in crate::store) tenant: &'a TenantId,
    pub(in crate::store) user: &'a UserId,
    pub(in crate::store) sequence: i64,
}

impl ResolvingPlace<'_> {
    /// Whether another delivery of the person stands before it.
    pub(in crate::store) async fn is_behind(self, tx: &Tx) -> Result<bool, Error> {
        let text = format!("SELECT {}", behind_of("sequence < $3"));
        let values = params![self.tenant.as_str(), self.user.as_str(), self.sequence];
        let row = sql::one(tx, &text, values).await?;
        row.map_or(Ok(false), |row| Ok(row.get::<i32>(0)? != 0))
    }

    /// Postpones it to `due`, and those behind it to no sooner, so that none of them is looked at
    /// for nothing. Deliveries that were claimed with it are given back.
    pub(in crate::store) async fn put_off(
        self,
        tx: &Tx,
        token: LeaseToken,
        due: Timestamp,
    ) -> Result<(), Error> {
        let text = format!(
            "UPDATE deliveries
                SET due_at = $5, lease_token = NULL, updated_at = {{now}}
                WHERE {STILL_RESOLVES} AND sequence IN (
                    SELECT sequence
                    FROM deliveries
                    WHERE tenant = $1 AND user_id = $2 AND {RESOLVES} AND sequence > $3
                        AND (lease_token = $4
                            OR lease_token IS NULL AND due_at < $5 AND {HOLDS_PLACE})
                    ORDER BY sequence
                    LIMIT {AT_ONCE} {{for_update}})"
        );
        let values = params![
            self.tenant.as_str(),
            self.user.as_str(),
            self.sequence,
            token.to_string(),
            due.0
        ];
        sql::execute(tx, &text, values).await.map(drop)
    }
}

fn behind_of(which: &str) -> String {
    format!("COALESCE({}, 0)", first("$1", "$2", which))
}

impl Waiting<'_> {
    /// The member lists of these workspaces arrived: deliveries that wait for them are now due.
    /// Returns whether that covers all of them; if not, call again.
    pub async fn resolve_members_of(
        self,
        installations: &BTreeSet<InstallationId>,
    ) -> Result<bool, Error> {
        if installations.is_empty() {
            return Ok(true);
        }
        let text = format!(
            "UPDATE deliveries
                SET due_at = {{now}}
                WHERE {STILL_RESOLVES} AND sequence IN (
                    SELECT sequence
                    FROM deliveries
                    WHERE due_at > {{now}} AND {RESOLVES_DUE} AND {PUT_OFF}
                        AND tenant IN (SELECT tenant FROM tenant_links WHERE installation IN ({}))
                    ORDER BY due_at, sequence
                    LIMIT {AT_ONCE} {{skip_locked}})",
            placeholders(1, installations.len())
        );
        let values = installations.iter().map(|id| sea_orm::Value::from(id.to_string()));
        let moved = sql::execute(self.store.writer(), &text, values.collect()).await?;
        Ok(moved < AT_ONCE as u64)
    }
}

impl Store {
    /// Something new is known of these people: their resolving deliveries are now due.
    pub(in crate::store) async fn resolve_people(
        &self,
        tenant: &TenantId,
        users: &[UserId],
    ) -> Result<(), Error> {
        for chunk in users.chunks(AT_ONCE) {
            let text = format!(
                "UPDATE deliveries
                    SET due_at = {{now}}
                    WHERE {STILL_RESOLVES} AND sequence IN (
                        SELECT sequence
                        FROM deliveries
                        WHERE tenant = $1 AND user_id IN ({}) AND {RESOLVES} AND due_at > {{now}}
                            AND {PUT_OFF}
                        ORDER BY sequence {{for_update}})",
                placeholders(2, chunk.len())
            );
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|user| sea_orm::Value::from(user.as_str())));
            sql::execute(self.writer(), &text, values).await?;
        }
        Ok(())
    }
}
