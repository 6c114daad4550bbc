//! Member lists, and the budgets of calls to Slack.
//!
//! A crawl writes its pages under the generation that it will become, so that publishing is one
//! update of `directory.generation`.

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
CREATE TABLE directory (
    installation     TEXT    NOT NULL PRIMARY KEY,
    generation       BIGINT  NOT NULL DEFAULT 0,   -- 0: never published
    pages            INTEGER NOT NULL DEFAULT 0,   -- of the published generation
    members          BIGINT  NOT NULL DEFAULT 0,
    change_sequence  BIGINT  NOT NULL DEFAULT 0,
    refreshed_at     BIGINT,
    next_refresh_at  BIGINT  NOT NULL,
    last_error       TEXT,
    epoch            BIGINT  NOT NULL DEFAULT 0,   -- fences: every holder has its own
    lease_until      BIGINT  NOT NULL DEFAULT 0,
    crawl_started_at BIGINT,                       -- NULL: no crawl under way
    crawl_cursor     TEXT,
    crawl_pages      INTEGER NOT NULL DEFAULT 0,
    crawl_members    BIGINT  NOT NULL DEFAULT 0,
    crawl_page_size  INTEGER NOT NULL DEFAULT 0,   -- 0: none chosen yet
    crawl_changes    BIGINT  NOT NULL DEFAULT 0    -- the change sequence when the crawl started
);

CREATE TABLE directory_pages (
    installation TEXT    NOT NULL REFERENCES directory (installation),
    generation   BIGINT  NOT NULL,
    page         INTEGER NOT NULL,
    body         BLOB    NOT NULL,                 -- zstd, then sealed
    PRIMARY KEY (installation, generation, page)
);

CREATE TABLE directory_changes (
    installation TEXT   NOT NULL REFERENCES directory (installation),
    sequence     BIGINT NOT NULL,
    body         BLOB   NOT NULL,                  -- sealed
    at           BIGINT NOT NULL,
    PRIMARY KEY (installation, sequence)
);

CREATE TABLE profile_fields (
    installation  TEXT   NOT NULL,
    slack_user_id TEXT   NOT NULL,
    body          BLOB   NOT NULL,                 -- sealed JSON
    fetched_at    BIGINT NOT NULL,
    PRIMARY KEY (installation, slack_user_id)
);

CREATE TABLE budgets (
    installation TEXT   NOT NULL,
    method       TEXT   NOT NULL,
    next_at      BIGINT NOT NULL,
    paused_until BIGINT NOT NULL,
    PRIMARY KEY (installation, method)
);

CREATE TABLE seen_events (
    installation TEXT   NOT NULL,
    event_id     TEXT   NOT NULL,
    seen_at      BIGINT NOT NULL,
    PRIMARY KEY (installation, event_id)
);
";
