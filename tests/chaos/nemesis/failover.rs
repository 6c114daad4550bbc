//! The database fails over to a copy that lags: everything accepted since the copy is lost.

use std::io;
use std::process::{Command, Stdio};

use tokio::time::sleep;

use super::{Kind, Stage};
use crate::dice::Dice;
use crate::postgres::Postgres;

impl Stage {
    /// A copy is taken, a few seconds pass, and the server dies. The copy takes its place, `herald
    /// recover` runs, and only then can the replicas reach it. Either the replicas are stopped, as
    /// docs/recovery.md says, or they lose their connections.
    pub(super) async fn fail_over(&self, dice: &mut Dice) -> io::Result<()> {
        let _held = self.postgres.held().await;
        let lag = self.book.strike("lag", None, "accepted since the copy was taken");
        self.postgres(Postgres::copy).await?;
        sleep(dice.millis(3_000, 8_000)).await;
        let mut stopped = Vec::new();
        if dice.percent(50) {
            // Waits for a replica that is just starting, which needs the database for that.
            for replica in &self.replicas {
                stopped.push(replica.held().await);
            }
        }
        let blow = self.book.strike(Kind::Failover.name(), None, "a copy that lags takes over");
        for replica in &self.replicas {
            replica.database().lead_to(None);
            replica.database().darken();
        }
        for process in &mut stopped {
            process.kill()?;
        }
        self.postgres(|postgres| postgres.control(&["stop", "-m", "immediate"])).await?;
        lag.over();
        self.postgres.use_copy();
        self.postgres(|postgres| postgres.control(&["start"])).await?;
        self.recover().await?;
        for replica in &self.replicas {
            replica.database().lead_to(Some(self.way_to_database));
        }
        for process in &mut stopped {
            process.start().await?;
        }
        blow.over();
        Ok(())
    }

    /// `herald recover`.
    async fn recover(&self) -> io::Result<()> {
        let (program, settings) = (self.program.clone(), self.store.clone());
        let recovering = self.postgres(move |_| {
            let mut command = Command::new(program);
            command.arg("recover").stdin(Stdio::null()).stdout(Stdio::null());
            for setting in &settings {
                command.args(["--set", setting]);
            }
            let output = command.stderr(Stdio::piped()).output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(io::Error::other(said)) }
        });
        recovering.await
    }
}
