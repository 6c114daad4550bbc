//! PgBouncer in transaction mode, between the replicas and the database.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ports;
use crate::postgres::Postgres;

const PROGRAMS: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];

/// The pause between two checks whether it listens, and the number of checks.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 500;

/// The process; killed when dropped.
pub(crate) struct Pooler {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Pooler {
    /// The program, if it is installed.
    pub(crate) fn installed() -> Option<PathBuf> {
        PROGRAMS.iter().map(PathBuf::from).find(|program| program.is_file())
    }

    pub(crate) async fn start(program: &Path, postgres: &Postgres) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let file = postgres.folder().join("pgbouncer.ini");
        std::fs::write(&file, settings(address, postgres))?;
        let mut command = Command::new(program);
        if postgres.is_root() {
            // PgBouncer refuses to run as root.
            command.args(["-u", "postgres"]);
        }
        let log = std::fs::File::create(postgres.folder().join("pgbouncer.log"))?;
        command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let pooler = Self { address, child: command.spawn()? };
        for _ in 0..LOOKS {
            if TcpStream::connect(address).is_ok() {
                return Ok(pooler);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(io::Error::other("PgBouncer does not listen"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn settings(address: SocketAddr, postgres: &Postgres) -> String {
    let server = postgres.address();
    format!(
        "[databases]\n\
         {database} = host={} port={} dbname={database} user=postgres\n\
         [pgbouncer]\n\
         listen_addr = {}\n\
         listen_port = {}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         max_client_conn = 1000\n\
         default_pool_size = 60\n\
         # A database that comes back is found within a second.\n\
         server_login_retry = 1\n\
         server_connect_timeout = 2\n",
        server.ip(),
        server.port(),
        address.ip(),
        address.port(),
        database = crate::postgres::DATABASE,
    )
}
