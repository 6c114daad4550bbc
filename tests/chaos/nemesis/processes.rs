//! Processes are killed, frozen, restarted one after the other, and given a wrong clock.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use herald::sandbox::{Fault, FaultKind};
use tokio::time::{Instant, sleep};

use super::slack::POST;
use super::{Kind, Stage};
use crate::clock;
use crate::dice::Dice;
use crate::link::Weather;
use crate::replica::Replica;

/// The name in the logs of a freeze that found no open transaction, so that nothing was frozen.
const HELD: &str = "held";
/// How long a replica that makes a request of a method is waited for: posts are frequent.
const SOON: Duration = Duration::from_secs(2);
const RARE: Duration = Duration::from_secs(6);

impl Stage {
    /// SIGKILL, and a new start some time later.
    async fn kill_one(
        &self,
        kind: Kind,
        replica: &Replica,
        what: &str,
        dead: Duration,
    ) -> io::Result<()> {
        let mut process = replica.held().await;
        let blow = self.book.strike(kind.name(), Some(replica.number()), what);
        process.kill()?;
        sleep(dead).await;
        process.start().await?;
        blow.over();
        Ok(())
    }

    pub(super) async fn kill(&self, dice: &mut Dice) -> io::Result<()> {
        let (replica, dead) = (self.replica(dice).clone(), dice.millis(0, 1500));
        self.kill_one(Kind::Kill, &replica, "kill -9", dead).await
    }

    /// Some requests of this method hang at Slack; a replica that made one is killed.
    pub(super) async fn kill_at_slack(&self, method: &str, dice: &mut Dice) -> io::Result<()> {
        let after = dice.percent(50);
        let kind = FaultKind::Hang { seconds: 1.0 };
        let fault = Fault::new(method, kind).times(1 + u32::from(dice.percent(50)));
        self.slack.collect();
        let before = self.slack.last();
        let when = if after { "after" } else { "before" };
        let what = &format!("kill -9 {when} Slack carried out {method}");
        self.slack.script(if after { fault.after() } else { fault });
        let deadline = Instant::now() + if method == POST { SOON } else { RARE };
        let dead = dice.millis(0, 1000);
        while Instant::now() < deadline {
            let hanging = self.slack.struck_after(before);
            if let Some(replica) = hanging.first().and_then(|number| self.replicas.get(*number)) {
                return self.kill_one(Kind::Intent, &replica.clone(), what, dead).await;
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Answers to callers are swallowed for a moment; then the replica is killed.
    pub(super) async fn kill_before_answer(&self, dice: &mut Dice) -> io::Result<()> {
        let replica = self.replica(dice).clone();
        let (mute, dead) = (dice.millis(30, 400), dice.millis(0, 1000));
        let blow =
            self.book.strike(Kind::Answer.name(), Some(replica.number()), "answers swallowed");
        replica.calls().set(Weather::SwallowDown);
        sleep(mute).await;
        let killed = self.kill_one(Kind::Answer, &replica, "kill -9 before answers", dead).await;
        replica.calls().set(Weather::Clear);
        blow.over();
        killed
    }

    /// Frozen for longer than its lease.
    pub(super) async fn freeze(&self, dice: &mut Dice) -> io::Result<()> {
        let replica = self.replica(dice).clone();
        let factor = 1.1 + f64::from(u32::try_from(dice.below(100)).unwrap_or(0)) / 100.0;
        let process = replica.held().await;
        let what = format!("frozen for {factor:.2} leases");
        let blow = self.book.strike(Kind::Freeze.name(), Some(replica.number()), what);
        process.signal("STOP")?;
        sleep(self.lease.mul_f64(factor)).await;
        process.signal("CONT")?;
        blow.over();
        Ok(())
    }

    /// Frozen for longer than its lease while the database waits for it inside a transaction.
    pub(super) async fn freeze_inside(&self, dice: &mut Dice) -> io::Result<()> {
        let replica = self.replica(dice).clone();
        let factor = 1.1 + f64::from(u32::try_from(dice.below(100)).unwrap_or(0)) / 100.0;
        let process = replica.held().await;
        let what = format!("frozen inside a transaction for {factor:.2} leases");
        let mut blow = self.book.strike(Kind::Frozen.name(), Some(replica.number()), what);
        replica.database().set(Weather::HoldDown);
        let inside = self.is_inside().await;
        if inside {
            process.signal("STOP")?;
        } else {
            blow.became(HELD, "the database's replies were held back; no transaction was open");
        }
        replica.database().set(Weather::Clear);
        if inside {
            sleep(self.lease.mul_f64(factor)).await;
            process.signal("CONT")?;
        }
        blow.over();
        Ok(())
    }

    /// Whether the same writing transaction waits for its client in two successive checks; tries
    /// for a while.
    async fn is_inside(&self) -> bool {
        const WAITING: &str = "SELECT pid FROM pg_stat_activity \
             WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL";
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut before = BTreeSet::new();
        while Instant::now() < deadline {
            // The database may be down just now.
            let asked = self.postgres(|postgres| postgres.ask(WAITING)).await.unwrap_or_default();
            let waiting: BTreeSet<String> = asked.lines().map(str::to_owned).collect();
            if !waiting.is_disjoint(&before) {
                return true;
            }
            before = waiting;
            sleep(Duration::from_millis(30)).await;
        }
        false
    }

    /// SIGTERM and a new process, one replica after the other.
    pub(super) async fn roll(&self, dice: &mut Dice) -> io::Result<()> {
        for replica in &self.replicas {
            self.replace(Kind::Roll, replica, "SIGTERM", None).await?;
            sleep(dice.millis(0, 1000)).await;
        }
        Ok(())
    }

    /// One replica after the other is replaced by one of the other release, and then back.
    pub(super) async fn upgrade(&self, dice: &mut Dice) -> io::Result<()> {
        let [first, second] = &self.releases;
        for program in [second, first] {
            for replica in &self.replicas {
                let what = format!("now {}", program.display());
                self.replace(Kind::Upgrade, replica, &what, Some(program)).await?;
                sleep(dice.millis(1_000, 6_000)).await;
            }
        }
        Ok(())
    }

    /// SIGTERM, and a new process.
    async fn replace(
        &self,
        kind: Kind,
        replica: &Replica,
        what: &str,
        program: Option<&Path>,
    ) -> io::Result<()> {
        let mut process = replica.held().await;
        let blow = self.book.strike(kind.name(), Some(replica.number()), what);
        let code = process.terminate(self.grace).await?;
        if code != Some(0) {
            // The judge reports this as a finding.
            let code = code.map_or("none within its grace".to_owned(), |code| code.to_string());
            let what = format!("exit code {code}");
            self.book.strike("exit", Some(replica.number()), what).over();
        }
        if let Some(program) = program {
            process.set_program(program);
        }
        process.start().await?;
        blow.over();
        Ok(())
    }

    /// The clock of replica 0 is wrong by up to two hours, and is set back.
    pub(super) async fn set_clock(&self, dice: &mut Dice) -> io::Result<()> {
        let offset = *dice.one(&[3600, -3600, 7200, -60]);
        let what = format!("the clock is off by {offset:+} s");
        let blow = self.book.strike(Kind::Clock.name(), Some(0), what);
        clock::set(&self.clock, offset)?;
        sleep(dice.millis(500, 4000)).await;
        clock::set(&self.clock, 0)?;
        blow.over();
        Ok(())
    }
}
