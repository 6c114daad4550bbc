//! Speed, as ratios to floors that are measured in the same run on the same machine:
//! `cargo bench --bench load -- [--quick] [row...]`.
//!
//! A ratio is more useful than a rate, because it holds on another machine. `herald serve` runs as
//! a process of its own; callers, floors and the sandbox run in this one, on the same cores.
//! PostgreSQL is the server named in `HERALD_TEST_POSTGRES`, with its own settings: the heading
//! shows whether it syncs. Nothing is asserted.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and fails by panicking"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and counts, far below 2^52"
)]
#![expect(clippy::too_many_lines, reason = "a row is measured from its start to its end")]

mod accept;
mod claims;
mod delivery;
mod fair;
mod floor;
mod lanes;
mod latency;
mod one_feed;
mod overload;
mod pacing;
mod processes;
mod resolve;
mod retention;
mod stage;
mod start;
mod templates;
mod told;
mod watchers;
mod workspaces;

use std::time::Duration;

/// The extent of each measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Duration of the measurement of one rate.
    pub(crate) span: Duration,
    /// Whether counts are reduced.
    pub(crate) quick: bool,
}

impl Effort {
    pub(crate) fn count(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// One line of the table.
pub(crate) fn tell(
    row: &str,
    database: &str,
    measured: &str,
    floor: &str,
    ratio: &str,
    reach: &str,
) {
    println!("| {row} | {database} | {measured} | {floor} | {ratio} | {reach} |");
}

/// `measured` relative to `floor`, both in units per second.
pub(crate) fn tell_ratio(row: &str, database: &str, measured: f64, floor: f64, reach: &str) {
    let ratio = format!("{:.2} x", measured / floor);
    tell(row, database, &format!("{measured:.0}/s"), &format!("{floor:.0}/s"), &ratio, reach);
}

fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(Box::pin(run()));
}

async fn run() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let quick = arguments.iter().any(|word| word == "--quick");
    let rows: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let wanted = |row: &str| rows.is_empty() || rows.contains(&row);
    let effort = Effort { span: Duration::from_secs(if quick { 2 } else { 6 }), quick };

    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!("{cores} cores; SQLite with synchronous=FULL; {}\n", stage::describe_postgres().await);
    println!("| row | database | measured | floor | ratio | reach |");
    println!("|---|---|---|---|---|---|");
    if wanted("start") {
        start::run().await;
    }
    for database in stage::databases() {
        if wanted("accept") {
            accept::run(database, effort).await;
        }
        if wanted("templates") {
            templates::run(database, effort).await;
        }
        if wanted("resolve") {
            resolve::run(database, effort).await;
        }
        if wanted("delivery") {
            delivery::run(database, effort).await;
        }
        if wanted("drained") {
            delivery::run_drained(database, effort).await;
        }
        if wanted("latency") {
            latency::run(database, effort).await;
        }
        if wanted("lanes") {
            lanes::run(database, effort).await;
        }
        if wanted("claims") {
            claims::run(database, effort).await;
        }
        if wanted("pacing") {
            pacing::run(database, effort).await;
        }
        if wanted("told") {
            told::run(database, effort).await;
        }
        if wanted("retention") {
            retention::run(database, effort).await;
        }
        if wanted("watchers") {
            watchers::run(database, effort).await;
        }
        if wanted("fair") {
            fair::run(database, effort).await;
        }
        if wanted("overload") {
            overload::run(database, effort).await;
        }
        if wanted("workspaces") {
            Box::pin(workspaces::run(database, effort)).await;
        }
    }
}
