//! Custom profile fields, fetched member by member; deliveries that are held until their person
//! appears in Slack.
//!
//! `field_passes` is the lease and the progress of the one pass that fetches them; the fetched
//! fields are in `profile_fields`, one row per member, which is also the pass's checkpoint.

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
CREATE TABLE field_passes (
    installation    TEXT   NOT NULL PRIMARY KEY,
    epoch           BIGINT NOT NULL DEFAULT 0,   -- fences: every holder has its own
    lease_until     BIGINT NOT NULL DEFAULT 0,
    due_at          BIGINT NOT NULL DEFAULT 0,   -- when to look in any case
    soon_at         BIGINT NOT NULL DEFAULT 0,   -- earliest next look, if the member list moved
    seen_generation BIGINT NOT NULL DEFAULT 0,   -- the member list that the last pass looked at
    seen_change     BIGINT NOT NULL DEFAULT 0,
    needed          INTEGER NOT NULL DEFAULT 0,  -- 1: a linked tenant's mapping reads custom fields
    wanted          BIGINT NOT NULL DEFAULT 0,   -- members who may match
    fetched         BIGINT NOT NULL DEFAULT 0,   -- of these, those whose fields were fetched
    unpublished     INTEGER NOT NULL DEFAULT 0,  -- 1: rows that snapshots have not been told of
    started_at      BIGINT,                      -- NULL: no pass under way
    last_error      TEXT
);

ALTER TABLE profile_fields ADD COLUMN member_updated BIGINT NOT NULL DEFAULT 0;
-- Grows with every batch of fields that snapshots should take up.
ALTER TABLE directory ADD COLUMN fields_sequence BIGINT NOT NULL DEFAULT 0;

-- 1: where nobody is found it waits until the person appears.
ALTER TABLE deliveries ADD COLUMN hold INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries_history ADD COLUMN hold INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_held ON deliveries (tenant, user_id) WHERE state = 'held';
CREATE INDEX deliveries_held_due ON deliveries (due_at) WHERE state = 'held';

CREATE TABLE held_sweeps (
    tenant      TEXT   NOT NULL PRIMARY KEY,
    seen        TEXT   NOT NULL DEFAULT '',  -- member list and mapping of the last sweep
    next_at     BIGINT NOT NULL DEFAULT 0,
    lease_token TEXT,
    lease_until BIGINT NOT NULL DEFAULT 0
);
";
