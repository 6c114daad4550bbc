//! A test's own PostgreSQL cluster that accepts connections only over TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The user that runs PostgreSQL if the tests run as root.
const OWNER: &str = "postgres";

/// A running cluster; ends with the test.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    bin: PathBuf,
    root: bool,
    dir: TempDir,
}

impl Postgres {
    /// Starts a cluster with this certificate and key, in PEM. `None` if PostgreSQL is not
    /// installed.
    pub(crate) fn start(certificate: &str, key: &str) -> Option<Self> {
        let Some(bin) = installed() else {
            println!("PostgreSQL over TLS is left out: no server is installed");
            return None;
        };
        // Below /tmp: its owner must be able to reach it, and the path of its socket must be short.
        let dir = tempfile::Builder::new().prefix("herald-tls.").tempdir_in("/tmp").unwrap();
        let root = std::os::unix::fs::MetadataExt::uid(&dir.path().metadata().unwrap()) == 0;
        std::fs::write(dir.path().join("server.crt"), certificate).unwrap();
        std::fs::write(dir.path().join("server.key"), key).unwrap();
        run(Command::new("chmod").arg("600").arg(dir.path().join("server.key")));
        if root {
            run(Command::new("chown").args(["-R", OWNER]).arg(dir.path()));
        }
        let postgres = Self { port: free_port(), bin, root, dir };
        let data = postgres.path("data");
        let options = ["-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        run(postgres.command("initdb").args(options).arg("-D").arg(&data));
        // Connections without TLS are refused.
        let rules = format!("{}/pg_hba.conf", data.display());
        let rule = "hostssl all all 127.0.0.1/32 trust";
        run(postgres.command("sh").args(["-c", &format!("echo '{rule}' >{rules}")]));
        postgres.control(&["start"]);
        Some(postgres)
    }

    /// The URL of its database, with a host name of this machine.
    pub(crate) fn url(&self, host: &str, query: &str) -> String {
        format!("postgres://{OWNER}@{host}:{}/{OWNER}{query}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// One of PostgreSQL's programs, or of the system's, as a user that PostgreSQL accepts.
    fn command(&self, program: &str) -> Command {
        let own = self.bin.join(program);
        let program = if own.is_file() { own } else { PathBuf::from(program) };
        let mut command = Command::new(if self.root { "runuser" } else { "env" });
        if self.root {
            command.args(["-u", OWNER, "--"]);
        }
        command.arg(program).current_dir(self.dir.path());
        command
    }

    fn control(&self, arguments: &[&str]) {
        let folder = self.dir.path().display();
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off \
             -c ssl=on -c ssl_cert_file={folder}/server.crt -c ssl_key_file={folder}/server.key",
            self.port
        );
        let mut command = self.command("pg_ctl");
        command.arg("-D").arg(self.path("data")).arg("-l").arg(self.path("log"));
        command.args(["-w", "-t", "60", "-s", "-o", &options]).args(arguments);
        // The server would keep a pipe open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let done = command.status().unwrap().success();
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(done || std::thread::panicking(), "pg_ctl {arguments:?}: {log}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.control(&["stop", "-m", "immediate"]);
    }
}

/// The folder with the programs of the newest installed server.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.flatten().map(|version| version.path().join("bin"));
    folders.filter(|bin| Path::is_file(&bin.join("initdb"))).max()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
