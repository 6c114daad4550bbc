//! PostgreSQL's connections are killed under load, and then it is down: callers are asked to retry,
//! no accepted message is lost, and the service recovers (I1, I6, I14; faults.md 8).

use std::time::Duration;

use herald::rpc::pb;
use sea_orm::{ConnectionTrait as _, Database};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt as _;

use super::{Site, all_sent, judge, message, service, site_on};
use crate::support::process::{Herald, PATIENCE, until};

const PEOPLE: usize = 5;
/// Kills, 100 ms apart.
const KILLS: u32 = 30;

/// Repeats one call until it is answered; returns the refusals on the way.
pub(super) async fn insist(herald: &Herald, request: pb::NotifyRequest) -> (String, Vec<Status>) {
    let mut refused = Vec::new();
    let channel = herald.channel();
    let id = until("the call is answered", async || {
        match service(channel.clone()).notify(request.clone()).await {
            Ok(answer) => Some(answer.into_inner().notification_id),
            Err(status) => {
                refused.push(status);
                None
            }
        }
    })
    .await;
    (id, refused)
}

/// The refusal is temporary and says when to retry: the database is down, or busy.
fn assert_passing(status: &Status) {
    let passes = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    assert!(passes, "{status:?}");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert!(status.get_details_error_info().is_some(), "{status:?}");
}

/// Waits until health reports this status.
async fn says(health: &mut Streaming<HealthCheckResponse>, wanted: ServingStatus) {
    let said = async { while health.message().await.unwrap().unwrap().status() != wanted {} };
    timeout(PATIENCE, said).await.unwrap();
}

async fn storm(site: &Site) {
    let url = site.store.url.as_ref().unwrap().expose();
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    // From another database, so that it does not kill its own connection.
    let mut elsewhere = url::Url::parse(url).unwrap();
    elsewhere.set_path("postgres");
    let postgres = Database::connect(elsewhere.as_str()).await.unwrap();
    let kill =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");

    let herald = site.start_connected().await;
    let (killer, script) = (postgres.clone(), kill.clone());
    let killing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..KILLS {
            ticks.tick().await;
            killer.execute_unprepared(&script).await.unwrap();
        }
    });
    let (mut ids, mut refusals) = (Vec::new(), Vec::new());
    while !killing.is_finished() {
        let (id, refused) = insist(&herald, message(ids.len(), PEOPLE)).await;
        ids.push(id);
        refusals.extend(refused);
    }
    killing.await.unwrap();
    println!("{} calls during {KILLS} kills, {} refusals", ids.len(), refusals.len());

    let admit = async |admitted: bool| {
        let sql = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {admitted}");
        postgres.execute_unprepared(&sql).await.unwrap();
        postgres.execute_unprepared(&kill).await.unwrap();
    };
    let about = HealthCheckRequest { service: "herald.v1.HeraldService".into() };
    let health = HealthClient::new(herald.channel()).watch(about).await;
    let mut health = health.unwrap().into_inner();
    says(&mut health, ServingStatus::Serving).await;
    admit(false).await;
    says(&mut health, ServingStatus::NotServing).await;
    let away = service(herald.channel()).notify(message(ids.len(), PEOPLE)).await;
    refusals.push(away.unwrap_err());
    admit(true).await;
    says(&mut health, ServingStatus::Serving).await;
    ids.push(insist(&herald, message(ids.len(), PEOPLE)).await.0);
    refusals.iter().for_each(assert_passing);

    all_sent(&herald.channel(), &ids).await;
    assert_eq!(judge::verdict(&site.sandbox.messages(), PEOPLE, ids.len()), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_and_goes_loses_nothing() {
    if let Some(site) = site_on(true, PEOPLE).await {
        storm(&site).await;
    }
}
