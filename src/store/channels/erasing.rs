//! Erasing a person from channels: the person is no longer wished for. In Slack the member stays in
//! the channel. And renaming a person in them.

use super::rows::recount;
use crate::domain::ids::{ManagedChannelId, TenantId, UserId};
use crate::store::Error;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;

/// Takes the person out of up to `limit` channels; returns how many there were. Locks the channels
/// before their members, as all writes of members do, and in the order of their ids.
pub(in crate::store) async fn erase(
    tx: &Tx,
    tenant: &TenantId,
    user: &UserId,
    limit: u32,
) -> Result<u32, Error> {
    const MEMBER: &str =
        "DELETE FROM channel_members WHERE channel = $1 AND user_id = $2 AND tenant = $3";
    let lock = format!(
        "SELECT id
            FROM channels
            WHERE id IN (
                SELECT channel
                FROM channel_members
                WHERE tenant = $1 AND user_id = $2
                LIMIT {limit})
            ORDER BY id {{for_update}}"
    );
    let locked = sql::all(tx, &lock, params![tenant.as_str(), user.as_str()]).await?;
    for row in &locked {
        let channel = Columns::of(row).uuid(ManagedChannelId::parse)?;
        let member = params![channel.to_string(), user.as_str(), tenant.as_str()];
        sql::execute(tx, MEMBER, member).await?;
        recount(tx, channel).await?;
    }
    Ok(u32::try_from(locked.len()).unwrap_or(u32::MAX))
}

/// Renames a person in their channels; in a channel of both ids, the second one's place stays. The
/// locks are those of [`erase`].
pub(in crate::store) async fn rename(
    tx: &Tx,
    tenant: &TenantId,
    from: &UserId,
    to: &UserId,
) -> Result<(), Error> {
    const LOCK: &str = "SELECT id
        FROM channels
        WHERE id IN (SELECT channel
            FROM channel_members
            WHERE tenant = $1 AND user_id = $2)
        ORDER BY id {for_update}";
    const TWICE: &str = "SELECT 1 FROM channel_members WHERE channel = $1 AND user_id = $2";
    const FORGET: &str = "DELETE FROM channel_members WHERE channel = $1 AND user_id = $2";
    const RENAME: &str =
        "UPDATE channel_members SET user_id = $3 WHERE channel = $1 AND user_id = $2";
    for row in &sql::all(tx, LOCK, params![tenant.as_str(), from.as_str()]).await? {
        let channel = Columns::of(row).uuid(ManagedChannelId::parse)?;
        let id = channel.to_string();
        if sql::one(tx, TWICE, params![id.as_str(), to.as_str()]).await?.is_some() {
            sql::execute(tx, FORGET, params![id.as_str(), from.as_str()]).await?;
            recount(tx, channel).await?;
        } else {
            sql::execute(tx, RENAME, params![id.as_str(), from.as_str(), to.as_str()]).await?;
        }
    }
    Ok(())
}
