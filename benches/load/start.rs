//! The time from the start of a process to SERVING on SQLite, and the memory of an idle process.

use std::time::{Duration, Instant};

use super::stage::{memory, serve};
use super::tell;

pub(crate) async fn run() {
    let mut times = Vec::new();
    let mut idle = 0;
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let settings = vec![
            "rpc.insecure=true".to_owned(),
            format!("store.data_dir={}", dir.path().join("data").display()),
            "log.format=json".to_owned(),
        ];
        let since = Instant::now();
        let (mut process, ..) = serve(&settings, &dir.path().join("log")).await;
        times.push(since.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        (idle, _) = memory(process.id());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    times.sort_unstable();
    let median = format!("{} ms", times[times.len() / 2].as_millis());
    tell("start to SERVING, new database", "SQLite", &median, "-", "-", "<= 500 ms");
    let idle = format!("{:.1} MB", idle as f64 / 1_048_576.0);
    tell("idle memory", "SQLite", &idle, "-", "-", "<= 40 MB");
}
