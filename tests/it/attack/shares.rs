//! One caller takes all it can: the others still get their share of every resource.

use std::time::Duration;

use futures_util::future::join_all;
use herald::config::Settings;
use herald::rpc::{CallerConfig, RoleConfig, pb};
use herald::sandbox::{Fault, FaultKind};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Site, raw, refusals};
use crate::support::client::{Client, demo_person, reason};
use crate::support::world::{Plan, TENANT, World, caller, until};

/// The other tenant.
const OTHER: &str = "other";

fn callers() -> Vec<CallerConfig> {
    let user = CallerConfig {
        user_id: Some("ben".into()),
        ..caller("mallory", RoleConfig::User, &[TENANT])
    };
    vec![
        caller("administrator", RoleConfig::Administrator, &["*"]),
        caller("busy", RoleConfig::Service, &[TENANT]),
        caller("busy-too", RoleConfig::Service, &[TENANT]),
        caller("chief", RoleConfig::Administrator, &[TENANT]),
        caller("chief-too", RoleConfig::Administrator, &[TENANT]),
        caller("quiet", RoleConfig::Service, &[OTHER]),
        user,
    ]
}

/// Callers, and no rate limits except those that a test sets, so that every other limit shows.
fn plan(adjust: fn(&mut Settings)) -> Plan {
    Plan { callers: callers(), ready: false, adjust, ..Plan::default() }
}

fn no_rates(settings: &mut Settings) {
    settings.rpc.caller_calls_per_second = 0;
    settings.rpc.user_calls_per_second = 0;
    settings.rpc.tenant_calls_per_second = 0;
    settings.rpc.caller_bytes_per_second = 0;
}

/// Creates both tenants: a tenant exists from the first call that names it.
async fn tenants(world: &World) {
    let administrator = world.client(0, Some("administrator")).await;
    for tenant in [TENANT, OTHER] {
        administrator.upsert(tenant, vec![demo_person("ben")]).await;
    }
}

async fn ready(world: &mut World) {
    world.client = world.client(0, Some("administrator")).await;
    world.make_ready().await;
    tenants(world).await;
    world.client.load(&["ben", "ada"]).await;
}

fn test_of(user: &str) -> pb::TestSlackRequest {
    pb::TestSlackRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::test_slack_request::Subject::UserId(user.into())),
        actor: None,
    }
}

fn resolve(tenant: &str) -> pb::ResolveIdentityRequest {
    pb::ResolveIdentityRequest {
        tenant_id: tenant.into(),
        subject: Some(pb::resolve_identity_request::Subject::Person(demo_person("ada"))),
        actor: None,
    }
}

/// The limit that a refusal names, as a value and in its sentence, with the time to wait.
fn limit(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let info = status.get_details_error_info().unwrap();
    let limit = info.metadata["limit"].clone();
    assert!(status.message().contains(&limit), "{status}");
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO, "{status}");
    (info.reason, limit)
}

