//! `herald keys rotate`, `herald audit verify` and a start with a wrong key, as processes.

use herald::domain::access::audit::Entry;
use herald::domain::ids::TenantId;
use herald::store::{Config, Store};
use sea_orm::ConnectionTrait as _;

use super::keys::{NEW, databases, fill, migrated, readable, with};
use crate::support::process::{refused, run};
use crate::support::store::{KEY, raw};

/// Settings of a process with this key.
fn settings(config: &Config, key: &str, previous: Option<&str>) -> Vec<String> {
    let mut settings: Vec<String> = [
        "rpc.address=127.0.0.1:0",
        "rpc.health_address=127.0.0.1:0",
        "rpc.insecure=true",
        "http.address=127.0.0.1:0",
        // No server listens there, and none is called.
        "slack.base_url=http://127.0.0.1:9/",
    ]
    .map(String::from)
    .to_vec();
    settings.push(format!("store.data_dir={}", config.data_dir.display()));
    if let Some(url) = &config.url {
        settings.push(format!("store.url={}", url.expose()));
    }
    settings.push(format!("store.key={key}"));
    settings.extend(previous.map(|key| format!("store.previous_key={key}")));
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_exchanges_the_key() {
    const TENANTS: usize = 3;
    for (config, _dir) in databases().await {
        let old = migrated(&config).await;
        fill(&old, TENANTS).await;
        old.close().await;
        let (fine, said) = run(&["keys", "rotate"], &settings(&config, NEW, None));
        assert!(!fine && said.contains("store.key"), "{said}");
        let both = settings(&config, NEW, Some(KEY));
        let (fine, said) = run(&["keys", "rotate"], &both);
        assert!(fine && said.contains("Every data key is wrapped with the key"), "{said}");
        let (fine, again) = run(&["keys", "rotate"], &both);
        assert!(fine && again.contains("; 0 wrapped again"), "{again}");
        for said in [said, again] {
            assert!(!said.contains(KEY) && !said.contains(NEW), "{said}");
        }
        let new = Store::open(&with(&config, NEW, None)).await.unwrap();
        readable(&new, TENANTS).await;
        new.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_finds_a_gap_in_the_trail() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        let tenant = TenantId::parse("acme").unwrap();
        store.tenancy().ensure_tenant(&tenant).await.unwrap();
        let entries = ["One", "Two", "Three"].map(|one| Entry::of_browser(tenant.clone(), one));
        store.audit().write(&entries).await.unwrap();
        store.audit().chain(10).await.unwrap();
        store.close().await;
        let settings = settings(&config, KEY, None);
        let (fine, said) = run(&["audit", "verify"], &settings);
        assert!(fine && said.contains("The audit trail holds.\nEntries: 3."), "{said}");
        let raw = raw(&config).await;
        raw.execute_unprepared("DELETE FROM audit_log WHERE sequence = 2").await.unwrap();
        raw.close().await.unwrap();
        let (fine, said) = run(&["audit", "verify"], &settings);
        assert!(!fine && said.contains("is BROKEN: entry 2 is missing"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_wrong_key_does_not_start() {
    for (config, _dir) in databases().await {
        migrated(&config).await.close().await;
        let said = refused(&settings(&config, NEW, None)).await;
        assert!(said.contains("store.key is not the key"), "{said}");
        assert!(!said.contains(NEW), "{said}");
    }
}
