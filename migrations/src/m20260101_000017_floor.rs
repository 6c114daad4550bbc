//! The migrations that a binary must know to work on this schema, and an index of a person's
//! changes in the feed.
//!
//! A binary works on schemas newer than its own as long as they only add. A migration that removes
//! something that older binaries use (a *contract*) writes the name of the newest migration that a
//! binary must know into `schema_floor`: a binary that does not know it refuses to start.

use sea_orm_migration::prelude::*;

use crate::online::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, FLOOR).await?;
        index(manager, "delivery_changes_of_person", PERSON).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const FLOOR: &str = "CREATE TABLE IF NOT EXISTS schema_floor (migration TEXT NOT NULL PRIMARY KEY)";
const PERSON: &str = "delivery_changes (tenant, user_id) WHERE user_id IS NOT NULL";
