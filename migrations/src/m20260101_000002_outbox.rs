//! The outbox: notifications, their deliveries, the lanes that order and pace them.
//!
//! Hot queries and the index that serves each: the earliest lanes (`lanes_due`), the head of a lane
//! (`deliveries_in_lane`), deliveries that wait for a member (`deliveries_resolving`), deliveries
//! past their expiry (`deliveries_expiring`), and deliveries that may move to history
//! (`deliveries_ended`). All of these are partial, so that finished rows cost nothing.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        let (serial, positions) = if postgres {
            ("BIGSERIAL PRIMARY KEY", POSITIONS_POSTGRES)
        } else {
            ("INTEGER PRIMARY KEY AUTOINCREMENT", POSITIONS_SQLITE)
        };
        let sql = UP.replace("{delivery}", DELIVERY).replace("{serial}", serial);
        crate::run(manager, &sql).await?;
        crate::run(manager, positions).await
    }
}

/// Positions in lanes: a number drawn later is larger, on both databases.
const POSITIONS_POSTGRES: &str = "CREATE SEQUENCE delivery_positions";
const POSITIONS_SQLITE: &str = "CREATE TABLE delivery_positions (value BIGINT NOT NULL);
INSERT INTO delivery_positions (value) VALUES (0)";

/// Every column of a delivery except `sequence`; rows are copied to history by these names.
const DELIVERY: &str = "
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    notification TEXT NOT NULL,
    user_id TEXT,
    installation TEXT,
    lane TEXT,
    position BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    probes BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    lease_token TEXT,             -- of who resolves it, or who sent it last
    due_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    sending_since BIGINT,
    slack_channel TEXT,
    slack_ts TEXT,
    reason TEXT,
    code TEXT,
    content BLOB,                 -- sealed
    priority BIGINT NOT NULL,
    kind TEXT NOT NULL,
    event_type TEXT NOT NULL,
    trace_context TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
";

const UP: &str = "
CREATE TABLE notifications (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    event_type TEXT NOT NULL,
    data BLOB NOT NULL,           -- sealed
    link BLOB,                    -- sealed
    answer BLOB NOT NULL,         -- sealed; replayed verbatim
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX notifications_request ON notifications (tenant, principal, request_id);

CREATE TABLE lanes (
    installation TEXT NOT NULL,
    lane TEXT NOT NULL,
    channel TEXT,
    next_at BIGINT,
    paced_until BIGINT NOT NULL DEFAULT 0,
    asleep BIGINT NOT NULL DEFAULT 0,
    woken_at BIGINT NOT NULL DEFAULT 0,
    claimed_at BIGINT NOT NULL DEFAULT 0,
    lease_token TEXT,
    lease_until BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (installation, lane)
);
CREATE INDEX lanes_due ON lanes (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE deliveries (sequence {serial}, {delivery});
CREATE UNIQUE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_of ON deliveries (tenant, notification);
CREATE INDEX deliveries_in_lane ON deliveries (installation, lane, position, sequence)
    WHERE state IN ('pending', 'sending', 'unknown');
CREATE INDEX deliveries_resolving ON deliveries (due_at) WHERE state = 'resolving';
CREATE INDEX deliveries_expiring ON deliveries (expires_at)
    WHERE state IN ('resolving', 'held', 'collected', 'pending');
CREATE INDEX deliveries_ended ON deliveries (updated_at)
    WHERE state IN ('sent', 'failed', 'expired', 'suppressed', 'canceled', 'parked', 'unreachable');

CREATE TABLE deliveries_history (sequence BIGINT NOT NULL PRIMARY KEY, {delivery});
CREATE UNIQUE INDEX deliveries_history_id ON deliveries_history (id);
CREATE INDEX deliveries_history_of ON deliveries_history (tenant, notification);

CREATE TABLE attempts (
    sequence {serial},
    delivery TEXT NOT NULL,
    number BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT
);
CREATE INDEX attempts_of ON attempts (delivery, sequence);
";
