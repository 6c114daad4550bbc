//! The checks of connections, the alerts about them, and Slack's repetitions of events.
//!
//! Findings and alerts name tenants, parts, scopes and Slack's codes: nothing that is encrypted
//! elsewhere. A check is a change of its connection; as for other changes, triggers note it
//! (`m20260101_000033_connections`).

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        for event in ["INSERT", "UPDATE OF ran_at"] {
            let name = if event == "INSERT" { "made" } else { "run" };
            let trigger = if postgres { TRIGGER_POSTGRES } else { TRIGGER_SQLITE };
            let trigger = trigger.replace("{name}", name).replace("{event}", event);
            crate::run(manager, &trigger).await?;
        }
        Ok(())
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
    link     TEXT   NOT NULL DEFAULT '',       -- the workspace, and when it was connected
    judged   BIGINT NOT NULL DEFAULT -1,       -- the change after which the state was computed
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

const TRIGGER_POSTGRES: &str = "CREATE TRIGGER connection_checks_{name}
    AFTER {event} ON connection_checks
    FOR EACH ROW EXECUTE FUNCTION note_connection_of_new()";

/// No upsert: inside a trigger it would meet the conflict clause of the statement outside.
const TRIGGER_SQLITE: &str = "CREATE TRIGGER connection_checks_{name}
AFTER {event} ON connection_checks BEGIN
    UPDATE connection_changes
        SET changed_at = (CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)
        WHERE tenant = NEW.tenant;
    INSERT INTO connection_changes (tenant, changed_at)
        SELECT NEW.tenant, (CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)
        WHERE NOT EXISTS (SELECT 1 FROM connection_changes c WHERE c.tenant = NEW.tenant);
END";
