//! Erasing a person from channels: the person is no longer wished for. In Slack the member stays in
//! the channel.

use super::rows::recount;
use crate::domain::ids::{ManagedChannelId, TenantId, UserId};
use crate::store::Error;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;

/// Locks the channels before their members, as all writes of members do, and in the order of their
/// ids.
pub(in crate::store) async fn erase(
    tx: &Tx,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(), Error> {
    const LOCK: &str = "SELECT id FROM channels WHERE id IN (SELECT channel FROM channel_members \
        WHERE tenant = $1 AND user_id = $2) ORDER BY id {for_update}";
    const MEMBER: &str = "DELETE FROM channel_members WHERE tenant = $1 AND user_id = $2";
    let key = params![tenant.as_str(), user.as_str()];
    let locked = sql::all(tx, LOCK, key.clone()).await?;
    sql::execute(tx, MEMBER, key).await?;
    for row in &locked {
        recount(tx, Columns::of(row).uuid(ManagedChannelId::parse)?).await?;
    }
    Ok(())
}
