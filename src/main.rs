//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use url::Url;

use herald::config::Settings;
use herald::domain::ids::TenantId;
use herald::sandbox::{self, Sandbox};
use herald::server::RunningServer;
use herald::store::{Exclusive, SchemaStatus, Store};
use herald::{check, demo, keys, manifest, people, telemetry, templates};

/// Herald delivers a platform's notifications to Slack.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves gRPC, HTTP and health, and delivers.
    Serve(SettingsArgs),
    /// Brings the database's schema up to date; safe to run from several places at once.
    Migrate(SettingsArgs),
    /// After a failover to a lagging replica, or a restored backup: reads history in Slack before
    /// any pending message is sent, and notifies readers of the feed. See docs/recovery.md.
    Recover(SettingsArgs),
    /// Shows Herald at work: a fake Slack and a server in one process, with a temporary store.
    Demo {
        /// Exits with 0 once every message has arrived, and with another code if one did not.
        #[arg(long)]
        exit: bool,
    },
    /// Runs only the fake Slack, with a page that shows the messages that arrive.
    Sandbox(SandboxArgs),
    /// Reports, part by part, whether the configuration can work. Changes nothing.
    Check(CheckArgs),
    /// Prints the manifest of the Slack app that Herald needs, to paste into Slack.
    Manifest(ManifestArgs),
    /// The audit trail.
    #[command(subcommand)]
    Audit(Audit),
    /// API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// A tenant's templates as files.
    #[command(subcommand)]
    Templates(templates::Command),
    /// People of a tenant, from files.
    #[command(subcommand)]
    People(people::PeopleCommand),
    /// Prints all settings as Markdown: docs/settings.md of this version.
    Settings,
}

#[derive(Args)]
struct SettingsArgs {
    /// A TOML file.
    #[arg(long, env = "HERALD_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, such as rpc.address=127.0.0.1:50051. Repeat for more.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct CheckArgs {
    /// Also checks the connection of this tenant to Slack, part by part.
    #[arg(long, value_name = "TENANT_ID")]
    tenant: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Args)]
struct SandboxArgs {
    /// The address of the page and the fake Web API.
    #[arg(long, default_value = "127.0.0.1:8081")]
    address: SocketAddr,
    /// Do not enforce Slack's rate limits.
    #[arg(long)]
    no_rate_limits: bool,
    /// The factor by which Slack's durations are multiplied; set slack.time_scale to the same.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// The number of workspaces, which share the members: 1 to 20,000.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    teams: u32,
    /// The URL to which signed events are sent. The defaults fit `herald serve` on the same
    /// machine.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/slack/events")]
    events_url: Url,
    /// The URL to which button presses are sent.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/slack/interactions")]
    interactions_url: Url,
    /// A redirect URL of the app: people are sent back only to these URLs and below them. Repeat
    /// for more.
    #[arg(
        long = "redirect-url",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/slack/oauth/callback"
    )]
    redirect_urls: Vec<Url>,
}

#[derive(Args)]
struct ManifestArgs {
    /// The URL by which browsers reach Herald, such as https://herald.example.com. Default:
    /// http.public_url.
    #[arg(long)]
    url: Option<Url>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Subcommand)]
enum Audit {
    /// Reads the whole trail and reports whether an entry was altered, removed or inserted.
    Verify(SettingsArgs),
}

