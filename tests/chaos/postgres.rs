//! The checker's own PostgreSQL cluster, to be stopped, crashed and cut off.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::{clock, ports};

/// The database of the run.
pub(crate) const DATABASE: &str = "herald";
/// The folder of the copy that a failover switches to.
const COPY: &str = "copy";
/// Lines of the server's log that are shown if it does not start.
const LAST_WORDS: usize = 20;
/// The user that runs PostgreSQL and owns its folder if the checker runs as root.
const OWNER: &str = "postgres";

/// A running cluster, stopped and removed when the last handle is dropped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Postgres(Arc<Cluster>);

struct Cluster {
    bin: PathBuf,
    dir: TempDir,
    port: u16,
    root: bool,
    /// The file that sets the server's clock.
    clock: Option<PathBuf>,
    /// The data folder, below `dir`.
    data: Mutex<&'static str>,
    held: tokio::sync::Mutex<()>,
}

impl Postgres {
    /// The folder with the programs of the newest installed server; `None` if there is none.
    pub(crate) fn installed() -> Option<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut found: Vec<_> = (versions.flatten())
            .map(|version| version.path().join("bin"))
            .filter(|bin| bin.join("initdb").is_file() && bin.join("pg_ctl").is_file())
            .collect();
        found.sort();
        found.pop()
    }

    /// Creates and starts a cluster; `steps` gives it a clock that can be set.
    pub(crate) fn start(bin: PathBuf, steps: bool) -> io::Result<Self> {
        // Below /tmp: its owner must be able to reach it, and the path of its socket must be short.
        let dir = tempfile::Builder::new().prefix("herald-chaos.").tempdir_in("/tmp")?;
        let root = run(Command::new("id").arg("-u"))?.trim() == "0";
        if root {
            run(Command::new("chown").arg(OWNER).arg(dir.path()))?;
        }
        let port = ports::free()?;
        let clock = steps.then(|| dir.path().join("clock"));
        if let Some(clock) = &clock {
            clock::create(clock)?;
        }
        let cluster = Cluster {
            bin,
            dir,
            port,
            root,
            clock,
            data: Mutex::new("data"),
            held: tokio::sync::Mutex::default(),
        };
        let data = cluster.data();
        run(cluster
            .command("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg("-D")
            .arg(&data))?;
        let postgres = Self(Arc::new(cluster));
        postgres.control(&["start"])?;
        postgres.psql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
        Ok(postgres)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0.port))
    }

    /// The URL of the database at this address.
    pub(crate) fn url(at: SocketAddr) -> String {
        format!("postgres://postgres@{at}/{DATABASE}")
    }

    /// Where the server writes its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.dir.path().join("log")
    }

    /// Held by any task that stops the server, or needs it to keep running.
    pub(crate) async fn held(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.held.lock().await
    }

    /// The folder with its files.
    pub(crate) fn folder(&self) -> &Path {
        self.0.dir.path()
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.root
    }

    /// Copies the running server's data, as a standby does.
    pub(crate) fn copy(&self) -> io::Result<()> {
        let mut command = self.0.command("pg_basebackup");
        command.args(["-h", "127.0.0.1", "-p", &self.0.port.to_string(), "-U", "postgres"]);
        command.args(["-X", "stream", "-c", "fast", "--no-sync", "-D"]);
        run(command.arg(self.0.dir.path().join(COPY))).map(drop)
    }

    /// The next start uses the copy.
    pub(crate) fn use_copy(&self) {
        *self.0.data.lock().unwrap_or_else(PoisonError::into_inner) = COPY;
    }

    /// Runs `pg_ctl` with these arguments and waits until it is done.
    pub(crate) fn control(&self, arguments: &[&str]) -> io::Result<()> {
        self.0.control(arguments)
    }

    /// Ends every connection to the database.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
        );
        self.psql("postgres", &sql).map(drop)
    }

    /// The server's clock is wrong by this many seconds from now on.
    pub(crate) fn set_clock(&self, seconds: i64) -> io::Result<()> {
        self.0.clock.as_ref().map_or(Ok(()), |clock| clock::set(clock, seconds))
    }

    /// Queries the run's database and returns the rows, unaligned.
    pub(crate) fn ask(&self, sql: &str) -> io::Result<String> {
        self.psql(DATABASE, sql)
    }

    fn psql(&self, database: &str, sql: &str) -> io::Result<String> {
        let url = format!("postgres://postgres@{}/{database}", self.address());
        let mut command = Command::new(self.0.bin.join("psql"));
        run(command.args(["-qXAt", "-v", "ON_ERROR_STOP=1", &url, "-c", sql]))
    }
}

impl Cluster {
    fn data(&self) -> PathBuf {
        self.dir.path().join(*self.data.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of PostgreSQL's programs, run as a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = Command::new(if self.root { "runuser" } else { "env" });
        if self.root {
            command.args(["-u", OWNER, "--", "env"]);
        }
        for (name, value) in self.clock.iter().flat_map(|file| clock::environment(file)) {
            command.arg(format!("{name}={value}"));
        }
        command.arg(program);
        command.current_dir(self.dir.path());
        command
    }

    fn control(&self, arguments: &[&str]) -> io::Result<()> {
        let path = |path: &Path| path.display().to_string();
        // fsync is for power cuts; here only processes die. A crash takes the counters that tell
        // autovacuum where to work, and crashes come more often here than its default of a minute,
        // so it would never run, and every statement would walk over all dead rows of the run.
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} \
             -c max_connections=400 -c fsync=off -c full_page_writes=off \
             -c autovacuum_naptime=1",
            self.port,
            path(self.dir.path())
        );
        let mut command = self.command("pg_ctl");
        command.args(["-D", &path(&self.data()), "-l", &path(&self.dir.path().join("log"))]);
        command.args(["-w", "-t", "60", "-s", "-o", &options]).args(arguments);
        // The server would keep a pipe open.
        let status =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if status.success() {
            Ok(())
        } else {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(LAST_WORDS).collect();
            let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            Err(io::Error::other(format!("pg_ctl {arguments:?}: {status}\n{said}")))
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may be down already.
        self.control(&["stop", "-m", "immediate"]).ok();
    }
}

/// Runs the command and returns its output, or its error message.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {}: {said}", output.status)))
}
