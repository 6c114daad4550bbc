//! ResolveIdentity with an inline person, from memory, compared with a bare tonic echo of the same
//! messages.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::floor::closed_loop;
use super::stage::{Database, Plan, Stage, TENANT, described};
use super::{Effort, tell_ratio};

const CALLERS: usize = 64;
const PEOPLE: usize = 10_000;

fn request(number: usize) -> pb::ResolveIdentityRequest {
    pb::ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::resolve_identity_request::Subject::Person(described(number))),
        actor: None,
    }
}

pub(crate) async fn run(database: Database, effort: Effort) {
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings: Vec::new() };
    let stage = Stage::start(database, &plan).await;
    let answer = stage.herald().resolve_identity(request(7)).await.unwrap().into_inner();
    let floor = echo(answer).await;
    let (mut ours, mut bare) = (0.0, 0.0);
    for _ in 0..if effort.quick { 1 } else { 2 } {
        ours += rate(stage.herald(), effort).await;
        bare += rate(floor.clone(), effort).await;
    }
    tell_ratio("ResolveIdentity, inline person", database.name(), ours, bare, ">= 0.8 x");
}

async fn rate(herald: HeraldServiceClient<Channel>, effort: Effort) -> f64 {
    closed_loop(CALLERS, effort.span, move |_| {
        let mut herald = herald.clone();
        async move {
            let call = request(rand::random_range(0..PEOPLE));
            herald.resolve_identity(call).await.unwrap();
        }
    })
    .await
}

/// A server in this process that gives the same answer to every call.
async fn echo(answer: pb::ResolveIdentityResponse) -> HeraldServiceClient<Channel> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(Echo(answer));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    HeraldServiceClient::connect(format!("http://{address}")).await.unwrap()
}

#[derive(Clone)]
struct Echo(pb::ResolveIdentityResponse);

impl NamedService for Echo {
    const NAME: &'static str = "herald.v1.HeraldService";
}

impl UnaryService<pb::ResolveIdentityRequest> for Echo {
    type Response = pb::ResolveIdentityResponse;
    type Future = Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, _request: Request<pb::ResolveIdentityRequest>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.unary(echo, request).await)
        })
    }
}
