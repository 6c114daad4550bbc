//! The terms of a connect link and the outcome of its attempt; and the time of the last change of
//! each tenant's connection, for watches over connections.
//!
//! As for the feeds, triggers note the changes, so that no statement can forget it
//! (docs/decisions/0009-feed.md).

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::online::{add_column, alter, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            add_column(manager, "connect_attempts", column).await?;
        }
        let opened = "connect_attempts (tenant, opened_at) WHERE opened_at IS NOT NULL";
        index(manager, "connect_attempts_opened", opened).await?;
        let expiring = "connect_attempts (expires_at)";
        index(manager, "connect_attempts_expiring", expiring).await?;
        crate::run(manager, CHANGES).await?;
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        if postgres {
            crate::run(manager, FUNCTIONS).await?;
        }
        for trigger in TRIGGERS {
            let created = if postgres { trigger.postgres() } else { trigger.sqlite() };
            for statement in created {
                alter(manager, trigger.table, &statement).await?;
            }
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const COLUMNS: [&str; 6] = [
    "return_url TEXT",    // where the browser goes in the end; NULL: a page of Herald's
    "expected_team TEXT", // the only workspace that the link may connect; NULL: any
    "app_path TEXT NOT NULL DEFAULT ''", // the app that the link leads to; '': the deployment's
    "opened_at BIGINT",   // when a browser opened the link first
    "reason TEXT",        // why it did not connect, as a stable code
    "org TEXT",           // an organization, one of whose workspaces is to be chosen
];

const CHANGES: &str = "
CREATE TABLE IF NOT EXISTS connection_changes (
    tenant     TEXT   NOT NULL PRIMARY KEY,
    changed_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS connection_changes_latest ON connection_changes (changed_at);
";

/// A trigger that notes a change of the connections of some tenants.
struct Trigger {
    name: &'static str,
    table: &'static str,
    /// Such as `INSERT` or `UPDATE OF state`.
    event: &'static str,
    tenants: Tenants,
}

/// The tenants whose connections change with a row.
#[derive(Clone, Copy)]
enum Tenants {
    /// The one in the new row.
    New,
    /// The one in the old row.
    Old,
    /// All that use the installation.
    Linked,
}

const TRIGGERS: &[Trigger] = &[
    Trigger {
        name: "tenant_links_made",
        table: "tenant_links",
        event: "INSERT",
        tenants: Tenants::New,
    },
    Trigger {
        name: "tenant_links_moved",
        table: "tenant_links",
        event: "UPDATE",
        tenants: Tenants::New,
    },
    Trigger {
        name: "tenant_links_ended",
        table: "tenant_links",
        event: "DELETE",
        tenants: Tenants::Old,
    },
    Trigger {
        name: "installations_changed",
        table: "installations",
        event: "UPDATE",
        tenants: Tenants::Linked,
    },
    Trigger {
        name: "connect_attempts_begun",
        table: "connect_attempts",
        event: "INSERT",
        tenants: Tenants::New,
    },
    Trigger {
        name: "connect_attempts_moved",
        table: "connect_attempts",
        event: "UPDATE OF opened_at, finished_at",
        tenants: Tenants::New,
    },
];

impl Tenants {
    fn function(self) -> &'static str {
        match self {
            Self::New => "note_connection_of_new",
            Self::Old => "note_connection_of_old",
            Self::Linked => "note_connections_of_linked",
        }
    }

    /// The tenants, as a subselect.
    fn select(self) -> &'static str {
        match self {
            Self::New => "SELECT NEW.tenant AS tenant",
            Self::Old => "SELECT OLD.tenant AS tenant",
            Self::Linked => "SELECT tenant FROM tenant_links WHERE installation = NEW.id",
        }
    }
}

impl Trigger {
    fn postgres(&self) -> Vec<String> {
        let Self { name, table, event, tenants } = self;
        let function = tenants.function();
        vec![
            format!("DROP TRIGGER IF EXISTS {name} ON {table}"),
            format!(
                "CREATE TRIGGER {name} AFTER {event} ON {table} \
                 FOR EACH ROW EXECUTE FUNCTION {function}()"
            ),
        ]
    }

    /// No upsert: inside a trigger it would meet the conflict clause of the statement outside.
    fn sqlite(&self) -> Vec<String> {
        let Self { name, table, event, tenants } = self;
        let tenants = tenants.select();
        vec![format!(
            "CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} BEGIN
                UPDATE connection_changes SET changed_at = {NOW_SQLITE}
                    WHERE tenant IN ({tenants});
                INSERT INTO connection_changes (tenant, changed_at)
                    SELECT t.tenant, {NOW_SQLITE} FROM ({tenants}) AS t
                    WHERE NOT EXISTS (SELECT 1 FROM connection_changes c
                        WHERE c.tenant = t.tenant);
            END"
        )]
    }
}

const NOW_SQLITE: &str = "(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)";

/// In the order of the tenants' names, so that two transactions never wait for each other's rows.
const FUNCTIONS: &str = "
CREATE OR REPLACE FUNCTION note_connection_of_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO connection_changes (tenant, changed_at)
        VALUES (NEW.tenant, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint))
        ON CONFLICT (tenant) DO UPDATE SET changed_at = excluded.changed_at;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION note_connection_of_old() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO connection_changes (tenant, changed_at)
        VALUES (OLD.tenant, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint))
        ON CONFLICT (tenant) DO UPDATE SET changed_at = excluded.changed_at;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION note_connections_of_linked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO connection_changes (tenant, changed_at)
        SELECT tenant, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)
        FROM tenant_links WHERE installation = NEW.id ORDER BY tenant
        ON CONFLICT (tenant) DO UPDATE SET changed_at = excluded.changed_at;
    RETURN NULL;
END $$;
";
