//! `herald` as a separate process, which tests can kill, freeze and ask to stop.
//!
//! It takes free ports and logs them; the log is printed if a test fails.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Far longer than any awaited event takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two checks of things that give no signal.
const LOOK: Duration = Duration::from_millis(5);

/// Polls until there is a result: another process gives no signals.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let found = async {
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("timed out after {PATIENCE:?} waiting: {what}"))
}

/// A running `herald serve`; killed with the test.
pub(crate) struct Herald {
    child: Child,
    log: PathBuf,
    dir: TempDir,
    pub(crate) rpc: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Herald {
    /// Starts it and waits until it is SERVING.
    pub(crate) async fn serve(settings: &[String]) -> Self {
        Self::started(command(&["serve"], settings)).await
    }

    /// The same with settings from a file, and nothing in the arguments.
    pub(crate) async fn serve_file(file: &Path) -> Self {
        let mut command = command(&["serve"], &[]);
        command.env("HERALD_CONFIG", file);
        Self::started(command).await
    }

    /// The same in a process with this limit of open files, as `ulimit` takes it (`-n 64`).
    pub(crate) async fn serve_within(files: &str, settings: &[String]) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit {files}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_herald"), "serve"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        for setting in settings {
            command.args(["--set", setting]);
        }
        Self::started(command).await
    }

    async fn started(mut command: Command) -> Self {
        let dir = TempDir::new().unwrap();
        let log = dir.path().join("log");
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut herald = Self { child, log, dir, rpc: nowhere, health: nowhere, http: nowhere };
        let (rpc, health, http) = until("the log has the addresses", async || {
            let ended = herald.child.try_wait().unwrap();
            assert_eq!(ended, None, "it did not start");
            herald.addresses()
        })
        .await;
        (herald.rpc, herald.health, herald.http) = (rpc, health, http);
        until("SERVING", async || (herald.status().await? == ServingStatus::Serving).then_some(()))
            .await;
        herald
    }

    fn addresses(&self) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("\"serving\""))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| line[name].as_str()?.parse().ok();
        Some((address("rpc")?, address("health")?, address("http")?))
    }

    pub(crate) async fn status(&self) -> Option<ServingStatus> {
        let mut health = HealthClient::new(channel(self.health));
        let request = HealthCheckRequest { service: String::new() };
        Some(health.check(request).await.ok()?.into_inner().status())
    }

    /// A channel that connects when needed, and reconnects when broken.
    pub(crate) fn channel(&self) -> Channel {
        channel(self.rpc)
    }

    /// Everything it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether this is its end of a TCP connection over IPv4.
    pub(crate) fn has_connection(&self, end: SocketAddr) -> bool {
        let port = format!(":{:04X}", end.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // The second column is the local address, the tenth the socket's number.
        let sockets: Vec<String> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|columns| columns.len() > 9 && columns[1].ends_with(&port))
            .map(|columns| format!("socket:[{}]", columns[9]))
            .collect();
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        // A file that is closed meanwhile is gone.
        let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.to_str() == Some(socket.as_str())))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends `TERM` or `CONT`, named as for `kill`.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Sends SIGSTOP, and waits until it took effect: until a thread is scheduled to take the
    /// signal, the others keep running.
    pub(crate) async fn freeze(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        until("every thread is stopped", async || {
            let stopped = |thread: std::io::Result<std::fs::DirEntry>| {
                let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
                Some(status.lines().any(|line| line.starts_with("State:\tT")))
            };
            std::fs::read_dir(&threads)
                .ok()?
                .all(|thread| stopped(thread) == Some(true))
                .then_some(())
        })
        .await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the process ends", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            println!("--- {} {}\n{}", self.child.id(), self.dir.path().display(), self.log());
        }
    }
}

/// Starts `herald serve`, which must end by itself with an error; returns its output.
pub(crate) async fn refused(settings: &[String]) -> String {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let mut child =
        command(&["serve"], settings).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let status = until("it refuses to start", async || child.try_wait().unwrap()).await;
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!status.success(), "{said}");
    said
}

/// A running `herald migrate`.
pub(crate) fn migrator(settings: &[String]) -> Child {
    command(&["migrate"], settings).stderr(Stdio::null()).spawn().unwrap()
}

/// `herald migrate`.
pub(crate) fn migrate(settings: &[String]) {
    done("migrate", settings);
}

/// Runs `herald recover`; returns its output.
pub(crate) fn recover(settings: &[String]) -> String {
    done("recover", settings)
}

/// Runs `herald check`, whether it finds a fault or not; returns its output.
pub(crate) fn check(settings: &[String]) -> String {
    let output = command(&["check"], settings).stdout(Stdio::piped()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `herald keys issue`; returns whether it succeeded, and its output.
pub(crate) fn issue_key(arguments: &[&str]) -> (bool, String) {
    run(&[&["keys", "issue"], arguments].concat(), &[])
}

/// Runs a command of several words, such as `audit verify`; returns whether it succeeded, and its
/// output.
pub(crate) fn run(words: &[&str], settings: &[String]) -> (bool, String) {
    let mut command = command(words, settings);
    let output = command.stdout(Stdio::piped()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn done(name: &str, settings: &[String]) -> String {
    let mut command = command(&[name], settings);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn command(words: &[&str], settings: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

pub(crate) fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Random numbers that a seed repeats.
pub(crate) struct Dice(u64);

impl Dice {
    /// Prints the seed.
    pub(crate) fn new() -> Self {
        static THROWN: AtomicU32 = AtomicU32::new(0);
        let seed = rand::random();
        println!("dice {} have the seed {seed}", THROWN.fetch_add(1, Ordering::Relaxed));
        Self(seed)
    }

    /// A number less than `bound` (SplitMix64).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0) % bound.max(1)
    }
}
