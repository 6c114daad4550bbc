//! Events that Slack sends, and the changes they cause.
//!
//! A row of `seen_events` is both the inbox and the record of received ids: one statement stores an
//! event and its id, so it is taken once. Once the event is applied, its body is removed, and the
//! row stays until Slack would no longer repeat it.

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
ALTER TABLE seen_events ADD COLUMN kind TEXT NOT NULL DEFAULT '';        -- Slack's name of it
ALTER TABLE seen_events ADD COLUMN state TEXT NOT NULL DEFAULT 'done';   -- waiting, done, parked
ALTER TABLE seen_events ADD COLUMN reason TEXT;                          -- why it is parked
ALTER TABLE seen_events ADD COLUMN happened_at BIGINT NOT NULL DEFAULT 0; -- as Slack says
ALTER TABLE seen_events ADD COLUMN due_at BIGINT NOT NULL DEFAULT 0;     -- or when its lease ends
ALTER TABLE seen_events ADD COLUMN lease_token TEXT;
ALTER TABLE seen_events ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;   -- leases that ran out
ALTER TABLE seen_events ADD COLUMN body BLOB;                            -- sealed; NULL once done
ALTER TABLE seen_events ADD COLUMN slack_user_id TEXT;                   -- whom it was about
ALTER TABLE seen_events ADD COLUMN updated BIGINT NOT NULL DEFAULT 0; -- that member's, Unix seconds
CREATE INDEX seen_events_waiting ON seen_events (due_at) WHERE state = 'waiting';
CREATE INDEX seen_events_member ON seen_events (installation, slack_user_id)
    WHERE slack_user_id IS NOT NULL;
CREATE INDEX seen_events_age ON seen_events (seen_at);

ALTER TABLE directory ADD COLUMN event_heard_at BIGINT;                  -- to the minute
ALTER TABLE directory ADD COLUMN events_lost_at BIGINT;                  -- Slack held some back

ALTER TABLE directory_changes ADD COLUMN slack_user_id TEXT;             -- one row for each member
CREATE INDEX directory_changes_member ON directory_changes (installation, slack_user_id)
    WHERE slack_user_id IS NOT NULL;
";
