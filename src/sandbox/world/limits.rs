//! Rate limits as Slack documents them: per method in one-minute windows, and one message a
//! second for each channel with a short burst (docs.slack.dev, "Rate limits").
//!
//! Pure: the caller passes the time. All lengths are multiplied by the time factor; the waits
//! returned are in *unscaled* microseconds, so that a client applying the same factor to
//! `Retry-After` waits exactly as long as needed.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

const SECOND: i64 = 1_000_000;
const WINDOW: i64 = 60 * SECOND;
/// Messages that a channel accepts at once before the rate of one a second applies; Slack's figure
/// is not published.
const CHANNEL_BURST: i64 = 3;

/// The rate class of a method: guaranteed calls per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Tier {
    One,
    Two,
    Three,
    Four,
    /// "Several hundred" a minute.
    Special,
}

/// The limit of `conversations.history` and `conversations.replies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryLimit {
    /// Tier 3 and up to 999 objects: internal and Marketplace apps.
    #[default]
    Full,
    /// One call a minute and 15 objects: distributed apps outside the Marketplace since 2025-05-29.
    OnePerMinute15,
}

impl HistoryLimit {
    /// The largest page.
    pub(in crate::sandbox) fn page(self) -> usize {
        match self {
            Self::Full => 999,
            Self::OnePerMinute15 => 15,
        }
    }
}

/// The adjustable limits.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Allowed {
    pub(in crate::sandbox) history: HistoryLimit,
    pub(in crate::sandbox) posts_per_minute: u32,
}

/// Posts a minute in the whole workspace: "several hundred"; Slack's figure is not published.
pub(in crate::sandbox) const POSTS_PER_MINUTE: u32 = 600;

struct Window {
    started: i64,
    calls: u32,
}

/// The counters of one app in one workspace.
pub(in crate::sandbox) struct Limits {
    scale: f64,
    windows: HashMap<&'static str, Window>,
    /// When a channel's messages so far would all have been sent at one a second.
    channels: HashMap<String, i64>,
}

impl Limits {
    pub(in crate::sandbox) fn new(scale: f64) -> Self {
        Self { scale, windows: HashMap::new(), channels: HashMap::new() }
    }

    /// Counts one call of `method`, or returns the wait in unscaled microseconds.
    pub(in crate::sandbox) fn method(
        &mut self,
        method: &'static str,
        tier: Tier,
        allowed: Allowed,
        now: i64,
    ) -> Result<(), i64> {
        let budget = match method {
            "conversations.history" | "conversations.replies"
                if allowed.history == HistoryLimit::OnePerMinute15 =>
            {
                1
            }
            "chat.postMessage" => allowed.posts_per_minute,
            _ => budget(tier),
        };
        let length = self.scaled(WINDOW);
        let window = self.windows.entry(method).or_insert(Window { started: now, calls: 0 });
        if now >= window.started + length || now < window.started {
            *window = Window { started: now, calls: 0 };
        }
        if window.calls >= budget {
            let wait = window.started + length - now;
            return Err(self.unscaled(wait));
        }
        window.calls += 1;
        Ok(())
    }

    /// Counts one message to `channel`, or returns the wait in unscaled microseconds.
    pub(in crate::sandbox) fn channel(&mut self, channel: &str, now: i64) -> Result<(), i64> {
        let second = self.scaled(SECOND);
        let due = self.channels.get(channel).copied().unwrap_or(now).max(now);
        let earliest = due - (CHANNEL_BURST - 1) * second;
        if earliest > now {
            return Err(self.unscaled(earliest - now));
        }
        self.channels.insert(channel.to_owned(), due + second);
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "minutes")]
    fn scaled(&self, micros: i64) -> i64 {
        ((micros as f64) * self.scale) as i64
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "minutes")]
    fn unscaled(&self, micros: i64) -> i64 {
        if self.scale > 0.0 { ((micros as f64) / self.scale) as i64 } else { 0 }
    }
}

/// Calls in one window: the documented figure plus a tenth as burst.
fn budget(tier: Tier) -> u32 {
    match tier {
        Tier::One => 2,
        Tier::Two => 22,
        Tier::Three => 55,
        Tier::Four => 110,
        Tier::Special => 600,
    }
}

/// The header's value: whole seconds, at least one.
pub(in crate::sandbox) fn retry_after(wait: i64) -> i64 {
    ((wait + SECOND - 1) / SECOND).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Allowed =
        Allowed { history: HistoryLimit::Full, posts_per_minute: POSTS_PER_MINUTE };

    #[test]
    fn posts_of_the_whole_workspace_have_a_limit_that_can_be_set() {
        let mut limits = Limits::new(1.0);
        let allowed = Allowed { posts_per_minute: 2, ..ALLOWED };
        for _ in 0..2 {
            assert_eq!(limits.method("chat.postMessage", Tier::Special, allowed, 5), Ok(()));
        }
        assert!(limits.method("chat.postMessage", Tier::Special, allowed, 5).is_err());
        assert_eq!(limits.method("auth.test", Tier::Special, allowed, 5), Ok(()));
    }

    #[test]
    fn a_window_takes_its_budget_and_opens_again() {
        let mut limits = Limits::new(1.0);
        let full = ALLOWED;
        for _ in 0..22 {
            assert_eq!(limits.method("users.list", Tier::Two, full, 5), Ok(()));
        }
        let wait = limits.method("users.list", Tier::Two, full, 5 + SECOND).unwrap_err();
        assert_eq!(retry_after(wait), 59);
        assert_eq!(limits.method("users.info", Tier::Four, full, 5 + SECOND), Ok(()));
        assert_eq!(limits.method("users.list", Tier::Two, full, 5 + WINDOW), Ok(()));
    }

    #[test]
    fn a_channel_takes_a_burst_then_one_a_second() {
        let mut limits = Limits::new(1.0);
        for _ in 0..3 {
            assert_eq!(limits.channel("D1", 0), Ok(()));
        }
        assert_eq!(limits.channel("D1", 0), Err(SECOND));
        assert_eq!(limits.channel("D2", 0), Ok(()));
        assert_eq!(limits.channel("D1", SECOND), Ok(()));
        assert_eq!(limits.channel("D1", SECOND), Err(SECOND));
    }

    #[test]
    fn scaled_waits_are_told_unscaled() {
        let mut limits = Limits::new(0.01);
        for _ in 0..3 {
            assert_eq!(limits.channel("D1", 0), Ok(()));
        }
        assert_eq!(limits.channel("D1", 0), Err(SECOND));
        assert_eq!(limits.channel("D1", 10_000), Ok(()));
    }

    #[test]
    fn history_can_be_one_a_minute() {
        let mut limits = Limits::new(1.0);
        let slow = Allowed { history: HistoryLimit::OnePerMinute15, ..ALLOWED };
        assert_eq!(limits.method("conversations.history", Tier::Three, slow, 0), Ok(()));
        assert_eq!(limits.method("conversations.history", Tier::Three, slow, 0), Err(WINDOW));
    }
}
