//! Columns for claiming in fair order: the tenant of a lane, its urgency, and how fast its
//! workspace may be posted to.
//!
//! A lane's class is 0 if its head is in doubt, otherwise 1 (urgent), 2 (normal) or 3 (bulk), the
//! class of its most urgent message. The two `_through` columns hold the position of the last
//! message that is urgent, and of the last that is not bulk, so that the class is known from the
//! head only.

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
ALTER TABLE lanes ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE lanes ADD COLUMN last_ts TEXT;   -- of the last message that Slack stored there
ALTER TABLE lanes ADD COLUMN class BIGINT NOT NULL DEFAULT 2;
ALTER TABLE lanes ADD COLUMN urgent_through BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lanes ADD COLUMN normal_through BIGINT NOT NULL DEFAULT 0;
UPDATE lanes SET tenant = COALESCE((SELECT head.tenant FROM deliveries head
    WHERE head.installation = lanes.installation AND head.lane = lanes.lane
    AND head.state IN ('pending', 'sending', 'unknown')
    ORDER BY head.position, head.sequence LIMIT 1), ''),
    normal_through = COALESCE((SELECT MAX(one.position) FROM deliveries one
    WHERE one.installation = lanes.installation AND one.lane = lanes.lane
    AND one.state IN ('pending', 'sending', 'unknown')), 0);
DROP INDEX lanes_due;
CREATE INDEX lanes_queued ON lanes (installation, tenant, class, next_at)
    WHERE next_at IS NOT NULL;

CREATE TABLE posting (
    installation TEXT NOT NULL PRIMARY KEY,
    spent_until BIGINT NOT NULL DEFAULT 0,   -- the posts so far are accounted for up to here
    paused_until BIGINT NOT NULL DEFAULT 0,
    current BIGINT NOT NULL,                 -- thousandths of a post a minute, like the next two
    good BIGINT NOT NULL DEFAULT 0,
    ceiling BIGINT,
    kept BIGINT NOT NULL DEFAULT 0,
    window_at BIGINT NOT NULL DEFAULT 0,
    window_posts BIGINT NOT NULL DEFAULT 0,
    limited_at BIGINT NOT NULL DEFAULT 0,    -- the last 429 that was taken to be one lane's
    limited_lane TEXT
);
";
