//! The faults: one actor for each kind of fault, each with its own dice, all at once. An actor
//! repairs the damage before it rests, so the end of all actors is the end of all faults. The
//! numbers are those of the list of faults that `docs/chaos.md` explains.

mod database;
mod failover;
mod network;
mod processes;
mod slack;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::dice::Dice;
use crate::postgres::Postgres;
use crate::replica::Replica;
use crate::slack::Slack;

/// Changes of channels that Slack must have made between two faults of one kind at them.
const ACTS: u64 = 4;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    /// kill -9 at random points.
    #[value(alias = "1")]
    Kill,
    /// kill -9 while a request is at Slack, before or after it stored.
    #[value(alias = "2")]
    Intent,
    /// kill -9 between a commit and its answer.
    #[value(alias = "3")]
    Answer,
    /// Frozen for longer than a lease, then continued.
    #[value(alias = "4")]
    Freeze,
    /// Clients that give up, miss their deadline, race each other, and make invalid calls.
    #[value(alias = "7", alias = "6")]
    Cancel,
    /// The database crashed, down, or with its connections ended every 100 ms.
    #[value(alias = "8")]
    Postgres,
    /// A commit is acknowledged, but the reply is lost.
    #[value(alias = "9")]
    Commit,
    /// 429, for one channel, for all posts, for reading.
    #[value(alias = "15")]
    Throttle,
    /// 5xx, fatal_error, internal_error, resets: before and after storing.
    #[value(alias = "16")]
    Ambiguous,
    /// Late first bytes, trickling answers, hanging ones.
    #[value(alias = "17")]
    Slow,
    /// Connections to Slack delayed, cut, half closed, swallowed, garbled.
    Network,
    /// Rolling restarts.
    #[value(alias = "23")]
    Roll,
    /// The clock of one replica is wrong by up to two hours, and jumps back.
    #[value(alias = "26")]
    Clock,
    /// Open connections to the database carry nothing any longer, and never end by themselves.
    Dark,
    /// Frozen inside a transaction, which keeps its locks.
    Frozen,
    /// The database's clock steps by ten minutes, in either direction, and back.
    Step,
    /// Rows that only a newer release can read.
    #[value(alias = "44")]
    Newer,
    /// Other tenants, with a slow Slack, broadcast to many people.
    Tenants,
    /// The database fails over to a copy that lags, once, in the middle of the run.
    Failover,
    /// One replica after the other is replaced by one of the other release, and back.
    Upgrade,
}

impl Kind {
    /// The name in the logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Intent => "intent",
            Self::Answer => "answer",
            Self::Freeze => "freeze",
            Self::Cancel => "cancel",
            Self::Postgres => "postgres",
            Self::Commit => "commit",
            Self::Throttle => "throttle",
            Self::Ambiguous => "ambiguous",
            Self::Slow => "slow",
            Self::Network => "network",
            Self::Roll => "roll",
            Self::Clock => "clock",
            Self::Dark => "dark",
            Self::Frozen => "frozen",
            Self::Step => "step",
            Self::Newer => "newer",
            Self::Tenants => "tenants",
            Self::Failover => "failover",
            Self::Upgrade => "upgrade",
        }
    }

    /// Messages that Slack must have stored between two faults of this kind.
    fn progress(self) -> u64 {
        match self {
            Self::Ambiguous => 8,
            Self::Throttle | Self::Slow => 15,
            _ => 0,
        }
    }

    /// Whether the checker strikes with it again and again. Callers cause some kinds by themselves,
    /// and one strikes once.
    pub(crate) fn recurs(self) -> bool {
        !matches!(self, Self::Cancel | Self::Tenants | Self::Failover)
    }

    /// Whether it also strikes requests about channels.
    pub(crate) fn strikes_channels(self) -> bool {
        matches!(self, Self::Intent | Self::Throttle | Self::Ambiguous | Self::Slow)
    }

    /// Milliseconds between two faults of this kind, from and to.
    fn rest(self) -> (usize, usize) {
        match self {
            Self::Kill => (5_000, 11_000),
            Self::Intent => (8_000, 20_000),
            Self::Answer => (10_000, 20_000),
            Self::Freeze => (9_000, 18_000),
            Self::Postgres => (10_000, 22_000),
            Self::Commit => (5_000, 12_000),
            Self::Throttle => (1_500, 5_000),
            Self::Ambiguous => (500, 1_500),
            Self::Slow => (1_500, 4_000),
            Self::Network => (2_500, 7_000),
            Self::Roll => (25_000, 45_000),
            Self::Clock => (2_000, 6_000),
            Self::Dark => (22_000, 40_000),
            Self::Step => (7_000, 15_000),
            Self::Frozen | Self::Newer => (8_000, 16_000),
            Self::Upgrade => (4_000, 8_000),
            Self::Cancel | Self::Tenants | Self::Failover => (1_000, 1_000),
        }
    }
}

