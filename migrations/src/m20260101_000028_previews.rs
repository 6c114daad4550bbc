//! Previews that a browser can show for an hour. Links name them by a random id, of which only the
//! hash is stored; the message is encrypted.

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
CREATE TABLE previews (
    id_hash    TEXT   NOT NULL PRIMARY KEY,    -- SHA-256 of the id in the link, in base64url
    tenant     TEXT   NOT NULL,
    content    BLOB   NOT NULL,                -- sealed
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX previews_of ON previews (tenant, created_at, id_hash);
CREATE INDEX previews_expire ON previews (expires_at);
";
