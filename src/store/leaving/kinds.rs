//! The rows of a tenant, by table. A test compares the list with the schema.

/// Rows of one table that are a tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) table: &'static str,
    /// Columns that identify a row.
    pub(super) key: &'static str,
    /// The order of an index that begins with the tenant.
    pub(super) order: &'static str,
}

const fn kind(table: &'static str, key: &'static str) -> Kind {
    Kind { table, key, order: key }
}

/// In the order of the erasure. Rows that a statement or a trigger derives from others come after
/// these: channels that are deleted write to their feed. The keys of people come after everything
/// that they encrypt.
pub(super) const KINDS: &[Kind] = &[
    Kind { table: "deliveries", key: "sequence", order: "notification" },
    Kind { table: "deliveries_history", key: "sequence", order: "notification" },
    kind("delivery_sharers", "user_id, delivery"),
    Kind { table: "notifications", key: "id", order: "created_at, id" },
    kind("replays", "principal, request_id"),
    Kind { table: "channels", key: "id", order: "channel_key" },
    Kind { table: "channel_members", key: "channel, user_id", order: "user_id" },
    kind("channel_releases", "id"),
    kind("channel_sweeps", "tenant"),
    kind("channel_feed_inbox", "id"),
    kind("channel_changes", "sequence"),
    kind("channel_feed_heads", "tenant"),
    kind("feed_inbox", "id"),
    kind("delivery_changes", "sequence"),
    kind("feed_heads", "tenant"),
    kind("held_sweeps", "tenant"),
    kind("preferences", "user_id, event_type"),
    kind("people", "user_id"),
    kind("template_versions", "event_type, content_id, locale, version"),
    kind("templates", "event_type, content_id, locale"),
    kind("event_types", "name"),
    Kind { table: "previews", key: "id_hash", order: "created_at, id_hash" },
    Kind { table: "connect_attempts", key: "state_hash", order: "created_at" },
    kind("person_keys", "person"),
];

/// What the last transaction erases, in its order: the API keys, because the caller that deletes
/// the tenant may use one; the tenant's data keys; and the tenant itself.
pub(super) const LAST: &[&str] = &["api_keys", "data_keys", "tenants"];

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
        const SQL: &str = "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
            WHERE m.type = 'table' AND c.name = 'tenant'";
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        let rows = sql::all(store.reader(), SQL, Vec::new()).await.unwrap();
        let stored: BTreeSet<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        let listed = KINDS.iter().map(|kind| kind.table).chain(LAST.iter().copied()).chain(KEPT);
        // The data keys name their tenant in another column.
        let listed = listed.filter(|table| *table != "data_keys").map(str::to_owned);
        assert_eq!(stored, listed.collect::<BTreeSet<String>>());
    }
}
