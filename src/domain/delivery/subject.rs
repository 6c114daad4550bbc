//! Messages about one subject: the effect of a later notification on earlier messages in the same
//! conversation.
//!
//! Decisions from values only: the store knows which messages there are, and the worker knows
//! Slack's answers. The table of outcomes is in `docs/delivery-states.md`.

use crate::domain::capacity::budget::Budget;
use crate::domain::ids::{ChannelId, DeliveryId};

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
    /// The effect of a notification on the earlier messages about its subject.
    Action {
        /// A new message.
        Post = "post";
        /// A reply in the thread of the first message.
        Reply = "reply";
        /// New text in place of the last message's.
        Replace = "replace";
        /// All messages are deleted.
        Retract = "retract";
        /// All messages keep their text, struck through, and lose their buttons.
        Done = "done";
    }
}

codes! {
    /// The kind of the request to Slack, as recorded in its intent.
    SlackRequestKind {
        /// A new message.
        Post = "post";
        /// A reply in a thread.
        Thread = "thread";
        /// A message was changed.
        Update = "update";
        /// A message was deleted.
        Delete = "delete";
    }
}

codes! {
    /// The state of a message in Slack, if it is not as it was posted.
    Shown {
        /// It is shown as done.
        Done = "done";
        /// It was deleted by Herald.
        Retracted = "retracted";
        /// It was deleted by someone outside Herald.
        Gone = "gone";
        /// It exists, but Slack does not let us change it (any more).
        Immutable = "fixed";
    }
}

/// The action of a notification without a subject.
impl Default for Action {
    fn default() -> Self {
        Self::Post
    }
}

impl Action {
    /// Whether it supersedes messages about the subject that are waiting to be sent.
    #[must_use]
    pub fn overtakes(self) -> bool {
        matches!(self, Self::Replace | Self::Retract | Self::Done)
    }

    /// Whether it has new content. An action that only deletes or strikes through needs no
    /// template, and the reader's choices do not suppress it.
    #[must_use]
    pub fn speaks(self) -> bool {
        matches!(self, Self::Post | Self::Reply | Self::Replace)
    }

    /// The budget of its request, unless the state in Slack requires another request.
    #[must_use]
    pub fn budget(self) -> Budget {
        match self {
            Self::Post | Self::Reply => Budget::Posts,
            Self::Replace | Self::Done => Budget::Updates,
            Self::Retract => Budget::Deletions,
        }
    }
}

impl SlackRequestKind {
    /// Repeating it has no further effect: after an unclear answer it is repeated.
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

    /// The name of Slack's method.
    #[must_use]
    pub fn method(self) -> &'static str {
        self.budget().method()
    }
}

/// One of our messages about a subject, in the order of posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectMessage {
    /// The delivery that posted it.
    pub delivery: DeliveryId,
    pub channel: ChannelId,
    pub ts: String,
    /// It is in a thread.
    pub in_thread: bool,
    /// It is in the current conversation; otherwise in an earlier one of the same person.
    pub here: bool,
    pub shown: Option<Shown>,
    /// The delivery whose text it shows.
    pub words: DeliveryId,
}

/// The next request of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<'a> {
    /// A new message.
    Post,
    /// A reply in the thread of this message.
    Thread(&'a SubjectMessage),
    /// This message gets new text.
    Replace(&'a SubjectMessage),
    /// This message is struck through; `more`: others follow.
    Done { target: &'a SubjectMessage, more: bool },
    /// This message is deleted; `more`: others follow.
    Retract { target: &'a SubjectMessage, more: bool },
    /// There is no message (left) to change.
    Nothing,
}

/// The next request of an action, for the messages in Slack.
#[must_use]
pub fn plan(action: Action, messages: &[SubjectMessage]) -> Plan<'_> {
    let there =
        |message: &&SubjectMessage| !matches!(message.shown, Some(Shown::Retracted | Shown::Gone));
    match action {
        Action::Post => Plan::Post,
        Action::Reply => {
            let mut roots = messages.iter().filter(|message| message.here && !message.in_thread);
            roots.find(there).map_or(Plan::Post, Plan::Thread)
        }
        // A message that went to another member by mistake does not get the new text.
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
        // The last message first: the first one of a thread must not be deleted before its replies.
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
    pub fn request_kind(&self) -> Option<SlackRequestKind> {
        Some(match self {
            Self::Post => SlackRequestKind::Post,
            Self::Thread(_) => SlackRequestKind::Thread,
            Self::Replace(_) | Self::Done { .. } => SlackRequestKind::Update,
            Self::Retract { .. } => SlackRequestKind::Delete,
            Self::Nothing => return None,
        })
    }

    #[must_use]
    pub fn target(&self) -> Option<&'a SubjectMessage> {
        match self {
            Self::Thread(target)
            | Self::Replace(target)
            | Self::Done { target, .. }
            | Self::Retract { target, .. } => Some(target),
            Self::Post | Self::Nothing => None,
        }
    }
}

/// The consequence of Slack's refusal for the message that was to be changed; `None`: none, and the
/// delivery fails. Otherwise the action continues without that message: it is posted as a new
/// message, or continues with the next one.
#[must_use]
pub fn unmodifiable(request_kind: SlackRequestKind, code: &str) -> Option<Shown> {
    match (request_kind, code) {
        (SlackRequestKind::Update | SlackRequestKind::Delete, "message_not_found")
        | (SlackRequestKind::Thread, "message_not_found" | "thread_not_found") => Some(Shown::Gone),
        (
            SlackRequestKind::Update,
            "cant_update_message" | "edit_window_closed" | "is_inactive",
        )
        | (SlackRequestKind::Thread, "cannot_reply_to_message") => Some(Shown::Immutable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(number: u32, in_thread: bool, shown: Option<Shown>) -> SubjectMessage {
        let delivery = DeliveryId(uuid::Uuid::from_u128(u128::from(number)));
        SubjectMessage {
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
        assert_eq!(
            (planned.request_kind(), ts(&planned)),
            (Some(SlackRequestKind::Thread), Some("2.000000"))
        );
        assert_eq!(plan(Action::Reply, &messages[..1]), Plan::Post);
        assert_eq!(plan(Action::Reply, &messages[2..]), Plan::Post);
    }

    #[test]
    fn the_last_is_replaced_or_a_new_one_posted() {
        let messages = [posted(1, false, None), posted(2, true, Some(Shown::Done))];
        assert_eq!(ts(&plan(Action::Replace, &messages)), Some("2.000000"));
        for shown in [Shown::Retracted, Shown::Gone, Shown::Immutable] {
            let messages = [posted(1, false, None), posted(2, false, Some(shown))];
            assert_eq!(plan(Action::Replace, &messages), Plan::Post, "{shown:?}");
        }
        assert_eq!(plan(Action::Replace, &[]), Plan::Post);
        let elsewhere = [SubjectMessage { here: false, ..posted(1, false, None) }];
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
        for request_kind in SlackRequestKind::ALL {
            assert_eq!(SlackRequestKind::from_code(request_kind.code()), Some(*request_kind));
        }
        for shown in Shown::ALL {
            assert_eq!(Shown::from_code(shown.code()), Some(*shown));
        }
    }
}
