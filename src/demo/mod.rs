//! `herald demo`: a fake Slack and a server in one process, with a temporary store. Everything uses
//! the public interfaces, as a platform and an administrator would: gRPC, a browser, the real OAuth
//! path. It needs nothing and leaves nothing behind.

mod cast;
mod platform;
mod report;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::domain::secret::Secret;
use crate::sandbox::{self, Sandbox};
use crate::server::RunningServer;
use crate::telemetry;
use platform::Platform;
use report::Report;

/// Writes to the person at the terminal; logs go elsewhere.
pub fn say(text: &str) {
    // An error means that the reader has stopped reading, such as `head`.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// How long the demo waits for its messages.
const PATIENCE: Duration = Duration::from_secs(12);

/// Runs the demo. With `exit` it ends, with success only if exactly the expected messages arrived;
/// without, it runs until stopped.
pub async fn run(exit: bool, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let quiet = telemetry::Config { filter: "warn".into(), ..telemetry::Config::default() };
    let _tracing = telemetry::init(&quiet, &telemetry::OtlpConfig::default())?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let sandbox =
        Sandbox::start(sandbox::Config { addr: free(8081).await?, ..sandbox::Config::default() })
            .await
            .context("the sandbox cannot listen")?;
    let settings = settings(&sandbox, folder.path().to_owned()).await?;
    let server = RunningServer::start(settings).await?;
    let (rpc, inbox) = (server.rpc, sandbox.url());
    let urls = crate::http::Config { address: server.http, ..crate::http::Config::default() };
    sandbox.send_events_to(urls.events_url());
    sandbox.send_interactions_to(urls.interactions_url());
    let halt = CancellationToken::new();
    let serving = tokio::spawn(server.run(halt.clone()));

    say(&format!("Herald serves gRPC at {rpc}; its fake Slack is at {inbox}\n"));
    let result = show(&sandbox, rpc).await;
    if let Ok(report) = &result {
        report.verdict();
        if !exit {
            say(&report::invitation(rpc, &inbox));
            stop.cancelled().await;
        }
    }
    halt.cancel();
    serving.await.context("the server panicked")??;
    sandbox.stop().await;
    let complete = result?.is_complete();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets up a tenant as an administrator would, then sends one notification of each type.
async fn show(sandbox: &Sandbox, rpc: SocketAddr) -> anyhow::Result<Report> {
    let mut platform = Platform::connect(rpc).await?;
    let link = platform.begin_connect().await?;
    let page = sandbox::browser::decide(&link, sandbox::browser::Decision::Allow).await?;
    if page.status != 200 {
        bail!("connecting ended with HTTP status {}", page.status);
    }
    say("Connected the workspace over OAuth.");
    platform.allow_sending().await?;
    platform.load_people().await?;
    let members = platform.wait_for_members().await?;
    say(&format!("Sending is on; {members} members were read.\n"));

    let mut report = Report::begin(sandbox);
    for sending in cast::SENDINGS {
        report.accepted(platform.notify(sending).await?);
    }
    report.watch(sandbox, platform.watch().await?, PATIENCE).await;
    Ok(report)
}

async fn settings(sandbox: &Sandbox, folder: std::path::PathBuf) -> anyhow::Result<Settings> {
    let slack = sandbox::Config::default();
    let mut settings = Settings::default();
    settings.rpc.insecure = true;
    settings.rpc.address = free(50051).await?;
    settings.rpc.health_address = free(50052).await?;
    settings.http.address = free(8080).await?;
    settings.store.data_dir = folder;
    settings.slack.base_url = sandbox.url();
    settings.app.client_id = slack.client_id;
    settings.app.client_secret = Secret::new(slack.client_secret.expose());
    settings.app.signing_secret = Secret::new(slack.signing_secret.expose());
    settings.process.lame_duck_seconds = 0;
    settings.process.grace_seconds = 5;
    Ok(settings)
}

/// The usual port, or any free one if it is taken.
async fn free(port: u16) -> anyhow::Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpListener::bind(usual).await.is_ok() {
        return Ok(usual);
    }
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
    Ok(other.local_addr()?)
}
