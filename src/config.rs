//! All settings: composes each module's own, from the file, then the environment, then flags.
//!
//! - File: TOML, `--config FILE` or `HERALD_CONFIG`. Sections are this struct's fields.
//! - Environment: `HERALD_<SECTION>__<KEY>`, such as `HERALD_RPC__ADDRESS`. Other variables that
//!   begin with `HERALD_` are ignored: Kubernetes creates some for a service of that name.
//! - Flags: `--set section.key=value`, any number of them.
//!
//! Values from the environment and from flags are strings. If the setting is a string, the value is
//! used unchanged (a Slack client id looks like a number); otherwise it is parsed as a TOML value.

use std::path::PathBuf;
use std::time::Duration;

use figment::error::Kind;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use serde::Deserialize;

use crate::{
    app, channels, delivery, directory, doctor, http, listen, rpc, slack, store, telemetry,
    workspace,
};

/// All settings. Printing them shows no secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// gRPC: addresses, callers, limits.
    pub rpc: rpc::Config,
    /// HTTP: address, public URL.
    pub http: http::Config,
    /// Connections to gRPC and HTTP: how many, and for how long.
    pub listen: listen::Config,
    /// The database and its key.
    pub store: store::Config,
    /// The connection to Slack.
    pub slack: slack::Config,
    /// The Slack app.
    pub app: workspace::Config,
    /// Member lists.
    pub directory: directory::Config,
    /// Sending messages.
    pub delivery: delivery::Config,
    /// Channels that are made and kept in Slack.
    pub channels: channels::Config,
    /// Checks of connections to Slack.
    pub doctor: doctor::Config,
    /// Alerts about connections that are not well.
    pub alerts: doctor::AlertsConfig,
    /// The audit trail: recorded actions.
    pub audit: app::AuditConfig,
    /// Logs.
    pub log: telemetry::Config,
    /// Export of traces and metrics to a collector.
    pub otlp: telemetry::OtlpConfig,
    /// Starting and stopping.
    pub process: Process,
}

/// Starting and stopping (`[process]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Seconds for which a stopping replica still accepts calls after its health checks report that
    /// it stops, so that load balancers notice. Default `3`.
    pub lame_duck_seconds: u64,
    /// Seconds from the signal to stop until work that is not finished is dropped; closing the
    /// connections takes up to 2 more, and sending the last traces and metrics (`otlp.endpoint`) up
    /// to 6. Keep it below Kubernetes' `terminationGracePeriodSeconds`. Default `25`.
    pub grace_seconds: u64,
    /// Minutes for which a connect link works. Default `30`.
    pub connect_link_minutes: u64,
}

impl Default for Process {
    fn default() -> Self {
        Self { lame_duck_seconds: 3, grace_seconds: 25, connect_link_minutes: 30 }
    }
}

/// An invalid setting: the sentence names it and its origin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// One setting given as a string, by the environment or a flag.
struct Given {
    /// `section.key`.
    path: String,
    text: String,
    /// As the operator wrote it, for errors.
    origin: String,
    literal: bool,
}

