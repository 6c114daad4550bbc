//! Work shared by all methods: the caller, its deadline, one span.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;
use tracing::Instrument as _;

use super::arrival::{Arrived, ShownCredentials, timeout};
use super::callers::Callers;
use super::decode::Fields;
use super::limits::Limits;
use super::measure::{MethodName, code_name};
use super::{pb, status};
use crate::app::trail::Ended;
use crate::app::{Actor, App, Call, Caller, Error};
use crate::domain::access::audit::AuditOutcome;
use crate::domain::ids::TenantId;
use crate::telemetry::{self, Metrics};

/// Serves all services; cheap to clone, and shared by all connections.
#[derive(Clone)]
pub struct Server {
    pub(super) app: App,
    pub(super) callers: Arc<Callers>,
    pub(super) metrics: Metrics,
    /// The limits of callers and tenants, over all connections.
    pub(super) limits: Arc<Limits>,
    /// Cancelled when the server drains, which ends streams.
    pub(super) closing: CancellationToken,
    /// The longest a call may take.
    longest: Duration,
}

/// A call whose caller is known.
pub(super) struct Inbound {
    pub(super) caller: Caller,
    deadline: Duration,
    /// The tenant and actor of the call, once they have been read; for the audit trail.
    about: Arc<OnceLock<(TenantId, Option<Actor>)>>,
}

/// How long TestSlack and PreviewTemplate wait if the caller sets no deadline.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before the caller's deadline a call is given up.
const EARLIER: Duration = Duration::from_millis(20);
/// Subtracted from the caller's deadline, so that the answer still arrives in time.
const MARGIN: Duration = Duration::from_millis(200);

impl Server {
    pub fn new(app: App, callers: Arc<Callers>, metrics: Metrics, config: &super::Config) -> Self {
        let limits = Arc::new(Limits::new(config));
        let (closing, longest) = (CancellationToken::new(), config.longest_call);
        Self { app, callers, metrics, limits, closing, longest }
    }

    /// Ends streams when `closing` is cancelled.
    pub(super) fn closing_on(self, closing: CancellationToken) -> Self {
        Self { closing, ..self }
    }

    /// Answers one call that passed the gate, in its own span.
    pub(super) async fn serve<M, A>(
        &self,
        request: Request<M>,
        handle: impl AsyncFnOnce(Inbound, M) -> Result<A, Error>,
    ) -> Result<Response<A>, Status> {
        let span = span(&request);
        let result = self.answer(request, handle).instrument(span.clone()).await;
        span.record("code", code_name(result.as_ref().err().map_or(Code::Ok, Status::code)));
        result.map(Response::new)
    }

    /// Answers a call, and notes its end in the audit trail.
    pub(super) async fn answer<M, A>(
        &self,
        request: Request<M>,
        handle: impl AsyncFnOnce(Inbound, M) -> Result<A, Error>,
    ) -> Result<A, Status> {
        let method = request.extensions().get::<MethodName>().map_or("", |method| method.0);
        // The gate inserted it; a request that did not pass the gate has no caller.
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(status::unknown_caller)?;
        let trail = self.app.trail();
        if let Some(ShownCredentials(shown)) = request.extensions().get() {
            trail.used(&caller.principal, shown);
        }
        let about = Arc::default();
        let called = self.admit(request, handle, caller.clone(), Arc::clone(&about)).await;
        let failed = called.as_ref().err().map(failure);
        trail.ended(&Ended { method, caller: Some(&caller), about: about.get(), failed });
        called
    }

    /// Notes that an unknown caller was refused.
    pub(super) fn turned_away(&self, method: &str, refused: &Status) {
        let failed = Some(failure(refused));
        self.app.trail().ended(&Ended { method, caller: None, about: None, failed });
    }

    async fn admit<M, A>(
        &self,
        request: Request<M>,
        handle: impl AsyncFnOnce(Inbound, M) -> Result<A, Error>,
        caller: Caller,
        about: Arc<OnceLock<(TenantId, Option<Actor>)>>,
    ) -> Result<A, Status> {
        let arrived = request.extensions().get::<Arrived>();
        let spent = arrived.map_or(Duration::ZERO, |arrived| arrived.0.elapsed());
        let asked = timeout(request.metadata()).map(|asked| asked.saturating_sub(spent));
        let deadline = asked.unwrap_or(self.longest).min(self.longest);
        // A little before the caller gives up: otherwise it would get no answer.
        let deadline = deadline.saturating_sub(EARLIER.min(deadline / 10));
        let patience = asked.unwrap_or(PATIENCE + MARGIN).min(self.longest);
        let inbound = Inbound { caller, deadline: patience, about };
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

    /// The caller, for methods that concern no tenant.
    pub(super) fn into_caller(self) -> Caller {
        self.caller
    }

    /// The call of a request that names a tenant, perhaps an actor, and nothing more.
    pub(super) fn tenant_call(
        self,
        tenant: String,
        actor: Option<pb::Actor>,
    ) -> Result<Call, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(tenant);
        let actor = fields.actor(actor);
        self.complete(fields, tenant, actor, Some(())).map(|(call, ())| call)
    }

    /// Ends decoding. Permission is checked before the payload is refused only if the tenant itself
    /// could be read; a call with bad fields gets all of them in its answer.
    pub(super) fn complete<T>(
        self,
        fields: Fields,
        tenant: Option<TenantId>,
        actor: Option<Actor>,
        rest: Option<T>,
    ) -> Result<(Call, T), Error> {
        if let Some(tenant) = &tenant {
            // Each call is completed once.
            let _ = self.about.set((tenant.clone(), actor.clone()));
        }
        fields.end()?;
        match (tenant, rest) {
            (Some(tenant), Some(rest)) => Ok((Call { caller: self.caller, tenant, actor }, rest)),
            // An absent field was noted as bad, so this is a defect of a decoder.
            _ => Err(Error::invalid("request", "is incomplete")),
        }
    }
}

/// The audit trail's reason and outcome for an answer that is not OK.
fn failure(status: &Status) -> (String, AuditOutcome) {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    let outcome = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => AuditOutcome::Refused,
        _ => AuditOutcome::Failed,
    };
    (reason, outcome)
}

/// The span of a call, in the caller's trace if it names one.
pub(super) fn span<M>(request: &Request<M>) -> tracing::Span {
    let method = request.extensions().get::<MethodName>().map(|method| method.0);
    let span = tracing::info_span!("rpc", method, code = tracing::field::Empty);
    let parent = request.metadata().get("traceparent").and_then(|text| text.to_str().ok());
    telemetry::continue_from(&span, parent);
    span
}
