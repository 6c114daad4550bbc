//! When a pause of a method was written: after the database's clock stepped back, this shows by how
//! much the pause lies too far ahead.

use sea_orm_migration::prelude::*;

use crate::online::add_column;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "budgets", "paused_at BIGINT NOT NULL DEFAULT 0").await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
