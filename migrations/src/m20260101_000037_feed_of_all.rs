//! The feed of all tenants: each numbered change also gets a position, counted over all tenants.
//!
//! The last position is in `feed_heads`, in the row of the empty name, which no tenant can have.
//! Changes that were numbered before this migration have no position. A sequencer of the previous
//! release gives none either: during a rolling update a trigger does, one row at a time.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::online::{add_column, alter, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "delivery_changes", "position BIGINT").await?;
        index(manager, "delivery_changes_of_all", OF_ALL).await?;
        crate::run(manager, HEAD).await?;
        // A SQLite file is used by one process, which is of this release.
        if manager.get_database_backend() == DbBackend::Postgres {
            crate::run(manager, FUNCTION).await?;
            alter(manager, "delivery_changes", TRIGGER).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const OF_ALL: &str = "delivery_changes (position) WHERE position IS NOT NULL";

const HEAD: &str =
    "INSERT INTO feed_heads (tenant, head) VALUES ('', 0) ON CONFLICT (tenant) DO NOTHING";

const FUNCTION: &str = "
CREATE OR REPLACE FUNCTION feed_position() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE feed_heads
    SET head = GREATEST(head, COALESCE((SELECT MAX(epoch) FROM recoveries), 0)) + 1
    WHERE tenant = '' RETURNING head INTO NEW.position;
    RETURN NEW;
END $$";

const TRIGGER: &str = "
CREATE OR REPLACE TRIGGER delivery_changes_positioned BEFORE INSERT ON delivery_changes
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION feed_position()";
