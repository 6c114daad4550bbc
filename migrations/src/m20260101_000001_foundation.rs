//! Tenants, installations and the people of a tenant; the encryption keys; the audit trail.
//!
//! `''` stands for "none" in the key of an installation, because NULLs are never equal.

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
CREATE TABLE tenants (
    tenant      TEXT   NOT NULL PRIMARY KEY,
    settings    TEXT,                          -- JSON; NULL: never changed
    version     BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

CREATE TABLE installations (
    id               TEXT    NOT NULL PRIMARY KEY,
    app_id           TEXT    NOT NULL,
    enterprise_id    TEXT    NOT NULL,
    team_id          TEXT    NOT NULL,
    org_wide         BOOLEAN NOT NULL,
    team_name        TEXT    NOT NULL,
    bot_user_id      TEXT    NOT NULL,
    bot_name         TEXT    NOT NULL,
    scopes           TEXT    NOT NULL,         -- joined by commas, as Slack writes them
    state            TEXT    NOT NULL,
    state_reason     TEXT,
    state_changed_at BIGINT  NOT NULL,
    installed_at     BIGINT  NOT NULL,
    token_version    BIGINT  NOT NULL,
    token            BLOB    NOT NULL,         -- sealed
    refresh_token    BLOB,                     -- sealed
    token_expires_at BIGINT
);
CREATE UNIQUE INDEX installations_key
    ON installations (app_id, enterprise_id, team_id, org_wide);

CREATE TABLE tenant_links (
    tenant       TEXT   NOT NULL PRIMARY KEY REFERENCES tenants (tenant),
    installation TEXT   NOT NULL REFERENCES installations (id),
    linked_at    BIGINT NOT NULL
);
CREATE INDEX tenant_links_installation ON tenant_links (installation, tenant);

CREATE TABLE connect_attempts (
    tenant       TEXT   NOT NULL REFERENCES tenants (tenant),
    state_hash   BLOB   NOT NULL,              -- SHA-256 of the OAuth state
    redirect_uri TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    taken_at     BIGINT,
    finished_at  BIGINT,
    outcome      TEXT,
    detail       TEXT,
    PRIMARY KEY (tenant, state_hash)
);
-- The callback brings the state alone: the one look-up that cannot name its tenant.
CREATE UNIQUE INDEX connect_attempts_state ON connect_attempts (state_hash);
CREATE INDEX connect_attempts_latest ON connect_attempts (tenant, created_at);

CREATE TABLE people (
    tenant             TEXT   NOT NULL,
    user_id            TEXT   NOT NULL,
    record             BLOB   NOT NULL,        -- sealed JSON
    slack_user_id      TEXT,
    identity_name      BLOB,                   -- sealed display name of the member
    identity_rule      TEXT,
    installation       TEXT,
    identity_stored_at BIGINT,
    updated_at         BIGINT NOT NULL,
    PRIMARY KEY (tenant, user_id)
);

CREATE TABLE preferences (
    tenant     TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    event_type TEXT   NOT NULL,                -- '' is the choice for everything
    choice     TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, user_id, event_type)
);

CREATE TABLE data_keys (
    scope      TEXT    NOT NULL,               -- tenant:..., installation:... or store
    key_id     INTEGER NOT NULL,
    wrapped    BLOB    NOT NULL,               -- under the key-encryption key
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (scope, key_id)
);

CREATE TABLE audit (
    tenant    TEXT   NOT NULL,
    id        TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    principal TEXT   NOT NULL,
    action    TEXT   NOT NULL,
    detail    BLOB   NOT NULL,                 -- sealed JSON
    PRIMARY KEY (tenant, id)
);
";
