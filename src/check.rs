//! `herald check`: tests the configuration part by part. It changes nothing: it creates no SQLite
//! file and no key, runs no migration, and calls only one method of Slack, which reads.
//!
//! With a tenant, it also checks that tenant's connection as CheckConnection does
//! (`workspace::Workspaces::examine`). It then makes a few more calls that change nothing in Slack.
//! They count in the budgets of their methods, and a token that Slack refuses is recorded as dead.

use std::time::Duration;

use crate::config::Settings;
use crate::demo::say;
use crate::domain::checkup::{self, CheckFinding, PartCheck};
use crate::domain::ids::TenantId;
use crate::domain::secret::Secret;
use crate::listen::{Files, Protocol, Tls};
use crate::store::{Backend, SchemaStatus, Store};
use crate::telemetry::Metrics;
use crate::tokens::Issuers;
use crate::workspace::Workspaces;
use crate::{http, rpc, slack, store};

/// The result of checking one part: a sentence, good or bad.
type Finding = Result<String, String>;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints a line for each part and returns true if no part failed. The settings were already read.
pub async fn run(settings: &Settings, tenant: Option<&TenantId>) -> bool {
    let mut findings = vec![
        ("settings", Ok("read".to_owned())),
        ("store", in_time(store(&settings.store)).await),
        ("slack", slack(&settings.slack).await),
        ("app", app(settings)),
        ("public url", Ok(public_url(&settings.http))),
        ("gRPC TLS", tls(settings.rpc.tls(), Protocol::Grpc)),
        ("HTTP TLS", tls(settings.http.tls(), Protocol::Http)),
    ];
    findings.extend(issuers(&settings.rpc).await.into_iter().map(|finding| ("issuer", finding)));
    for (part, finding) in &findings {
        let (mark, sentence) = match finding {
            Ok(sentence) => ("ok  ", sentence),
            Err(sentence) => ("FAIL", sentence),
        };
        say(&format!("{mark}  {part:<11} {sentence}"));
    }
    let connected = match tenant {
        Some(tenant) => in_time(connection(settings, tenant)).await,
        None => Ok(String::new()),
    };
    if let Err(sentence) = &connected {
        say(&format!("FAIL  connection  {sentence}"));
    }
    connected.is_ok() && findings.iter().all(|(_, finding)| finding.is_ok())
}

/// Prints a line for each part of a tenant's connection. The error sums up what is broken.
async fn connection(settings: &Settings, tenant: &TenantId) -> Finding {
    if settings.store.url.is_none() && !settings.store.data_dir.exists() {
        return Err("there is no database yet, so no tenant is connected".into());
    }
    let metrics = Metrics::unobserved();
    let client =
        slack::Client::new(&settings.slack, metrics).map_err(|error| format!("slack.{error}"))?;
    let store = Store::open(&settings.store).await.map_err(|error| error.to_string())?;
    let workspaces = Workspaces::new(store.clone(), client, settings.app.clone());
    let facts = Box::pin(workspaces.examine(tenant)).await.map_err(|error| error.to_string());
    store.close().await;
    let rows = checkup::rows(&facts?);
    for row in &rows {
        let mark = match row.finding {
            CheckFinding::Ok => "ok  ",
            CheckFinding::Broken => "FAIL",
            CheckFinding::Unknown => "?   ",
        };
        let space = if row.remedy.is_empty() { "" } else { " " };
        let PartCheck { part, sentence, remedy, .. } = row;
        say(&format!("{mark}  {:<14} {sentence}{space}{remedy}", part.code()));
    }
    match checkup::worst(&rows) {
        CheckFinding::Broken => Err(format!("a part of the connection of {tenant} is broken")),
        CheckFinding::Ok | CheckFinding::Unknown => Ok(String::new()),
    }
}

async fn in_time(finding: impl Future<Output = Finding>) -> Finding {
    tokio::time::timeout(PATIENCE, finding)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// Checks that the database is reachable, that its schema is current, and that this key decrypts
/// it: opening the store proves the last.
async fn store(config: &store::Config) -> Finding {
    if config.url.is_none() && !config.data_dir.exists() {
        let folder = config.data_dir.display();
        return Ok(format!("SQLite in {folder}, which `herald serve` creates at its first start"));
    }
    let store = Store::open(config).await.map_err(|error| error.to_string())?;
    let status = store.schema_status().await.map_err(|error| error.to_string());
    let database = database(&store);
    store.close().await;
    match (status?, store.backend()) {
        (SchemaStatus::Current, _) => Ok(format!("{database}; the key decrypts it")),
        (SchemaStatus::Pending(_), Backend::Sqlite) => {
            Ok(format!("{database}; `herald serve` brings its schema up to date"))
        }
        (SchemaStatus::Pending(missing), Backend::Postgres) => {
            Err(format!("{database}; {missing} migrations are missing: run `herald migrate`"))
        }
        (SchemaStatus::TooNew(_), _) => {
            Err(format!("{database}; the schema is too new for this version: run a newer one"))
        }
        (SchemaStatus::Newer(by), _) => Ok(format!(
            "{database}; the schema is newer than this version, by {by} migrations; the key \
             decrypts it"
        )),
    }
}

/// The kind of database, and how connections to it are protected.
fn database(store: &Store) -> String {
    let Some(protection) = store.protection() else { return "SQLite".to_owned() };
    let direct = store.direct_protection().map(|direct| format!("; by store.direct_url {direct}"));
    format!("PostgreSQL, {protection}{}", direct.unwrap_or_default())
}

/// Slack itself refuses a token that does not exist, so a refusal proves that Slack answers.
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
        (false, false) if settings.app.signing_secret.is_empty() => {
            Ok("client id and secret are set; app.signing_secret is not, so Slack's events are \
             refused and member lists are kept up to date by reading them"
                .into())
        }
        (false, false) => Ok("client id, secret and signing secret are set".into()),
        (true, _) => Err("app.client_id is not set, so no workspace can be connected".into()),
        (false, true) => {
            Err("app.client_secret is not set, so no workspace can be connected".into())
        }
    }
}

/// Whether the keys of each issuer of tokens can be read.
async fn issuers(config: &rpc::Config) -> Vec<Finding> {
    let issuers = match Issuers::new(&config.issuers) {
        Ok(issuers) => issuers,
        Err(sentence) => return vec![Err(format!("rpc.{sentence}"))],
    };
    let checked = issuers.check().await.into_iter().map(|(issuer, read)| match read {
        Ok(count) => Ok(format!("{issuer}: {count}")),
        Err(sentence) => Err(format!("{issuer}: {sentence}")),
    });
    checked.collect()
}

/// Whether the certificate and the key can be used together.
fn tls(files: Result<Option<Files>, String>, protocol: Protocol) -> Finding {
    let Some(files) = files? else {
        return Ok("off: put a proxy or a mesh in front if the network is not trusted".into());
    };
    let clients = match (&files.client_ca, files.client_certificate_required) {
        (None, _) => "clients are not asked for certificates",
        (Some(_), false) => "clients may show certificates",
        (Some(_), true) => "clients must show certificates",
    };
    let sentence = format!("on, with {}; {clients}", files.certificate.display());
    Tls::load(files, protocol).map(|_| sentence)
}

/// Only Slack knows the app's redirect URLs, so this can only be stated, not checked.
fn public_url(config: &http::Config) -> String {
    format!("{} must be a redirect URL of the Slack app", config.redirect_url())
}
