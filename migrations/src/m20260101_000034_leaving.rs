//! Leaving: tenants whose connection was ended on purpose, workspaces whose data is being erased,
//! and tenants that are being deleted.
//!
//! `erased_tenants` has the names of deleted tenants. A name cannot be used again while replicas
//! may still have the destroyed keys of its tenant in memory, and the settings of a tenant that
//! uses it later get another version than those that replicas may remember.

use sea_orm_migration::prelude::*;

use crate::online::{add_column, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in TENANTS {
            add_column(manager, "tenants", column).await?;
        }
        index(manager, "channel_releases_of", "channel_releases (tenant, id)").await?;
        crate::run(manager, UP).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const TENANTS: &[&str] = &[
    // Since when it is being deleted; NULL: it is not.
    "deleting_at BIGINT",
    // When its connection was last ended on purpose.
    "disconnected_at BIGINT",
    // The fate of messages that wait: 'ends', 'keeps'; NULL: it was connected since.
    "departure TEXT",
    // The installation that it left.
    "left_installation TEXT",
];

const UP: &str = "
CREATE TABLE IF NOT EXISTS workspace_erasures (
    installation TEXT   NOT NULL PRIMARY KEY,
    started_at   BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS erased_tenants (
    tenant    TEXT   NOT NULL PRIMARY KEY,
    erased_at BIGINT NOT NULL,
    version   BIGINT NOT NULL                  -- of its settings
);
";
