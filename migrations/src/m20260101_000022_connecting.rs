//! The Slack user who approved the app, and the workspaces of other tenants that a connect attempt
//! may join.

use sea_orm_migration::prelude::*;

use crate::online::add_column;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "installations", "installed_by TEXT").await?;
        add_column(manager, "connect_attempts", "shared_with TEXT").await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
