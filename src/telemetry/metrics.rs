//! One typed recorder for each instrument of the table, through OpenTelemetry's API.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider, NoopMeterProvider};

use super::instrument::{Instrument, InstrumentKind, Label};
use super::instruments;
use super::watchdog::Watchdog;

/// The value of a label if the given value is not on its list.
const OTHER: &str = "other";

/// Records events. Cloning is cheap; every clone writes to the same instruments.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Recorders>);

/// The condition of the table of deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Outbox {
    /// Time for which the earliest due lane has waited for a worker.
    pub ready_age: Duration,
    /// Deliveries that have not moved to history.
    pub rows: u64,
    /// Rows that PostgreSQL has not vacuumed yet.
    pub dead_rows: Option<u64>,
    /// Transactions since the oldest snapshot for which PostgreSQL must keep rows.
    pub oldest_snapshot_age: Option<u64>,
}

#[derive(Debug)]
struct Recorders {
    slack_requests: Counter<u64>,
    slack_seconds: Histogram<f64>,
    deliveries: Counter<u64>,
    notify: Counter<u64>,
    delivery_latency: Histogram<f64>,
    directory_members: Gauge<u64>,
    directory_workspaces: Gauge<u64>,
    directory_age: Gauge<u64>,
    directory_overdue: Gauge<u64>,
    directory_crawls: Counter<u64>,
    crawl_pages: Counter<u64>,
    crawl_progress: Gauge<u64>,
    directory_loads: Counter<u64>,
    too_costly: Counter<u64>,
    slack_events: Counter<u64>,
    slack_interactions: Counter<u64>,
    custom_fields: Counter<u64>,
    custom_fields_missing: Gauge<u64>,
    lanes_claimed: Counter<u64>,
    unreadable_rows: Counter<u64>,
    audit_entries: Counter<u64>,
    outbox_ready_seconds: Gauge<u64>,
    outbox_rows: Gauge<u64>,
    outbox_dead_rows: Gauge<u64>,
    database_snapshot_age: Gauge<u64>,
    upkeep_failures: Counter<u64>,
    channels: Gauge<u64>,
    channel_members: Gauge<u64>,
    channel_steps: Counter<u64>,
    workspaces: Gauge<u64>,
    alerts: Counter<u64>,
    home_tabs: Counter<u64>,
    discarded_tokens: Counter<u64>,
    refusals: Counter<u64>,
    rpc_requests: Counter<u64>,
    rpc_seconds: Histogram<f64>,
    watchdog: Watchdog,
    build_info: Gauge<u64>,
}

