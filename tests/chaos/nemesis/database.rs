//! The database crashes, is down, or is cut off.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{Kind, Stage};
use crate::dice::Dice;
use crate::link::Weather;
use crate::postgres::Postgres;

/// The time in the list of faults, before the time factor.
const AWAY: Duration = Duration::from_secs(300);

impl Stage {
    pub(super) async fn break_database(&self, dice: &mut Dice) -> io::Result<()> {
        let name = Kind::Postgres.name();
        let _held = self.postgres.held().await;
        match dice.below(10) {
            0..4 => {
                let blow = self.book.strike(name, None, "restart -m immediate");
                self.postgres(|postgres| postgres.control(&["restart", "-m", "immediate"])).await?;
                blow.over();
            }
            4..7 => {
                let usual = dice.millis(1_000, 5_000);
                let away = if self.full_lengths { AWAY.mul_f64(self.scale) } else { usual };
                let blow =
                    self.book.strike(name, None, format!("down for {} ms", away.as_millis()));
                self.postgres(|postgres| postgres.control(&["stop", "-m", "immediate"])).await?;
                sleep(away).await;
                self.postgres(|postgres| postgres.control(&["start"])).await?;
                blow.over();
            }
            _ => {
                let blow = self.book.strike(name, None, "connections ended every 100 ms");
                for _ in 0..5 + dice.below(20) {
                    self.postgres(Postgres::terminate).await?;
                    sleep(Duration::from_millis(100)).await;
                }
                blow.over();
            }
        }
        Ok(())
    }

    /// The database executes one replica's statements, but its replies are lost.
    pub(super) async fn lose_replies(&self, dice: &mut Dice) {
        let replica = self.replica(dice);
        let weather = *dice.one(&[
            Weather::SwallowDown,
            Weather::SwallowDown,
            Weather::Cut,
            Weather::SwallowUp,
            Weather::Delay(Duration::from_millis(100)),
        ]);
        let what = format!("the database's connections: {weather:?}");
        let blow = self.book.strike(Kind::Commit.name(), Some(replica.number()), what);
        replica.database().set(weather);
        sleep(dice.millis(50, 1_200)).await;
        replica.database().set(Weather::Clear);
        blow.over();
    }

    /// The current connections of one replica stop working, and the replica gets no error. New ones
    /// work.
    /// The replicas take turns, because the judge looks at the seconds after each time.
    pub(super) fn darken(&self) {
        let turn = self.darkened.fetch_add(1, Ordering::Relaxed);
        let replica = &self.replicas[turn % self.replicas.len()];
        let what = "the database's open connections went dark";
        let blow = self.book.strike(Kind::Dark.name(), Some(replica.number()), what);
        replica.database().darken();
        blow.over();
    }

    /// The server's clock is ten minutes off, in either direction, and back.
    pub(super) async fn step_clock(&self, dice: &mut Dice) -> io::Result<()> {
        // pg_ctl takes a server that started before pg_ctl's own time for an old one, and would
        // wait until its timeout.
        let _held = self.postgres.held().await;
        let offset = *dice.one(&[-600, 600]);
        let what = format!("the database's clock is off by {offset:+} s");
        let blow = self.book.strike(Kind::Step.name(), None, what);
        self.postgres.set_clock(offset)?;
        sleep(dice.millis(500, 4_000)).await;
        self.postgres.set_clock(0)?;
        blow.over();
        Ok(())
    }

    /// PostgreSQL's programs block, so they are awaited on a thread of their own.
    pub(super) async fn postgres<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Postgres) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let postgres = self.postgres.clone();
        spawn_blocking(move || step(&postgres)).await.map_err(io::Error::other)?
    }
}
