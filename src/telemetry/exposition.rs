//! The instruments in Prometheus' text format, for `/metrics`.

use opentelemetry::metrics::MeterProvider;
use opentelemetry_otlp::{MetricExporter, WithExportConfig as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};

use super::{Error, Metrics, traces};

/// Keeps the metrics and prints them. Cloning is cheap. A process needs one; several are
/// independent, so each test can have its own.
#[derive(Debug, Clone)]
pub struct Exposition {
    registry: Registry,
    provider: SdkMeterProvider,
    metrics: Metrics,
}

impl Exposition {
    /// Prints the metrics, and also sends them to a collector if one is configured.
    pub fn new(otlp: &traces::Config) -> Result<Self, Error> {
        let registry = Registry::new();
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .map_err(|error| Error::Metrics(error.to_string()))?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // The table has the names in the form in which they are printed.
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| Error::Metrics(error.to_string()))?;
        let mut builder =
            SdkMeterProvider::builder().with_reader(exporter).with_resource(traces::resource());
        if let Some(endpoint) = &otlp.endpoint {
            let sender = MetricExporter::builder().with_tonic().with_endpoint(endpoint);
            let sender = traces::secured(sender, endpoint)
                .with_timeout(traces::EXPORT_TIMEOUT)
                .build()
                .map_err(|error| Error::Otlp(error.to_string()))?;
            builder = builder.with_periodic_exporter(sender);
        }
        let provider = builder.build();
        let metrics = Metrics::new(&provider.meter("herald"));
        Ok(Self { registry, provider, metrics })
    }

    /// The recorders whose values are printed here.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The body of `/metrics`. An instrument appears once it has recorded a value.
    pub fn text(&self) -> Result<String, Error> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| Error::Metrics(error.to_string()))
    }

    /// The media type of [`Exposition::text`].
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        prometheus::TEXT_FORMAT
    }

    /// Sends the collector the metrics that it does not have yet, and stops collecting; for the end
    /// of the process. Takes a few seconds at most: if the collector is unavailable, these metrics
    /// are lost.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (done, ended) = tokio::sync::oneshot::channel();
        let provider = self.provider.clone();
        // It blocks. It runs in its own thread, because at its end the runtime would wait for one
        // of its own threads.
        std::thread::Builder::new()
            .name("metrics-shutdown".into())
            .spawn(move || done.send(provider.shutdown()))
            .map_err(|error| Error::Metrics(error.to_string()))?;
        match tokio::time::timeout(traces::FLUSH_TIMEOUT, ended).await {
            Ok(Ok(result)) => result.map_err(|error| Error::Metrics(error.to_string())),
            Ok(Err(_)) => Err(Error::Metrics("the shutdown panicked".into())),
            Err(_) => Err(Error::Metrics("the collector did not take them in time".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{INSTRUMENTS, InstrumentKind, Outbox};

    fn values(name: &str, label: usize) -> &'static [&'static str] {
        INSTRUMENTS.iter().find(|of| of.name == name).unwrap().labels[label].values
    }

    /// Records every listed value of every label once.
    fn everything(metrics: &Metrics) {
        let took = Duration::from_millis(20);
        metrics.begin(&["users.list"], &["herald.v1.HeraldService/Notify"]);
        for outcome in values("herald_slack_requests_total", 1) {
            metrics.slack_request("users.list", outcome, took);
        }
        for state in values("herald_deliveries_total", 0) {
            metrics.deliveries(state, 1);
        }
        for result in values("herald_notify_total", 0) {
            metrics.notify(result);
        }
        for kind in values("herald_directory_members", 0) {
            metrics.directory_members(kind, 7);
        }
        for condition in values("herald_directory_workspaces", 0) {
            metrics.directory_workspaces(condition, 2);
        }
        for result in values("herald_directory_crawls_total", 0) {
            metrics.crawl(result);
        }
        metrics.crawl_page();
        metrics.crawl_progress(1, 999);
        metrics.directory_age(took, took);
        for from in values("herald_directory_loads_total", 0) {
            metrics.directory_load(from);
        }
        for result in values("herald_slack_events_total", 0) {
            metrics.slack_events(result, 2);
        }
        for result in values("herald_slack_interactions_total", 0) {
            metrics.slack_interactions(result);
        }
        for result in values("herald_custom_fields_total", 0) {
            metrics.custom_fields(result);
        }
        metrics.custom_fields_missing(5);
        for code in values("herald_rpc_requests_total", 1) {
            metrics.rpc("herald.v1.HeraldService/Notify", code, took);
        }
        metrics.delivery_latency(took);
        metrics.lanes_claimed(3);
        everything_of_connections(metrics);
        metrics.audit_entries(2);
        metrics.outbox(&Outbox {
            ready_age: took,
            rows: 5,
            dead_rows: Some(2),
            oldest_snapshot_age: Some(9),
        });
    }

    fn everything_of_connections(metrics: &Metrics) {
        for state in values("herald_channels", 0) {
            metrics.channels(state, 2);
        }
        for state in values("herald_workspaces", 0) {
            metrics.workspaces(state, 2);
        }
        for state in values("herald_channel_members", 0) {
            metrics.channel_members(state, 2);
        }
        for step in values("herald_channel_steps_total", 0) {
            metrics.channel_step(step, "done");
        }
    }

    #[test]
    fn what_is_printed_is_the_table() {
        let exposition = Exposition::new(&traces::Config::default()).unwrap();
        everything(&exposition.metrics());
        let text = exposition.text().unwrap();

        let mut printed: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        // The metrics of the process have the names that Prometheus uses everywhere.
        for line in text.lines().filter(|line| !line.contains(" process_")) {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                    printed.entry(name).or_default().0 = help;
                }
                (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                    printed.entry(name).or_default().1 = kind;
                }
                _ => {}
            }
        }
        let table: BTreeMap<&str, (&str, &str)> = INSTRUMENTS
            .iter()
            .map(|of| {
                let kind = match of.kind {
                    InstrumentKind::Counter => "counter",
                    InstrumentKind::Gauge => "gauge",
                    InstrumentKind::Histogram(_) => "histogram",
                };
                (of.name, (of.description, kind))
            })
            .collect();
        assert_eq!(printed, table);
    }

    #[test]
    fn labels_are_those_of_the_table_and_closed() {
        let exposition = Exposition::new(&traces::Config::default()).unwrap();
        everything(&exposition.metrics());
        let text = exposition.text().unwrap();
        assert!(!text.contains("\"other\""), "a listed value was not recognised:\n{text}");
        for of in INSTRUMENTS {
            let expected: BTreeSet<&str> = of.labels.iter().map(|label| label.name).collect();
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let series = line.split(['{', ' ']).next().unwrap();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| series.strip_suffix(suffix))
                    .unwrap_or(series);
                if base != of.name {
                    continue;
                }
                let found: BTreeSet<&str> = line
                    .split_once('{')
                    .map_or("", |(_, rest)| rest.split('}').next().unwrap())
                    .split(',')
                    .filter_map(|pair| pair.split_once('=').map(|(name, _)| name))
                    .filter(|name| *name != "le")
                    .collect();
                assert_eq!(found, expected, "{line}");
            }
        }
    }

    #[test]
    fn a_value_outside_the_list_is_other() {
        let exposition = Exposition::new(&traces::Config::default()).unwrap();
        exposition.metrics().notify("somebody@example.com");
        let text = exposition.text().unwrap();
        assert!(text.contains("herald_notify_total{result=\"other\"} 1"), "{text}");
    }

    #[test]
    fn every_counter_begins_at_zero_with_each_value_of_its_labels() {
        let exposition = Exposition::new(&traces::Config::default()).unwrap();
        exposition.metrics().begin(&["users.list"], &["herald.v1.HeraldService/Notify"]);
        let text = exposition.text().unwrap();
        for series in [
            "herald_notify_total{result=\"failed\"} 0",
            "herald_deliveries_total{state=\"parked\"} 0",
            "herald_lanes_claimed_total 0",
            "herald_slack_requests_total{method=\"users.list\",outcome=\"throttled\"} 0",
            "code=\"INTERNAL\",method=\"herald.v1.HeraldService/Notify\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in:\n{text}");
        }
        assert!(text.contains("herald_build_info{version=\""), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }

    #[test]
    fn two_expositions_do_not_mix() {
        let (one, two) = (
            Exposition::new(&traces::Config::default()).unwrap(),
            Exposition::new(&traces::Config::default()).unwrap(),
        );
        one.metrics().lanes_claimed(1);
        assert!(one.text().unwrap().contains("herald_lanes_claimed_total 1"));
        assert!(!two.text().unwrap().contains("herald_lanes_claimed_total"));
        Metrics::unobserved().lanes_claimed(1);
    }

    #[test]
    fn units_and_buckets_arrive() {
        let exposition = Exposition::new(&traces::Config::default()).unwrap();
        exposition.metrics().slack_request("users.list", "ok", Duration::from_millis(20));
        let text = exposition.text().unwrap();
        let line =
            "herald_slack_request_duration_seconds_bucket{method=\"users.list\",le=\"0.025\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
