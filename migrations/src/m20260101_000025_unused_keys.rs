//! The user id of a person's key, encrypted, and the time of the key's last use. They serve to find
//! keys that no longer encrypt anything. A key from before this migration gets both when it is used
//! again.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::online::{add_column, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let name = match manager.get_database_backend() {
            DbBackend::Postgres => "name BYTEA",
            _ => "name BLOB",
        };
        add_column(manager, "person_keys", name).await?;
        add_column(manager, "person_keys", "used_at BIGINT NOT NULL DEFAULT 0").await?;
        index(manager, "audit_log_by_actor", "audit_log (tenant, actor_key)").await?;
        index(manager, "audit_log_by_subject", "audit_log (tenant, subject_key)").await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
