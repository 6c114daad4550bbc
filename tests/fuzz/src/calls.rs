//! gRPC calls to a server over loopback: `METHOD 0 MESSAGE`, such as `Notify`.
//!
//! Whatever the bytes are, the server answers the call or refuses it with one of Herald's reasons.
//! It never reports a fault of its own, and none of its tasks panics.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use herald::config::Settings;
use herald::rpc::{DOMAIN, pb};
use herald::server::RunningServer;
use http::uri::PathAndQuery;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use url::Url;

use super::front::{NOWHERE, RUNTIME};
use super::parts::parts;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_millis(100);

static SERVER: LazyLock<(Channel, TempDir)> = LazyLock::new(|| RUNTIME.block_on(start()));

pub(crate) fn run(input: &[u8]) {
    let [name, message] = parts(input);
    let named = |method: &&&str| method.rsplit('/').next().map(str::as_bytes) == Some(name);
    let Some(method) = pb::METHODS.iter().find(named) else { return };
    let message = Bytes::copy_from_slice(message);
    let answer = RUNTIME.block_on(call(SERVER.0.clone(), method, message));
    let Err(status) = answer else { return };
    // The client's own timer: the server had not answered yet.
    if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
        return;
    }
    let fault = matches!(
        status.code(),
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss | Code::Unimplemented
    );
    assert!(!fault, "{method}: {status}");
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    assert!(info.domain == DOMAIN && !info.reason.is_empty(), "{method}: {status}");
}

async fn start() -> (Channel, TempDir) {
    let folder = TempDir::new().unwrap();
    let free = ([127, 0, 0, 1], 0).into();
    let mut settings = Settings::default();
    (settings.rpc.address, settings.rpc.health_address, settings.http.address) = (free, free, free);
    settings.rpc.insecure = true;
    settings.rpc.caller_calls_per_second = 0;
    settings.rpc.tenant_calls_per_second = 0;
    settings.rpc.caller_bytes_per_second = 0;
    settings.store.data_dir = folder.path().to_owned();
    settings.slack.base_url = Url::parse(NOWHERE).unwrap();
    settings.app.client_id = "1.2".into();
    let store = herald::store::Store::open(&settings.store).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let server = RunningServer::start(settings).await.unwrap();
    let address = format!("http://{}", server.rpc);
    tokio::spawn(async { server.run(CancellationToken::new()).await.expect("the server runs") });
    (Channel::from_shared(address).unwrap().connect().await.unwrap(), folder)
}

async fn call(channel: Channel, method: &str, message: Bytes) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::internal(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/{method}")).unwrap();
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    if method.contains("/Watch") {
        // A stream that has begun does not end by itself.
        return grpc.server_streaming(request, path, Raw).await.map(drop);
    }
    grpc.unary(request, path, Raw).await.map(drop)
}

/// Passes bytes through unchanged.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
