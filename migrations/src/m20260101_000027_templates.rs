//! Templates: the words of messages, as tenants changed them, with the versions of each.
//!
//! As for event types, a change increments `tenants.version` in the same transaction, so that
//! replicas notice that the words in memory are old.

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
CREATE TABLE templates (
    tenant     TEXT   NOT NULL,
    event_type TEXT   NOT NULL,
    content_id TEXT   NOT NULL,                -- '': all content items
    locale     TEXT   NOT NULL,
    version    BIGINT NOT NULL,                -- the present one
    live       BIGINT NOT NULL,                -- 1: it has words; 0: it was reset
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, event_type, content_id, locale)
);
CREATE INDEX templates_reset ON templates (tenant, live, updated_at);

CREATE TABLE template_versions (
    tenant         TEXT   NOT NULL,
    event_type     TEXT   NOT NULL,
    content_id     TEXT   NOT NULL,
    locale         TEXT   NOT NULL,
    version        BIGINT NOT NULL,
    form           TEXT,                       -- JSON; NULL: made by a reset
    saved_at       BIGINT NOT NULL,
    caller         TEXT   NOT NULL,
    actor          BLOB   NOT NULL,            -- sealed under the person's key; empty: none
    actor_key      BLOB   NOT NULL,
    rolled_back_to BIGINT NOT NULL,            -- 0: another change
    PRIMARY KEY (tenant, event_type, content_id, locale, version)
);
CREATE INDEX template_versions_by_actor ON template_versions (tenant, actor_key);
";
