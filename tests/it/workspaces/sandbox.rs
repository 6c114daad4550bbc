//! `herald sandbox`, as people start it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use url::Url;

use crate::events::caller;

/// A running `herald sandbox`; killed with the test.
struct FakeSlack {
    process: Child,
    url: Url,
}

impl FakeSlack {
    async fn start(flags: Vec<&'static str>) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let mut process = command(&flags).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let url = line.split_whitespace().find_map(|word| Url::parse(word).ok());
            Self { process, url: url.unwrap() }
        });
        started.await.unwrap()
    }
}

impl Drop for FakeSlack {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald"));
    command.args(["sandbox", "--address", "127.0.0.1:0"]).args(flags).stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_as_many_workspaces_as_the_command_line_says() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (flags, count) in [(vec!["--teams", "250"], 250), (Vec::new(), 1)] {
        let slack = FakeSlack::start(flags).await;
        let teams = caller().get(slack.url.join("_sandbox/teams").unwrap()).send().await.unwrap();
        let teams: Vec<Value> = teams.json().await.unwrap();
        let ids: BTreeSet<&str> = teams.iter().map(|team| team["id"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), teams.len()), (count, count));
    }
    for refused in ["0", "20001", "many"] {
        let mut command = command(&["--teams", refused]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("--teams"), "{text}");
    }
}
