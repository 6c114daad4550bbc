//! How long a workspace's learnt limit is kept before a higher one is tried.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await
    }
}

const UP: &str = "
ALTER TABLE posting ADD COLUMN patience BIGINT NOT NULL DEFAULT 1;   -- windows that are used up
";
