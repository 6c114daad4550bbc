//! Changes of messages are claimed as posts are: by urgency and tenant, at the pace of their budget.
//!
//! A lane says which budget its head's request is taken from (0: `chat.postMessage`, 1: `chat.update`,
//! 2: `chat.delete`), and since when the head could have had its turn. Starts that were reserved far ahead are
//! given back: whoever waited for one waits in the lane. `permit_at` is read by no binary from here on; a later
//! release drops it.

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
ALTER TABLE lanes ADD COLUMN budget BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lanes ADD COLUMN ready_at BIGINT NOT NULL DEFAULT 0;
UPDATE lanes SET budget = CASE (SELECT COALESCE(head.deed, head.action) FROM deliveries head
    WHERE head.installation = lanes.installation AND head.lane = lanes.lane
    AND head.state IN ('pending', 'sending', 'unknown')
    ORDER BY head.position, head.sequence LIMIT 1)
    WHEN 'update' THEN 1 WHEN 'replace' THEN 1 WHEN 'done' THEN 1
    WHEN 'delete' THEN 2 WHEN 'retract' THEN 2 ELSE 0 END;
UPDATE lanes SET next_at = paced_until WHERE next_at IS NOT NULL AND lease_token IS NULL
    AND (installation, lane) IN (SELECT installation, lane FROM deliveries
    WHERE state = 'pending' AND permit_at IS NOT NULL);
UPDATE deliveries SET due_at = created_at, permit_at = NULL
    WHERE state = 'pending' AND permit_at IS NOT NULL;
UPDATE budgets SET next_at = 0 WHERE method IN ('chat.update', 'chat.delete');

DROP INDEX lanes_queued;
CREATE INDEX lanes_queued ON lanes (installation, tenant, class, budget, next_at)
    WHERE next_at IS NOT NULL;
";
