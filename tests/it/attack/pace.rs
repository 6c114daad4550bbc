//! How fast the calls of others are while one caller attacks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;

use super::connections::{ATTACKER, HALF_HEADERS, connection};
use super::expressions::{accepted, with_list};
use super::memory::MEMORY;
use super::{NOTIFY, Site, callers, raw, stores_ben, with_key};
use crate::support::client::demo_person;
use crate::support::process::{Herald, channel};

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

/// An attack with everything that it needs; dropping it ends it.
type Attack = fn(&Site) -> JoinSet<()>;

/// The same call of one principal, again and again on each of eight connections.
fn calls(
    site: &Site,
    who: Option<&'static str>,
    method: &'static str,
    message: Bytes,
) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..8 {
        let (to, message) = (channel(site.herald.rpc), message.clone());
        attack.spawn(async move {
            loop {
                drop(raw(&to, method, who, message.clone()).await);
            }
        });
    }
    attack
}

fn empty_recipients(megabytes: usize) -> Bytes {
    [0x22, 0].repeat(megabytes << 19).into()
}

fn resolve_costly(site: &Site) -> JoinSet<()> {
    let subject = pb::resolve_identity_request::Subject::UserId("costly".into());
    let request = pb::ResolveIdentityRequest {
        tenant_id: "evil".into(),
        subject: Some(subject),
        actor: None,
    };
    let method = "herald.v1.HeraldService/ResolveIdentity";
    calls(site, Some("attacker"), method, request.encode_to_vec().into())
}

/// Streams, as many as are given, and questions for more.
fn streams(site: &Site) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..8 {
        let mut client = HeraldServiceClient::new(channel(site.herald.rpc));
        attack.spawn(async move {
            let mut held = Vec::new();
            loop {
                let question = pb::WatchDeliveriesRequest {
                    tenant_id: "evil".into(),
                    after_sequence: None,
                    actor: None,
                };
                let opened = client.watch_deliveries(with_key(Some("attacker"), question)).await;
                held.extend(opened.ok());
            }
        });
    }
    attack
}

/// Connections that say nothing, or half of a request; the oldest are given up for new ones.
fn connections(site: &Site) -> JoinSet<()> {
    const HELD: usize = 300;
    let mut attack = JoinSet::new();
    let herald = &site.herald;
    for (to, says) in
        [(herald.rpc, &b""[..]), (herald.health, &b""[..]), (herald.http, HALF_HEADERS)]
    {
        attack.spawn(async move {
            // Faster than this, the machine has no free port left after some seconds.
            let mut pause = tokio::time::interval(Duration::from_millis(1));
            let mut held = VecDeque::new();
            loop {
                pause.tick().await;
                held.push_back(connection(ATTACKER, to, says).await);
                if held.len() > HELD {
                    held.pop_front();
                }
            }
        });
    }
    attack
}

const ATTACKS: [(&str, Attack); 8] = [
    ("1: expressions that use up their fuel", resolve_costly),
    ("2: strangers with 10 MiB", |site| calls(site, None, NOTIFY, empty_recipients(10))),
    ("2: strangers with 60 MiB", |site| calls(site, None, NOTIFY, empty_recipients(60))),
    ("2: a caller with 10 MiB", |site| calls(site, Some("attacker"), NOTIFY, empty_recipients(10))),
    ("3: a caller without a pause", |site| {
        calls(site, Some("attacker"), NOTIFY, Bytes::from_static(b"\x0a\x04evil"))
    }),
    ("3: the key of one person without a pause", |site| {
        let method = "herald.v1.HeraldService/TestSlack";
        calls(site, Some("person"), method, Bytes::from_static(b"\x0a\x04evil\x12\x07mallory"))
    }),
    ("3: all streams that there are", streams),
    ("4: silent connections and half of a request", connections),
];

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
/// `cargo test --release --test it attack::pace::soak -- --ignored --nocapture`
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
    let (alone, alone_p99) = pace(site.herald.channel()).await;
    let mut harmed = Vec::new();
    for (what, begin) in ATTACKS {
        let mut attack = begin(&site);
        let measured = tokio::join!(pace(site.herald.channel()), slowest_health(&site.herald));
        let ((rate, p99), health) = measured;
        attack.shutdown().await;
        let (kept, slower) = (100.0 * rate / alone, p99.as_secs_f64() / alone_p99.as_secs_f64());
        let peak = site.peak();
        let line = format!(
            "{what}: {kept:.0} % of {alone:.1}/s, p99 {slower:.1} x ({p99:?} instead of \
             {alone_p99:?}), health within {health:?}, {} MiB at the most so far",
            peak >> 20
        );
        println!("{line}");
        if kept < KEPT || slower > SLOWER || health >= HEALTH || peak >= MEMORY {
            harmed.push(line);
        }
    }
    assert!(harmed.is_empty(), "{} attacks did harm:\n{}", harmed.len(), harmed.join("\n"));
    site.ends_well().await;
}
