//! Indexes for retention and for the tenants' backlog caps.

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
CREATE INDEX notifications_old ON notifications (created_at);
CREATE INDEX deliveries_waiting ON deliveries (tenant)
    WHERE state IN ('resolving', 'held', 'collected', 'pending', 'sending', 'unknown');
";
