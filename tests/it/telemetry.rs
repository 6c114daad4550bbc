//! Traces and metrics over OTLP, from the real process to a collector in the test; and collectors
//! that are down or hang, which must not affect callers (faults.md 31). Only on SQLite, because
//! none of this depends on the database.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::sandbox::{self, Fault, FaultKind};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::crash::{Site, all_sent, email, member_id, message, person, service, site_on};
use crate::support::process::{Herald, PATIENCE};

/// The default of `process.grace_seconds`.
const GRACE: Duration = Duration::from_secs(25);
/// The caller's trace and span: the example in the W3C's document.
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const PARENT: u64 = 0x00f0_67aa_0ba9_02b7;

/// Accepts everything that it is sent.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Serves until the test ends.
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        let traces = self.traces.lock().unwrap();
        let scopes = traces.iter().flat_map(|sent| &sent.resource_spans);
        scopes.flat_map(|of| &of.scope_spans).flat_map(|of| of.spans.clone()).collect()
    }

    /// The last value of a counter, by its only label.
    fn counted(&self, name: &str) -> HashMap<String, i64> {
        let metrics = self.metrics.lock().unwrap();
        let scopes = metrics.iter().flat_map(|sent| &sent.resource_metrics);
        let all = scopes.flat_map(|of| &of.scope_metrics).flat_map(|of| &of.metrics);
        let mut counted = HashMap::new();
        for metric in all.filter(|metric| metric.name == name) {
            let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
            for point in &sum.data_points {
                let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
                let label = point.attributes[0].value.as_ref().unwrap();
                counted.insert(format!("{label:?}"), value);
            }
        }
        counted
    }

    /// Every text that was sent, and more.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}\n{:?}", self.traces.lock().unwrap(), self.metrics.lock().unwrap())
    }
}

/// A process that reports to `collector`, and its Slack.
async fn reporting_to(collector: SocketAddr) -> (Site, Herald) {
    let mut site = site_on(false, 1).await.unwrap();
    site.more.push(format!("otlp.endpoint=http://{collector}"));
    let herald = site.start_connected().await;
    (site, herald)
}

/// Notifies within the caller's trace, waits until the message is in Slack, and ends the process.
async fn notify_and_end(site: &Site, mut herald: Herald) {
    let mut request = Request::new(message(0, 1));
    let traceparent = format!("00-{TRACE:032x}-{PARENT:016x}-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", traceparent);
    let answer = service(herald.channel()).notify(request).await.unwrap().into_inner();
    all_sent(&herald.channel(), &[answer.notification_id]).await;
    assert_eq!(site.sandbox.messages().len(), 1);
    herald.signal("TERM");
    // Within the grace.
    let status = timeout(GRACE, herald.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(herald.log().contains("\"stopped\""));
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    found.next().unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    format!("{:?}", found.unwrap_or_else(|| panic!("{span:?} has no {key}")).value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_caller_through_the_outbox_to_slack() {
    let (collector, address) = Collector::start().await;
    let (site, herald) = reporting_to(address).await;
    notify_and_end(&site, herald).await;

    // Reading the member list, connecting and so on have traces of their own.
    let mut spans = collector.spans();
    spans.retain(|span| span.trace_id == TRACE.to_be_bytes());
    let (rpc, accept) = (named(&spans, "rpc"), named(&spans, "store.accept"));
    let deliver = named(&spans, "deliver");
    assert_eq!(rpc.parent_span_id, PARENT.to_be_bytes());
    assert!(attribute(rpc, "method").contains("Notify"));
    assert!(attribute(rpc, "code").contains("\"OK\""));
    assert_eq!(accept.parent_span_id, rpc.span_id);
    assert_eq!(deliver.parent_span_id, rpc.span_id);
    // On a slow machine the request gets a turn of its own later.
    let delivers = spans.iter().filter(|span| span.name == "deliver");
    let turns: Vec<_> = delivers.map(|span| &span.span_id).collect();
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "slack.call").collect();
    assert!(calls.iter().all(|call| turns.contains(&&call.parent_span_id)), "{calls:#?}");
    assert!(
        calls.iter().any(|call| attribute(call, "method").contains("chat.postMessage")
            && attribute(call, "outcome").contains("\"ok\"")),
        "{calls:#?}"
    );

    // The process lived for less than a minute, so these were sent at its end.
    let notified = collector.counted("herald_notify_total");
    assert_eq!(notified.values().sum::<i64>(), 1, "{notified:?}");
    assert!(!collector.counted("herald_deliveries_total").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_names_a_person_or_a_secret() {
    let (collector, address) = Collector::start().await;
    let (site, herald) = reporting_to(address).await;
    notify_and_end(&site, herald).await;
    let sent = collector.everything();
    assert!(sent.contains("slack.call") && sent.contains("herald_notify_total"));
    let secret = sandbox::Config::default().client_secret;
    let text = site.sandbox.messages()[0].text.clone();
    assert!(!text.is_empty());
    for private in [&email(0), &person(0), &member_id(0), "xox", secret.expose(), &text, "No 000"] {
        assert!(!sent.contains(private), "{private} was sent");
    }
}

/// The HTTP side, which serves the metrics too, has long ended when this delivery ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_after_the_signal_is_measured_and_sent() {
    let (collector, address) = Collector::start().await;
    let (site, mut herald) = reporting_to(address).await;
    let late = FaultKind::Delay { seconds: 2.0 };
    site.sandbox.script(Fault::new("chat.postMessage", late).after());
    let mut stored = site.sandbox.stored();
    service(herald.channel()).notify(message(0, 1)).await.unwrap();
    timeout(PATIENCE, stored.wait_for(|count| *count == 1)).await.unwrap().unwrap();
    herald.signal("TERM");
    assert_eq!(herald.ended().await.code(), Some(0));
    let came_into = collector.counted("herald_deliveries_total");
    assert!(came_into.keys().any(|state| state.contains("\"sent\"")), "{came_into:?}");
    named(&collector.spans(), "deliver");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_not_noticed() {
    // Bound but not listening: connections are refused, and no other process gets the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (site, herald) = reporting_to(nobody.local_addr().unwrap()).await;
    notify_and_end(&site, herald).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_is_not_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (site, herald) = reporting_to(address).await;
    notify_and_end(&site, herald).await;
    assert!(accepted.load(Ordering::SeqCst) > 0, "the process never tried");
}
