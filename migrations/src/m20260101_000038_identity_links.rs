//! Links by which people prove which Slack member they are. The state is stored as a hash only.

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
CREATE TABLE identity_links (
    tenant     TEXT   NOT NULL,
    state_hash BLOB   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    taken_at   BIGINT                     -- Slack's answer came
);
CREATE INDEX identity_links_of_person ON identity_links (tenant, user_id);
CREATE INDEX identity_links_open ON identity_links (tenant, expires_at);
";
