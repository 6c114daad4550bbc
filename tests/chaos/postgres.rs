//! A PostgreSQL cluster of the checker's own, to be stopped, crashed and cut off.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

/// The database of the run.
const DATABASE: &str = "herald";
/// The user and folder that PostgreSQL wants where the checker is root.
const OWNER: &str = "postgres";

/// A running cluster, stopped and removed when the last handle is dropped. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Postgres(Arc<Cluster>);

struct Cluster {
    bin: PathBuf,
    dir: TempDir,
    port: u16,
    root: bool,
}

impl Postgres {
    /// The folder of the newest server's programs; `None` where there is none.
    pub(crate) fn installed() -> Option<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut found: Vec<_> = (versions.flatten())
            .map(|version| version.path().join("bin"))
            .filter(|bin| bin.join("initdb").is_file() && bin.join("pg_ctl").is_file())
            .collect();
        found.sort();
        found.pop()
    }

    /// Makes and starts one.
    pub(crate) fn start(bin: PathBuf) -> io::Result<Self> {
        // Below /tmp: its owner must reach it, and the path of its socket must be short.
        let dir = tempfile::Builder::new().prefix("herald-chaos.").tempdir_in("/tmp")?;
        let root = run(Command::new("id").arg("-u"))?.trim() == "0";
        if root {
            run(Command::new("chown").arg(OWNER).arg(dir.path()))?;
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let cluster = Cluster { bin, dir, port, root };
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

    /// The database as it is reached at this address.
    pub(crate) fn url(at: SocketAddr) -> String {
        format!("postgres://postgres@{at}/{DATABASE}")
    }

    /// Where the server writes its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.dir.path().join("log")
    }

    /// `pg_ctl` with these arguments; waits until it is done.
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

    /// Rows of the run's database, unaligned.
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
        self.dir.path().join("data")
    }

    /// One of PostgreSQL's programs, as a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = if self.root {
            let mut command = Command::new("runuser");
            command.args(["-u", OWNER, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.dir.path());
        command
    }

    fn control(&self, arguments: &[&str]) -> io::Result<()> {
        let path = |path: &Path| path.display().to_string();
        // fsync is for power cuts; here only processes die.
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} \
             -c max_connections=150 -c fsync=off -c full_page_writes=off",
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
            Err(io::Error::other(format!("pg_ctl {arguments:?}: {status}")))
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may be down already.
        self.control(&["stop", "-m", "immediate"]).ok();
    }
}

/// Runs it; its output, or what it said of its failure.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {}: {said}", output.status)))
}
