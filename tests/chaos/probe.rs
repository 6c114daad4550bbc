//! Asks replicas about their health again and again, and logs the answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::book::{Book, now};
use crate::evidence;
use crate::replica::{Replica, lazy};

/// The pause between two probes, and how long an answer may take: a frozen process gives none.
const PERIOD: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(1);

/// Probes forever. Connections are new each time, so that none leads to an old process.
pub(crate) async fn watch(replica: Replica, book: Book) {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap_or_default();
    loop {
        sleep(PERIOD).await;
        let Some(probes) = replica.probes() else { continue };
        let began = now();
        let serving = timeout(PATIENCE, serving(probes.health));
        let ready = timeout(PATIENCE, ready(&client, probes.http));
        let (serving, ready) = tokio::join!(serving, ready);
        // If the process was replaced meanwhile, its answer says nothing about the new one.
        if replica.probes() == Some(probes) {
            book.probe(&evidence::Probe {
                replica: replica.number(),
                began,
                ended: now(),
                serving: serving.ok().flatten(),
                ready: ready.ok().flatten(),
            });
        }
    }
}

async fn serving(health: SocketAddr) -> Option<bool> {
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(lazy(health)).check(request).await.ok()?;
    Some(answer.into_inner().status() == ServingStatus::Serving)
}

async fn ready(client: &reqwest::Client, http: SocketAddr) -> Option<bool> {
    let answer = client.get(format!("http://{http}/readyz")).send().await.ok()?;
    Some(answer.status().is_success())
}