fn is(reason: &str, limit: &str) -> (String, String) {
    (reason.to_owned(), limit.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_one_person_holds_few_tests() {
    plan(no_rates)
        .run(async |world| {
            ready(world).await;
            let late = FaultKind::Delay { seconds: 200.0 };
            world.sandbox.script(Fault::new("chat.postMessage", late));
            let mallory = world.client(0, Some("mallory")).await;
            let calls = (0..300).map(|_| {
                let client = mallory.clone();
                async move { client.test_slack(test_of("ben")).await }
            });
            let mut attack = tokio::task::JoinSet::new();
            calls.for_each(|call| drop(attack.spawn(call)));
            // 128 tests may wait and 1,024 calls be under way; one person may hold less than a
            // sixteenth of either.
            let limits = ["rpc.max_waiting_tests", "rpc.max_concurrent_calls"]
                .map(|of| is("OVERLOADED", of));
            let mut refused = [0; 2];
            while refused.iter().sum::<usize>() < 290 {
                let status = attack.join_next().await.unwrap().unwrap().unwrap_err();
                let of = limits.iter().position(|one| *one == limit(&status)).unwrap();
                refused[of] += 1;
            }
            assert!(refused[0] > 0, "{refused:?}");
            let quiet = world.client(0, Some("quiet")).await;
            quiet.resolve_identity(resolve(OTHER)).await.unwrap();
            let tested = world.client.test_slack(test_of("ada"));
            let tested = tokio::time::timeout(Duration::from_millis(1), tested).await;
            assert!(tested.is_err(), "the administrator's test waits like any other");
            assert!(
                refusals(world.replicas[0].http, "rpc.max_waiting_tests").await
                    >= refused[0] as u64
            );
            // Slack goes on delaying: no message of a test that was given up may arrive.
            attack.shutdown().await;
            world.settled().await;
        })
        .await;
}

/// Waits for this many refusals by the limit of waiting tests.
async fn refused_tests(attack: &mut tokio::task::JoinSet<Result<(), Status>>, wanted: usize) {
    for _ in 0..wanted {
        let status = attack.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(limit(&status), is("OVERLOADED", "rpc.max_waiting_tests"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_of_one_tenant_do_not_hold_all_tests() {
    plan(|settings| {
        no_rates(settings);
        settings.rpc.max_waiting_tests = 16;
    })
    .run(async |world| {
        ready(world).await;
        let late = FaultKind::Delay { seconds: 200.0 };
        world.sandbox.script(Fault::new("chat.postMessage", late));
        let mut attack = tokio::task::JoinSet::new();
        // The first key holds half of all, which is the tenant's part too; the second gets none.
        for (name, refused) in [("chief", 12), ("chief-too", 20)] {
            for _ in 0..20 {
                let client = world.client(0, Some(name)).await;
                attack.spawn(async move { client.test_slack(test_of("ben")).await.map(drop) });
            }
            refused_tests(&mut attack, refused).await;
        }
        // The other tenant has no workspace, so its test waits for nothing, but needs a place.
        let request = pb::TestSlackRequest { tenant_id: OTHER.into(), ..test_of("ben") };
        let tested = world.client.test_slack(request).await.unwrap();
        assert!(tested.member.is_none() && tested.delivery.is_none(), "{tested:?}");
        // Slack goes on delaying: no message of a test that was given up may arrive.
        attack.shutdown().await;
        world.settled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_counts_as_waiting_like_any_message() {
    plan(|settings| settings.delivery.max_waiting = 1)
        .run(async |world| {
            ready(world).await;
            world.throttle("U0DEMOBEN", 300);
            let client = world.client.clone();
            let first = tokio::spawn(async move { client.test_slack(test_of("ben")).await });
            let asked = || world.sandbox.log().iter().any(|one| one.method == "chat.postMessage");
            until("the first one waits for Slack", async || asked().then_some(())).await;
            let refused = world.client.test_slack(test_of("ben")).await.unwrap_err();
            assert_eq!(reason(&refused), "BACKLOG_FULL");
            world.sandbox.clear_faults();
            first.await.unwrap().ok();
        })
        .await;
}

/// Opens streams until one is refused.
async fn streams(
    client: &Client,
    tenant: &str,
) -> (Vec<tonic::Streaming<pb::WatchDeliveriesResponse>>, Status) {
    let mut open = Vec::new();
    loop {
        match client.watch_deliveries(tenant, None).await {
            Ok(stream) => open.push(stream),
            Err(status) => return (open, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_does_not_take_all_streams() {
    plan(|settings| {
        no_rates(settings);
        settings.rpc.max_watches = 32;
    })
    .run(async |world| {
        tenants(world).await;
        let administrator = world.client(0, Some("administrator")).await;
        let busy = world.client(0, Some("busy")).await;
        // A stream of channels counts like any other.
        let channels = busy.watch_channels(TENANT, None).await.unwrap();
        let (held, status) = streams(&busy, TENANT).await;
        assert_eq!(held.len(), 15);
        assert_eq!(limit(&status), is("OVERLOADED", "rpc.max_watches"));
        let status = busy.watch_channels(TENANT, None).await.unwrap_err();
        assert_eq!(limit(&status), is("OVERLOADED", "rpc.max_watches"));
        // Nor do two keys of one tenant take all.
        let too = world.client(0, Some("busy-too")).await;
        let (_, status) = streams(&too, TENANT).await;
        assert_eq!(limit(&status), is("OVERLOADED", "rpc.max_watches"));
        let (others, _) = streams(&administrator, OTHER).await;
        assert!(others.len() >= 4, "{}", others.len());
        // A stranger takes none, and ended streams are free again.
        let stranger = world.client(0, Some("nobody")).await;
        let refused = stranger.watch_deliveries(TENANT, None).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        drop((held, channels));
        until("the ended streams are free", async || {
            busy.watch_deliveries(TENANT, None).await.ok()
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_too_often_is_told_which_limit_and_how_long() {
    plan(|settings| {
        settings.rpc.caller_calls_per_second = 10;
        settings.rpc.user_calls_per_second = 1;
        settings.rpc.tenant_calls_per_second = 15;
    })
    .run(async |world| {
        tenants(world).await;
        let refused = async |key: &str| {
            let client = world.client(0, Some(key)).await;
            let calls = (0..100).map(|_| client.resolve_identity(resolve(TENANT)));
            let answers = join_all(calls).await;
            let mut limits: Vec<_> = answers
                .iter()
                .filter_map(|answer| answer.as_ref().err())
                .filter(|status| status.code() == Code::ResourceExhausted)
                .map(limit)
                .collect();
            limits.dedup();
            limits
        };
        let of_caller = is("QUOTA_EXCEEDED", "rpc.caller_calls_per_second");
        assert!(refused("busy").await.contains(&of_caller));
        let of_user = is("QUOTA_EXCEEDED", "rpc.user_calls_per_second");
        assert!(refused("mallory").await.contains(&of_user));
        // Each caller is within its own limit, but together they exceed the tenant's.
        let of_tenant = is("QUOTA_EXCEEDED", "rpc.tenant_calls_per_second");
        until("the tenant's limit", async || {
            let (one, two) = tokio::join!(refused("busy"), refused("busy-too"));
            [one, two].concat().contains(&of_tenant).then_some(())
        })
        .await;
        // Other tenants are not affected.
        let quiet = world.client(0, Some("quiet")).await;
        quiet.resolve_identity(resolve(OTHER)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_out_of_reach_is_not_used_up() {
    plan(|settings| settings.rpc.tenant_calls_per_second = 5)
        .run(async |world| {
            tenants(world).await;
            let busy = world.client(0, Some("busy")).await;
            let calls = (0..50).map(|_| busy.resolve_identity(resolve(OTHER)));
            for answer in join_all(calls).await {
                assert_eq!(reason(&answer.unwrap_err()), "TENANT_NOT_ALLOWED");
            }
            let quiet = world.client(0, Some("quiet")).await;
            quiet.resolve_identity(resolve(OTHER)).await.unwrap();
        })
        .await;
}

/// The settings name addresses and callers only.
#[tokio::test(flavor = "multi_thread")]
async fn rates_are_limited_by_default() {
    let site = Site::start(&[super::callers(&[("person", "user", TENANT)])]).await;
    let channel = site.herald.channel();
    let calls = (0..200).map(|_| {
        let method = "herald.v1.HeraldService/GetPreferences";
        raw(&channel, method, Some("person"), bytes::Bytes::from_static(b"\x0a\x04acme"))
    });
    let answers = join_all(calls).await;
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .filter(|status| status.code() == Code::ResourceExhausted)
        .map(limit)
        .collect();
    // Some may be refused by the share of calls under way.
    let of_user = is("QUOTA_EXCEEDED", "rpc.user_calls_per_second");
    assert!(refused.contains(&of_user), "{refused:?}");
    site.ends_well().await;
}
