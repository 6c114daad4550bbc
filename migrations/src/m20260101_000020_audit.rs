//! The audit trail, the keys that encrypt people's part in its entries, and when API keys were last
//! used. The table `audit` of the first migration was never written to and stays empty.
//!
//! Entries are written into the inbox by the transactions that they record. One replica at a time
//! moves them from there into one chain of hashes, so that no call waits for another's.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, &UP.replace("{entry}", ENTRY)).await?;
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        crate::run(manager, if postgres { FIXED_POSTGRES } else { FIXED_SQLITE }).await
    }
}

const ENTRY: &str = "
    id          TEXT   NOT NULL,
    tenant      TEXT   NOT NULL,               -- '': of no tenant
    at          BIGINT NOT NULL,
    principal   TEXT   NOT NULL,               -- '': nobody known
    action      TEXT   NOT NULL,
    outcome     TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    times       BIGINT NOT NULL,
    detail      BLOB   NOT NULL,               -- sealed JSON; nothing about people
    actor       BLOB   NOT NULL,               -- sealed under the person's key; empty: none
    actor_key   BLOB   NOT NULL,
    subject     BLOB   NOT NULL,               -- likewise
    subject_key BLOB   NOT NULL
";

const UP: &str = "
CREATE TABLE audit_inbox ({entry}, PRIMARY KEY (id));

CREATE TABLE audit_log (
    sequence BIGINT NOT NULL PRIMARY KEY,      -- 1, 2, 3, ... over all tenants
    {entry},
    hash BLOB NOT NULL                         -- of the entry and the hash before
);
CREATE INDEX audit_log_listed ON audit_log (tenant, at, id);
CREATE INDEX audit_log_by_principal ON audit_log (tenant, principal, at, id);
CREATE INDEX audit_log_by_action ON audit_log (tenant, action, at, id);

-- One row: whoever holds its lock appends.
CREATE TABLE audit_chain (
    id         INTEGER NOT NULL PRIMARY KEY,
    head       BIGINT  NOT NULL,               -- the last number given
    hash       BLOB    NOT NULL,
    floor      BIGINT  NOT NULL,               -- the last number that retention removed
    floor_hash BLOB    NOT NULL,
    seal       BLOB    NOT NULL                -- over this row; empty: nothing was appended yet
);
INSERT INTO audit_chain (id, head, hash, floor, floor_hash, seal) VALUES (1, 0, '', 0, '', '');

CREATE TABLE person_keys (
    tenant     TEXT   NOT NULL,
    person     BLOB   NOT NULL,                -- keyed hash of the user id
    id         BLOB   NOT NULL,                -- random
    wrapped    BLOB   NOT NULL,                -- under the tenant's data key
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, person)
);
CREATE UNIQUE INDEX person_keys_id ON person_keys (tenant, id);

CREATE TABLE key_uses (
    principal TEXT   NOT NULL,
    key       TEXT   NOT NULL,                 -- the first digits of the key's hash
    seen_at   BIGINT NOT NULL,
    PRIMARY KEY (principal, key)
);
";

const FIXED_POSTGRES: &str = "
CREATE FUNCTION audit_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_fixed BEFORE UPDATE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_fixed();
";

const FIXED_SQLITE: &str = "
CREATE TRIGGER audit_log_fixed BEFORE UPDATE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
";
