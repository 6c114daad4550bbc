//! Traces over OTLP, and their context, which comes from a caller and is carried through the outbox
//! to the call to Slack (W3C Trace Context; <https://www.w3.org/TR/trace-context/>).
//!
//! A slow or unavailable collector costs spans, never a call: exporting has its own queue, thread
//! and time-out.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Error;

/// Where traces and metrics are sent (`[otlp]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An OTLP collector over gRPC, such as `http://collector:4317` or, with a certificate that the
    /// system trusts, `https://collector:4317`. Default: none, and nothing is sent; `/metrics`
    /// still has the metrics.
    pub endpoint: Option<String>,
    /// The share of the traces begun by Herald that is sent, 0 to 1. For a trace that a caller
    /// began, the caller decides. Default `1.0`.
    pub sample_ratio: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 1.0 }
    }
}

impl Config {
    /// Refuses settings that cannot work; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        if let Some(endpoint) = &self.endpoint {
            let web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
            if !web {
                return Err("endpoint must be an http or https address, such as \
                            http://collector:4317"
                    .into());
            }
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err("sample_ratio must be between 0 and 1".into());
        }
        Ok(())
    }
}

/// How long one export may take.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the process may wait for the last metrics, and then for the last spans.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The description of this process in every export.
pub(super) fn resource() -> Resource {
    Resource::builder().with_service_name("herald").build()
}

/// The provider that sends spans to `endpoint`. Needs a tokio runtime; connects when it first
/// sends.
pub(super) fn provider(endpoint: &str, sample_ratio: f64) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    let exporter = secured(exporter, endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| Error::Otlp(error.to_string()))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource())
        .build())
}

/// An https collector is verified with the system's certificate authorities; `SSL_CERT_FILE` names
/// others.
pub(super) fn secured<E: WithTonicConfig>(exporter: E, endpoint: &str) -> E {
    if endpoint.starts_with("https://") {
        exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots())
    } else {
        exporter
    }
}

/// The tracer behind the spans.
pub(super) fn tracer(provider: &SdkTracerProvider) -> SdkTracer {
    provider.tracer("herald")
}

/// The key under which the context travels.
const TRACEPARENT: &str = "traceparent";

/// The current span's context as a `traceparent`, to be stored with an accepted request. `None` if
/// nothing is traced.
#[must_use]
pub fn context() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of the context in a `traceparent`; an invalid one is ignored.
pub fn continue_from(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    if context.span().span_context().is_valid() {
        // Fails only if no layer keeps spans, and then there is nothing to continue.
        let _ = span.set_parent(context);
    }
}
