//! Changes of messages are claimed like posts: by urgency and tenant, at the pace of their budget.
//!
//! A lane stores the budget of its head's request (0: `chat.postMessage`, 1: `chat.update`, 2:
//! `chat.delete`), and since when the head could have been sent. Starts that were reserved far
//! ahead are given back: their deliveries wait in the lane. No binary reads `permit_at` from here
//! on; a later release drops it.

use sea_orm_migration::prelude::*;

use crate::online::{add_column, alter, in_batches, replace_index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "lanes", "budget BIGINT NOT NULL DEFAULT 0").await?;
        add_column(manager, "lanes", "ready_at BIGINT NOT NULL DEFAULT 0").await?;
        let budgets = BUDGETS.replace("{budget}", BUDGET);
        in_batches(manager, "lanes", &["installation", "lane"], &[&budgets]).await?;
        in_batches(manager, "deliveries", &["sequence"], &[LANES_DUE, STARTS]).await?;
        alter(manager, "budgets", FREE).await?;
        replace_index(manager, "lanes", "lanes_queued", QUEUED).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

/// The budget that the request of a lane's head is taken from.
const BUDGET: &str = "CASE (SELECT COALESCE(head.deed, head.action) FROM deliveries head
    WHERE head.installation = lanes.installation AND head.lane = lanes.lane
    AND head.state IN ('pending', 'sending', 'unknown')
    ORDER BY head.position, head.sequence LIMIT 1)
    WHEN 'update' THEN 1 WHEN 'replace' THEN 1 WHEN 'done' THEN 1
    WHEN 'delete' THEN 2 WHEN 'retract' THEN 2 ELSE 0 END";
/// For most lanes the default is already right.
const BUDGETS: &str = "UPDATE lanes SET budget = {budget} WHERE {batch} AND budget <> {budget}";
const LANES_DUE: &str = "
UPDATE lanes SET next_at = paced_until WHERE next_at IS NOT NULL AND lease_token IS NULL
    AND (installation, lane) IN (SELECT installation, lane FROM deliveries
    WHERE {batch} AND state = 'pending' AND permit_at IS NOT NULL)";
const STARTS: &str = "
UPDATE deliveries SET due_at = created_at, permit_at = NULL
    WHERE {batch} AND state = 'pending' AND permit_at IS NOT NULL";
const FREE: &str = "UPDATE budgets SET next_at = 0 WHERE method IN ('chat.update', 'chat.delete')";
const QUEUED: &str = "lanes (installation, tenant, class, budget, next_at)
    WHERE next_at IS NOT NULL";
