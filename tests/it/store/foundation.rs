//! Opening, migrating and the key, on both databases.

use std::net::SocketAddr;
use std::time::Duration;

use herald::domain::secret::Secret;
use herald::store::{Backend, Config, Error, SchemaStatus, Store};
use sea_orm::ConnectionTrait as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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
        // By a pod of the previous release.
        assert_eq!(store.migrate().await.unwrap(), SchemaStatus::Newer(1));
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Newer(1));
    }
}

#[tokio::test]
async fn a_database_that_took_away_what_this_binary_needs_is_refused() {
    for store in test_stores().await {
        let future = "INSERT INTO seaql_migrations (version, applied_at)
            VALUES ('m29990101_000001_future', 0), ('m29990101_000002_contract', 0)";
        let raw = store.raw().await;
        raw.execute_unprepared(future).await.unwrap();
        // The migration that it must know is one that it knows.
        let floor = "INSERT INTO schema_floor (migration) VALUES ('m20260101_000001_foundation')";
        raw.execute_unprepared(floor).await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::Newer(2));
        let floor = "INSERT INTO schema_floor (migration) VALUES ('m29990101_000001_future')";
        raw.execute_unprepared(floor).await.unwrap();
        assert_eq!(store.schema_status().await.unwrap(), SchemaStatus::TooNew(1));
        assert_eq!(store.migrate().await.unwrap(), SchemaStatus::TooNew(1));
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
        // The right key still works.
        store.replica().await;
    }
}

#[tokio::test]
async fn an_unreachable_database_is_unavailable_and_hides_its_password() {
    // A part of a host name has at most 63 characters, so this one is refused without a network.
    let nowhere = format!("{}.example", "a".repeat(64));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody_answers = silent.local_addr().unwrap().to_string();
    for (place, sentence) in [
        ("127.0.0.1:1", "refuses connections on that port"),
        (nowhere.as_str(), "has no address (DNS)"),
        (nobody_answers.as_str(), "was not reached in time"),
    ] {
        let config = Config {
            url: Some(Secret::new(format!("postgres://herald:hunter2@{place}/herald"))),
            acquire_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let error = Store::open(&config).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{place}: {error}");
        assert!(error.to_string().contains(sentence), "{place}: {error}");
        assert!(error.to_string().contains("store.url"), "{place}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

/// Not "not reached in time": each cause has a different remedy.
#[tokio::test]
async fn why_the_server_refuses_a_session_is_said() {
    for (code, sentence) in [
        ("28P01", "refuses the user name or the password"),
        ("28000", "does not let this user in"),
        ("3D000", "the database that store.url names does not exist"),
        ("42501", "may not connect to its database"),
        ("53300", "has no connection left"),
        ("08P01", "set store.pooler"),
    ] {
        let server = refusing(code).await;
        let url = format!("postgres://herald:hunter2@{server}/herald?sslmode=disable");
        let config = Config {
            url: Some(Secret::new(&url)),
            acquire_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let error = Store::open(&config).await.unwrap_err();
        assert!(error.to_string().contains(sentence), "{code}: {error}");
        assert!(error.to_string().contains("store.url"), "{code}: {error}");
        // Only a cause that may pass by itself counts as unavailable.
        assert_eq!(matches!(error, Error::Unavailable(_)), code == "53300", "{code}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

/// A server that answers each session's first message with an error of this SQLSTATE.
async fn refusing(code: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    let answer = [b"E", &length[..], fields.as_bytes()].concat();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).await.unwrap();
            assert!(read > 0);
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
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
            assert!(refused <= store.config.max_connections, "the store does not recover");
        }
        store.migrate().await.unwrap();
    }
}
