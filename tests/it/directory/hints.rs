//! How replicas learn of a changed list: by NOTIFY if available, otherwise by polling (faults.md
//! 10). PostgreSQL, except for notifications within one process.

use std::time::Duration;

use herald::config::Settings;
use herald::rpc::pb;
use herald::sandbox::fixture::generated_member;
use sea_orm::ConnectionTrait as _;

use super::{MEMBERS, email, id, member, plan, refresh};
use crate::support::client::{Client, person};
use crate::support::proxy::Proxy;
use crate::support::world::{PATIENCE, Plan, Replica, TENANT, World, until};

/// No replica polls within a test.
fn only_hints(settings: &mut Settings) {
    settings.directory.poll_interval = Duration::from_secs(10_000_000);
}

/// No replica is notified within a test.
fn only_looks(settings: &mut Settings) {
    settings.store.listen = false;
}

fn two(adjust: fn(&mut Settings)) -> Plan {
    Plan { replicas: 2, adjust, ..plan() }
}

async fn appears(client: &Client, number: u64) {
    until("the new member is seen", async || {
        (member(client, &email(number)).await == Some(id(number))).then_some(())
    })
    .await;
}

/// A new generation and a single change, made at the first replica, are seen by `other`.
async fn is_told(world: &World, other: &Client, first: u64) {
    assert_eq!(member(other, &email(first)).await, None);
    world.sandbox.add_member(generated_member(first));
    refresh(world).await;
    appears(other, first).await;

    let joined = first + 1;
    world.sandbox.add_member(generated_member(joined));
    let calls = world.calls("users.list").len();
    world.client.upsert(TENANT, vec![person("joined", &email(joined))]).await;
    let request = pb::TestSlackRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::test_slack_request::Subject::UserId("joined".into())),
        ..pb::TestSlackRequest::default()
    };
    world.client.test_slack(request).await.unwrap();
    appears(other, joined).await;
    assert_eq!(world.calls("users.list").len(), calls, "the list was read again");
}

#[tokio::test]
async fn a_hint_alone_tells_every_replica() {
    two(only_hints)
        .run(async |world| {
            // In production, only one process uses a SQLite file; here both only read it.
            if !world.is_postgres() {
                return;
            }
            is_told(world, &world.client(1, None).await, MEMBERS).await;
        })
        .await;
}

#[tokio::test]
async fn looking_alone_tells_every_replica() {
    two(only_looks)
        .run(async |world| is_told(world, &world.client(1, None).await, MEMBERS).await)
        .await;
}

#[tokio::test]
async fn a_listener_that_is_cut_off_listens_again() {
    const LISTENERS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'herald listens'";
    two(only_hints)
        .run(async |world| {
            if !world.is_postgres() {
                return;
            }
            let raw = world.raw().await;
            let listeners = async |sql: String| -> i64 {
                let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql);
                let row = raw.query_one_raw(statement).await.unwrap().unwrap();
                row.try_get_by_index(0).unwrap()
            };
            let other = world.client(1, None).await;
            is_told(world, &other, MEMBERS).await;
            let killed = listeners(
                LISTENERS.replace("count(*)", "sum(CAST(pg_terminate_backend(pid) AS int))"),
            );
            assert_eq!(killed.await, 2);
            // Notifications missed meanwhile are not lost: a listener that reconnects checks
            // everything.
            world.sandbox.add_member(generated_member(MEMBERS + 2));
            refresh(world).await;
            appears(&other, MEMBERS + 2).await;
            until("both listen", async || {
                (listeners(LISTENERS.to_owned()).await == 2).then_some(())
            })
            .await;
            is_told(world, &other, MEMBERS + 3).await;
        })
        .await;
}

#[tokio::test]
async fn a_listener_that_died_without_a_word_is_as_late_as_its_look() {
    Box::pin(plan().run(async |world| {
        if !world.is_postgres() {
            return;
        }
        let mut settings = world.settings();
        let proxy = Proxy::start(&settings.store).await;
        settings.store = proxy.config.clone();
        let other = Replica::start(settings).await;
        let client = world.client_at(other.rpc).await;
        let mut listeners = proxy.listeners();
        let listening = listeners.wait_for(|listeners| *listeners == 1);
        tokio::time::timeout(PATIENCE, listening).await.unwrap().unwrap();
        is_told(world, &client, MEMBERS).await;

        proxy.deafen();
        is_told(world, &client, MEMBERS + 2).await;
        let mut swallowed = proxy.swallowed();
        let hint = swallowed.wait_for(|bytes| *bytes > 0);
        tokio::time::timeout(PATIENCE, hint).await.expect("a notification was lost").unwrap();
        other.stopped().await;
    }))
    .await;
}
