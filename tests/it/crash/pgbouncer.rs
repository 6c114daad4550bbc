//! Two replicas on PostgreSQL behind the real PgBouncer in transaction mode, with fewer connections
//! than either replica has (I1, I2, I4).

use herald::domain::secret::Secret;
use herald::rpc::pb;
use herald::store::{Error, Store};

use super::database::insist;
use super::{Site, TENANT, all_sent, judge, message, person, service, site_on};
use crate::support::pgbouncer::PgBouncer;
use crate::support::process::{Herald, migrator, until};

const PEOPLE: usize = 5;
/// PgBouncer's connections to the database.
const POOL: u32 = 4;
const MESSAGES: usize = 20;

async fn site() -> Option<(Site, PgBouncer)> {
    let mut site = site_on(true, PEOPLE).await?;
    let bouncer = PgBouncer::start(&site.store, POOL).await?;
    site.store = bouncer.config.clone();
    site.more.push("store.pooler=transaction".into());
    Some((site, bouncer))
}

/// Waits until the feed has reported this many changes.
async fn fed(herald: &Herald, changes: i64) {
    let request = pb::WatchDeliveriesRequest {
        tenant_id: TENANT.into(),
        after_sequence: Some(0),
        actor: None,
    };
    let mut service = service(herald.channel());
    let mut feed = service.watch_deliveries(request).await.unwrap().into_inner();
    let mut told = 0;
    while told < changes {
        let batch = feed.message().await.unwrap().unwrap();
        assert!(batch.changes.is_empty() || batch.last_sequence > told, "{batch:?}");
        told = told.max(batch.last_sequence);
    }
}

async fn preferences(one: &Herald, other: &Herald) {
    let value = pb::PreferenceValue::Off;
    let request = pb::SetPreferenceRequest {
        tenant_id: TENANT.into(),
        user_id: person(0),
        value: value.into(),
        ..pb::SetPreferenceRequest::default()
    };
    service(one.channel()).set_preference(request).await.unwrap();
    let request = pb::GetPreferencesRequest {
        tenant_id: TENANT.into(),
        user_id: person(0),
        ..pb::GetPreferencesRequest::default()
    };
    let stored = service(other.channel()).get_preferences(request).await.unwrap().into_inner();
    assert!(format!("{stored:?}").contains("Off"), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_a_few_connections_of_a_pooler() {
    let Some((site, _bouncer)) = site().await else { return };
    let one = site.start_connected().await;
    let other = site.start().await;
    let mut ids = Vec::new();
    for number in 0..MESSAGES {
        let herald = if number % 2 == 0 { &one } else { &other };
        ids.push(insist(herald, message(number, PEOPLE)).await.0);
    }
    all_sent(&one.channel(), &ids).await;
    assert_eq!(judge::verdict(&site.sandbox.messages(), PEOPLE, MESSAGES), Ok(()));
    // Each delivery was accepted, sent, and ended.
    let least = i64::try_from(MESSAGES * PEOPLE).unwrap();
    fed(&other, least).await;
    preferences(&one, &other).await;
    for herald in [&one, &other] {
        assert!(!herald.log().contains("\"ERROR\""), "{}", herald.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_need_the_database_itself() {
    let Some((mut site, bouncer)) = site().await else { return };
    let refused = async |site: &Site| {
        let mut migrator = migrator(&site.settings());
        let ended = until("it ends", async || migrator.try_wait().unwrap()).await;
        !ended.success()
    };
    assert!(refused(&site).await);
    let direct = site_on(true, 0).await.unwrap();
    let url = direct.store.url.as_ref().unwrap().expose().to_owned();
    site.more.push(format!("store.direct_url={url}"));
    assert!(!refused(&site).await);
    let config = herald::store::Config { direct_url: None, ..bouncer.config.clone() };
    let store = Store::open(&config).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(&error, Error::Config(text) if text.contains("store.direct_url")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_session_from_opening_is_said() {
    let Some((site, bouncer)) = site().await else { return };
    let open =
        async |config: herald::store::Config| Store::open(&config).await.err().unwrap().to_string();
    let config = herald::store::Config {
        pooler: herald::store::Pooler::None,
        acquire_timeout: std::time::Duration::from_secs(1),
        ..bouncer.config.clone()
    };
    let error = open(config.clone()).await;
    assert!(error.contains("store.pooler"), "{error}");
    let at = async |url: &str| {
        open(herald::store::Config { url: Some(Secret::new(url)), ..config.clone() }).await
    };
    let direct = site_on(true, 0).await.unwrap().store;
    let direct = url::Url::parse(direct.url.as_ref().unwrap().expose()).unwrap();
    let mut url = direct.clone();
    url.set_path("nowhere");
    assert!(at(url.as_str()).await.contains("does not exist"));
    url = direct.clone();
    url.set_username("nobody").unwrap();
    assert!(at(url.as_str()).await.contains("does not let this user in"));
    let error = at("postgres://x@127.0.0.1:1/x").await;
    assert!(error.contains("refuses connections") && error.contains("store.url"), "{error}");
    let error = at("postgres://x@nowhere.invalid/x").await;
    assert!(error.contains("host name in store.url"), "{error}");
    drop(site);
}
