//! `herald templates`: the templates of one tenant as files, so that wording is reviewed like code.
//!
//! Reading order: `names` (the file of a template), `written` (its text), `file` (the way back),
//! `folder`, `client`, `export`, `apply`.

mod json;
mod names;
mod position;
mod written;

mod diff;
mod file;

mod client;
mod folder;

mod apply;
mod export;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use client::{ServerAddress, TemplatesClient};

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Writes the templates of a tenant to files.
    Export(Export),
    /// Shows the differences between files and the templates of a tenant, and saves the files.
    Apply(Apply),
}

/// Writes the templates of a tenant to files: `DIR/<event type>/<locale>.toml`, and those of
/// content items to `DIR/<event type>/content/<id>/<locale>.toml`. See docs/templates.md.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The folder of the files. It is created if there is none.
    dir: PathBuf,
    #[command(flatten)]
    server: ServerAddress,
}

/// Shows the differences between files and the templates of a tenant, and saves the files. Herald
/// checks all of them before the first is saved.
///
/// Exits with 0 if all are saved or there was no difference, and with 1 after an error.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// The folder of the files.
    dir: PathBuf,
    #[command(flatten)]
    server: ServerAddress,
    /// Shows the differences and checks the files, and saves nothing. Exits with 2 if there are
    /// differences.
    #[arg(long)]
    dry_run: bool,
    /// Removes the templates that have no file.
    #[arg(long)]
    reset_missing: bool,
}

/// Runs a command with this API key.
pub async fn run(command: Command, key: Option<String>) -> anyhow::Result<ExitCode> {
    match command {
        Command::Export(Export { dir, server }) => {
            let stored = TemplatesClient::connect(&server, key).await?.list().await?;
            export::run(&dir, &stored)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Apply(Apply { dir, server, dry_run, reset_missing }) => {
            let files = folder::read(&dir)?;
            let mut client = TemplatesClient::connect(&server, key).await?;
            apply::run(&dir, &files, &mut client, apply::Wish { dry_run, reset_missing }).await
        }
    }
}
