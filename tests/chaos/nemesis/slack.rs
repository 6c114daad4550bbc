//! Slack's answers: 429, unclear answers and late ones, before or after it stored the message or
//! changed the channel.

use herald::sandbox::{Fault, FaultKind, Raw};

use super::{Kind, Stage};
use crate::dice::Dice;

pub(super) const POST: &str = "chat.postMessage";
const UPDATE: &str = "chat.update";
const DELETE: &str = "chat.delete";
/// The methods with which Herald keeps channels; those that must not be repeated come more often.
pub(super) const CHANNELS: [&str; 14] = [
    "conversations.create",
    "conversations.create",
    "conversations.create",
    "conversations.invite",
    "conversations.invite",
    "conversations.invite",
    "conversations.kick",
    "conversations.rename",
    "conversations.setPurpose",
    "conversations.setTopic",
    "conversations.list",
    "conversations.members",
    "conversations.info",
    "conversations.archive",
];
/// Calls that one fault strikes at most.
const TIMES: usize = 3;

impl Stage {
    pub(super) fn throttle(&self, dice: &mut Dice) {
        let (asked, kind) = limited(dice);
        let times = |most: usize, dice: &mut Dice| u32::try_from(1 + dice.below(most)).unwrap_or(1);
        let (what, fault) = match dice.below(10) {
            0..3 => ("all posts", Fault::new(POST, kind).times(times(20, dice))),
            3..8 => {
                let channel = Some(dice.one(&self.lanes).clone());
                ("one lane", Fault { channel, ..Fault::new(POST, kind).times(times(3, dice)) })
            }
            8 if dice.percent(50) => {
                ("history", Fault::new("conversations.history", kind).times(times(3, dice)))
            }
            8 => ("updates", Fault::new(UPDATE, kind).times(times(3, dice))),
            9 if dice.percent(50) => ("deletions", Fault::new(DELETE, kind).times(times(3, dice))),
            _ => ("conversations.open", Fault::new("conversations.open", kind).times(1)),
        };
        self.script(Kind::Throttle, format!("429, {what}, Retry-After {asked}"), fault);
    }

    pub(super) fn answer_unclearly(&self, dice: &mut Dice) {
        let (what, kind) = unclear(dice);
        let times = u32::try_from(1 + dice.below(3)).unwrap_or(1);
        let after = dice.percent(60);
        // Reading is disturbed too, so that messages in doubt stay so for longer.
        let method = match dice.below(100) {
            0..15 => "conversations.history",
            15..20 => UPDATE,
            20..25 => DELETE,
            _ => POST,
        };
        let fault = Fault::new(method, kind).times(times);
        let when = if after { "after" } else { "before" };
        let what = format!("{method}: {what} {when} its work, {times} times");
        self.script(Kind::Ambiguous, what, if after { fault.after() } else { fault });
    }

    pub(super) fn answer_slowly(&self, dice: &mut Dice) {
        let (what, kind, after) = slow(dice);
        let fault = Fault::new(POST, kind).times(u32::try_from(1 + dice.below(5)).unwrap_or(1));
        self.script(Kind::Slow, what, if after { fault.after() } else { fault });
    }

    /// The same at the methods of channels.
    pub(super) fn answer_badly_about_channels(&self, kind: Kind, dice: &mut Dice) {
        let method = *dice.one(&CHANNELS);
        let (what, fault, after) = match kind {
            Kind::Throttle => {
                let (asked, kind) = limited(dice);
                (format!("429, Retry-After {asked}"), kind, false)
            }
            Kind::Slow => slow(dice),
            // Only some of the people are added, and the answer does not say which.
            _ if method == "conversations.invite" && dice.percent(25) => {
                ("done in part".to_owned(), FaultKind::InvitePart { joined: 1 }, false)
            }
            _ => {
                let (what, kind) = unclear(dice);
                (what.to_owned(), kind, dice.percent(60))
            }
        };
        let times = 1 + dice.below(TIMES);
        let fault = Fault::new(method, fault).times(u32::try_from(times).unwrap_or(1));
        let when = if after { "after" } else { "before" };
        let what = format!("{method}: {what} {when} its work, {times} times");
        self.script(kind, what, if after { fault.after() } else { fault });
    }

    fn script(&self, kind: Kind, what: String, fault: Fault) {
        let blow = self.book.strike(kind.name(), None, what);
        self.slack.script(fault);
        blow.over();
    }
}

/// A 429, and the wait that it asks for.
fn limited(dice: &mut Dice) -> (String, FaultKind) {
    let retry_after = match dice.below(12) {
        0 => None,
        1 => Some("soon".to_owned()),
        2 => Some("0".to_owned()),
        _ => Some((1 + dice.below(30)).to_string()),
    };
    let asked = retry_after.clone().unwrap_or_else(|| "missing".to_owned());
    (asked, FaultKind::Status { code: 429, body: String::new(), retry_after })
}

/// An answer that does not say whether the work was done.
fn unclear(dice: &mut Dice) -> (&'static str, FaultKind) {
    let status = |code| FaultKind::Status { code, body: "<html>".into(), retry_after: None };
    let error = |code: &str| FaultKind::Error { code: code.into() };
    match dice.below(9) {
        0 => ("500", status(500)),
        1 => ("502", status(502)),
        2 => ("503", status(503)),
        3 => ("fatal_error", error("fatal_error")),
        4 => ("internal_error", error("internal_error")),
        5 => ("request_timeout", error("request_timeout")),
        6 => ("reset", FaultKind::Reset),
        7 => ("truncated", FaultKind::Truncate),
        _ => {
            let body = Raw::from("{\"ok\":");
            (
                "broken JSON",
                FaultKind::Body { body, headers: std::collections::BTreeMap::default() },
            )
        }
    }
}

/// A late answer, and whether it comes after the work.
fn slow(dice: &mut Dice) -> (String, FaultKind, bool) {
    let late = dice.millis(100, 1_500).as_secs_f64();
    match dice.below(5) {
        0 => (format!("stored {late} s late"), FaultKind::Delay { seconds: late }, false),
        1 => (format!("first byte {late} s late"), FaultKind::Delay { seconds: late }, true),
        2 => ("20 bytes a second".to_owned(), FaultKind::Slow { bytes_per_second: 20 }, true),
        3 => ("no answer, stored".to_owned(), FaultKind::Hang { seconds: 2.5 }, true),
        _ => ("no answer, not stored".to_owned(), FaultKind::Hang { seconds: 2.5 }, false),
    }
}
