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
use crate::tenant::Tenant;

/// The time in the list of faults, before the time factor.
const AWAY: Duration = Duration::from_secs(300);

/// Rows as a newer release may write them, all of them due: a lane of an unknown class, one of an
/// unknown budget, one whose first delivery has an unknown kind, and a delivery with an unknown
/// action that waits for its member.
const NEWER: &str = "
INSERT INTO lanes (installation, lane, tenant, class, budget, next_at)
SELECT installation, name, tenant, class, budget, 1 FROM tenant_links,
    (VALUES ('CNEWER1', 9, 0), ('CNEWER2', 2, 9), ('CNEWER3', 2, 0)) AS newer (name, class, budget)
WHERE tenant = '{tenant}';
INSERT INTO deliveries (id, tenant, notification, user_id, installation, lane, position, state,
    attempt, probes, crashes, due_at, expires_at, priority, kind, action, event_type, created_at,
    updated_at)
SELECT gen_random_uuid(), tenant, gen_random_uuid(), 'newer', installation, 'CNEWER3', 1,
    'pending', 0, 0, 0, 1, 9000000000000000, 0, 'hologram', NULL, 'task.assigned', 1, 1
FROM tenant_links WHERE tenant = '{tenant}';
INSERT INTO deliveries (id, tenant, notification, user_id, position, state, attempt, probes,
    crashes, due_at, expires_at, priority, kind, action, event_type, created_at, updated_at)
VALUES (gen_random_uuid(), '{tenant}', gen_random_uuid(), 'newer', 2, 'resolving', 0, 0, 0, 1,
    9000000000000000, 0, 'normal', 'hologram', 'task.assigned', 1, 1);
";
/// A worker of one of these lanes may hold its row, so the lanes are locked first.
const NEWER_GONE: &str = "
SELECT 1 FROM lanes WHERE lane LIKE 'CNEWER%' ORDER BY installation, lane FOR UPDATE;
DELETE FROM deliveries WHERE user_id = 'newer';
DELETE FROM lanes WHERE lane LIKE 'CNEWER%';
";

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

    /// As during an upgrade: replicas of this release meet rows that they cannot read.
    pub(super) async fn write_newer_rows(&self, dice: &mut Dice) -> io::Result<()> {
        let _held = self.postgres.held().await;
        let blow = self.book.strike(Kind::Newer.name(), None, "rows of a newer release");
        let rows = NEWER.replace("{tenant}", &Tenant::MAIN.name());
        self.postgres(move |postgres| postgres.ask(&rows)).await?;
        sleep(dice.millis(2_500, 4_000)).await;
        self.postgres(|postgres| postgres.ask(NEWER_GONE)).await?;
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
