//! Messages about one thing: what a later notification does about those before it in the same
//! conversation.
//!
//! Decisions over values: which messages there are is the store's to know, what Slack says the
//! worker's. The table of outcomes is in `docs/delivery-states.md`.

use super::budget::Budget;
use super::ids::{ChannelId, DeliveryId};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $code)] $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code in the store and in a trace.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    /// What a notification does about its subject.
    Action {
        /// A message of its own.
        Post = "post";
        /// An answer in the thread of the first message.
        Reply = "reply";
        /// New words in place of the last message's.
        Replace = "replace";
        /// All messages are taken back.
        Retract = "retract";
        /// All messages keep their words, struck through, and lose their buttons.
        Done = "done";
    }
}

codes! {
    /// What the request to Slack was, as its intent says.
    Deed {
        /// A message of its own.
        Post = "post";
        /// An answer in a thread.
        Thread = "thread";
        /// A message was changed.
        Update = "update";
        /// A message was deleted.
        Delete = "delete";
    }
}

codes! {
    /// What became of a message in Slack.
    Shown {
        /// It is shown as done.
        Done = "done";
        /// It was deleted, by us.
        Retracted = "retracted";
        /// It was deleted, by somebody else.
        Gone = "gone";
        /// It is there, and Slack does not let us change it (any more).
        Fixed = "fixed";
    }
}

/// What a notification does that says nothing of a subject.
impl Default for Action {
    fn default() -> Self {
        Self::Post
    }
}

impl Action {
    /// Whether what waits to be sent about the subject is overtaken by it.
    #[must_use]
    pub fn overtakes(self) -> bool {
        matches!(self, Self::Replace | Self::Retract | Self::Done)
    }

    /// Whether it says something new. What only takes back or crosses out needs no words, and
    /// the reader's choices do not hold it back.
    #[must_use]
    pub fn speaks(self) -> bool {
        matches!(self, Self::Post | Self::Reply | Self::Replace)
    }

    /// What its request is taken from, unless what is in Slack makes it another one.
    #[must_use]
    pub fn budget(self) -> Budget {
        match self {
            Self::Post | Self::Reply => Budget::Posts,
            Self::Replace | Self::Done => Budget::Updates,
            Self::Retract => Budget::Deletions,
        }
    }
}

impl Deed {
    /// Doing it twice is doing it once: an unclear answer is met by doing it again.
    #[must_use]
    pub fn is_repeatable(self) -> bool {
        matches!(self, Self::Update | Self::Delete)
    }

    #[must_use]
    pub fn budget(self) -> Budget {
        match self {
            Self::Post | Self::Thread => Budget::Posts,
            Self::Update => Budget::Updates,
            Self::Delete => Budget::Deletions,
        }
    }

    /// Slack's method.
    #[must_use]
    pub fn method(self) -> &'static str {
        self.budget().method()
    }
}

/// One of our messages about a subject, in the order of posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The delivery that posted it.
    pub delivery: DeliveryId,
    pub channel: ChannelId,
    pub ts: String,
    /// It stands in a thread.
    pub in_thread: bool,
    /// It is in the conversation that acts; else in one that the same person had before.
    pub here: bool,
    pub shown: Option<Shown>,
    /// The delivery whose words it shows.
    pub words: DeliveryId,
}

