//! The database crashed, away, and cut off.

use std::io;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{Kind, Stage};
use crate::dice::Dice;
use crate::link::Weather;
use crate::postgres::Postgres;

/// As long as the list of faults says, before the time factor.
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
                    self.book.strike(name, None, format!("away for {} ms", away.as_millis()));
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

    /// What one replica asks of the database is done, and it never hears of it.
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

    /// The connections that one replica has now are of no use to it, and it is never told so. New
    /// ones work.
    pub(super) fn darken(&self, dice: &mut Dice) {
        let replica = self.replica(dice);
        let what = "the database's open connections went dark";
        let blow = self.book.strike(Kind::Dark.name(), Some(replica.number()), what);
        replica.database().darken();
        blow.over();
    }

    /// The server's clock is ten minutes off, either way, and back.
    pub(super) async fn step_clock(&self, dice: &mut Dice) -> io::Result<()> {
        // pg_ctl takes a server that started before itself for an old one, and waits in vain.
        let _held = self.postgres.held().await;
        let offset = *dice.one(&["-600", "+600"]);
        let what = format!("the database's clock is off by {offset} s");
        let blow = self.book.strike(Kind::Step.name(), None, what);
        self.postgres.set_clock(offset)?;
        sleep(dice.millis(500, 4_000)).await;
        self.postgres.set_clock("+0")?;
        blow.over();
        Ok(())
    }

    /// PostgreSQL's programs are waited for elsewhere.
    pub(super) async fn postgres<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Postgres) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let postgres = self.postgres.clone();
        spawn_blocking(move || step(&postgres)).await.map_err(io::Error::other)?
    }
}
