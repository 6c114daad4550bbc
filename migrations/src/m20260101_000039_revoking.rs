//! Revocations that a connect may meet, tenants that moved to another workspace, and the right to
//! make a Slack app for a tenant.

use sea_orm_migration::prelude::*;

use crate::online::{add_column, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // When Slack is asked whether the token works, because a revocation may have met it; NULL:
        // none was sent.
        add_column(manager, "installations", "confirm_at BIGINT").await?;
        // The installation of another workspace that the tenant had before it was connected to the
        // present one.
        add_column(manager, "tenants", "moved_from TEXT").await?;
        // Until when one call may ask Slack to make or change the app.
        let making = "making_until BIGINT NOT NULL DEFAULT 0";
        add_column(manager, "slack_app_paths", making).await?;
        let confirm = "installations (confirm_at) WHERE confirm_at IS NOT NULL";
        index(manager, "installations_to_confirm", confirm).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
