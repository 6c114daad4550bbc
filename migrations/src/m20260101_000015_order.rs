//! A person's order while their member is not known: what waits for them, in the order of its
//! acceptance; and what is resolving, in the order in which it is due. Both indexes hold what is
//! resolving and nothing else.
//!
//! Each has a condition that no other index has, so that the planner has no choice: by the
//! statistics of an outbox in which nothing is resolving it would walk all that is, or all that
//! waits.

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
