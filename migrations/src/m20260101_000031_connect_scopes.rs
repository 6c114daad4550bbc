//! The scopes that a connect link asks for, if they are not those of the settings, separated by
//! commas.

use sea_orm_migration::prelude::*;

use crate::online::add_column;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "connect_attempts", "scopes TEXT").await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
