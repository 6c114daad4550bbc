//! What every method shares: who calls, how long they wait, a bound on calls under way, one span
//! and one measurement each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;

use super::callers::Callers;
use super::decode::Fields;
use super::quota::Quotas;
use super::status;
use crate::app::{Actor, App, Call, Caller, Error};
use crate::domain::ids::TenantId;
use crate::telemetry::{self, Metrics};

/// Both services: thin, shared by all connections.
#[derive(Clone)]
pub struct Server {
    pub(super) app: App,
    callers: Arc<Callers>,
    pub(super) metrics: Metrics,
    /// Bounds the calls under way over all connections.
    permits: Arc<Semaphore>,
    quotas: Arc<Quotas>,
    /// Bounds the streams that are open.
    pub(super) watches: Arc<Semaphore>,
    /// Cancelled when the server drains: streams end.
    pub(super) closing: CancellationToken,
    /// The longest a call may take.
    longest: Duration,
}

/// A call whose caller is known.
pub(super) struct Inbound {
    caller: Caller,
    deadline: Duration,
}

/// How long TestSlack waits where the caller names no deadline.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much sooner than the caller's deadline a call is given up.
const EARLIER: Duration = Duration::from_millis(20);
/// Kept back from the caller's deadline, so that the answer still arrives in time.
const MARGIN: Duration = Duration::from_millis(200);

impl Server {
    pub fn new(app: App, callers: Arc<Callers>, metrics: Metrics, config: &super::Config) -> Self {
        let permits = Arc::new(Semaphore::new(config.max_concurrent_calls));
        let watches = Arc::new(Semaphore::new(config.max_watches));
        let quotas = Arc::new(Quotas::new(config.caller_calls_per_second));
        let (closing, longest) = (CancellationToken::new(), config.longest_call);
        Self { app, callers, metrics, permits, quotas, watches, closing, longest }
    }

    /// Ends streams when `closing` is cancelled.
    pub(super) fn closing_on(self, closing: CancellationToken) -> Self {
        Self { closing, ..self }
    }

    /// Authenticates, bounds, times and measures one call. The deadline is our own: tonic's
    /// answers CANCELLED (lessons.md).
    pub(super) async fn serve<M, A>(
        &self,
        method: &'static str,
        request: Request<M>,
        handle: impl AsyncFnOnce(Inbound, M) -> Result<A, Error>,
    ) -> Result<Response<A>, Status> {
        let started = Instant::now();
        let span = span(method, request.metadata());
        let result = self.answer(request, handle).instrument(span.clone()).await;
        let code = code_name(result.as_ref().err().map_or(Code::Ok, Status::code));
        span.record("code", code);
        self.metrics.rpc(method, code, started.elapsed());
        result.map(Response::new)
    }

    /// Authenticates, bounds and times.
    pub(super) async fn answer<M, A>(
        &self,
        request: Request<M>,
        handle: impl AsyncFnOnce(Inbound, M) -> Result<A, Error>,
    ) -> Result<A, Status> {
        let caller = self.callers.identify(request.metadata())?;
        let _permit = self
            .permits
            .try_acquire()
            .map_err(|_| status::overloaded("rpc.max_concurrent_calls"))?;
        self.quotas.take(&caller.principal, Instant::now()).map_err(status::quota)?;
        let asked = timeout(request.metadata());
        let deadline = asked.unwrap_or(self.longest).min(self.longest);
        // A little before tonic's own, which would answer CANCELLED (lessons.md).
        let deadline = deadline.saturating_sub(EARLIER.min(deadline / 10));
        let patience = asked.unwrap_or(PATIENCE + MARGIN).min(self.longest);
        let inbound = Inbound { caller, deadline: patience };
        match tokio::time::timeout(deadline, handle(inbound, request.into_inner())).await {
            Ok(result) => result.map_err(Status::from),
            Err(_) => Err(status::deadline()),
        }
    }
}

impl Inbound {
    /// How long this caller is willing to wait for an outcome.
    pub(super) fn patience(&self) -> Duration {
        self.deadline.saturating_sub(MARGIN)
    }

    /// Ends decoding. Permission comes before complaints about the payload only where the tenant
    /// itself could be read; a call with bad fields is told all of them.
    pub(super) fn complete<T>(
        self,
        fields: Fields,
        tenant: Option<TenantId>,
        actor: Option<Actor>,
        rest: Option<T>,
    ) -> Result<(Call, T), Error> {
        fields.end()?;
        match (tenant, rest) {
            (Some(tenant), Some(rest)) => Ok((Call { caller: self.caller, tenant, actor }, rest)),
            // A field that is absent has left its note, so this is a defect of a decoder.
            _ => Err(Error::invalid("request", "is incomplete")),
        }
    }
}

/// The span of a call, in the caller's trace where it names one.
pub(super) fn span(method: &'static str, metadata: &MetadataMap) -> tracing::Span {
    let span = tracing::info_span!("rpc", method, code = tracing::field::Empty);
    let parent = metadata.get("traceparent").and_then(|text| text.to_str().ok());
    telemetry::continue_from(&span, parent);
    span
}

/// The caller's deadline from `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2).
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = if digits.len() <= 8 { digits.parse().ok()? } else { return None };
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// The status code's name as metrics and logs write it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_and_rubbish_is_not() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        for rubbish in ["", "S", "5", "-1S", "123456789S", "5x"] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }
}
