//! Keeping workspaces connected: the exchange of expiring tokens under a lease, workspaces that use
//! the token of their organization, and workspaces that move into one.

use sea_orm_migration::prelude::*;

use crate::online::{add_column, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// NULL in `token_issued_at`: when it was installed. NULL in `refresh_due_at`: the token does not
/// expire. `renewals` and `token_version` together count the tokens.
const COLUMNS: [&str; 11] = [
    "token_issued_at BIGINT",
    "refresh_due_at BIGINT",
    "refresh_lease_until BIGINT NOT NULL DEFAULT 0",
    "refresh_epoch BIGINT NOT NULL DEFAULT 0",
    "refresh_failures BIGINT NOT NULL DEFAULT 0",
    "refresh_error TEXT",
    "renewals BIGINT NOT NULL DEFAULT 0",
    "org TEXT",
    "migrating_since BIGINT",
    // NULL: no ids of members are to be exchanged; otherwise the last one that was.
    "mapped_after TEXT",
    // NULL: neither a move nor an exchange of ids is under way.
    "migration_look_at BIGINT",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            add_column(manager, "installations", column).await?;
        }
        for (name, on) in [
            (
                "installations_refresh",
                "installations (refresh_due_at) WHERE refresh_due_at IS NOT NULL",
            ),
            ("installations_of_org", "installations (org, id) WHERE org IS NOT NULL"),
            (
                "installations_migrating",
                "installations (migration_look_at) WHERE migration_look_at IS NOT NULL",
            ),
            (
                "people_in_slack",
                "people (installation, slack_user_id) WHERE slack_user_id IS NOT NULL",
            ),
        ] {
            index(manager, name, on).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
