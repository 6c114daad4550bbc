//! The replica that exchanges a token is killed, again and again, while messages are sent through
//! all replicas: the workspace stays connected, and no message fails or is sent twice because of
//! it. The sandbox names the replica, and judges the exchanges and the posts.
//!
//! A refresh token works for a minute after its first use, which is enough for one death: no other
//! replica is killed before the next tokens are stored.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::sandbox::{Fault, FaultKind};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Site, TENANT, all_sent, before_repeating, judge, message, service, site_at};
use crate::support::gate::Gate;
use crate::support::process::{Herald, channel, until};

const PEOPLE: usize = 10;
/// The minute of a refresh token is six seconds here, and a lease lasts for three.
const SCALE: f64 = 0.1;
const REPLICAS: usize = 3;
/// The time between two calls; each sends a message to every person.
const BEAT: Duration = Duration::from_millis(500);
/// Undisturbed exchanges before each death.
const CALM: i64 = 1;
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// When the replica dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// Slack has its request, has given no token and will not.
    Asked,
    /// Slack has given the next tokens, but has not answered.
    Given,
    /// It has Slack's answer, and waits for the database to store it.
    Answered,
    /// Slack has answered.
    Anywhere,
}

const DEATHS: [Death; 4] = [Death::Asked, Death::Given, Death::Answered, Death::Anywhere];

impl Death {
    /// Whether the next tokens are certainly lost with the replica.
    fn loses_tokens(self) -> bool {
        matches!(self, Self::Given | Self::Answered)
    }
}

/// Repeats the call at one replica after the other until it is answered, as a platform does.
async fn accepted(addresses: &watch::Receiver<Vec<SocketAddr>>, number: usize) -> String {
    let request = message(number, PEOPLE);
    let mut turn = number;
    loop {
        let at = {
            let all = addresses.borrow();
            all[turn % all.len()]
        };
        match service(channel(at)).notify(request.clone()).await {
            Ok(answer) => return answer.into_inner().notification_id,
            Err(status) => before_repeating(&status).await,
        }
        turn += 1;
    }
}

/// Sends at a steady rate through all replicas until stopped; returns the accepted notifications.
async fn send(addresses: watch::Receiver<Vec<SocketAddr>>, stop: CancellationToken) -> Vec<String> {
    let mut beat = tokio::time::interval(BEAT);
    let mut ids = Vec::new();
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let id = accepted(&addresses, ids.len()).await;
        ids.push(id);
    }
    ids
}

fn addresses(heralds: &[Herald]) -> Vec<SocketAddr> {
    heralds.iter().map(|herald| herald.rpc).collect()
}

/// The replica that has this end of a connection to Slack.
fn owner(heralds: &[Herald], end: SocketAddr) -> Option<usize> {
    heralds.iter().position(|herald| herald.has_connection(end))
}

