//! Listening: services, reflection and health on one port, only health on another.

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;

use super::around::Layered;
use super::gate::Gate;
use super::measure::{self, Measure};
use super::open::{Open, QUESTION_BYTES};
use super::pb::admin_service_server::{self, AdminServiceServer};
use super::pb::channel_service_server::{self, ChannelServiceServer};
use super::pb::herald_service_server::{self, HeraldServiceServer};
use super::pb::workspace_service_server::{self, WorkspaceServiceServer};
use super::{Server, pb, wire};
use crate::listen::{self, Incoming, Port};

/// Health, for the empty name and each service. Starts as NOT_SERVING: tonic-health itself starts
/// as SERVING, and a probe would pass before anything works.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

/// Every name whose health shows whether this replica takes calls.
const NAMES: [&str; 5] = [
    "",
    herald_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
    channel_service_server::SERVICE_NAME,
    workspace_service_server::SERVICE_NAME,
];
/// The name that is SERVING for as long as the process is running, for liveness probes.
const LIVE: &str = "live";

impl Health {
    /// The switch, and the service that reports it. Every name except `live` starts as NOT_SERVING.
    pub async fn new() -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self { reporter };
        health.set(false).await;
        health.reporter.set_service_status(LIVE, ServingStatus::Serving).await;
        (health, service)
    }

    /// Turns every name to SERVING or NOT_SERVING.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Serves all services, reflection (v1 and v1alpha) and health until stopped; then finishes the
/// calls under way. Streams end at once with UNAVAILABLE. A stream whose client does not read
/// cannot receive that, so the caller must bound the wait.
pub async fn serve(
    port: Port,
    server: Server,
    health: HealthServer<impl HealthApi>,
    max_request_bytes: usize,
    stop: CancellationToken,
) -> Result<(), prost::DecodeError> {
    let limit = max_request_bytes;
    let measure = Measure::new(server.metrics.clone());
    let server = server.closing_on(stop.clone());
    let gate = Gate::new(server.clone(), limit)?;
    let herald = HeraldServiceServer::new(server.clone()).max_decoding_message_size(limit);
    let admin = AdminServiceServer::new(server.clone()).max_decoding_message_size(limit);
    let channels = ChannelServiceServer::new(server.clone()).max_decoding_message_size(limit);
    let workspaces = WorkspaceServiceServer::new(server).max_decoding_message_size(limit);
    let mut routes = Routes::builder();
    let health = health.max_decoding_message_size(QUESTION_BYTES);
    routes.add_service(herald).add_service(admin).add_service(channels);
    routes.add_service(workspaces).add_service(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Otherwise grpcurl shows the details of an error as raw bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            let v1 = v1.max_decoding_message_size(QUESTION_BYTES);
            let v1alpha = v1alpha.max_decoding_message_size(QUESTION_BYTES);
            routes.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "reflection is off: the descriptors cannot be read");
        }
    }
    let service = ServiceBuilder::new()
        .map_request(bodied)
        .layer(Layered(measure))
        .map_response(move |answer| wire::explained(answer, limit))
        .layer(Layered(gate))
        .layer(Layered(Open::new()))
        .service(routes.routes().prepare());
    listen::serve(port, service, stop).await;
    Ok(())
}

/// Serves only health, in plain text, for kubelets. Only its refusals are counted: probes are not
/// calls of callers.
pub async fn serve_health(
    port: Port,
    health: HealthServer<impl HealthApi>,
    stop: CancellationToken,
) {
    let metrics = port.metrics.clone();
    let mut routes = Routes::builder();
    routes.add_service(health.max_decoding_message_size(QUESTION_BYTES));
    let service = ServiceBuilder::new()
        .map_request(bodied)
        .map_response(move |answer: Response<Body>| {
            measure::counted(&metrics, answer.headers());
            answer
        })
        .layer(Layered(Open::new()))
        .service(routes.routes().prepare());
    listen::serve(port, service, stop).await;
}

fn bodied(request: Request<Incoming>) -> Request<Body> {
    request.map(Body::new)
}
