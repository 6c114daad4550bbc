//! Listening: services, reflection and health on one port, health alone on another.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::HealthReporter;
use tower::util::MapResponseLayer;

use super::pb::admin_service_server::AdminServiceServer;
use super::pb::herald_service_server::HeraldServiceServer;
use super::{Server, pb, wire};

/// What health says, for the empty name and each service. Starts as NOT_SERVING: tonic-health's
/// own start is SERVING, and a probe would pass before anything works (lessons.md).
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

/// Every name that health knows.
const NAMES: [&str; 3] = ["", "herald.v1.HeraldService", "herald.v1.AdminService"];

impl Health {
    /// The switch and the service that answers by it. Every name starts as NOT_SERVING.
    pub async fn new() -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self { reporter };
        health.set(false).await;
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

/// HTTP/2 settings keep one client from holding the server's memory.
const STREAMS_PER_CONNECTION: u32 = 256;
const HEADER_LIST_BYTES: u32 = 16 << 10;

/// Serves both services, reflection (v1 and v1alpha) and health until stopped; then finishes the
/// calls under way. Streams end at once with UNAVAILABLE; one whose client does not read cannot be
/// told so, and the caller bounds how long that may take.
pub async fn serve(
    listener: TcpListener,
    server: Server,
    health: HealthServer<impl HealthApi>,
    max_request_bytes: usize,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let limit = max_request_bytes;
    let server = server.closing_on(stop.clone());
    let herald = HeraldServiceServer::new(server.clone()).max_decoding_message_size(limit);
    let admin = AdminServiceServer::new(server).max_decoding_message_size(limit);
    let mut routes = Routes::builder();
    let health = health.max_decoding_message_size(limit);
    routes.add_service(herald).add_service(admin).add_service(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Else grpcurl shows the details of an error as raw bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            routes.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "reflection is off: the descriptors do not read");
        }
    }
    builder()
        .layer(MapResponseLayer::new(move |answer| wire::explained(answer, limit)))
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
}

/// Serves health alone, in plain text, for kubelets.
pub async fn serve_health(
    listener: TcpListener,
    health: HealthServer<impl HealthApi>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    builder()
        .add_service(health)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}
