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

    /// PostgreSQL's programs are waited for elsewhere.
    async fn postgres(
        &self,
        step: impl FnOnce(&Postgres) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let postgres = self.postgres.clone();
        spawn_blocking(move || step(&postgres)).await.map_err(io::Error::other)?
    }
}