/// What one request does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<'a> {
    /// A message of its own.
    Post,
    /// An answer in the thread of this one.
    Thread(&'a Posted),
    /// This one gets new words.
    Replace(&'a Posted),
    /// This one is crossed out; more follow.
    Done { target: &'a Posted, more: bool },
    /// This one is deleted; more follow.
    Retract { target: &'a Posted, more: bool },
    /// There is nothing (left) to act on.
    Nothing,
}

/// What the next request of an action is, given what is in Slack.
#[must_use]
pub fn plan(action: Action, messages: &[Posted]) -> Plan<'_> {
    let there = |message: &&Posted| !matches!(message.shown, Some(Shown::Retracted | Shown::Gone));
    match action {
        Action::Post => Plan::Post,
        Action::Reply => {
            let mut roots = messages.iter().filter(|message| message.here && !message.in_thread);
            roots.find(there).map_or(Plan::Post, Plan::Thread)
        }
        // What was sent to somebody else by mistake does not get the new words.
        Action::Replace => match messages.iter().rfind(|message| message.here) {
            Some(last) if matches!(last.shown, None | Some(Shown::Done)) => Plan::Replace(last),
            _ => Plan::Post,
        },
        Action::Done => {
            let mut left = messages.iter().filter(|message| message.shown.is_none());
            match left.next() {
                Some(target) => Plan::Done { target, more: left.next().is_some() },
                None => Plan::Nothing,
            }
        }
        // The last first: an answer must not lose its thread before it goes.
        Action::Retract => {
            let mut left = messages.iter().rev().filter(there);
            match left.next() {
                Some(target) => Plan::Retract { target, more: left.next().is_some() },
                None => Plan::Nothing,
            }
        }
    }
}

impl<'a> Plan<'a> {
    #[must_use]
    pub fn deed(&self) -> Option<Deed> {
        Some(match self {
            Self::Post => Deed::Post,
            Self::Thread(_) => Deed::Thread,
            Self::Replace(_) | Self::Done { .. } => Deed::Update,
            Self::Retract { .. } => Deed::Delete,
            Self::Nothing => return None,
        })
    }

    #[must_use]
    pub fn target(&self) -> Option<&'a Posted> {
        match self {
            Self::Thread(target)
            | Self::Replace(target)
            | Self::Done { target, .. }
            | Self::Retract { target, .. } => Some(target),
            Self::Post | Self::Nothing => None,
        }
    }
}

/// What a refusal by Slack says about the message that was acted on; `None`: nothing, the delivery
/// fails. Then the action goes on without that message: it is posted anew, or the next one has its
/// turn.
#[must_use]
pub fn unfit(deed: Deed, code: &str) -> Option<Shown> {
    match (deed, code) {
        (Deed::Update | Deed::Delete, "message_not_found")
        | (Deed::Thread, "message_not_found" | "thread_not_found") => Some(Shown::Gone),
        (Deed::Update, "cant_update_message" | "edit_window_closed" | "is_inactive")
        | (Deed::Thread, "cannot_reply_to_message") => Some(Shown::Fixed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(number: u32, in_thread: bool, shown: Option<Shown>) -> Posted {
        let delivery = DeliveryId(uuid::Uuid::from_u128(u128::from(number)));
        Posted {
            delivery,
            channel: ChannelId::parse("D1").unwrap(),
            ts: format!("{number}.000000"),
            in_thread,
            here: true,
            shown,
            words: delivery,
        }
    }

    fn ts<'a>(plan: &Plan<'a>) -> Option<&'a str> {
        plan.target().map(|target| target.ts.as_str())
    }

    #[test]
    fn an_answer_goes_into_the_thread_of_the_first_that_is_there() {
        let messages =
            [posted(1, false, Some(Shown::Gone)), posted(2, false, None), posted(3, true, None)];
        let planned = plan(Action::Reply, &messages);
        assert_eq!((planned.deed(), ts(&planned)), (Some(Deed::Thread), Some("2.000000")));
        assert_eq!(plan(Action::Reply, &messages[..1]), Plan::Post);
        assert_eq!(plan(Action::Reply, &messages[2..]), Plan::Post);
    }

    #[test]
    fn the_last_is_replaced_or_a_new_one_posted() {
        let messages = [posted(1, false, None), posted(2, true, Some(Shown::Done))];
        assert_eq!(ts(&plan(Action::Replace, &messages)), Some("2.000000"));
        for shown in [Shown::Retracted, Shown::Gone, Shown::Fixed] {
            let messages = [posted(1, false, None), posted(2, false, Some(shown))];
            assert_eq!(plan(Action::Replace, &messages), Plan::Post, "{shown:?}");
        }
        assert_eq!(plan(Action::Replace, &[]), Plan::Post);
        let elsewhere = [Posted { here: false, ..posted(1, false, None) }];
        assert_eq!(plan(Action::Replace, &elsewhere), Plan::Post);
    }

    #[test]
    fn done_and_retract_go_through_all_of_them() {
        let mut messages =
            vec![posted(1, false, None), posted(2, true, None), posted(3, false, None)];
        let mut order = Vec::new();
        while let Plan::Done { target, more } = plan(Action::Done, &messages.clone()) {
            order.push((target.ts.clone(), more));
            let at = messages.iter().position(|message| message.ts == target.ts).unwrap();
            messages[at].shown = Some(Shown::Done);
        }
        let order: Vec<_> = order.iter().map(|(ts, more)| (ts.as_str(), *more)).collect();
        assert_eq!(order, [("1.000000", true), ("2.000000", true), ("3.000000", false)]);
        let planned = plan(Action::Retract, &messages);
        assert_eq!(ts(&planned), Some("3.000000"));
        assert!(matches!(planned, Plan::Retract { more: true, .. }));
        assert_eq!(plan(Action::Done, &messages), Plan::Nothing);
        assert_eq!(plan(Action::Retract, &[]), Plan::Nothing);
    }

    #[test]
    fn codes_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::from_code(action.code()), Some(*action));
        }
        for deed in Deed::ALL {
            assert_eq!(Deed::from_code(deed.code()), Some(*deed));
        }
        for shown in Shown::ALL {
            assert_eq!(Shown::from_code(shown.code()), Some(*shown));
        }
    }
}