impl Metrics {
    /// Instruments of `meter`; [`super::Exposition::metrics`] provides one whose values are
    /// printed.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self(Arc::new(Recorders {
            slack_requests: counter(meter, &instruments::SLACK_REQUESTS),
            slack_seconds: histogram(meter, &instruments::SLACK_SECONDS),
            deliveries: counter(meter, &instruments::DELIVERIES),
            notify: counter(meter, &instruments::NOTIFY),
            delivery_latency: histogram(meter, &instruments::DELIVERY_LATENCY),
            directory_members: gauge(meter, &instruments::DIRECTORY_MEMBERS),
            directory_workspaces: gauge(meter, &instruments::DIRECTORY_WORKSPACES),
            directory_age: gauge(meter, &instruments::DIRECTORY_AGE),
            directory_overdue: gauge(meter, &instruments::DIRECTORY_OVERDUE),
            directory_crawls: counter(meter, &instruments::DIRECTORY_CRAWLS),
            crawl_pages: counter(meter, &instruments::CRAWL_PAGES),
            crawl_progress: gauge(meter, &instruments::CRAWL_PROGRESS),
            directory_loads: counter(meter, &instruments::DIRECTORY_LOADS),
            too_costly: counter(meter, &instruments::TOO_COSTLY),
            slack_events: counter(meter, &instruments::SLACK_EVENTS),
            slack_interactions: counter(meter, &instruments::SLACK_INTERACTIONS),
            custom_fields: counter(meter, &instruments::CUSTOM_FIELDS),
            custom_fields_missing: gauge(meter, &instruments::CUSTOM_FIELDS_MISSING),
            lanes_claimed: counter(meter, &instruments::LANES_CLAIMED),
            unreadable_rows: counter(meter, &instruments::UNREADABLE_ROWS),
            audit_entries: counter(meter, &instruments::AUDIT_ENTRIES),
            outbox_ready_seconds: gauge(meter, &instruments::OUTBOX_READY_SECONDS),
            outbox_rows: gauge(meter, &instruments::OUTBOX_ROWS),
            outbox_dead_rows: gauge(meter, &instruments::OUTBOX_DEAD_ROWS),
            database_snapshot_age: gauge(meter, &instruments::DATABASE_SNAPSHOT_AGE),
            upkeep_failures: counter(meter, &instruments::UPKEEP_FAILURES),
            channels: gauge(meter, &instruments::CHANNELS),
            channel_members: gauge(meter, &instruments::CHANNEL_MEMBERS),
            channel_steps: counter(meter, &instruments::CHANNEL_STEPS),
            workspaces: gauge(meter, &instruments::WORKSPACES),
            alerts: counter(meter, &instruments::ALERTS),
            home_tabs: counter(meter, &instruments::HOME_TABS),
            discarded_tokens: counter(meter, &instruments::DISCARDED_TOKENS),
            refusals: counter(meter, &instruments::REFUSALS),
            rpc_requests: counter(meter, &instruments::RPC_REQUESTS),
            rpc_seconds: histogram(meter, &instruments::RPC_SECONDS),
            watchdog: Watchdog::default(),
            build_info: gauge(meter, &instruments::BUILD_INFO),
        }))
    }

    /// Recorders that keep nothing, for tools and tests without a `/metrics` page.
    #[must_use]
    pub fn unobserved() -> Self {
        Self::new(&NoopMeterProvider::new().meter("herald"))
    }

    /// Where the background loops report each round.
    #[must_use]
    pub fn watchdog(&self) -> &Watchdog {
        &self.0.watchdog
    }

    /// Shows every counter at 0, with each value that its labels may have. If a series appeared
    /// only with its first failure, an alert on its increase would miss that failure. `slack` and
    /// `rpc` are the methods that this build calls and serves.
    pub fn begin(&self, slack: &[&'static str], rpc: &[&'static str]) {
        let counters = [
            (&self.0.slack_requests, &instruments::SLACK_REQUESTS, slack),
            (&self.0.deliveries, &instruments::DELIVERIES, &[]),
            (&self.0.notify, &instruments::NOTIFY, &[]),
            (&self.0.directory_crawls, &instruments::DIRECTORY_CRAWLS, &[]),
            (&self.0.crawl_pages, &instruments::CRAWL_PAGES, &[]),
            (&self.0.directory_loads, &instruments::DIRECTORY_LOADS, &[]),
            (&self.0.too_costly, &instruments::TOO_COSTLY, &[]),
            (&self.0.slack_events, &instruments::SLACK_EVENTS, &[]),
            (&self.0.slack_interactions, &instruments::SLACK_INTERACTIONS, &[]),
            (&self.0.custom_fields, &instruments::CUSTOM_FIELDS, &[]),
            (&self.0.lanes_claimed, &instruments::LANES_CLAIMED, &[]),
            (&self.0.unreadable_rows, &instruments::UNREADABLE_ROWS, &[]),
            (&self.0.audit_entries, &instruments::AUDIT_ENTRIES, &[]),
            (&self.0.upkeep_failures, &instruments::UPKEEP_FAILURES, &[]),
            (&self.0.channel_steps, &instruments::CHANNEL_STEPS, &[]),
            (&self.0.alerts, &instruments::ALERTS, &[]),
            (&self.0.home_tabs, &instruments::HOME_TABS, &[]),
            (&self.0.discarded_tokens, &instruments::DISCARDED_TOKENS, &[]),
            (&self.0.refusals, &instruments::REFUSALS, &[]),
            (&self.0.rpc_requests, &instruments::RPC_REQUESTS, rpc),
        ];
        for (counter, of, methods) in counters {
            for labels in combinations(of.labels, methods) {
                counter.add(0, &labels);
            }
        }
        let version = KeyValue::new("version", env!("CARGO_PKG_VERSION"));
        self.0.build_info.record(1, &[version]);
    }

    /// One call to Slack ended.
    pub fn slack_request(&self, method: &'static str, outcome: &'static str, took: Duration) {
        let labels = labelled(&instruments::SLACK_REQUESTS, [method, outcome]);
        self.0.slack_requests.add(1, &labels);
        self.0.slack_seconds.record(took.as_secs_f64(), &labels[..1]);
    }

    /// `count` deliveries entered `state` (`domain::delivery::State::code`).
    pub fn deliveries(&self, state: &'static str, count: u64) {
        self.0.deliveries.add(count, &labelled(&instruments::DELIVERIES, [state]));
    }

    /// One call of Notify was answered with `result`.
    pub fn notify(&self, result: &'static str) {
        self.0.notify.add(1, &labelled(&instruments::NOTIFY, [result]));
    }

    /// Slack stored one delivery, `after` it was due.
    pub fn delivery_latency(&self, after: Duration) {
        self.0.delivery_latency.record(after.as_secs_f64(), &[]);
    }

    /// Members of `kind` in all directories in memory.
    pub fn directory_members(&self, kind: &'static str, count: u64) {
        let labels = labelled(&instruments::DIRECTORY_MEMBERS, [kind]);
        self.0.directory_members.record(count, &labels);
    }

    /// Directories in use that are in this condition.
    pub fn directory_workspaces(&self, condition: &'static str, count: u64) {
        let labels = labelled(&instruments::DIRECTORY_WORKSPACES, [condition]);
        self.0.directory_workspaces.record(count, &labels);
    }

    /// The age of the oldest directory in use, and the time for which the most overdue one has been
    /// due.
    pub fn directory_age(&self, oldest: Duration, overdue: Duration) {
        self.0.directory_age.record(oldest.as_secs(), &[]);
        self.0.directory_overdue.record(overdue.as_secs(), &[]);
    }

    /// A turn at reading a directory ended.
    pub fn crawl(&self, result: &'static str) {
        self.0.directory_crawls.add(1, &labelled(&instruments::DIRECTORY_CRAWLS, [result]));
    }

    /// A page of a directory was read and stored.
    pub fn crawl_page(&self) {
        self.0.crawl_pages.add(1, &[]);
    }

    /// The progress of the crawls under way.
    pub fn crawl_progress(&self, pages: u64, members: u64) {
        for (of, count) in [("pages", pages), ("members", members)] {
            self.0.crawl_progress.record(count, &labelled(&instruments::CRAWL_PROGRESS, [of]));
        }
    }

    /// A member list in memory was updated `from` pages or changes.
    pub fn directory_load(&self, from: &'static str) {
        self.0.directory_loads.add(1, &labelled(&instruments::DIRECTORY_LOADS, [from]));
    }

    /// `count` people or members have no value because this `attribute` of the mapping cost too
    /// much.
    pub fn too_costly(&self, attribute: &'static str, count: u64) {
        self.0.too_costly.add(count, &labelled(&instruments::TOO_COSTLY, [attribute]));
    }

    /// `count` events from Slack had this `result`.
    pub fn slack_events(&self, result: &'static str, count: u64) {
        self.0.slack_events.add(count, &labelled(&instruments::SLACK_EVENTS, [result]));
    }

    /// An interaction from Slack had this `result`.
    pub fn slack_interactions(&self, result: &'static str) {
        self.0.slack_interactions.add(1, &labelled(&instruments::SLACK_INTERACTIONS, [result]));
    }

    /// One member's custom fields were requested: `fetched` or `failed`.
    pub fn custom_fields(&self, result: &'static str) {
        self.0.custom_fields.add(1, &labelled(&instruments::CUSTOM_FIELDS, [result]));
    }

    /// Members whose custom fields this replica has still to fetch.
    pub fn custom_fields_missing(&self, count: u64) {
        self.0.custom_fields_missing.record(count, &[]);
    }

    /// `count` lanes were claimed.
    pub fn lanes_claimed(&self, count: u64) {
        self.0.lanes_claimed.add(count, &[]);
    }

    /// `count` entries were appended to the chain of the audit trail.
    pub fn audit_entries(&self, count: u64) {
        self.0.audit_entries.add(count, &[]);
    }

    /// `count` rows of a kind could not be read.
    pub fn unreadable_rows(&self, kind: &'static str, count: u64) {
        self.0.unreadable_rows.add(count, &labelled(&instruments::UNREADABLE_ROWS, [kind]));
    }

    /// The table of deliveries was measured.
    pub fn outbox(&self, outbox: &Outbox) {
        self.0.outbox_ready_seconds.record(outbox.ready_age.as_secs(), &[]);
        self.0.outbox_rows.record(outbox.rows, &[]);
        if let Some(dead) = outbox.dead_rows {
            self.0.outbox_dead_rows.record(dead, &[]);
        }
        if let Some(age) = outbox.oldest_snapshot_age {
            self.0.database_snapshot_age.record(age, &[]);
        }
    }

    /// One part of upkeep failed.
    pub fn upkeep_failed(&self, part: &'static str) {
        self.0.upkeep_failures.add(1, &labelled(&instruments::UPKEEP_FAILURES, [part]));
    }

    /// Channels in `state` (`domain::channels::state`).
    pub fn channels(&self, state: &'static str, count: u64) {
        self.0.channels.record(count, &labelled(&instruments::CHANNELS, [state]));
    }

    /// People in `state` who are wished for in channels.
    pub fn channel_members(&self, state: &'static str, count: u64) {
        self.0.channel_members.record(count, &labelled(&instruments::CHANNEL_MEMBERS, [state]));
    }

    /// One request to Slack about a channel ended.
    pub fn channel_step(&self, step: &'static str, outcome: &'static str) {
        self.0.channel_steps.add(1, &labelled(&instruments::CHANNEL_STEPS, [step, outcome]));
    }

    /// Connections in `state` (`domain::connection`).
    pub fn workspaces(&self, state: &'static str, count: u64) {
        self.0.workspaces.record(count, &labelled(&instruments::WORKSPACES, [state]));
    }

    /// One attempt to post an alert ended with `result`.
    pub fn alert(&self, result: &'static str) {
        self.0.alerts.add(1, &labelled(&instruments::ALERTS, [result]));
    }

    /// A Home tab that was to be published had this `result`.
    pub fn home_tab(&self, result: &'static str) {
        self.0.home_tabs.add(1, &labelled(&instruments::HOME_TABS, [result]));
    }

    /// A new token was not stored; `result` is what became of it.
    pub fn discarded_token(&self, result: &'static str) {
        self.0.discarded_tokens.add(1, &labelled(&instruments::DISCARDED_TOKENS, [result]));
    }

    /// Something was refused. `limit` is the setting of the limit, or the name of a fixed limit.
    pub fn refused(&self, limit: &str) {
        let known = instruments::REFUSALS.labels.iter().flat_map(|label| label.values);
        let limit = known.copied().find(|known| *known == limit).unwrap_or(OTHER);
        self.0.refusals.add(1, &labelled(&instruments::REFUSALS, [limit]));
    }

    /// One gRPC call ended. `method` is a name of the protos (`herald.v1.HeraldService/Notify`),
    /// never a path from a client; `code` is the status in capitals (`NOT_FOUND`).
    pub fn rpc(&self, method: &'static str, code: &'static str, took: Duration) {
        let labels = labelled(&instruments::RPC_REQUESTS, [method, code]);
        self.0.rpc_requests.add(1, &labels);
        self.0.rpc_seconds.record(took.as_secs_f64(), &labels[..1]);
    }
}

