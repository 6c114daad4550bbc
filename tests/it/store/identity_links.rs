//! Links by which people prove who they are: each works once, for a time, and their number is
//! bounded.

use std::time::Duration;

use herald::domain::ids::{TenantId, UserId};
use herald::domain::limits::IDENTITY_LINKS;
use herald::store::{Backend, FoundIdentityLink as Found, Store};
use sea_orm::ConnectionTrait as _;

use crate::support::store::test_stores;

const HOUR: Duration = Duration::from_secs(3600);

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn user() -> UserId {
    UserId::parse("ada").unwrap()
}

async fn begin(store: &Store, state: &str) -> bool {
    store.identity_links().begin(&tenant("acme"), &user(), state, HOUR).await.unwrap()
}

#[tokio::test]
async fn of_two_answers_one_counts() {
    for store in test_stores().await {
        assert!(begin(&store, "one").await);
        let links = store.identity_links();
        let open = links.find("one").await.unwrap();
        let Found::Open { tenant: of, user: whose, left } = open else { panic!("{open:?}") };
        assert_eq!((of, whose), (tenant("acme"), user()));
        assert!(left <= HOUR && left > HOUR / 2, "{left:?}");
        let both = tokio::join!(links.take("one"), links.take("one"));
        let both = [both.0.unwrap(), both.1.unwrap()];
        let open = both.iter().filter(|found| matches!(found, Found::Open { .. })).count();
        assert_eq!((open, both.contains(&Found::Used)), (1, true), "{both:?}");
        assert_eq!(links.find("one").await.unwrap(), Found::Used);
        assert_eq!(links.take("two").await.unwrap(), Found::Unknown);
    }
}

#[tokio::test]
async fn an_expired_link_is_not_taken() {
    for store in test_stores().await {
        assert!(begin(&store, "one").await);
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE identity_links SET expires_at = 1").await.unwrap();
        let links = store.identity_links();
        assert_eq!(links.find("one").await.unwrap(), Found::Expired);
        assert_eq!(links.take("one").await.unwrap(), Found::Expired);
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_open_links_and_no_more() {
    for store in test_stores().await {
        let bytes = match store.backend() {
            Backend::Postgres => "convert_to('x' || i, 'UTF8')",
            Backend::Sqlite => "CAST('x' || i AS BLOB)",
        };
        let fill = format!(
            "INSERT INTO identity_links (tenant, state_hash, user_id, created_at, expires_at)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
             WHERE i < {IDENTITY_LINKS}) SELECT 'acme', {bytes}, 'ada', 1, 9000000000000000 FROM n"
        );
        let raw = store.raw().await;
        raw.execute_unprepared(&fill).await.unwrap();
        assert!(!begin(&store, "one too many").await);
        let links = store.identity_links();
        assert_eq!(links.find("one too many").await.unwrap(), Found::Unknown);
        assert!(links.begin(&tenant("other"), &user(), "theirs", HOUR).await.unwrap());
        // One is used, and one expires: they no longer count.
        raw.execute_unprepared(
            "UPDATE identity_links SET taken_at = 1 WHERE state_hash IN \
             (SELECT state_hash FROM identity_links WHERE tenant = 'acme' LIMIT 1)",
        )
        .await
        .unwrap();
        assert!(begin(&store, "in its place").await);
        assert!(!begin(&store, "one too many again").await);
    }
}