/// Everything that can be broken. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) book: Book,
    pub(crate) slack: Slack,
    pub(crate) postgres: Postgres,
    pub(crate) replicas: Vec<Replica>,
    /// The lanes of the main tenant, as Slack names them.
    pub(crate) lanes: Vec<String>,
    pub(crate) scale: f64,
    pub(crate) lease: Duration,
    /// How long a replica may take to end.
    pub(crate) grace: Duration,
    /// The file that sets the clock of replica 0.
    pub(crate) clock: PathBuf,
    /// The factor for the pauses: if fewer kinds recur, each strikes more often.
    pub(crate) haste: f64,
    /// How often connections went dark.
    pub(crate) darkened: Arc<AtomicUsize>,
    /// The programs of both releases: the one that replicas start with, and the other.
    pub(crate) releases: [PathBuf; 2],
    /// The program of this release, and the settings with which it reaches the store.
    pub(crate) program: PathBuf,
    pub(crate) store: Vec<String>,
    /// Where the replicas' connections to the database lead.
    pub(crate) way_to_database: SocketAddr,
    /// The time from the beginning to the middle of the run.
    pub(crate) half: Duration,
    /// The database is down for as long as the list of faults says.
    pub(crate) full_lengths: bool,
}

impl Stage {
    fn replica(&self, dice: &mut Dice) -> &Replica {
        dice.one(&self.replicas)
    }

    /// Strikes again and again, repairing the damage each time, until told to stop.
    pub(crate) async fn torment(
        self,
        kind: Kind,
        mut dice: Dice,
        stop: CancellationToken,
    ) -> io::Result<()> {
        if kind == Kind::Failover {
            sleep(self.half).await;
            return self.strike(kind, &mut dice).await;
        }
        let (least, most) = kind.rest();
        let mut stored = self.slack.stored_for_main();
        loop {
            let rest = sleep(dice.millis(least, most).mul_f64(self.haste));
            tokio::select! { () = rest => {}, () = stop.cancelled() => return Ok(()) }
            // A fault that strikes single messages lets others pass in between: a run in which
            // nothing gets through would prove nothing.
            if self.slack.stored_for_main() < stored + kind.progress() {
                continue;
            }
            stored = self.slack.stored_for_main();
            self.strike(kind, &mut dice).await?;
        }
    }

    /// The same at requests about channels. They are rarer than posts, and so are the faults: a run
    /// in which no channel is changed would prove nothing.
    pub(crate) async fn torment_channels(
        self,
        kind: Kind,
        mut dice: Dice,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let (least, most) = kind.rest();
        let mut acts = self.slack.acts();
        loop {
            let rest = sleep(dice.millis(2 * least, 2 * most).mul_f64(self.haste));
            tokio::select! { () = rest => {}, () = stop.cancelled() => return Ok(()) }
            if self.slack.acts() < acts + ACTS {
                continue;
            }
            acts = self.slack.acts();
            if kind == Kind::Intent {
                let method = *dice.one(&slack::CHANNELS);
                self.kill_at_slack(method, &mut dice).await?;
            } else {
                self.answer_badly_about_channels(kind, &mut dice);
            }
        }
    }

    async fn strike(&self, kind: Kind, dice: &mut Dice) -> io::Result<()> {
        match kind {
            Kind::Kill => self.kill(dice).await?,
            Kind::Intent => self.kill_at_slack(slack::POST, dice).await?,
            Kind::Answer => self.kill_before_answer(dice).await?,
            Kind::Freeze => self.freeze(dice).await?,
            Kind::Roll => self.roll(dice).await?,
            Kind::Clock => self.set_clock(dice).await?,
            Kind::Postgres => self.break_database(dice).await?,
            Kind::Commit => self.lose_replies(dice).await,
            Kind::Throttle => self.throttle(dice),
            Kind::Ambiguous => self.answer_unclearly(dice),
            Kind::Slow => self.answer_slowly(dice),
            Kind::Network => self.break_network(dice).await,
            // Callers do this by themselves.
            Kind::Cancel | Kind::Tenants => {}
            Kind::Dark => self.darken(),
            Kind::Frozen => self.freeze_inside(dice).await?,
            Kind::Step => self.step_clock(dice).await?,
            Kind::Newer => self.write_newer_rows(dice).await?,
            Kind::Failover => self.fail_over(dice).await?,
            Kind::Upgrade => self.upgrade(dice).await?,
        }
        Ok(())
    }
}
