//! The rows of a tenant, by table. A test compares the list with the schema.

/// Rows of one table that are a tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TenantTable {
    pub(super) name: &'static str,
    /// Columns that identify a row.
    pub(super) key: &'static str,
    /// The order of an index that begins with the tenant.
    pub(super) order: &'static str,
}

const fn by_key(name: &'static str, key: &'static str) -> TenantTable {
    TenantTable { name, key, order: key }
}

/// In the order of the erasure. Rows that a statement or a trigger derives from others come after
/// these: channels that are deleted write to their feed. The keys of people come after everything
/// that they encrypt.
pub(super) const TABLES: &[TenantTable] = &[
    TenantTable { name: "deliveries", key: "sequence", order: "notification" },
    TenantTable { name: "deliveries_history", key: "sequence", order: "notification" },
    by_key("delivery_sharers", "user_id, delivery"),
    TenantTable { name: "notifications", key: "id", order: "created_at, id" },
    by_key("replays", "principal, request_id"),
    TenantTable { name: "channels", key: "id", order: "channel_key" },
    TenantTable { name: "channel_members", key: "channel, user_id", order: "user_id" },
    by_key("channel_releases", "id"),
    by_key("channel_sweeps", "tenant"),
    by_key("channel_feed_inbox", "id"),
    by_key("channel_changes", "sequence"),
    by_key("channel_feed_heads", "tenant"),
    by_key("feed_inbox", "id"),
    by_key("delivery_changes", "sequence"),
    by_key("feed_heads", "tenant"),
    by_key("held_sweeps", "tenant"),
    by_key("preferences", "user_id, event_type"),
    by_key("people", "user_id"),
    by_key("template_versions", "event_type, content_id, locale, version"),
    by_key("templates", "event_type, content_id, locale"),
    by_key("event_types", "name"),
    TenantTable { name: "previews", key: "id_hash", order: "created_at, id_hash" },
    TenantTable { name: "connect_attempts", key: "state_hash", order: "created_at" },
    TenantTable { name: "identity_links", key: "state_hash", order: "expires_at" },
    by_key("slack_apps", "app_id"),
    by_key("slack_app_paths", "tenant"),
    by_key("alerts", "id"),
    by_key("connection_checks", "tenant"),
    by_key("connection_changes", "tenant"),
    by_key("person_keys", "person"),
];

/// The rows that the last transaction erases, in its order: the API keys, because the caller that
/// deletes the tenant may use one; the workspace that no other tenant wants; the tenant's data
/// keys; and the tenant itself.
pub(super) const LAST: &[&str] = &["api_keys", "installations", "data_keys", "tenants"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::database::sql;
    use crate::store::{Config, Store};

    /// Entries of the audit trail lose their keys and name the tenant only; lanes are the
    /// workspace's; the link ends with the connection, before anything is erased.
    const KEPT: [&str; 6] =
        ["audit", "audit_inbox", "audit_log", "erased_tenants", "lanes", "tenant_links"];

    #[tokio::test]
    async fn every_table_with_a_tenant_is_erased_or_kept() {
        const SQL: &str = "SELECT m.name
            FROM sqlite_master m
            JOIN pragma_table_info(m.name) c
            WHERE m.type = 'table' AND c.name = 'tenant'";
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        let rows = sql::all(store.reader(), SQL, Vec::new()).await.unwrap();
        let stored: BTreeSet<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        let listed = TABLES.iter().map(|table| table.name).chain(LAST.iter().copied()).chain(KEPT);
        // These have no column with their tenant.
        let others = ["installations", "data_keys"];
        let listed = listed.filter(|table| !others.contains(table)).map(str::to_owned);
        assert_eq!(stored, listed.collect::<BTreeSet<String>>());
    }
}
