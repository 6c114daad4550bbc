//! The real PgBouncer, in transaction mode, between Herald and a database.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use herald::domain::secret::Secret;
use herald::store::{Config, Pooler};
use tempfile::TempDir;

use super::process::until;

/// Debian's path.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running PgBouncer; ends with the test.
pub(crate) struct PgBouncer {
    /// The same database, through PgBouncer.
    pub(crate) config: Config,
    child: Child,
    dir: TempDir,
}

impl PgBouncer {
    /// `None` if PgBouncer is not installed. It makes at most `pool` connections to the database.
    pub(crate) async fn start(config: &Config, pool: u32) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            println!("PgBouncer is left out: {PROGRAM} is not installed");
            return None;
        }
        let direct = config.url.clone().unwrap();
        let mut url = url::Url::parse(direct.expose()).unwrap();
        let (host, port) = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
        let (user, free) = (url.username().to_owned(), free_port());
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("pgbouncer.ini");
        // Like PostgreSQL, it refuses to run as root.
        let root = fs::metadata("/proc/self").is_ok_and(|of| owner(&of) == 0);
        let switch = if root { "user = postgres" } else { "" };
        fs::write(
            &path,
            format!(
                "[databases]\n* = host={host} port={port} user={user}\n\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {free}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = transaction\ndefault_pool_size = {pool}\n\
                 max_client_conn = 200\n{switch}\n"
            ),
        )
        .unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let mut bouncer = Self { config: config.clone(), child, dir };
        until("PgBouncer listens", async || {
            let ended = bouncer.child.try_wait().unwrap();
            assert_eq!(ended, None, "{}", bouncer.log());
            tokio::net::TcpStream::connect(("127.0.0.1", free)).await.ok()
        })
        .await;
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(free)).unwrap();
        bouncer.config.url = Some(Secret::new(url.as_str()));
        bouncer.config.pooler = Pooler::Transaction;
        Some(bouncer)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            println!("--- PgBouncer\n{}", self.log());
        }
    }
}

fn owner(of: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(of)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
