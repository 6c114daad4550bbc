//! The connections between a replica and Slack.

use tokio::time::sleep;

use super::{Kind, Stage};
use crate::dice::Dice;
use crate::link::Weather;

impl Stage {
    pub(super) async fn break_network(&self, dice: &mut Dice) {
        let replica = self.replica(dice);
        // A request must reach Slack well within the time in which Slack still stores a request
        // that it got.
        let weather = match dice.below(7) {
            0 => Weather::Delay(dice.millis(20, 500)),
            1 => Weather::Cut,
            2 => Weather::HalfClose,
            3 => Weather::SwallowUp,
            4 => Weather::SwallowDown,
            5 => Weather::GarbleUp,
            _ => Weather::GarbleDown,
        };
        let what = format!("connections to Slack: {weather:?}");
        let blow = self.book.strike(Kind::Network.name(), Some(replica.number()), what);
        replica.slack().set(weather);
        sleep(dice.millis(50, 900)).await;
        replica.slack().set(Weather::Clear);
        blow.over();
    }
}
