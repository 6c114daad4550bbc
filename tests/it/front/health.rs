//! Health, reflection, and how a replica stops.

use futures_util::stream;
use herald::config::Settings;
use herald::domain::secret::Secret;
use herald::rpc::pb::{DeliveryState, TestSlackRequest, test_slack_request::Subject};
use herald::sandbox::{Fault, FaultKind};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use url::Url;

use crate::support::client::notify;
use crate::support::world::{Plan, Replica, TENANT, for_each_database, until};

const SERVICES: [&str; 5] = [
    "",
    "herald.v1.HeraldService",
    "herald.v1.AdminService",
    "herald.v1.ChannelService",
    "herald.v1.WorkspaceService",
];

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn channel(address: std::net::SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn each_service_has_its_status_on_both_ports() {
    for_each_database(async |world| {
        let replica = &world.replicas[0];
        for address in [replica.rpc, replica.health] {
            let mut health = HealthClient::new(channel(address).await);
            for service in SERVICES {
                let answer = health.check(about(service)).await.unwrap().into_inner();
                assert_eq!(answer.status, ServingStatus::Serving as i32, "{service}");
            }
            let unknown = health.check(about("herald.v1.Nothing")).await.unwrap_err();
            assert_eq!(unknown.code(), Code::NotFound);
        }
        let ready = reqwest::get(format!("http://{}/readyz", replica.http)).await.unwrap();
        assert_eq!(ready.status(), 200);
    })
    .await;
}

/// Every background loop of a replica; the issuers of tokens and the health watch itself are not
/// watched.
const LOOPS: [&str; 24] = [
    "alerts",
    "channel counts",
    "channel notices",
    "channels",
    "claim",
    "clock",
    "connection checks",
    "connection states",
    "connections",
    "custom fields",
    "erasures of workspaces",
    "feed",
    "feeds of other replicas",
    "follower",
    "held",
    "home tabs",
    "inbox",
    "moves",
    "refresher",
    "resolve",
    "the API keys",
    "the audit trail",
    "tokens",
    "upkeep",
];

#[tokio::test]
async fn every_loop_is_watched() {
    // Without these settings, two loops have no work and do not run.
    let adjust = |settings: &mut Settings| {
        settings.doctor.check_seconds = 86_400;
        settings.alerts.webhook_url = Some(Url::parse("http://127.0.0.1:9/").unwrap());
        settings.alerts.webhook_secret = Secret::new(format!("whsec_{}", "A".repeat(32)));
    };
    Plan { adjust, ..Plan::default() }
        .run(async |world| {
            let watchdog = &world.replicas[0].watchdog;
            // A loop is watched once it has begun.
            let begun = async || (watchdog.watched().len() >= LOOPS.len()).then_some(());
            until("all loops are watched", begun).await;
            assert_eq!(watchdog.watched(), LOOPS);
        })
        .await;
}

#[tokio::test]
async fn reflection_tells_the_services_in_both_versions() {
    macro_rules! services {
        ($channel:expr, $version:ident) => {{
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new($channel);
            let asked = client.server_reflection_info(stream::iter([request])).await.unwrap();
            let answer = asked.into_inner().message().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("{answer:?}");
            };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for_each_database(async |world| {
        let channel = channel(world.replicas[0].rpc).await;
        for names in [services!(channel.clone(), v1), services!(channel, v1alpha)] {
            for service in &SERVICES[1..] {
                assert!(names.iter().any(|name| name == service), "{names:?}");
            }
        }
    })
    .await;
}

/// The comments that `grpcurl describe` prints above each item.
#[tokio::test]
async fn reflection_serves_the_comments() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    for_each_database(async |world| {
        let symbol = "herald.v1.HeraldService.Notify".to_owned();
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
        };
        let mut client = ServerReflectionClient::new(channel(world.replicas[0].rpc).await);
        let asked = client.server_reflection_info(stream::iter([request])).await.unwrap();
        let answer = asked.into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response else {
            panic!("{answer:?}");
        };
        let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
        let comments = file.source_code_info.unwrap().location.into_iter();
        let mut comments = comments.filter_map(|place| place.leading_comments);
        assert!(comments.any(|comment| comment.contains("Accepts a notification")));
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_stops_says_so_first_and_finishes_what_is_under_way() {
    for_each_database(async |world| {
        let mut settings = world.settings();
        (settings.process.lame_duck_seconds, settings.process.grace_seconds) = (2, 5);
        world.replicas.push(Replica::start(settings).await);
        let leaving = world.client(1, None).await;
        let replica = &world.replicas[1];
        let mut health = HealthClient::new(channel(replica.rpc).await);
        let mut watch = health.watch(about("")).await.unwrap().into_inner();
        let mut said = async || watch.message().await.unwrap().unwrap().status;
        assert_eq!(said().await, ServingStatus::Serving as i32);

        world.client.load(&["ben"]).await;
        let kind = FaultKind::Delay { seconds: 1.0 };
        world.sandbox.script(Fault::new("chat.postMessage", kind).times(1));
        let test = TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(Subject::UserId("ben".into())),
            actor: None,
        };
        let (caller, stopping) = (leaving.clone(), async {
            world.called("users.lookupByEmail", 1).await;
            replica.terminate();
            assert_eq!(said().await, ServingStatus::NotServing as i32);
            // Load balancers notice a little later, and until then calls are served.
            let late = notify("late", "case.started", &["ben"]);
            leaving.notify(late).await.unwrap();
        });
        let (tested, ()) = tokio::join!(caller.test_slack(test), stopping);
        assert_eq!(tested.unwrap().delivery.unwrap().state(), DeliveryState::Sent);
        // The watch is still open, but delays the end no longer than the grace.
        world.replicas.remove(1).stopped().await;
        world.settled().await;
        world.messages(2).await;
    })
    .await;
}