/// The number of tokens that were exchanged and stored.
async fn stored(raw: &DatabaseConnection) -> i64 {
    let text = "SELECT renewals FROM installations";
    let statement = Statement::from_string(raw.get_database_backend(), text);
    raw.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn stored_at_least(raw: &DatabaseConnection, count: i64) {
    until("the next token is stored", async || (stored(raw).await >= count).then_some(())).await;
}

/// Waits until Slack holds a refresh, and returns the replica that asked for it.
async fn held(site: &Site, heralds: &[Herald], hang: Fault) -> usize {
    let before = site.sandbox.log().last().map_or(0, |entry| entry.seq);
    // Every one: if this test is too slow, the replica gives up and asks again.
    site.sandbox.script(hang);
    until("Slack holds a refresh", async || {
        let log = site.sandbox.log_after(before);
        if !log.iter().any(|entry| entry.fault.is_some()) {
            return None;
        }
        site.sandbox.refreshing().into_iter().find_map(|end| owner(heralds, end))
    })
    .await
}

/// Waits until Slack has answered more than `before` refreshes, and returns the replica that asked
/// for the last one.
async fn answered(site: &Site, heralds: &[Herald], before: usize) -> usize {
    until("Slack has answered a refresh", async || {
        let refreshes = site.sandbox.refreshes();
        let last = refreshes.get(before..)?.last()?;
        owner(heralds, last.from)
    })
    .await
}

/// Kills the replica that exchanges the token, and returns which one it was.
async fn kill(
    death: Death,
    site: &Site,
    raw: &DatabaseConnection,
    heralds: &mut [Herald],
) -> usize {
    let hang = Fault::new("oauth.v2.access", FaultKind::Hang { seconds: 600.0 });
    let before = site.sandbox.refreshes().len();
    let mut gate = None;
    let victim = match death {
        Death::Asked => held(site, heralds, hang).await,
        Death::Given => held(site, heralds, hang.after()).await,
        Death::Answered => {
            let shut = gate.insert(Gate::close(raw).await);
            shut.reached().await;
            // It may have been answered before the gate was shut.
            answered(site, heralds, before.saturating_sub(1)).await
        }
        Death::Anywhere => answered(site, heralds, before).await,
    };
    heralds[victim].kill();
    site.sandbox.clear_faults();
    if let Some(gate) = gate {
        gate.open().await;
    }
    victim
}

async fn storm(site: Site, token_seconds: u32, lasting: Duration) {
    site.sandbox.configure(|options| {
        options.token_rotation = true;
        options.token_seconds = token_seconds;
    });
    let mut heralds = vec![site.start_connected().await];
    while heralds.len() < REPLICAS {
        heralds.push(site.start().await);
    }
    let raw = Database::connect(site.database()).await.unwrap();
    Gate::guard(&raw, "installations", "NEW.renewals > OLD.renewals").await;
    let (moved, at) = watch::channel(addresses(&heralds));
    let stop = CancellationToken::new();
    let sending = tokio::spawn(send(at, stop.clone()));
    let (begun, mut deaths, mut lost) = (Instant::now(), 0, 0);
    while deaths < DEATHS.len() || begun.elapsed() < lasting {
        let death = DEATHS[deaths % DEATHS.len()];
        stored_at_least(&raw, stored(&raw).await + CALM).await;
        let victim = kill(death, &site, &raw, &mut heralds).await;
        let before = stored(&raw).await;
        println!("killed {victim}, {death:?}, with {before} tokens stored");
        deaths += 1;
        lost += usize::from(death.loses_tokens());
        heralds[victim] = site.start().await;
        moved.send_replace(addresses(&heralds));
        stored_at_least(&raw, before + 1).await;
    }
    stop.cancel();
    let ids = sending.await.unwrap();
    all_sent(&heralds[0].channel(), &ids).await;
    assert_eq!(judge::verdict(&site.sandbox.messages(), PEOPLE, ids.len()), Ok(()));
    judge_tokens(&site, lost);
    let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
    let mut admin = AdminServiceClient::new(heralds[0].channel());
    let overview = admin.get_workspace(request).await.unwrap().into_inner();
    assert_eq!(overview.workspace.unwrap().state(), pb::WorkspaceState::Active);
}

/// The exchanges and the posts as Slack saw them. `lost`: pairs of tokens that died with a replica,
/// each of which Slack must have replaced for the same refresh token.
fn judge_tokens(site: &Site, lost: usize) {
    assert_eq!(site.sandbox.refreshes_at_once(), 1, "refreshes at once");
    let refreshes = site.sandbox.refreshes();
    for refresh in &refreshes {
        assert!(!refresh.overlapping && refresh.alive <= 1, "{refresh:?} of {refreshes:#?}");
    }
    let again = refreshes.iter().filter(|refresh| refresh.again).count();
    assert!(again >= lost, "{again} of {lost} in {refreshes:#?}");
    for post in site.calls("chat.postMessage") {
        // Slack ends the oldest of three tokens, which may still be in use then.
        let refused = ["token_expired", "token_revoked"].contains(&post.outcome.as_str());
        assert!(post.outcome == "ok" || refused, "{post:?}");
        assert_eq!(post.stored_ts.is_none(), refused, "{post:?}");
    }
}

/// Red if `acquire` in `store/keep/renewals.rs` does not compare `refresh_lease_until` (two
/// refreshes at once), or if `LEASE` in `workspace/renew.rs` is longer than Slack's grace (the
/// workspace must be connected again).
#[tokio::test(flavor = "multi_thread")]
async fn a_token_survives_the_death_of_the_replica_that_exchanges_it() {
    if let Some(site) = site_at(true, PEOPLE, SCALE).await {
        // Two seconds: twelve exchanges, four of them with a death.
        storm(site, 20, Duration::ZERO).await;
    }
}

/// Ten minutes with a token that lives for five seconds.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; tests/run --soak"]
async fn soak_tokens_survive_the_deaths_of_the_replicas_that_exchange_them() {
    if let Some(site) = site_at(true, PEOPLE, SCALE).await {
        storm(site, 50, TEN_MINUTES).await;
    }
}
