//! The feed of delivery changes, and the indexes for reading and cancelling by person and by time.
//!
//! Triggers write the feed, so that no statement that changes a delivery's state can forget it, not
//! even one of an older binary during a rolling update (docs/decisions/0009-feed.md).

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        let (serial, triggers) = if postgres {
            ("BIGSERIAL PRIMARY KEY", TRIGGERS_POSTGRES)
        } else {
            ("INTEGER PRIMARY KEY AUTOINCREMENT", TRIGGERS_SQLITE)
        };
        crate::run(manager, &UP.replace("{serial}", serial).replace("{change}", CHANGE)).await?;
        let triggers = triggers
            .replace("{columns}", COLUMNS)
            .replace("{values}", VALUES)
            .replace("{told}", TOLD);
        crate::run(manager, &triggers).await
    }
}

/// One change, as the inbox and the feed hold it.
const CHANGE: &str = "
    tenant TEXT NOT NULL,
    delivery TEXT NOT NULL,
    notification TEXT NOT NULL,
    user_id TEXT,
    event_type TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    code TEXT,
    channel TEXT,
    ts TEXT,
    at BIGINT NOT NULL
";

const COLUMNS: &str =
    "tenant, delivery, notification, user_id, event_type, state, reason, code, channel, ts, at";
const VALUES: &str = "NEW.tenant, NEW.id, NEW.notification, NEW.user_id, NEW.event_type, \
    NEW.state, NEW.reason, NEW.code, NEW.slack_channel, NEW.slack_ts, NEW.updated_at";

/// Every change of state that a caller can act on. The start of a request is no such change, nor is
/// its retry: the delivery was already reported as pending.
const TOLD: &str = "NEW.state <> OLD.state AND NEW.state <> 'sending' \
    AND NOT (OLD.state = 'sending' AND NEW.state = 'pending')";

const UP: &str = "
CREATE TABLE feed_inbox (id {serial}, {change});

CREATE TABLE delivery_changes (
    sequence BIGINT NOT NULL,     -- 1, 2, 3, ... within the tenant
    {change},
    sequenced_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, sequence)
);
CREATE INDEX delivery_changes_old ON delivery_changes (sequenced_at);

CREATE TABLE feed_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    head BIGINT NOT NULL,             -- the last number given
    pruned BIGINT NOT NULL DEFAULT 0  -- the last number that retention removed
);

-- One row: whoever holds its lock gives the numbers.
CREATE TABLE feed_sequencer (id INTEGER NOT NULL PRIMARY KEY);
INSERT INTO feed_sequencer (id) VALUES (1);

ALTER TABLE deliveries ADD COLUMN cancel_requested_at BIGINT;
CREATE INDEX deliveries_of_person ON deliveries (tenant, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX deliveries_history_of_person ON deliveries_history (tenant, user_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX notifications_listed ON notifications (tenant, created_at, id);
";

const TRIGGERS_POSTGRES: &str = "
CREATE FUNCTION feed_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feed_inbox ({columns}) VALUES ({values});
    RETURN NULL;
END $$;
CREATE TRIGGER deliveries_accepted AFTER INSERT ON deliveries
    FOR EACH ROW EXECUTE FUNCTION feed_delivery();
CREATE TRIGGER deliveries_changed AFTER UPDATE OF state ON deliveries
    FOR EACH ROW WHEN ({told}) EXECUTE FUNCTION feed_delivery();
";

const TRIGGERS_SQLITE: &str = "
CREATE TRIGGER deliveries_accepted AFTER INSERT ON deliveries BEGIN
    INSERT INTO feed_inbox ({columns}) VALUES ({values});
END;
CREATE TRIGGER deliveries_changed AFTER UPDATE OF state ON deliveries WHEN {told} BEGIN
    INSERT INTO feed_inbox ({columns}) VALUES ({values});
END;
";