fn counter(meter: &Meter, of: &Instrument) -> Counter<u64> {
    meter.u64_counter(of.name).with_unit(of.unit).with_description(of.description).build()
}

fn gauge(meter: &Meter, of: &Instrument) -> Gauge<u64> {
    meter.u64_gauge(of.name).with_unit(of.unit).with_description(of.description).build()
}

fn histogram(meter: &Meter, of: &Instrument) -> Histogram<f64> {
    let builder = meter.f64_histogram(of.name).with_unit(of.unit).with_description(of.description);
    match of.kind {
        InstrumentKind::Histogram(bounds) => builder.with_boundaries(bounds.to_vec()).build(),
        InstrumentKind::Counter | InstrumentKind::Gauge => builder.build(),
    }
}

/// Every combination of the labels' values. `open` are the values of a label without a list.
fn combinations(labels: &[Label], open: &[&'static str]) -> Vec<Vec<KeyValue>> {
    labels.iter().fold(vec![Vec::new()], |before, label| {
        let values = if label.values.is_empty() { open } else { label.values };
        let with = |so_far: &Vec<KeyValue>, value: &&'static str| {
            let mut longer = so_far.clone();
            longer.push(KeyValue::new(label.name, *value));
            longer
        };
        before.iter().flat_map(|one| values.iter().map(move |value| with(one, value))).collect()
    })
}

fn labelled<const N: usize>(of: &Instrument, values: [&'static str; N]) -> [KeyValue; N] {
    std::array::from_fn(|at| match of.labels.get(at) {
        Some(Label { name, values: closed }) => {
            let known = closed.is_empty() || closed.contains(&values[at]);
            KeyValue::new(*name, if known { values[at] } else { OTHER })
        }
        None => KeyValue::new(OTHER, OTHER),
    })
}
