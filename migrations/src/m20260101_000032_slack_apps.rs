//! Slack apps of tenants, and the app by which each installation was made.
//!
//! A tenant has one path, which all of its apps share: the addresses in an app's manifest exist
//! before the app does, and stay when the tenant moves to another app.

use sea_orm_migration::prelude::*;

use crate::online::add_column;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Before the tables: a migration that was killed is run again from its first step.
        add_column(manager, "installations", "app_path TEXT NOT NULL DEFAULT ''").await?;
        for statement in TABLES {
            crate::run(manager, statement).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS slack_app_paths (
        tenant     TEXT   NOT NULL PRIMARY KEY,
        path       TEXT   NOT NULL UNIQUE,        -- 16 random bytes in base64url
        created_at BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS slack_apps (
        tenant                  TEXT   NOT NULL,
        app_id                  TEXT   NOT NULL,
        client_id               TEXT   NOT NULL,
        client_secret           BLOB   NOT NULL,  -- sealed, as the other secrets
        previous_client_secret  BLOB,
        previous_client_until   BIGINT,
        signing_secret          BLOB   NOT NULL,
        previous_signing_secret BLOB,
        previous_signing_until  BIGINT,
        version                 BIGINT NOT NULL,  -- counts changes
        updated_at              BIGINT NOT NULL,
        retired_at              BIGINT,           -- another app took its place; NULL: it is in use
        PRIMARY KEY (tenant, app_id)
    )",
    "CREATE UNIQUE INDEX IF NOT EXISTS slack_apps_current
        ON slack_apps (tenant) WHERE retired_at IS NULL",
];