#[derive(Subcommand)]
enum Keys {
    /// Prints a new API key, and the settings entry that admits it.
    Issue(keys::Grant),
    /// Wraps every data key with the key in the current settings, while replicas serve. Safe to
    /// stop and to run again. See docs/keys.md.
    Rotate(SettingsArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            // An error means that the reader has stopped reading, such as `head`.
            error.print().ok();
            // Not clap's 2, with which `templates apply --dry-run` reports differences.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match Box::pin(run(command)).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("herald: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, leaving out a cause that its error already includes.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |told, cause| {
        let cause = cause.to_string();
        if told.ends_with(&cause) { told } else { format!("{told}: {cause}") }
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve(args).await,
        Command::Migrate(args) => migrate(args).await,
        Command::Recover(args) => recover(args).await,
        Command::Demo { exit } => demo::run(exit, stop_signal()?).await,
        Command::Sandbox(args) => sandbox(args).await,
        Command::Check(args) => Box::pin(check(args)).await,
        Command::Manifest(args) => manifest(args),
        Command::Settings => {
            demo::say(include_str!("../docs/settings.md").trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Templates(command) => Box::pin(templates::run(command, key())).await,
        Command::People(command) => Box::pin(people::run(command, key())).await,
        Command::Audit(Audit::Verify(args)) => verify_audit(args).await,
        Command::Keys(Keys::Rotate(args)) => rotate(args).await,
        Command::Keys(Keys::Issue(grant)) => {
            keys::issue(&grant)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn load(args: SettingsArgs) -> anyhow::Result<Settings> {
    Ok(Settings::load(args.config, environment(), &args.set)?)
}

fn read(args: SettingsArgs) -> anyhow::Result<Settings> {
    Ok(Settings::read(args.config, environment(), &args.set)?)
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// The API key for calls to a server. No flag has it: other users of the machine can read flags.
fn key() -> Option<String> {
    environment().find(|(name, _)| name == "HERALD_KEY").map(|(_, key)| key)
}

async fn serve(args: SettingsArgs) -> anyhow::Result<ExitCode> {
    let settings = load(args)?;
    let _tracing = telemetry::init(&settings.log, &settings.otlp)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        store = if settings.store.url.is_some() { "PostgreSQL" } else { "SQLite" },
        slack = %settings.slack.base_url,
        "starting"
    );
    tracing::debug!(?settings, "settings");
    // Held until the end of the process.
    let _exclusive = Exclusive::take(&settings.store)?;
    let stop = stop_signal()?;
    let server = RunningServer::start(settings).await?;
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Needs only the store's settings: a mistake elsewhere, which would keep a server from starting,
/// does not matter yet.
async fn migrate(args: SettingsArgs) -> anyhow::Result<ExitCode> {
    let settings = read(args)?;
    let _tracing = telemetry::init(&settings.log, &settings.otlp)?;
    let store = Store::open(&settings.store).await?;
    match store.migrate().await? {
        SchemaStatus::Newer(by) => {
            tracing::warn!(by, "the schema is newer than this version; it was left unchanged");
        }
        SchemaStatus::TooNew(_) => anyhow::bail!("the schema is too new for this version"),
        SchemaStatus::Pending(applied) => tracing::info!(applied, "the schema is up to date"),
        SchemaStatus::Current => tracing::info!(applied = 0, "the schema is up to date"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Needs only the store's settings, like `migrate`.
async fn recover(args: SettingsArgs) -> anyhow::Result<ExitCode> {
    let mut settings = read(args)?;
    // Statements count the deliveries that wait, and mark those accepted while the clock was ahead:
    // with a large backlog that may take longer than a statement of a running replica may.
    settings.store.statement_timeout = std::time::Duration::from_secs(3600);
    let _tracing = telemetry::init(&settings.log, &settings.otlp)?;
    let store = Store::open(&settings.store).await?;
    if let SchemaStatus::Pending(_) = store.schema_status().await? {
        anyhow::bail!("the schema is older than this version; run `herald migrate` first");
    }
    let recovery = store.upkeep().begin_epoch().await?;
    let waiting: u64 = recovery.in_doubt.iter().map(|(_, count)| count).sum();
    let states = recovery.in_doubt.iter();
    let states: Vec<_> = states.map(|(state, count)| format!("{} {count}", state.code())).collect();
    let states =
        if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    demo::say(&format!(
        "The store was recovered; this is epoch {}.\n\
         Deliveries whose conversation is read before anything is sent: {waiting}{states}.\n\
         Readers of the feed get FEED_EPOCH_CHANGED and continue after {}.",
        recovery.epoch, recovery.epoch
    ));
    Ok(ExitCode::SUCCESS)
}

/// Needs only the store's settings, like `migrate`.
async fn verify_audit(args: SettingsArgs) -> anyhow::Result<ExitCode> {
    let settings = read(args)?;
    let _tracing = telemetry::init(&settings.log, &settings.otlp)?;
    let store = Store::open(&settings.store).await?;
    let verified = store.audit().verify().await?;
    let told = match &verified.broken {
        None => "holds".to_owned(),
        Some(why) => format!("is BROKEN: {why}"),
    };
    demo::say(&format!(
        "The audit trail {told}.\nEntries: {}. Number of the last: {}. Its hash: {}",
        verified.entries, verified.head, verified.hash
    ));
    Ok(if verified.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Needs only the store's settings, like `migrate`.
async fn rotate(args: SettingsArgs) -> anyhow::Result<ExitCode> {
    let settings = read(args)?;
    let _tracing = telemetry::init(&settings.log, &settings.otlp)?;
    let store = Store::open(&settings.store).await?;
    if let SchemaStatus::Pending(_) = store.schema_status().await? {
        anyhow::bail!("the schema is older than this version; run `herald migrate` first");
    }
    let rotated = store
        .upkeep()
        .rotate_keys(|done| {
            let (seen, all) = (done.seen, done.all);
            demo::say(&format!("{seen} of {all} data keys; {} wrapped again", done.wrapped));
        })
        .await?;
    for scope in &rotated.failed {
        demo::say(&format!("not decrypted, and left unchanged: {scope}"));
    }
    let whole = rotated.failed.is_empty();
    demo::say(if whole {
        "Every data key is wrapped with the key of these settings. The previous one decrypts \
         nothing any more: remove it from the settings, and destroy it once no backup needs it."
    } else {
        "Some data keys were not decrypted: keep the previous key."
    });
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let tenant = args.tenant.map(TenantId::parse).transpose().context("--tenant")?;
    let fine = Box::pin(check::run(&load(args.settings)?, tenant.as_ref())).await;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn manifest(args: ManifestArgs) -> anyhow::Result<ExitCode> {
    let settings = read(args.settings)?;
    let url = args.url.or(settings.http.public_url);
    demo::say(&manifest::manifest(url, &settings.app)?);
    Ok(ExitCode::SUCCESS)
}

async fn sandbox(args: SandboxArgs) -> anyhow::Result<ExitCode> {
    let stop = stop_signal()?;
    let config = sandbox::Config {
        addr: args.address,
        rate_limits: !args.no_rate_limits,
        time_scale: args.time_scale,
        teams: args.teams,
        events_url: Some(args.events_url),
        interactions_url: Some(args.interactions_url),
        redirect_urls: args.redirect_urls.into_iter().map(String::from).collect(),
        ..sandbox::Config::default()
    };
    let (client_id, client_secret) = (config.client_id.clone(), config.client_secret.clone());
    let signing_secret = config.signing_secret.clone();
    let sandbox = Sandbox::start(config)
        .await
        .with_context(|| format!("cannot listen on {}", args.address))?;
    let url = sandbox.url();
    demo::say(&format!(
        "A fake Slack is at {url} : open it in a browser to see what arrives.\n\
         Point Herald at it:\n\n  \
         herald serve --set rpc.insecure=true --set slack.base_url={url} \\\n    \
         --set app.client_id={client_id} --set app.client_secret={} \\\n    \
         --set app.signing_secret={}\n",
        client_secret.expose(),
        signing_secret.expose()
    ));
    stop.cancelled().await;
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Cancelled by SIGTERM or SIGINT; a second one ends the process at once.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for code in [None, Some(130)] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.cancel();
            if let Some(code) = code {
                std::process::exit(code);
            }
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the defaults of `herald sandbox` and `herald serve` fit together.
    #[test]
    fn the_sandbox_fits_a_server_on_the_same_machine() {
        let Command::Sandbox(sandbox) = Cli::parse_from(["herald", "sandbox"]).command else {
            panic!()
        };
        let http = herald::http::Config::default();
        assert_eq!(sandbox.events_url, http.events_url());
        assert_eq!(sandbox.redirect_urls, [http.redirect_url()]);
        assert_eq!(sandbox.interactions_url, http.interactions_url());
    }
}
