//! Opening, migrating and the key, on both databases.

use std::time::Duration;

use herald::domain::secret::Secret;
use herald::store::{Backend, Config, Error, SchemaStatus, Store};
use sea_orm::ConnectionTrait as _;

use crate::support::store::{test_configs, test_stores};

#[tokio::test]
async fn migrates_once_and_says_so() {
    for (config, _dir) in test_configs().await {
        let store = Store::open(&config).await.unwrap();
        assert!(matches!(store.schema_status().await.unwrap(), SchemaStatus::Pending(n) if n > 0));
        store.migrate().await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Current);
        store.migrate().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_migrators_take_turns() {
    for (config, _dir) in test_configs().await {
        let (one, two) = (Store::open(&config).await.unwrap(), Store::open(&config).await.unwrap());
        let (first, second) = tokio::join!(
            tokio::spawn(async move { one.migrate().await }),
            tokio::spawn(async move { two.migrate().await })
        );
        first.unwrap().unwrap();
        second.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    for store in test_stores().await {
        let future = "INSERT INTO seaql_migrations (version, applied_at)
            VALUES ('m29990101_000001_future', 0)";
        store.raw().await.execute_unprepared(future).await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Newer(1));
        // By a pod of the release before.
        assert_eq!(store.migrate().await.unwrap(), SchemaStatus::Newer(1));
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Newer(1));
    }
}

#[tokio::test]
async fn time_is_the_databases_in_microseconds() {
    for store in test_stores().await {
        let (before, after) = (store.now().await.unwrap(), store.now().await.unwrap());
        assert!(before <= after);
        assert!(after.since(before) < Duration::from_secs(5));
        assert!(before.0 > 1_700_000_000_000_000 && before.0 < 10_000_000_000_000_000);
    }
}

#[tokio::test]
async fn the_wrong_key_is_refused_at_once() {
    for store in test_stores().await {
        let other = Secret::new("//////////////////////////////////////////8=");
        let config = Config { key: Some(other), ..store.config.clone() };
        let error = Store::open(&config).await.unwrap_err();
        assert!(matches!(error, Error::Sealed(_)), "{error}");
        // The right one still opens.
        store.replica().await;
    }
}

#[tokio::test]
async fn an_unreachable_database_is_unavailable_and_hides_its_password() {
    let config = Config {
        url: Some(Secret::new("postgres://herald:hunter2@127.0.0.1:1/herald")),
        acquire_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let error = Store::open(&config).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn killed_connections_are_replaced() {
    const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for store in test_stores().await {
        if store.backend() != Backend::Postgres {
            continue;
        }
        // Several connections, all broken.
        tokio::try_join!(store.now(), store.now(), store.now()).unwrap();
        store.raw().await.execute_unprepared(KILL).await.unwrap();
        let mut refused = 0;
        while let Err(error) = store.now().await {
            assert!(matches!(error, Error::Unavailable(_)), "{error}");
            refused += 1;
            assert!(refused <= store.config.max_connections, "it does not recover");
        }
        store.migrate().await.unwrap();
    }
}
