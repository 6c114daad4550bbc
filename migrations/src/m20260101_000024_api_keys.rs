//! API keys that are made at run time. The keys themselves are not stored, only their SHA-256.
//!
//! Each change increments `api_key_version` and stores the number in its own row, under the lock of
//! that one row. So numbers become visible in order, and a replica that has read up to a number has
//! missed nothing.

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
CREATE TABLE api_keys (
    id          TEXT   NOT NULL PRIMARY KEY,
    hash        BLOB   NOT NULL,               -- SHA-256 of the key
    fingerprint TEXT   NOT NULL,               -- its first digits
    tenant      TEXT   NOT NULL,               -- whose administrators manage it; '': no tenant's
    principal   TEXT   NOT NULL,
    role        TEXT   NOT NULL,               -- service, user, administrator
    user_id     TEXT,                          -- role user: whose key it is
    reach       TEXT   NOT NULL,               -- tenants, a space between two; '*': all
    acts        INTEGER NOT NULL,              -- 1: it may name an actor; 2: one who administers
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    expires_at  BIGINT NOT NULL,
    revoked_at  BIGINT,
    version     BIGINT NOT NULL                -- of its last change
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_changed ON api_keys (version, id);
CREATE INDEX api_keys_listed ON api_keys (tenant, created_at, id);
CREATE INDEX api_keys_of ON api_keys (tenant, principal);

-- One row.
CREATE TABLE api_key_version (
    id      INTEGER NOT NULL PRIMARY KEY,
    version BIGINT  NOT NULL,
    erased  BIGINT  NOT NULL                   -- counts early deletions of keys: read all again
);
INSERT INTO api_key_version (id, version, erased) VALUES (1, 0, 0);
";
