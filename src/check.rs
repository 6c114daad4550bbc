//! `herald check`: whether this configuration can work, part by part. Changes nothing: it makes no
//! SQLite file and no key, runs no migration, and calls one method of Slack that reads.

use std::time::Duration;

use crate::config::Settings;
use crate::demo::say;
use crate::domain::secret::Secret;
use crate::store::{Backend, SchemaStatus, Store};
use crate::telemetry::Metrics;
use crate::{http, slack, store};

/// What one part came to: a sentence, good or bad.
type Finding = Result<String, String>;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints a line for each part. True where nothing is wrong. The settings were read already.
pub async fn run(settings: &Settings) -> bool {
    let findings = [
        ("settings", Ok("read".to_owned())),
        ("store", in_time(store(&settings.store)).await),
        ("slack", slack(&settings.slack).await),
        ("app", app(settings)),
        ("public url", Ok(public_url(&settings.http))),
    ];
    for (part, finding) in &findings {
        let (mark, sentence) = match finding {
            Ok(sentence) => ("ok  ", sentence),
            Err(sentence) => ("FAIL", sentence),
        };
        say(&format!("{mark}  {part:<11} {sentence}"));
    }
    findings.iter().all(|(_, finding)| finding.is_ok())
}

async fn in_time(finding: impl Future<Output = Finding>) -> Finding {
    tokio::time::timeout(PATIENCE, finding)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// Reachable, the schema current, and sealed with this key: opening proves the last.
async fn store(config: &store::Config) -> Finding {
    if config.url.is_none() && !config.data_dir.exists() {
        let folder = config.data_dir.display();
        return Ok(format!("SQLite in {folder}, which `herald serve` makes at its first start"));
    }
    let store = Store::open(config).await.map_err(|error| error.to_string())?;
    let status = store.schema_status().await.map_err(|error| error.to_string());
    store.close().await;
    match (status?, store.backend()) {
        (SchemaStatus::Current, Backend::Sqlite) => Ok("SQLite; the key opens it".into()),
        (SchemaStatus::Current, Backend::Postgres) => Ok("PostgreSQL; the key opens it".into()),
        (SchemaStatus::Pending(_), Backend::Sqlite) => {
            Ok("SQLite; `herald serve` brings its schema up to date".into())
        }
        (SchemaStatus::Pending(missing), Backend::Postgres) => {
            Err(format!("{missing} migrations are missing: run `herald migrate`"))
        }
        (SchemaStatus::Newer(by), _) => Ok(format!(
            "the schema is newer than this version, by {by} migrations; the key opens it"
        )),
    }
}

/// A token that nobody has is refused by Slack itself: then it is Slack that answers.
async fn slack(config: &slack::Config) -> Finding {
    let client = slack::Client::new(config, Metrics::unobserved())
        .map_err(|error| format!("slack.{error}"))?;
    match client.auth_test(&Secret::new("xoxb-nobody")).await {
        Ok(_) | Err(slack::Error::Unauthorized { .. } | slack::Error::Throttled { .. }) => {
            Ok(format!("{} answers", config.base_url))
        }
        Err(error) => Err(format!("{}: {error}", config.base_url)),
    }
}

fn app(settings: &Settings) -> Finding {
    match (settings.app.client_id.is_empty(), settings.app.client_secret.is_empty()) {
        (false, false) if settings.app.signing_secret.is_empty() => Ok(
            "client id and secret are set; app.signing_secret is not, so Slack's events are refused \
             and member lists are kept by reading them"
                .into(),
        ),
        (false, false) => Ok("client id, secret and signing secret are set".into()),
        (true, _) => Err("app.client_id is not set, so no workspace can be connected".into()),
        (false, true) => {
            Err("app.client_secret is not set, so no workspace can be connected".into())
        }
    }
}

/// Only Slack knows whether it is.
fn public_url(config: &http::Config) -> String {
    format!("{} must be a redirect URL of the Slack app", config.redirect_url())
}
