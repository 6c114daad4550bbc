//! How fast other callers can go while one caller does its worst.
//!
//! The attackers are a process of the lowest scheduling class (`attackers`), because the time that
//! they spend on making their requests is theirs on a platform and must not be taken from the
//! server here. The rate without an attack is measured beside the same process with threads that
//! only spin: a processor that is never idle answers faster or slower than one that has to wake up,
//! and both measurements should have the same.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;

use super::attackers::{ATTACKS, Attackers};
use super::expressions::{accepted, with_list};
use super::memory::MEMORY;
use super::{NOTIFY, Site, callers, raw, stores_ben, with_key};
use crate::support::client::demo_person;
use crate::support::process::Herald;

const SPAN: Duration = Duration::from_secs(10);

/// One caller's calls, one after the other: how many a second, and how long the slowest hundredth
/// took.
async fn pace(channel: Channel) -> (f64, Duration) {
    let mut client = HeraldServiceClient::new(channel);
    let (since, mut times) = (Instant::now(), Vec::new());
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while since.elapsed() < SPAN {
        pause.tick().await;
        let asked = Instant::now();
        resolve_ben(&mut client).await;
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    let count = f64::from(u32::try_from(times.len()).unwrap());
    (count / SPAN.as_secs_f64(), times[times.len() * 99 / 100])
}

/// A refused caller has to wait for the refusal, and so cannot call as often as callers that are
/// served.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_more_slowly_than_answers() {
    const REFUSED: usize = 10;
    let site = Site::start(&[callers(&[("neighbour", "service", "acme")])]).await;
    stores_ben(site.herald.channel()).await.unwrap();
    let stranger = site.herald.channel();
    let refused = tokio::spawn(async move {
        for _ in 0..REFUSED {
            raw(&stranger, NOTIFY, None, Bytes::new()).await.unwrap_err();
        }
    });
    let (mut neighbour, mut served) = (HeraldServiceClient::new(site.herald.channel()), 0);
    while !refused.is_finished() {
        resolve_ben(&mut neighbour).await;
        served += 1;
    }
    refused.await.unwrap();
    assert!(served > REFUSED * 2, "{served} calls beside {REFUSED} refusals");
    site.ends_well().await;
}

async fn resolve_ben(client: &mut HeraldServiceClient<Channel>) {
    let question = pb::ResolveIdentityRequest {
        tenant_id: "acme".into(),
        subject: Some(pb::resolve_identity_request::Subject::UserId("ben".into())),
        actor: None,
    };
    client.resolve_identity(with_key(Some("neighbour"), question)).await.unwrap();
}

/// The time of the slowest answer of health while `pace` runs.
async fn slowest_health(herald: &Herald) -> Duration {
    let (since, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    while since.elapsed() < SPAN {
        looks.tick().await;
        let asked = Instant::now();
        assert_eq!(herald.status().await, Some(ServingStatus::Serving));
        slowest = slowest.max(asked.elapsed());
    }
    slowest
}

/// The attacker's tenant, with a person whose expression is too costly.
async fn prepare(site: &Site) {
    let mut admin = AdminServiceClient::new(site.herald.channel());
    let people = vec![with_list("costly", 4000), demo_person("mallory")];
    let people = pb::UpsertPeopleRequest { tenant_id: "evil".into(), people, actor: None };
    admin.upsert_people(with_key(Some("attacker"), people)).await.unwrap();
    let settings = pb::Settings { user_attribute: accepted(), ..pb::Settings::default() };
    let change = pb::UpdateSettingsRequest {
        tenant_id: "evil".into(),
        settings: Some(settings),
        update_mask: Some(prost_types::FieldMask { paths: vec!["user_attribute".into()] }),
        actor: None,
    };
    admin.update_settings(with_key(Some("attacker"), change)).await.unwrap();
}

/// The least part of their rate that others keep, in per cent.
const KEPT: f64 = 90.0;
/// How many times as long their slowest hundredth may take.
const SLOWER: f64 = 3.0;
/// The longest that an answer of health may take.
const HEALTH: Duration = Duration::from_secs(1);

/// The service that others keep during each attack: at least 90 % of their rate, at most three
/// times their p99, and an answer of health within a second; 256 MiB for the process, and SIGTERM
/// ends it within its grace. For a machine that does nothing else:
///
/// `cargo test --profile bench --test it -- --ignored --nocapture soak_what_the_others_keep`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; tests/run --soak"]
async fn soak_what_the_others_keep() {
    herald::listen::raise_file_limit().unwrap();
    let keys = callers(&[
        ("neighbour", "service", "acme"),
        ("attacker", "administrator", "evil"),
        ("person", "user", "evil"),
    ]);
    let site = Site::start(&[keys]).await;
    stores_ben(site.herald.channel()).await.unwrap();
    prepare(&site).await;
    let (floor, mut harmed) = (beside(0, &site).await, Vec::new());
    println!("{floor}");
    for number in 1..ATTACKS.len() {
        let kept = beside(number, &site).await;
        let (rate, slower) =
            (100.0 * kept.rate / floor.rate, kept.p99.as_secs_f64() / floor.p99.as_secs_f64());
        let line = format!("{kept}; {rate:.0} % of the rate, {slower:.1} x the p99");
        println!("{line}");
        if rate < KEPT || slower > SLOWER || kept.health >= HEALTH || kept.peak >= MEMORY {
            harmed.push(line);
        }
    }
    assert!(harmed.is_empty(), "{} attacks did harm:\n{}", harmed.len(), harmed.join("\n"));
    site.ends_well().await;
}

/// The service that others got beside an attack.
struct Kept {
    attack: &'static str,
    load: String,
    rate: f64,
    p99: Duration,
    health: Duration,
    /// The most memory of the process so far, in bytes.
    peak: usize,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attack, load, rate, p99, health, peak } = self;
        let peak = peak >> 20;
        write!(f, "{attack} ({load}): {rate:.1}/s, p99 {p99:?}, health within {health:?}, ")?;
        write!(f, "{peak} MiB at the most so far")
    }
}

/// Measures beside the attack of this number.
async fn beside(number: usize, site: &Site) -> Kept {
    let attackers = Attackers::begin(number, &site.herald).await;
    let measured = tokio::join!(pace(site.herald.channel()), slowest_health(&site.herald));
    let load = attackers.end().await;
    let ((rate, p99), health) = measured;
    Kept { attack: ATTACKS[number], load, rate, p99, health, peak: site.peak() }
}
