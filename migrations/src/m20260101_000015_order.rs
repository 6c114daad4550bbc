//! The order of a person's deliveries while the person's member is not known. One index has a
//! person's resolving deliveries in the order of acceptance, the other all resolving deliveries by
//! due time. Neither holds any other row.
//!
//! Each has a condition that no other index has, so that the planner has no choice: with the
//! statistics of an outbox in which nothing is resolving, it would scan all resolving deliveries,
//! or all waiting ones.

use sea_orm_migration::prelude::*;

use crate::online::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        index(manager, "deliveries_resolving_of", WAITING).await?;
        index(manager, "deliveries_resolving_due", DUE).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const WAITING: &str = "deliveries (tenant, user_id, sequence)
    WHERE (CASE WHEN state = 'resolving' THEN 1 END) = 1";
const DUE: &str = "deliveries (due_at, sequence)
    WHERE (CASE WHEN state = 'resolving' THEN 2 END) = 2";
