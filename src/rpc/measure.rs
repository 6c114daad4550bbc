//! One measurement for each gRPC call, taken from the answer that the caller gets: a request that
//! cannot be decoded, an unknown method and a stream are counted like any other call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::{Code, Status};

use super::around::{Around, HttpAnswer, Inner};
use super::pb::METHODS;
use super::status::limit;
use crate::telemetry::Metrics;

/// The label of calls to methods outside `herald.v1`: health, reflection, mistakes.
const OTHER: &str = "other";

/// The called method by its name in the protos (`herald.v1.HeraldService/Notify`). An extension of
/// every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct MethodName(pub(super) &'static str);

/// Measures all calls of a server.
#[derive(Clone)]
pub(super) struct Measure {
    metrics: Metrics,
    methods: Arc<HashMap<&'static str, MethodName>>,
}

impl Measure {
    pub(super) fn new(metrics: Metrics) -> Self {
        let methods = METHODS.iter().map(|name| (*name, MethodName(name))).collect();
        Self { metrics, methods: Arc::new(methods) }
    }
}

impl Around for Measure {
    async fn answer(self, mut request: Request<Body>, inner: impl Inner) -> HttpAnswer {
        let name = request.uri().path().trim_start_matches('/');
        let method = self.methods.get(name).copied().unwrap_or(MethodName(OTHER));
        request.extensions_mut().insert(method);
        let (metrics, started) = (self.metrics, Instant::now());
        // A caller that goes away drops the future, and this with it.
        let ending = Ending { metrics, method, started, code: Code::Cancelled };
        inner.ask(request).await.map(|answer| ending.follow(answer))
    }
}

/// Records a call once, however it ends.
struct Ending {
    metrics: Metrics,
    method: MethodName,
    started: Instant,
    code: Code,
}

impl Ending {
    /// Waits for the status: in the headers of an answer without a body, or after its body.
    fn follow(mut self, answer: Response<Body>) -> Response<Body> {
        self.read(answer.headers());
        answer.map(move |body| {
            Body::new(body.inspect_frame(move |frame| {
                if let Some(trailers) = frame.trailers_ref() {
                    self.read(trailers);
                }
            }))
        })
    }

    fn read(&mut self, headers: &HeaderMap) {
        if let Some(code) = counted(&self.metrics, headers) {
            self.code = code;
        }
    }
}

/// The code of the status in headers or trailers, if they have one. A refusal is counted by its
/// limit.
pub(super) fn counted(metrics: &Metrics, headers: &HeaderMap) -> Option<Code> {
    let status = Status::from_header_map(headers)?;
    if let Some(limit) = limit(&status) {
        metrics.refused(&limit);
    }
    Some(status.code())
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.metrics.rpc(self.method.0, code_name(self.code), self.started.elapsed());
    }
}

/// The status code's name in metrics and logs.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
