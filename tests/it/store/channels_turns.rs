//! Calls about the channels of one tenant take turns: while a row is locked, as by a frozen
//! process, they hold one connection, and calls of other tenants find theirs. PostgreSQL only:
//! SQLite has one writer.

use herald::domain::ids::TenantId;
use herald::store::{ChannelEdit, MembersChange, Store};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, TransactionTrait as _};
use tokio::task::JoinSet;

use super::channels::{ensure, key, tenant, wish};
use crate::support::process::until;
use crate::support::store::test_stores;

/// Sessions that wait for a row.
async fn waiting(raw: &DatabaseConnection) -> i64 {
    const SQL: &str = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let seen = Statement::from_string(raw.get_database_backend(), SQL);
    raw.query_one_raw(seen).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test]
async fn calls_about_a_locked_channel_leave_connections_to_others() {
    let postgres = test_stores().await.into_iter().find(|store| store.config.url.is_some());
    let Some(store) = postgres else { return };
    ensure(&store, "track:1", &[]).await;
    let other = TenantId::parse("other").unwrap();
    store.tenancy().ensure_tenant(&other).await.unwrap();
    let raw = store.raw().await;
    let held = store.raw().await.begin().await.unwrap();
    held.execute_unprepared("SELECT 1 FROM channels FOR UPDATE").await.unwrap();
    let mut stuck = JoinSet::new();
    for _ in 0..3 * store.config.max_connections {
        let store = Store::clone(&store);
        stuck.spawn(async move {
            store.channels().change(&tenant(), &key("track:1"), ChannelEdit::Archive).await
        });
    }
    until("a call waits for the row", async || (waiting(&raw).await > 0).then_some(())).await;
    let mut most = 0;
    for number in 0..20 {
        let (key, keep) = (key(&format!("track:{number}")), MembersChange::Keep);
        let ensured = store.channels().ensure(&other, &key, &wish("Track"), keep, Vec::new()).await;
        assert!(ensured.unwrap().is_some());
        most = most.max(waiting(&raw).await);
    }
    assert!(most <= 1, "{most} connections wait for one row");
    held.rollback().await.unwrap();
    stuck.join_all().await;
}
