//! A tenant's mapping expression that cost too much to evaluate, and when it last did, for the
//! tenant's administrators to see, whichever replica evaluated it.

use sea_orm_migration::prelude::*;

use crate::online::add_column;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "tenants", "costly_attribute TEXT").await?;
        add_column(manager, "tenants", "costly_at BIGINT").await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
