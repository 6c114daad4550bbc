//! One replica: `herald serve` as a process, and the three connections around it.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::link::Link;

/// A process that serves, and where it answers health probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probes {
    pub(crate) process: u32,
    pub(crate) health: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// The pause between two checks of things that give no signal.
const LOOK: Duration = Duration::from_millis(10);
/// The pause before a process that did not start is started again, as Kubernetes does.
const AGAIN: Duration = Duration::from_millis(300);
/// Far longer than a start takes, even if the database is down.
const PATIENCE: Duration = Duration::from_secs(180);

/// A replica; cheap to clone. Any task that changes its process holds [`Replica::held`].
#[derive(Clone)]
pub(crate) struct Replica(Arc<Parts>);

struct Parts {
    number: usize,
    /// The address that callers connect to; it leads to the process, wherever that serves.
    calls: Link,
    slack: Link,
    database: Link,
    probes: watch::Sender<Option<Probes>>,
    process: Mutex<Process>,
}

/// The process, dead or alive.
pub(crate) struct Process {
    number: usize,
    calls: Link,
    probes: watch::Sender<Option<Probes>>,
    program: PathBuf,
    settings: Vec<String>,
    own_settings: OwnSettings,
    environment: Vec<(String, String)>,
    logs: PathBuf,
    starts: u32,
    child: Option<Child>,
}

/// Settings that only one program knows.
pub(crate) struct OwnSettings {
    pub(crate) program: PathBuf,
    pub(crate) settings: Vec<String>,
}

/// How a replica is started.
pub(crate) struct Plan {
    pub(crate) number: usize,
    pub(crate) program: PathBuf,
    /// For every program.
    pub(crate) settings: Vec<String>,
    pub(crate) own_settings: OwnSettings,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) logs: PathBuf,
    pub(crate) slack: Link,
    pub(crate) database: Link,
}

impl Replica {
    /// Prepares a replica; [`Process::start`] starts it.
    pub(crate) async fn new(plan: Plan) -> io::Result<Self> {
        let calls = Link::listen(None, None).await?;
        let probes = watch::Sender::new(None);
        let process = Process {
            number: plan.number,
            calls: calls.clone(),
            probes: probes.clone(),
            program: plan.program,
            settings: plan.settings,
            own_settings: plan.own_settings,
            environment: plan.environment,
            logs: plan.logs,
            starts: 0,
            child: None,
        };
        let (slack, database) = (plan.slack, plan.database);
        let (number, process) = (plan.number, Mutex::new(process));
        Ok(Self(Arc::new(Parts { number, calls, slack, database, probes, process })))
    }

    pub(crate) fn number(&self) -> usize {
        self.0.number
    }

    pub(crate) fn calls(&self) -> &Link {
        &self.0.calls
    }

    pub(crate) fn slack(&self) -> &Link {
        &self.0.slack
    }

    pub(crate) fn database(&self) -> &Link {
        &self.0.database
    }

    /// Its process, and where that answers health probes; `None` while it is down.
    pub(crate) fn probes(&self) -> Option<Probes> {
        *self.0.probes.borrow()
    }

    /// A channel for calls that connects when needed, and reconnects when broken.
    pub(crate) fn channel(&self) -> Channel {
        lazy(self.0.calls.address)
    }

    /// The process, for one task at a time.
    pub(crate) async fn held(&self) -> MutexGuard<'_, Process> {
        self.0.process.lock().await
    }
}

impl Process {
    /// Starts it, repeatedly if necessary, until it is SERVING.
    pub(crate) async fn start(&mut self) -> io::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.starts += 1;
            let log = self.logs.join(format!("replica-{}.{:03}.log", self.number, self.starts));
            let mut command = Command::new(&self.program);
            command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(File::create(&log)?).envs(self.environment.iter().cloned());
            let own = self.own_settings.settings.iter();
            let own = own.filter(|_| self.program == self.own_settings.program);
            for setting in self.settings.iter().chain(own) {
                command.args(["--set", setting]);
            }
            let process = self.child.insert(command.spawn()?).id();
            if let Some((calls, health, http)) = self.serving(&log, deadline).await? {
                self.calls.lead_to(Some(calls));
                self.probes.send_replace(Some(Probes { process, health, http }));
                return Ok(());
            }
            if self.starts == 1 {
                // There are no faults yet, so it would fail like this forever.
                let said = format!("replica {} did not start, see {}", self.number, log.display());
                return Err(io::Error::other(said));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Where it answers calls, health probes and HTTP requests; `None` if it ended instead.
    async fn serving(
        &mut self,
        log: &std::path::Path,
        deadline: tokio::time::Instant,
    ) -> io::Result<Option<(SocketAddr, SocketAddr, SocketAddr)>> {
        loop {
            if tokio::time::Instant::now() > deadline {
                let said = format!("replica {} did not start, see {}", self.number, log.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, said));
            }
            if self.ended()? {
                return Ok(None);
            }
            if let Some((calls, health, http)) = addresses(&std::fs::read_to_string(log)?)
                && is_serving(health).await
            {
                return Ok(Some((calls, health, http)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether it has ended, or was never started.
    pub(crate) fn ended(&mut self) -> io::Result<bool> {
        self.child.as_mut().map_or(Ok(true), |child| Ok(child.try_wait()?.is_some()))
    }

    /// Sets the program for the next start.
    pub(crate) fn set_program(&mut self, program: &std::path::Path) {
        program.clone_into(&mut self.program);
    }

    /// No process is left that could answer.
    fn gone(&self) {
        self.calls.lead_to(None);
        self.probes.send_replace(None);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.gone();
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Sends `TERM`, `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let script = format!("kill -{name} {}", child.id());
        Command::new("sh").args(["-c", &script]).status().map(drop)
    }

    /// Sends SIGTERM, then waits for the end. Returns the exit code, or `None` if the grace was too
    /// short.
    pub(crate) async fn terminate(&mut self, grace: Duration) -> io::Result<Option<i32>> {
        self.signal("TERM")?;
        let deadline = tokio::time::Instant::now() + grace;
        while tokio::time::Instant::now() < deadline {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.gone();
                self.child = None;
                return Ok(status.code());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.kill()?;
        Ok(None)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.kill().ok();
    }
}

fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
    let line = log.lines().find(|line| line.contains("\"serving\""))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some((address("rpc")?, address("health")?, address("http")?))
}

async fn is_serving(health: SocketAddr) -> bool {
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(lazy(health)).check(request).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

#[expect(clippy::expect_used, reason = "a socket address makes a URL")]
pub(crate) fn lazy(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}"));
    endpoint.expect("a socket address makes a URL").connect_lazy()
}