impl Settings {
    /// Reads and checks all settings.
    pub fn load(
        file: Option<PathBuf>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, Error> {
        let settings = Self::read(file, environment, flags)?;
        settings.validate()?;
        Ok(settings)
    }

    /// Reads all settings and checks the type of each, but not whether a server could run with
    /// them. For commands that need only one or two of them.
    pub fn read(
        file: Option<PathBuf>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, Error> {
        let mut given = from_environment(environment);
        for flag in flags {
            let Some((path, text)) = flag.split_once('=') else {
                return Err(Error(format!("--set {flag}: must look like section.key=value")));
            };
            given.push(Given {
                path: path.trim().to_owned(),
                text: text.to_owned(),
                origin: format!("--set {path}"),
                literal: false,
            });
        }
        let mut base = Figment::new();
        if let Some(file) = file {
            if !file.is_file() {
                return Err(Error(format!("the settings file {} does not exist", file.display())));
            }
            base = base.merge(Toml::file_exact(file));
        }
        extract(&base, &mut given)
    }

    /// Refuses contradictions between sections, and any that a module finds in its own settings.
    fn validate(&self) -> Result<(), Error> {
        let wrong = |section: &str, sentence: String| Error(format!("{section}.{sentence}"));
        self.rpc.validate().map_err(|sentence| wrong("rpc", sentence))?;
        self.http.validate().map_err(|error| wrong("http", error.to_string()))?;
        self.listen.validate().map_err(|sentence| wrong("listen", sentence))?;
        self.slack.validate().map_err(|error| wrong("slack", error.to_string()))?;
        self.app.validate().map_err(|sentence| wrong("app", sentence))?;
        self.directory.validate().map_err(|sentence| wrong("directory", sentence))?;
        self.delivery.validate().map_err(|sentence| wrong("delivery", sentence))?;
        self.channels.validate().map_err(|sentence| wrong("channels", sentence))?;
        self.doctor.validate().map_err(|sentence| wrong("doctor", sentence))?;
        self.alerts.validate().map_err(|sentence| wrong("alerts", sentence))?;
        self.audit.validate().map_err(|sentence| wrong("audit", sentence))?;
        // A request must end within the lease under which it began (invariant I7).
        if Duration::from_secs(self.delivery.lease_seconds) < 2 * self.slack.request_timeout {
            let sentence = "lease_seconds must be at least twice slack.request_timeout";
            return Err(wrong("delivery", sentence.into()));
        }
        // The same, after the longest wait for the start of a request.
        let longest = 2 * self.slack.request_timeout + Duration::from_secs(40);
        if Duration::from_secs(self.channels.lease_seconds) < longest {
            let sentence = "lease_seconds must be at least twice slack.request_timeout and 40";
            return Err(wrong("channels", sentence.into()));
        }
        self.otlp.validate().map_err(|sentence| wrong("otlp", sentence))?;
        if self.process.grace_seconds > 24 * 3600 {
            return Err(wrong("process", "grace_seconds must be at most a day".into()));
        }
        if self.process.grace_seconds <= self.process.lame_duck_seconds {
            let sentence = "grace_seconds must be more than lame_duck_seconds";
            return Err(wrong("process", sentence.into()));
        }
        if !(1..=1440).contains(&self.process.connect_link_minutes) {
            return Err(wrong("process", "connect_link_minutes must be between 1 and 1440".into()));
        }
        Ok(())
    }
}

fn from_environment(environment: impl Iterator<Item = (String, String)>) -> Vec<Given> {
    environment
        .filter_map(|(name, text)| {
            let path = name.strip_prefix("HERALD_")?;
            let (section, key) = path.split_once("__")?;
            let path = format!("{section}.{}", key.replace("__", ".")).to_ascii_lowercase();
            Some(Given { path, text, origin: name, literal: false })
        })
        .collect()
}

/// Tries every value as a string first; a value that its setting refuses as a string is parsed as
/// TOML and tried again.
fn extract(base: &Figment, given: &mut [Given]) -> Result<Settings, Error> {
    loop {
        let mut figment = base.clone();
        for one in given.iter() {
            let value = if one.literal { literal(&one.text) } else { one.text.clone().into() };
            figment = figment.merge(Serialized::from(nest(&one.path, value), Profile::Default));
        }
        let error = match figment.extract::<Settings>() {
            Ok(settings) => return Ok(settings),
            Err(error) => error,
        };
        let path = error.path.join(".");
        let refused = matches!(error.kind, Kind::InvalidType(..));
        let culprit = given.iter_mut().rfind(|one| one.path == path);
        match culprit {
            Some(one) if refused && !one.literal => one.literal = true,
            Some(one) => return Err(Error(format!("{}: {}", one.origin, sentence(&error)))),
            None => {
                let by = given.iter().rfind(|one| one.path.starts_with(&path) && !path.is_empty());
                let at = by.map_or(path, |one| one.origin.clone());
                let at = if at.is_empty() { "the settings".to_owned() } else { at };
                return Err(Error(format!("{at}: {}", sentence(&error))));
            }
        }
    }
}

/// The value parsed as TOML, or the text itself if it is not TOML.
fn literal(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed: Result<Dict, _> = Figment::from(Toml::string(&document)).extract();
    parsed.ok().and_then(|mut dict| dict.remove("value")).unwrap_or_else(|| text.into())
}

fn nest(path: &str, value: Value) -> Dict {
    match path.split_once('.') {
        None => Dict::from([(path.to_owned(), value)]),
        Some((head, rest)) => Dict::from([(head.to_owned(), nest(rest, value).into())]),
    }
}

/// Describes the error without quoting a value, which may be a secret.
fn sentence(error: &figment::Error) -> String {
    match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            let expected = match expected.as_str() {
                "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
                "f64" => "a number",
                other => other,
            };
            format!("must be {expected}")
        }
        Kind::UnknownField(field, known) => {
            format!("{field} is not a setting; settings here are {}", known.join(", "))
        }
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        Kind::MissingField(field) => format!("{field} is missing"),
        _ => error.kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, String> {
        let environment =
            environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Settings::load(None, environment, &flags).map_err(|error| error.to_string())
    }

    const OPEN: (&str, &str) = ("HERALD_RPC__INSECURE", "true");

    #[test]
    fn texts_stay_texts_and_numbers_become_numbers() {
        let client_id = ("HERALD_APP__CLIENT_ID", "1234567890.0987654321");
        let settings = load(&[OPEN, client_id, ("HERALD_DELIVERY__WORKERS", "7")], &[]).unwrap();
        assert_eq!(settings.app.client_id, "1234567890.0987654321");
        assert_eq!(settings.delivery.workers, 7);
        assert!(settings.rpc.insecure);
    }

    #[test]
    fn flags_beat_the_environment() {
        let environment = [OPEN, ("HERALD_RPC__ADDRESS", "127.0.0.1:1")];
        let settings = load(&environment, &["rpc.address=127.0.0.1:2"]).unwrap();
        assert_eq!(settings.rpc.address.port(), 2);
    }

    #[test]
    fn what_kubernetes_injects_is_left_alone() {
        let injected =
            [OPEN, ("HERALD_PORT", "tcp://10.0.0.1:50051"), ("HERALD_SERVICE_HOST", "x")];
        assert!(load(&injected, &[]).is_ok());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
        let cases: [Case<'_>; 6] = [
            (&[OPEN, ("HERALD_RPC__ADDRESS", "nowhere")], &[], "HERALD_RPC__ADDRESS: "),
            (&[OPEN, ("HERALD_DELIVERY__WORKERS", "many")], &[], "must be a whole number"),
            (&[OPEN, ("HERALD_DELIVERY__WORKRES", "1")], &[], "workres is not a setting"),
            (&[OPEN], &["delivery.workers=0"], "delivery.workers must be at least 1"),
            (&[], &[], "rpc.callers is empty"),
            (&[OPEN], &["nonsense"], "--set nonsense: must look like"),
        ];
        for (environment, flags, expected) in cases {
            let error = load(environment, flags).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn no_secret_is_printed_or_quoted() {
        let secret = "hunter2hunter2";
        let settings = load(&[OPEN, ("HERALD_APP__CLIENT_SECRET", secret)], &[]).unwrap();
        assert_eq!(settings.app.client_secret.expose(), secret);
        assert!(!format!("{settings:?}").contains(secret));
        let error = load(&[OPEN, ("HERALD_APP__SCOPES", secret)], &[]).unwrap_err();
        assert!(!error.contains(secret), "{error}");
    }
}
