//! The checks of connections, the alerts about them, and Slack's repetitions of events.
//!
//! Findings and alerts name tenants, parts, scopes and Slack's codes: nothing that is encrypted
//! elsewhere.

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
CREATE TABLE connection_checks (
    tenant   TEXT   NOT NULL PRIMARY KEY,
    ran_at   BIGINT,                           -- when the last check began; NULL: never
    findings TEXT   NOT NULL DEFAULT '[]',     -- JSON: a row for each part
    worst    TEXT   NOT NULL DEFAULT 'unknown',
    due_at   BIGINT,                           -- or when a lease ends; NULL: no workspace
    epoch    BIGINT NOT NULL DEFAULT 0,        -- fences: every holder of the lease has its own
    link     TEXT   NOT NULL DEFAULT '',       -- the workspace and the number of its token
    stamp    TEXT   NOT NULL DEFAULT '',       -- the facts that the state was computed from
    state    TEXT   NOT NULL DEFAULT 'active', -- of the connection, as it was computed last
    told     TEXT   NOT NULL DEFAULT 'active'  -- the state that the last alert reported
);
CREATE INDEX connection_checks_due ON connection_checks (due_at);

CREATE TABLE alerts (
    id       TEXT   NOT NULL PRIMARY KEY,      -- the same in each attempt
    tenant   TEXT   NOT NULL,
    body     TEXT   NOT NULL,                  -- JSON, as it is sent
    due_at   BIGINT NOT NULL,                  -- of the next attempt, or when a lease ends
    attempts BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX alerts_of ON alerts (tenant); -- a newer one replaces one that waits
CREATE INDEX alerts_due ON alerts (due_at);

CREATE TABLE slack_retries (
    app_path TEXT   NOT NULL PRIMARY KEY,      -- the address of the app; '': the deployment's
    at       BIGINT NOT NULL,                  -- of the last one
    times    BIGINT NOT NULL,                  -- without a pause of an hour
    reason   TEXT   NOT NULL
);
";
