//! The replica that exchanges a token is killed, again and again: the workspace stays connected,
//! and no message fails or is sent twice because of it. The sandbox judges the exchanges.

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::sandbox::{Fault, FaultKind};

use super::{Site, TENANT, all_sent, judge, message, service, site_at};
use crate::support::process::{Herald, until};

const PEOPLE: usize = 10;
/// A refresh token works for a minute after its first use, and a lease lasts for half of that: here
/// these are three seconds and one and a half.
const SCALE: f64 = 0.05;
const REPLICAS: usize = 3;
/// The line that a replica logs when it begins to exchange a token.
const BEGUN: &str = "a token is due, and this replica exchanges it";

fn begun(herald: &Herald) -> usize {
    herald.log().matches(BEGUN).count()
}

/// Waits until a replica waits for Slack's next token, and returns which one.
async fn exchanging(site: &Site, heralds: &[Herald], before: &[usize], faults: usize) -> usize {
    until("a replica waits for the next token", async || {
        let struck = |entry: &&herald::sandbox::LogEntry| entry.fault.is_some();
        let calls = site.calls("oauth.v2.access");
        if calls.iter().filter(struck).count() <= faults {
            return None;
        }
        let mut replicas = heralds.iter().zip(before);
        replicas.position(|(herald, before)| begun(herald) > *before)
    })
    .await
}

async fn storm(site: Site, rounds: usize) {
    // Five seconds.
    site.sandbox.configure(|options| {
        options.token_rotation = true;
        options.token_seconds = 100;
    });
    let mut heralds = vec![site.start_connected().await];
    while heralds.len() < REPLICAS {
        heralds.push(site.start().await);
    }
    let mut ids = Vec::new();
    for round in 0..rounds {
        let hang = Fault::new("oauth.v2.access", FaultKind::Hang { seconds: 60.0 }).times(1);
        // Slack has given the next token, or has not.
        let hang = if round % 2 == 0 { hang.after() } else { hang };
        let before: Vec<usize> = heralds.iter().map(begun).collect();
        let struck = |entry: &herald::sandbox::LogEntry| entry.fault.is_some();
        let faults = site.calls("oauth.v2.access").into_iter().filter(struck).count();
        site.sandbox.script(hang);
        let victim = exchanging(&site, &heralds, &before, faults).await;
        heralds[victim].kill();
        let other = &heralds[(victim + 1) % REPLICAS];
        let call = message(round, PEOPLE);
        let answer = service(other.channel()).notify(call).await.unwrap().into_inner();
        ids.push(answer.notification_id);
        heralds[victim] = site.start().await;
    }
    site.sandbox.clear_faults();
    all_sent(&heralds[0].channel(), &ids).await;
    assert_eq!(judge::verdict(&site.sandbox.messages(), PEOPLE, rounds), Ok(()));
    let refreshes = site.sandbox.refreshes();
    for refresh in &refreshes {
        assert!(!refresh.overlapping && refresh.alive <= 1, "{refresh:?} of {refreshes:#?}");
    }
    let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
    let mut admin = AdminServiceClient::new(heralds[0].channel());
    let overview = admin.get_workspace(request).await.unwrap().into_inner();
    assert_eq!(overview.workspace.unwrap().state(), pb::WorkspaceState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_survives_the_death_of_the_replica_that_exchanges_it() {
    if let Some(site) = site_at(true, PEOPLE, SCALE).await {
        storm(site, 4).await;
    }
}

/// About ten minutes: a token is exchanged every three seconds and a half.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; tests/run --soak"]
async fn soak_tokens_survive_the_deaths_of_the_replicas_that_exchange_them() {
    if let Some(site) = site_at(true, PEOPLE, SCALE).await {
        storm(site, 170).await;
    }
}
