//! The destination and the format of log lines: standard error, as text or one JSON object a line.

use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use tracing_subscriber::registry::LookupSpan;

use super::{Error, traces};

/// Crates whose verbose levels write request headers, bodies or SQL values (invariant I12), with
/// the most verbose level that they may use. No filter overrides it.
const KEPT_QUIET: &[(&str, Level)] = &[
    ("h2", Level::INFO),
    ("hyper", Level::INFO),
    ("hyper_util", Level::INFO),
    ("opentelemetry_sdk", Level::WARN),
    ("reqwest", Level::INFO),
    ("rustls", Level::INFO),
    ("sea_orm", Level::WARN),
    ("sea_orm_migration", Level::WARN),
    ("sqlx", Level::WARN),
    ("tonic", Level::INFO),
    ("tower", Level::INFO),
];

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For log collectors: one JSON object a line, with flattened fields.
    Json,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `text` or `json`. Default `text`.
    pub format: Format,
    /// Filter of log lines, in the syntax of tracing-subscriber, such as `info,herald=debug`.
    /// Default `info`. Levels at which libraries would log headers or values are off in any case.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Text, filter: "info".to_owned() }
    }
}

/// Keeps traces running. When it is dropped, queued spans are sent, which takes a few seconds at
/// most: an unavailable collector does not hold up the process.
#[must_use = "dropping it ends the traces"]
#[derive(Debug)]
pub struct Tracing(Option<SdkTracerProvider>);

impl Drop for Tracing {
    fn drop(&mut self) {
        let Some(provider) = &self.0 else { return };
        if let Err(error) = provider.shutdown_with_timeout(traces::FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// From here on, sends the log lines of the whole process to standard error, and its spans to a
/// collector if one is configured. Call it once, in a tokio runtime.
pub fn init(config: &Config, otlp: &traces::Config) -> Result<Tracing, Error> {
    let provider = match &otlp.endpoint {
        Some(endpoint) => Some(traces::provider(endpoint, otlp.sample_ratio)?),
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(traces::tracer(provider))
            .with_filter(filter_fn(|about| about.is_span() && about.target().starts_with("herald")))
    });
    subscriber(config, std::io::stderr)?.with(spans).try_init().map_err(|_| Error::AlreadySet)?;
    Ok(Tracing(provider))
}

fn subscriber<W>(
    config: &Config,
    writer: W,
) -> Result<impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<W>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_ansi(false).with_writer(writer);
    let lines = match config.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let wanted = filter(&config.filter)?.and(filter_fn(may_speak));
    Ok(tracing_subscriber::registry().with(lines.with_filter(wanted)))
}

fn filter(text: &str) -> Result<EnvFilter, Error> {
    // EnvFilter reads an empty text as "errors only"; refuse it rather than lose lines.
    if text.trim().is_empty() {
        return Err(Error::Filter(text.to_owned()));
    }
    EnvFilter::try_new(text).map_err(|_| Error::Filter(text.to_owned()))
}

fn may_speak(about: &Metadata<'_>) -> bool {
    let target = about.target();
    let krate = target.split_once("::").map_or(target, |(krate, _)| krate);
    KEPT_QUIET.iter().find(|(name, _)| *name == krate).is_none_or(|(_, most)| about.level() <= most)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(config: &Config, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(config, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_flat_fields() {
        let config = Config { format: Format::Json, ..Config::default() };
        let text = written(&config, || tracing::info!(count = 3, "refreshed"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "refreshed");
        assert_eq!(line["count"], 3);
    }

    #[test]
    fn no_filter_makes_the_transport_talk() {
        let config =
            Config { filter: "trace,hyper=trace,h2::codec=trace".to_owned(), ..Config::default() };
        let text = written(&config, || {
            tracing::debug!(target: "hyper", "headers");
            tracing::trace!(target: "h2::codec", "frame");
            tracing::debug!(target: "sqlx::query", "values");
            tracing::trace!("ours");
        });
        assert!(text.contains("ours"), "{text}");
        assert!(!["headers", "frame", "values"].iter().any(|word| text.contains(word)), "{text}");
    }

    #[test]
    fn a_broken_filter_is_refused_with_a_sentence() {
        for text in ["", "herald=loudest", "a=b=c"] {
            let error = filter(text).unwrap_err();
            assert!(error.to_string().contains("is not a log filter"), "{error}");
        }
    }
}
