//! The life of a message after it was posted, and the reasons for the course of a delivery:
//! subjects that tie messages together, messages that wait for their time, decision traces,
//! replays, and recipients that share one message.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["deliveries", "deliveries_history"] {
            for column in COLUMNS {
                crate::run(manager, &format!("ALTER TABLE {table} ADD COLUMN {column}")).await?;
            }
        }
        crate::run(manager, UP).await
    }
}

/// Added both to deliveries and to their history.
const COLUMNS: &[&str] = &[
    // Its subject, and its action on it; NULL: a new message.
    "subject_key TEXT",
    "action TEXT",
    // The kind of its request, as committed with the intent: 'thread', 'update', 'delete'; NULL: a
    // new message.
    "deed TEXT",
    // The thread it was posted in.
    "thread_ts TEXT",
    // The state of the message in Slack: 'done', 'retracted', 'gone', 'fixed'; NULL: as posted.
    "shown TEXT",
    // The delivery whose content it shows since it was replaced.
    "shown_by TEXT",
    // The lane that it joins when it is due; until then it is in none.
    "deferred_lane TEXT",
    // The start that was reserved for it in a budget.
    "permit_at BIGINT",
    // Why it went as it did; encrypted.
    "trace BLOB",
    // The dead letter that it replays, and the delivery that replays it.
    "replay_of TEXT",
    "replayed_as TEXT",
];

const UP: &str = "
CREATE INDEX deliveries_subject_lane ON deliveries (tenant, subject_key, lane)
    WHERE subject_key IS NOT NULL;
CREATE INDEX deliveries_subject_person ON deliveries (tenant, subject_key, user_id)
    WHERE subject_key IS NOT NULL;
CREATE INDEX deliveries_history_subject_lane ON deliveries_history (tenant, subject_key, lane)
    WHERE subject_key IS NOT NULL;
CREATE INDEX deliveries_history_subject_person
    ON deliveries_history (tenant, subject_key, user_id) WHERE subject_key IS NOT NULL;

CREATE INDEX deliveries_deferred ON deliveries (due_at)
    WHERE state = 'pending' AND lane IS NULL;

CREATE INDEX deliveries_failed ON deliveries (tenant, updated_at, id)
    WHERE state IN ('failed', 'expired', 'parked') AND replayed_as IS NULL;
CREATE INDEX deliveries_history_failed ON deliveries_history (tenant, updated_at, id)
    WHERE state IN ('failed', 'expired', 'parked') AND replayed_as IS NULL;

ALTER TABLE attempts ADD COLUMN method TEXT;
ALTER TABLE attempts ADD COLUMN took BIGINT;   -- of the request alone, in microseconds

ALTER TABLE preferences ADD COLUMN set_by TEXT;

-- Recipients of a delivery besides the one that it names: they are the same Slack member.
CREATE TABLE delivery_sharers (
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    delivery TEXT NOT NULL,
    notification TEXT NOT NULL,
    PRIMARY KEY (tenant, user_id, delivery)
);
CREATE INDEX delivery_sharers_of ON delivery_sharers (delivery);
CREATE INDEX delivery_sharers_notification ON delivery_sharers (tenant, notification);

CREATE TABLE replays (
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, principal, request_id)
);
CREATE INDEX replays_old ON replays (created_at);
";
