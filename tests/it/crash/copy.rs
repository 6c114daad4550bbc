//! A single-file store that is frozen, copied and started from the copy has every call that was
//! answered, because each commit reached the disk before its answer left (I1; faults.md 14).
//! SQLite; for PostgreSQL the checker's fault `postgres` tests this.

use std::process::{Command, Stdio};

use herald::sandbox::{Fault, FaultKind};

use super::{Site, all_sent, judge, message, service, site_on};
use crate::support::process::{Herald, channel, until};

const CALLERS: usize = 4;
/// Calls answered before it freezes.
const CALLS: usize = 60;

/// No message is sent: the copy would send again whatever the original sent before it froze,
/// because the copy does not know of it.
fn hold_all(site: &Site) {
    let kind =
        FaultKind::Status { code: 429, body: String::new(), retry_after: Some("1000".into()) };
    site.sandbox.script(Fault::new("chat.postMessage", kind));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_frozen_store_has_all_that_was_answered() {
    let mut site = site_on(false, 1).await.unwrap();
    hold_all(&site);
    let mut herald = site.start_connected().await;
    let answered = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (answered, address) = (std::sync::Arc::clone(&answered), herald.rpc);
        callers.push(tokio::spawn(async move {
            let mut service = service(channel(address));
            for number in 0.. {
                let mut call = message(number * CALLERS + caller, 1);
                call.request_id = format!("{caller} {number}");
                // Until it is frozen and killed.
                let Ok(answer) = service.notify(call).await else { break };
                answered.lock().unwrap().push(answer.into_inner().notification_id);
            }
        }));
    }
    until("calls are answered", async || (answered.lock().unwrap().len() >= CALLS).then_some(()))
        .await;
    herald.freeze().await;
    let copy = tempfile::TempDir::new().unwrap();
    for file in std::fs::read_dir(&site.store.data_dir).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    herald.kill();
    for caller in callers {
        caller.await.unwrap();
    }
    let ids = answered.lock().unwrap().clone();
    assert!(ids.len() >= CALLS);
    site.sandbox.clear_faults();
    site.store.data_dir = copy.path().to_owned();
    let herald = site.start().await;
    all_sent(&herald.channel(), &ids).await;
    assert!(!judge::repeats(&site.sandbox.messages()), "a message is there twice");
}

/// Counts the times that a process flushes data to the disk.
struct Syncs {
    strace: std::process::Child,
    log: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Syncs {
    /// `None` if strace is not installed.
    async fn of(herald: &Herald) -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap();
        let log = dir.path().join("syncs");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fsync,fdatasync", "-o"]).arg(&log);
        command.args(["-p", &herald.id().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let strace = command.spawn().ok()?;
        let syncs = Self { strace, log, _dir: dir };
        let status = format!("/proc/{}/status", herald.id());
        until("strace is attached", async || {
            let status = std::fs::read_to_string(&status).ok()?;
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
            (tracer.trim() != "0").then_some(())
        })
        .await;
        Some(syncs)
    }

    fn count(&self) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("sync(") && line.ends_with("= 0")).count()
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        self.strace.kill().ok();
        self.strace.wait().ok();
    }
}

/// One caller, so that no call shares another's commit.
#[tokio::test(flavor = "multi_thread")]
async fn each_answer_comes_after_its_commit_reached_the_disk() {
    let site = site_on(false, 1).await.unwrap();
    hold_all(&site);
    let herald = site.start_connected().await;
    let Some(syncs) = Syncs::of(&herald).await else {
        println!("left out: strace is not there");
        return;
    };
    let mut service = service(herald.channel());
    for number in 0..20 {
        let before = syncs.count();
        service.notify(message(number, 1)).await.unwrap();
        // strace may log it a moment after the call.
        until("the commit reached the disk", async || (syncs.count() > before).then_some(())).await;
    }
}
