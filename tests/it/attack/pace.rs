//! How fast other callers can go while one caller does its worst.

use std::time::{Duration, Instant};

use bytes::Bytes;
use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tonic::transport::Channel;

use super::{NOTIFY, Site, callers, raw, stores_ben, with_key};
use crate::support::process::channel;

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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a machine that does nothing else"]
async fn what_the_others_keep() {
    let keys = callers(&[("neighbour", "service", "acme"), ("attacker", "service", "evil")]);
    let site = Site::start(&[keys]).await;
    stores_ben(site.herald.channel()).await.unwrap();
    let (alone, alone_p99) = pace(site.herald.channel()).await;
    let attacks: [(&str, Option<&str>, Bytes); 3] = [
        ("strangers with 10 MiB", None, [0x22, 0].repeat(5 << 20).into()),
        ("a caller with 10 MiB", Some("attacker"), [0x22, 0].repeat(5 << 20).into()),
        ("a caller without a pause", Some("attacker"), Bytes::from_static(b"\x0a\x04evil")),
    ];
    for (what, who, message) in attacks {
        let mut attack = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (to, message) = (channel(site.herald.rpc), message.clone());
            attack.spawn(async move {
                loop {
                    raw(&to, NOTIFY, who, message.clone()).await.unwrap_err();
                }
            });
        }
        let (rate, p99) = pace(site.herald.channel()).await;
        attack.shutdown().await;
        let kept = 100.0 * rate / alone;
        println!("{what}: {kept:.0} % of {alone:.1}/s, p99 {p99:?} instead of {alone_p99:?}");
    }
    println!("{} MiB at the most", site.peak() >> 20);
    site.ends_well().await;
}
